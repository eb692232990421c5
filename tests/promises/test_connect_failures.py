"""No connection at all: name, TCP and TLS failures are a ConnectFailed that says which, and an OSError."""

from __future__ import annotations

import errno
import socket
import ssl
import threading
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import pytest

from websocketstream import ConnectFailed, HandshakeTimeout, open_websocket_stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import trustme

    from promises.conftest import Serve
    from wpt.server import Connection

pytestmark = pytest.mark.anyio


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def listening(handle: Callable[[socket.socket], None]) -> Iterator[int]:
    """Accept one connection in a thread, without any protocol."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            sock, _ = listener.accept()
            with sock:
                sock.settimeout(10)
                handle(sock)

        thread = threading.Thread(target=accept)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


def echo_closed(connection: Connection) -> None:
    connection.accept()
    connection.answer_close(connection.read_close())


async def fail_to_open(url: str, **options: object) -> ConnectFailed:
    with pytest.raises(ConnectFailed) as caught:
        async with open_websocket_stream(url, **options):  # type: ignore[arg-type]
            pytest.fail("the body must not run")
    assert isinstance(caught.value, OSError)
    assert caught.value.close_code == 1006
    return caught.value


async def test_a_refused_port_is_named() -> None:
    port = closed_port()
    error = await fail_to_open(f"ws://127.0.0.1:{port}/")
    assert f"127.0.0.1 port {port}" in str(error)
    assert "refused" in str(error)
    assert error.errno == errno.ECONNREFUSED
    assert isinstance(error.__cause__, OSError)


async def test_a_refused_port_at_every_address_of_a_name_is_one_error() -> None:
    error = await fail_to_open(f"ws://localhost:{closed_port()}/")
    assert "refused" in str(error)


async def test_an_unknown_host_is_named() -> None:
    error = await fail_to_open("ws://no-such-host.invalid/")
    assert "no-such-host.invalid" in str(error)


async def test_an_unreachable_host_is_a_failed_connection() -> None:
    # TCP has no broadcast, so no network can be reached that way.
    error = await fail_to_open("ws://255.255.255.255/")
    assert "255.255.255.255 port 80" in str(error)


async def test_a_host_that_does_not_answer_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, ExitStack() as fillers:
        for _ in range(3):  # with a full queue the kernel drops what comes next
            filler = fillers.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        with pytest.raises(HandshakeTimeout, match="connecting to") as caught:
            async with open_websocket_stream(
                f"ws://127.0.0.1:{listener.getsockname()[1]}/", open_timeout=0.3
            ):
                pytest.fail("the body must not run")
    assert isinstance(caught.value, TimeoutError)


async def test_an_untrusted_certificate_is_refused_by_default(
    serve: Serve, server_ssl: ssl.SSLContext
) -> None:
    error = await fail_to_open(serve(echo_closed, server_ssl).url("/"))
    assert "certificate" in str(error)


async def test_a_certificate_for_another_name_is_refused(
    serve: Serve, server_ssl: ssl.SSLContext, client_ssl: ssl.SSLContext
) -> None:
    url = serve(echo_closed, server_ssl).url("/")
    error = await fail_to_open(url, ssl_context=client_ssl, server_hostname="example.org")
    assert "example.org" in str(error)


async def test_server_hostname_chooses_the_name_to_verify(
    serve: Serve, certificate_authority: trustme.CA, client_ssl: ssl.SSLContext
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate_authority.issue_cert("other.example").configure_cert(context)
    url = serve(echo_closed, context).url("/")
    await fail_to_open(url, ssl_context=client_ssl)
    async with open_websocket_stream(url, ssl_context=client_ssl, server_hostname="other.example") as conn:
        assert conn.url == url


async def test_plain_http_on_a_tls_port_is_a_tls_failure(client_ssl: ssl.SSLContext) -> None:
    with listening(lambda sock: sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as port:
        error = await fail_to_open(f"wss://localhost:{port}/", ssl_context=client_ssl)
    assert "TLS" in str(error)


async def test_a_server_that_hangs_up_in_the_tls_handshake_is_a_tls_failure(
    client_ssl: ssl.SSLContext,
) -> None:
    with listening(lambda sock: sock.recv(100)) as port:
        error = await fail_to_open(f"wss://localhost:{port}/", ssl_context=client_ssl)
    assert "TLS" in str(error)


async def test_a_stalled_tls_handshake_is_given_up(client_ssl: ssl.SSLContext) -> None:
    seen: list[bytes] = []

    def stall(sock: socket.socket) -> None:
        while data := sock.recv(65536):
            seen.append(data)

    with listening(stall) as port:
        with pytest.raises(HandshakeTimeout, match="TLS"):
            async with open_websocket_stream(
                f"wss://localhost:{port}/", ssl_context=client_ssl, open_timeout=0.2
            ):
                pytest.fail("the body must not run")
    assert seen


async def test_a_server_that_wants_http_2_is_refused(
    serve: Serve, certificate_authority: trustme.CA, client_ssl: ssl.SSLContext
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate_authority.issue_cert("localhost").configure_cert(context)
    context.set_alpn_protocols(["h2"])
    wants_h2 = ssl.create_default_context()
    certificate_authority.configure_trust(wants_h2)
    wants_h2.set_alpn_protocols(["h2", "http/1.1"])
    error = await fail_to_open(serve(echo_closed, context).url("/"), ssl_context=wants_h2)
    assert "h2" in str(error)


@pytest.mark.parametrize("tls", [False, True], ids=["ws", "wss"])
async def test_cancelling_at_any_stage_leaves_nothing(
    tls: bool, serve: Serve, server_ssl: ssl.SSLContext, client_ssl: ssl.SSLContext
) -> None:
    url = serve(echo_closed, server_ssl if tls else None).url("/")
    context = client_ssl if tls else None
    # Cancelled later and later, until the opening is through: TCP, TLS, the request, the answer.
    passes = 0
    while not await _opened_within(passes, url, context):
        passes += 1 + passes // 10
        assert passes < 10_000
    assert passes > 2  # within one machine, it is a matter of few


async def _opened_within(passes: int, url: str, context: ssl.SSLContext | None) -> bool:
    """Open a stream, cancel that after some passes of the event loop, and tell whether it was open by then."""
    opened = False

    async def stay_open() -> None:
        nonlocal opened
        async with open_websocket_stream(url, ssl_context=context):
            opened = True
            await anyio.sleep_forever()

    async with anyio.create_task_group() as group:
        group.start_soon(stay_open)
        while passes and not opened:
            await anyio.lowlevel.checkpoint()
            time.sleep(0.00005)  # let the server's thread have the interpreter
            passes -= 1
        group.cancel_scope.cancel()
    return opened
