"""Why a connection did not come about: the error says it in words, and what a given stream does is not in the way."""

from __future__ import annotations

import errno
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import pytest
from anyio.abc import ByteStream

from edges.failing import failure
from edges.serving import serving
from websocketstream import (
    ConnectFailed,
    HandshakeRejected,
    HandshakeTimeout,
    InvalidHandshake,
)
from websocketstream.testing import memory_byte_stream_pair

pytestmark = pytest.mark.anyio


@contextmanager
def listening(handle: Callable[[socket.socket], object]) -> Iterator[int]:
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


def reset(sock: socket.socket) -> None:
    sock.recv(65536)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.mark.parametrize("scheme", ["ws", "wss"])
async def test_a_reset_is_named(scheme: str) -> None:
    with listening(reset) as port:
        error = await failure(f"{scheme}://127.0.0.1:{port}/")
    assert isinstance(error, ConnectFailed)
    assert error.errno == errno.ECONNRESET
    assert "Connection reset by peer (ECONNRESET)" in str(error)


async def test_a_refused_connection_has_its_number_although_the_name_has_several_addresses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def getaddrinfo(host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"127.0.0.{n}", port)) for n in (8, 9)]

    monkeypatch.setattr("websocketstream._network.dial.getaddrinfo", getaddrinfo)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        error = await failure(f"ws://two.example:{unused.getsockname()[1]}/")
    assert isinstance(error, ConnectFailed)
    assert error.errno == errno.ECONNREFUSED
    assert str(error).endswith(": Connection refused (ECONNREFUSED)")


@pytest.fixture
def wants_a_certificate(server_ssl: ssl.SSLContext, certificate_authority: Any) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate_authority.issue_cert("127.0.0.1").configure_cert(context)
    certificate_authority.configure_trust(context)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    return context


async def test_a_missing_client_certificate_is_named(
    wants_a_certificate: ssl.SSLContext, client_ssl: ssl.SSLContext
) -> None:
    """In TLS 1.3 the server says so when the client's handshake is complete and its request is under way."""

    def refuse(sock: socket.socket) -> None:
        with pytest.raises(ssl.SSLError):
            wants_a_certificate.wrap_socket(sock, server_side=True)

    with listening(refuse) as port:
        error = await failure(f"wss://127.0.0.1:{port}/", ssl_context=client_ssl)
    assert isinstance(error, ConnectFailed)
    assert "the server wants a client certificate" in str(error)
    assert "load_cert_chain()" in str(error)
    assert error.errno is None  # the numbers of OpenSSL are not those of the operating system


async def test_a_server_of_ours_says_that_it_wants_a_client_certificate(
    wants_a_certificate: ssl.SSLContext, client_ssl: ssl.SSLContext
) -> None:
    async with serving(ssl_context=wants_a_certificate) as listener:
        error = await failure(listener.url, ssl_context=client_ssl)
    assert "the server wants a client certificate" in str(error)


async def test_plain_http_on_a_port_for_wss_is_said_in_words(client_ssl: ssl.SSLContext) -> None:
    with listening(lambda sock: sock.sendall(b"HTTP/1.1 400 Bad\r\n\r\n")) as port:
        error = await failure(f"wss://127.0.0.1:{port}/", ssl_context=client_ssl)
    assert isinstance(error, ConnectFailed)
    assert str(error) == (
        r'TLS handshake with 127.0.0.1 failed: the peer does not speak TLS but says "HTTP/1.1 400 Bad\r\n\r\n"; '
        "without TLS the URL is ws://"
    )


async def test_a_server_of_ours_without_tls_is_told_from_one_with_it(client_ssl: ssl.SSLContext) -> None:
    async with serving() as listener:
        error = await failure(listener.url.replace("ws://", "wss://"), ssl_context=client_ssl)
    assert "without TLS the URL is ws://" in str(error)


async def test_a_server_of_ours_with_tls_is_told_from_one_without_it(server_ssl: ssl.SSLContext) -> None:
    async with serving(ssl_context=server_ssl) as listener:
        error = await failure(listener.url.replace("wss://", "ws://"))
    assert "With TLS the URL is wss://" in str(error)


@pytest.mark.parametrize("size", [1, 2, 7])
async def test_a_tls_alert_on_a_port_for_ws_is_said_in_words(size: int) -> None:
    client_end, server_end = memory_byte_stream_pair()
    alert = b"\x15\x03\x03\x00\x02\x02\x46"

    async def answer() -> None:
        await server_end.receive()
        for start in range(0, len(alert), size):
            await server_end.send(alert[start : start + size])
            await anyio.wait_all_tasks_blocked()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(answer)
        error = await failure("ws://localhost/", stream=client_end)
        tasks.cancel_scope.cancel()
    assert isinstance(error, InvalidHandshake)
    assert str(error) == "the server speaks TLS on this port: use wss:// instead of ws://"


async def test_a_server_that_hangs_up_in_the_tls_handshake_is_said_in_words(
    client_ssl: ssl.SSLContext,
) -> None:
    with listening(lambda sock: sock.recv(65536)) as port:
        error = await failure(f"wss://127.0.0.1:{port}/", ssl_context=client_ssl)
    assert str(error) == "TLS handshake with 127.0.0.1 failed: the connection was closed"


class Scripted(ByteStream):
    """A stream of a user's own, with errors where a test wants them."""

    def __init__(
        self,
        *,
        send: Exception | None = None,
        receive: bytes | Exception = b"",
        aclose: Exception | None = None,
    ) -> None:
        self._send, self._receive, self._aclose = send, receive, aclose
        self.closed = 0
        self.hang = False

    async def receive(self, max_bytes: int = 65536) -> bytes:
        await anyio.lowlevel.checkpoint()
        if isinstance(self._receive, Exception):
            raise self._receive
        data, self._receive = self._receive, anyio.EndOfStream()
        return data

    async def send(self, item: bytes) -> None:
        await anyio.lowlevel.checkpoint()
        if self._send is not None:
            raise self._send

    async def send_eof(self) -> None: ...

    async def aclose(self) -> None:
        self.closed += 1
        if self.hang:
            await anyio.sleep_forever()
        if self._aclose is not None:
            raise self._aclose


def caused(number: int) -> anyio.BrokenResourceError:
    error = anyio.BrokenResourceError()
    error.__cause__ = OSError(number, "x")
    return error


@pytest.mark.parametrize("secure", [False, True], ids=["ws", "wss"])
async def test_a_reset_is_named_although_only_sending_saw_it(secure: bool) -> None:
    stream = Scripted(send=caused(errno.ECONNRESET), receive=anyio.EndOfStream())
    error = await failure("wss://h/" if secure else "ws://h/", stream=stream)
    assert isinstance(error, ConnectFailed)
    assert error.errno == errno.ECONNRESET
    assert "ECONNRESET" in str(error)


async def test_a_reset_is_named_although_only_receiving_saw_it() -> None:
    stream = Scripted(send=caused(errno.EPIPE), receive=caused(errno.ECONNRESET))
    error = await failure("ws://h/", stream=stream)
    assert isinstance(error, ConnectFailed)
    assert error.errno == errno.ECONNRESET


async def test_a_refusal_is_read_although_the_request_could_not_be_sent() -> None:
    refusal = b"HTTP/1.1 503 Busy\r\nContent-Length: 5\r\n\r\nlater"
    error = await failure("ws://h/", stream=Scripted(send=caused(errno.EPIPE), receive=refusal))
    assert isinstance(error, HandshakeRejected)
    assert error.body == b"later"


async def test_a_given_stream_whose_send_says_that_it_has_ended_is_a_failed_connection() -> None:
    error = await failure("ws://h/", stream=Scripted(send=anyio.EndOfStream(), receive=anyio.EndOfStream()))
    assert isinstance(error, ConnectFailed)
    assert "the connection was closed" in str(error)


REFUSAL = b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize("fault", [RuntimeError("no"), anyio.BrokenResourceError(), OSError(5, "x")])
async def test_a_given_stream_that_cannot_be_closed_hides_no_refusal(fault: Exception) -> None:
    stream = Scripted(receive=REFUSAL, aclose=fault)
    error = await failure("ws://h/", stream=stream)
    assert isinstance(error, HandshakeRejected)
    assert stream.closed == 1


async def test_a_given_stream_whose_closing_hangs_is_not_waited_for() -> None:
    stream = Scripted(receive=REFUSAL)
    stream.hang = True
    with anyio.fail_after(5):
        error = await failure("ws://h/", stream=stream)
    assert isinstance(error, HandshakeRejected)
    assert stream.closed == 1


async def test_a_refusal_whose_body_is_cut_by_the_deadline_is_a_refusal() -> None:
    client_end, server_end = memory_byte_stream_pair()
    await server_end.send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 100\r\n\r\nno such page")
    error = await failure("ws://h/", stream=client_end, open_timeout=0.05)
    assert isinstance(error, HandshakeRejected)
    assert (error.status, error.body, error.truncated) == (404, b"no such page", True)


async def test_what_the_deadline_says_holds_no_secrets() -> None:
    client_end, _server_end = memory_byte_stream_pair()
    error = await failure("ws://ann:pw@h/feed?token=secret", stream=client_end, open_timeout=0.01)
    assert isinstance(error, HandshakeTimeout)
    assert str(error).startswith("ws://h/feed?... was not open within open_timeout=0.01 s")
