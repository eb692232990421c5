"""Connections that another HTTP server hands over: sockets and streams, with the bytes that it has read."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.abc import ByteStream
from anyio.streams.tls import TLSStream

from waiting import in_virtual_time
from websocketstream import (
    CloseInfo,
    ConnectionBroken,
    InvalidHandshake,
    WebSocketStream,
    accept_upgraded,
    open_websocket_stream,
)
from websocketstream.testing import memory_byte_stream_pair
from wire import Frame, Opcode

pytestmark = pytest.mark.anyio

HEAD = (
    b"GET /room?x HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Protocol: chat\r\n\r\n"
)


async def head_of(stream: ByteStream) -> bytes:
    """Read a request as another server does."""
    head = b""
    while b"\r\n\r\n" not in head:
        head += await stream.receive()
    return head


async def echo(stream: Any, request: bytes, seen: list[WebSocketStream], **options: Any) -> None:
    async with accept_upgraded(stream, request, **options) as conn:
        seen.append(conn)
        async for message in conn:
            await conn.send(message)


async def read_head(sock: socket.socket) -> bytes:
    """Read a request from a socket."""
    await anyio.wait_readable(sock)
    return sock.recv(65536)


@asynccontextmanager
async def socket_pair() -> AsyncIterator[tuple[ByteStream, socket.socket]]:
    ours, theirs = socket.socketpair()
    async with await anyio.abc.SocketStream.from_socket(ours) as stream:
        yield stream, theirs


async def test_a_socket_is_taken_over() -> None:
    seen: list[WebSocketStream] = []

    async def serve(sock: socket.socket) -> None:
        await echo(sock, await read_head(sock), seen, protocol="chat", headers={"X-A": "a"}, compression=True)

    async with socket_pair() as (stream, sock), anyio.create_task_group() as tasks:
        tasks.start_soon(serve, sock)
        url = "ws://example.com/room?x"
        async with open_websocket_stream(url, protocols=["chat"], compression=True, stream=stream) as conn:
            for message in ("x", b"y" * 300_000):
                await conn.send(message)
                assert await conn.receive() == message
            assert (conn.protocol, bool(conn.extensions)) == ("chat", True)
            assert conn.response is not None
            assert conn.response.headers["x-a"] == "a"
            await conn.ping()
            conn.close(1000, "bye")
            assert (await conn.closed).clean
    assert seen[0].url == url
    assert seen[0].close_info == CloseInfo(1000, "bye")
    assert sock.fileno() == -1


async def test_a_stream_is_taken_over() -> None:
    seen: list[WebSocketStream] = []
    ours, theirs = memory_byte_stream_pair()

    async def serve() -> None:
        await echo(theirs, await head_of(theirs), seen)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serve)
        async with open_websocket_stream("ws://example.com/", stream=ours) as conn:
            await conn.send("x")
            assert await conn.receive() == "x"
    assert seen[0].request is not None
    assert seen[0].request.path == "/"


async def test_tls_is_taken_over(server_ssl: ssl.SSLContext, client_ssl: ssl.SSLContext) -> None:
    seen: list[WebSocketStream] = []
    ours, theirs = memory_byte_stream_pair()

    async def serve() -> None:
        tls = await TLSStream.wrap(
            theirs, server_side=True, ssl_context=server_ssl, standard_compatible=False
        )
        await echo(tls, await head_of(tls), seen)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serve)
        async with open_websocket_stream("wss://localhost/", stream=ours, ssl_context=client_ssl) as conn:
            await conn.send("x" * 100_000)
            assert await conn.receive() == "x" * 100_000
    assert seen[0].url.startswith("wss://")


async def test_what_was_read_behind_the_head_is_not_lost() -> None:
    ours, theirs = memory_byte_stream_pair()
    frames = b"".join(Frame(Opcode.TEXT, str(n).encode()).encode(masked=True) for n in range(500))
    close = Frame(Opcode.CLOSE, b"\x03\xe8").encode(masked=True)
    async with accept_upgraded(theirs, HEAD + frames[:3000]) as conn:
        await ours.send(frames[3000:] + close)
        assert [message async for message in conn] == [*map(str, range(500))]
        await ours.aclose()


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (HEAD[:-2], ValueError),
        (b"", ValueError),
        (HEAD.replace(b"GET", b"POST"), InvalidHandshake),
        (HEAD.replace(b"Version: 13", b"Version: 8"), InvalidHandshake),
        (HEAD.replace(b"HTTP/1.1", b"HTTP/1.0"), InvalidHandshake),
    ],
)
async def test_a_request_that_cannot_be_accepted_leaves_the_stream_as_it_is(
    request_: bytes, error: type[Exception]
) -> None:
    ours, theirs = memory_byte_stream_pair()
    with pytest.raises(error):
        accept_upgraded(theirs, request_)
    await theirs.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    assert (await ours.receive()).startswith(b"HTTP/1.1 400")


async def test_wrong_arguments_are_said_before_anything_happens() -> None:
    _, theirs = memory_byte_stream_pair()
    wrong: list[tuple[Any, dict[str, Any], type[Exception]]] = [
        (object(), {}, TypeError),
        (theirs, {"protocol": "other"}, ValueError),
        (theirs, {"headers": {"Upgrade": "x"}}, ValueError),
        (theirs, {"read_buffer": -1}, ValueError),
        (theirs, {"handshake_limits": 3}, TypeError),
        (theirs, {"compression": 3}, TypeError),
    ]
    for stream, options, error in wrong:
        with pytest.raises(error):
            accept_upgraded(stream, HEAD, **options)


async def test_a_client_that_has_gone_away_breaks_the_connection() -> None:
    ours, theirs = memory_byte_stream_pair()
    await ours.aclose()
    with pytest.raises(ConnectionBroken, match="went away"):
        async with accept_upgraded(theirs, HEAD):
            pytest.fail("it must not come to this")
    with pytest.raises(anyio.ClosedResourceError):
        await theirs.receive()


async def test_a_socket_that_is_closed_breaks_the_connection() -> None:
    one, other = socket.socketpair()
    one.close()
    other.close()
    with pytest.raises(ConnectionBroken, match="went away"):
        async with accept_upgraded(other, HEAD):
            pytest.fail("it must not come to this")


async def test_a_cancelled_answer_lets_go_of_the_stream() -> None:
    _, theirs = memory_byte_stream_pair(capacity=1)  # the answer is stuck
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:

            async def enter() -> None:
                async with accept_upgraded(theirs, HEAD):
                    pytest.fail("it must not come to this")

            tasks.start_soon(enter)
            await anyio.wait_all_tasks_blocked()
            scope.cancel()
    with pytest.raises(anyio.ClosedResourceError):
        await theirs.receive()


@in_virtual_time()
async def test_a_client_that_says_nothing_is_given_up_by_the_keepalive() -> None:
    _, theirs = memory_byte_stream_pair()
    start = anyio.current_time()
    async with accept_upgraded(theirs, HEAD, ping_interval=5, ping_timeout=3) as conn:
        with pytest.raises(ConnectionBroken):
            await conn.receive()
    assert anyio.current_time() - start < 10
