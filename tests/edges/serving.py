"""A server of ours for the length of a block, and a plain client that speaks bytes."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
import pytest
from anyio.abc import Listener, SocketStream, TaskGroup

from websocketstream import WebSocketListener, WebSocketRequest, serve_websocket_streams
from websocketstream._protocol.client_handshake import ClientHandshake
from websocketstream._protocol.url import parse_url
from websocketstream.testing import MemoryByteStream, memory_byte_stream_pair

SERVER_LOG = "websocketstream.server"


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


class MemoryListener(Listener[MemoryByteStream]):
    """A listener without sockets: to it, a connection is a pair of streams in memory."""

    def __init__(self) -> None:
        self.arrivals: list[MemoryByteStream] = []
        self._closed = False
        self._news = anyio.Event()

    def connect(self) -> MemoryByteStream:
        """Return the client's end of a new connection."""
        ours, theirs = memory_byte_stream_pair()
        self.arrivals.append(theirs)
        self._news.set()
        return ours

    async def serve(
        self, handler: Callable[[MemoryByteStream], Any], task_group: TaskGroup | None = None
    ) -> None:
        """Hand over what connects, until closed."""
        assert task_group is not None
        while not self._closed:
            arrivals, self.arrivals = self.arrivals, []
            for stream in arrivals:
                task_group.start_soon(handler, stream)
            self._news = anyio.Event()
            await self._news.wait()
        raise anyio.ClosedResourceError

    async def aclose(self) -> None:
        """Take no more connections."""
        self._closed = True
        self._news.set()

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """None: it is nowhere."""
        return {}


def levels(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the levels of what the server has logged, but for the one line that it writes for each connection."""
    return [
        record.levelname
        for record in caplog.records
        if record.name == SERVER_LOG and record.levelno != logging.INFO
    ]
