"""A server of ours for the length of a block, and a plain client that speaks bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
from anyio.abc import SocketStream

from websocketstream import WebSocketListener, WebSocketRequest, serve_websocket_streams
from websocketstream._protocol.client_handshake import ClientHandshake
from websocketstream._protocol.url import parse_url


async def echo(request: WebSocketRequest) -> None:
    """Answer every message with itself."""
    async with request.accept() as conn:
        async for message in conn:
            await conn.send(message)


@asynccontextmanager
async def serving(handler: Any = echo, **options: Any) -> AsyncIterator[WebSocketListener]:
    """Serve on a free port; in the end the server is cancelled."""
    options.setdefault("origins", None)
    if "listener" not in options:
        options.setdefault("host", "127.0.0.1")
    async with anyio.create_task_group() as tasks:
        yield await tasks.start(partial(serve_websocket_streams, handler, **options))
        tasks.cancel_scope.cancel()


def request_bytes(listener: WebSocketListener, path: str = "/", **options: Any) -> bytes:
    """Return a client's opening handshake."""
    return ClientHandshake(parse_url(listener.url + path), **options).request()


async def say(listener: WebSocketListener, data: bytes) -> SocketStream:
    """Connect and send bytes."""
    stream = await anyio.connect_tcp("127.0.0.1", listener.port)
    await stream.send(data)
    return stream


async def ask(listener: WebSocketListener, data: bytes) -> bytes:
    """Connect, send bytes, and return everything up to the end of the answer."""
    async with await say(listener, data) as stream:
        return await read_all(stream)


async def read_all(stream: SocketStream) -> bytes:
    """Return everything up to the end of the stream."""
    answer = b""
    with anyio.fail_after(10):
        try:
            while True:
                answer += await stream.receive()
        except anyio.EndOfStream:
            return answer


async def read_head(stream: SocketStream) -> bytes:
    """Return an answer's head."""
    head = b""
    while b"\r\n\r\n" not in head:
        head += await stream.receive()
    return head
