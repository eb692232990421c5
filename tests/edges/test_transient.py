"""What is worth another attempt unless users say something else, by the errors that really come."""

from __future__ import annotations

import socket
import ssl
from typing import Any

import anyio
import pytest

from edges.failing import failure
from edges.proxying import proxying
from edges.serving import serving
from websocketstream import (
    CloseInfo,
    ConnectFailed,
    ConnectionBroken,
    HandshakeError,
    HandshakeRejected,
    InvalidHandshake,
    WebSocketRequest,
    is_transient,
)
from websocketstream.testing import memory_byte_stream_pair, serve_in_memory, websocket_stream_pair

pytestmark = pytest.mark.anyio


async def failure_of(answer: bytes, *, reset: bool = False) -> HandshakeError:
    """Return the error of a client whose server says this and hangs up."""
    ours, theirs = memory_byte_stream_pair()
    async with anyio.create_task_group() as tasks:

        async def serve() -> None:
            await theirs.receive()
            await theirs.send(answer)
            if reset:
                theirs.reset()
            else:
                await theirs.aclose()

        tasks.start_soon(serve)
        return await failure("ws://localhost/", stream=ours)


async def test_a_server_that_is_not_there_may_come_back() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        assert is_transient(await failure(f"ws://127.0.0.1:{taken.getsockname()[1]}/"))


async def test_a_name_that_is_not_resolved_may_be_resolved_later(monkeypatch: pytest.MonkeyPatch) -> None:
    async def unresolved(*_: object, **__: object) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr("websocketstream._opening.dial", unresolved)
    assert is_transient(await failure("ws://nowhere.example/"))
    assert is_transient(socket.gaierror(socket.EAI_AGAIN, "again"))


async def test_a_server_that_is_slow_may_be_faster() -> None:
    ours, _theirs = memory_byte_stream_pair()
    assert is_transient(await failure("ws://localhost/", stream=ours, open_timeout=0.01))


async def test_a_server_that_hangs_up_without_an_answer_may_be_restarting() -> None:
    assert is_transient(await failure_of(b""))
    assert is_transient(await failure_of(b"HTTP/1.1 101 Swi"))
    assert is_transient(await failure_of(b"", reset=True))


async def test_a_wrong_answer_stays_wrong() -> None:
    error = await failure_of(b"SSH-2.0-OpenSSH_9.9\r\n\r\n")
    assert isinstance(error, InvalidHandshake)
    assert not is_transient(error)


@pytest.mark.parametrize(("status", "transient"), [(503, True), (429, True), (403, False), (404, False)])
async def test_refusals_go_by_their_status(status: int, transient: bool) -> None:
    async def handler(request: WebSocketRequest) -> None:
        await request.reject(status)

    async with serve_in_memory(handler) as connect:
        with pytest.raises(HandshakeRejected) as caught:
            async with connect():
                pass
    assert is_transient(caught.value) is transient


async def test_a_refused_certificate_stays_refused(server_ssl: ssl.SSLContext) -> None:
    async with serving(ssl_context=server_ssl) as listener:
        error = await failure(listener.url)
    assert "certificate not accepted" in str(error)
    assert not is_transient(error)


async def test_a_refused_certificate_of_a_proxy_stays_refused(server_ssl: ssl.SSLContext) -> None:
    async with serving(ssl_context=server_ssl) as listener:
        proxy = f"https://127.0.0.1:{listener.port}"
        error = await failure("ws://example.invalid/", proxy=proxy)
    assert "certificate not accepted" in str(error)
    assert not is_transient(error)
    assert is_transient(await failure("ws://example.invalid/", proxy=proxy))  # it is not there any more


async def test_a_port_without_tls_stays_without(client_ssl: ssl.SSLContext) -> None:
    async with serving() as listener:
        error = await failure(listener.url.replace("ws:", "wss:"), ssl_context=client_ssl)
    assert not is_transient(error)


async def test_a_tls_handshake_that_is_interrupted_may_go_better(client_ssl: ssl.SSLContext) -> None:
    for reset in (False, True):
        ours, theirs = memory_byte_stream_pair()
        async with anyio.create_task_group() as tasks:

            async def hang_up(theirs: Any = theirs, reset: bool = reset) -> None:
                await theirs.receive()
                if reset:
                    theirs.reset()
                else:
                    await theirs.aclose()

            tasks.start_soon(hang_up)
            assert is_transient(await failure("wss://localhost/", ssl_context=client_ssl, stream=ours))


@pytest.mark.parametrize(("status", "transient"), [(502, True), (407, False)])
async def test_an_http_proxy_goes_by_its_status(status: int, transient: bool) -> None:
    async def refuse(stream: Any) -> None:
        async with stream:
            await stream.receive()
            await stream.send(b"HTTP/1.1 %d No\r\n\r\n" % status)

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        proxy = f"http://127.0.0.1:{listener.extra(anyio.abc.SocketAttribute.local_port)}"
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, refuse)
            error = await failure("ws://example.invalid/", proxy=proxy)
            tasks.cancel_scope.cancel()
    assert is_transient(error) is transient


LOGGED_IN = b"\5\2\1\0"


@pytest.mark.parametrize(
    ("kind", "answer", "transient"),
    [
        ("socks5", LOGGED_IN + b"\5\1\0", True),  # general failure
        ("socks5", LOGGED_IN + b"\5\5\0", True),  # connection refused
        ("socks5", LOGGED_IN + b"\5\2\0", False),  # not allowed
        ("socks5", b"\5\2\1\1", False),  # wrong password
        ("socks5", b"\5\xff", False),  # another way to log in
        ("socks5", b"", True),  # hangs up
        ("socks4", b"\0\x5b" + bytes(6), True),  # rejected or failed
        ("socks4", b"\0\x5d" + bytes(6), False),  # another user
        ("http", b"SSH-2.0-OpenSSH_9.9\r\n\r\n", False),
        ("http", b"HTTP/1.1 2", True),  # hangs up
    ],
)
async def test_a_proxy_goes_by_what_it_says(kind: str, answer: bytes, transient: bool) -> None:
    async with proxying(kind, answer) as proxy:
        error = await failure("ws://203.0.113.1/", proxy=proxy.url)
    assert is_transient(error) is transient, error


@pytest.mark.parametrize(("code", "transient"), [(1001, True), (1012, True), (1008, False), (4000, False)])
async def test_a_connection_that_was_closed_goes_by_the_code(code: int, transient: bool) -> None:
    async with websocket_stream_pair() as (client, server):
        assert client.end_error is None
        server.close(code)
        async for _ in client:
            pass
        assert client.end_error is not None
        assert is_transient(client.end_error) is transient


async def test_a_connection_that_broke_may_hold_the_next_time() -> None:
    assert is_transient(ConnectionBroken("gone"))
    assert not is_transient(ConnectionBroken("gone", CloseInfo(1008, "", False)))


async def test_a_message_that_is_too_big_would_be_so_again() -> None:
    async with websocket_stream_pair(max_message_size=10) as (client, server):
        await server.send("x" * 11)
        with pytest.raises(ConnectionBroken) as caught:
            await client.receive()
        assert client.end_error is caught.value
    assert caught.value.sent_code == 1009
    assert not is_transient(caught.value)


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (ValueError("no URL"), False),
        (TypeError("no str"), False),
        (RuntimeError(), False),
        (PermissionError(), False),
        (ConnectFailed("not HTTP/1.1 by ALPN"), False),
        (ConnectionResetError(), True),
        (TimeoutError(), True),
    ],
)
async def test_other_errors(error: Exception, transient: bool) -> None:
    assert is_transient(error) is transient


async def test_the_end_error_is_none_when_we_close() -> None:
    async with websocket_stream_pair() as (client, _server):
        client.close()
        await client.closed
        assert client.end_error is None
