"""websocketstream, as its README uses it."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio

from websocketstream import (
    Compression,
    WebSocketRequest,
    WebSocketStream,
    open_websocket_stream,
    serve_websocket_streams,
)

from ..frames import WINDOW_BITS
from .base import Link, Message, Serving

LIST = 1000  # messages that are sent in one call


class BatchLink(Link):
    """The messages by the list."""

    def __init__(self, conn: WebSocketStream) -> None:
        super().__init__(conn.writable.send, conn.readable.receive)
        self.send_batch = conn.writable.send_batch
        self.receive_batch = conn.readable.receive_batch
        self.ahead = 0  # messages that were received beyond what was asked for

    async def receive_n(self, count: int) -> Any:
        receive_batch = self.receive_batch
        batch: list[Any] = [None]
        count -= self.ahead
        while count > 0:
            batch = await receive_batch()
            count -= len(batch)
        self.ahead = -count
        return batch[0]

    async def send_n(self, count: int, message: Message) -> None:
        messages = [message] * LIST
        while count > 0:
            await self.send_batch(messages if count >= LIST else messages[:count])
            count -= LIST


async def echo(request: WebSocketRequest) -> None:
    async with request.accept() as conn:
        async for message in conn.readable:
            await conn.writable.send(message)


class Room:
    """A server that sends to all, as docs/how-to/broadcast.md has it."""

    def __init__(self) -> None:
        from websocketstream import Broadcast  # a state that is compared with may have none yet

        self.hub = Broadcast()

    async def chat(self, request: WebSocketRequest) -> None:
        async with request.accept() as conn:
            with self.hub.subscribe(conn):
                async for message in conn.readable:
                    self.hub.send(message)


class Ours:
    @asynccontextmanager
    async def connect(
        self,
        url: str,
        *,
        text: bool,
        context: ssl.SSLContext | None = None,
        deflate: bool = False,
        batch: bool = False,
    ) -> AsyncIterator[Link]:
        del text
        async with open_websocket_stream(
            url, ssl_context=context, compression=deflate, ping_interval=None, max_message_size=None
        ) as conn:
            yield BatchLink(conn) if batch else Link(conn.writable.send, conn.readable.receive)

    async def serve(self, announce: Callable[[int], None], how: Serving) -> None:
        if how.asgi:
            from .asgi import serve_asgi  # which needs uvicorn and Starlette

            await serve_asgi(announce, "websocketstream.uvicorn:Protocol")
        where: dict[str, Any] = {"host": "127.0.0.1"}
        if how.shared:
            listeners = await anyio.create_tcp_listener(
                local_host="127.0.0.1", local_port=how.port, reuse_port=True
            )
            (listener,) = listeners.listeners
            where = {"listener": listener}
        windows = Compression(server_max_window_bits=WINDOW_BITS, client_max_window_bits=WINDOW_BITS)

        async def start(*, task_status: anyio.abc.TaskStatus[object]) -> None:
            await serve_websocket_streams(
                Room().chat if how.broadcast else echo,
                **where,
                origins=None,
                ssl_context=how.context,
                compression=windows if how.deflate else False,
                ping_interval=20 if how.keepalive else None,
                max_message_size=None,
                task_status=task_status,
            )

        async with anyio.create_task_group() as tasks:
            server = await tasks.start(start)
            announce(server.port)


CONTENDER = Ours()
