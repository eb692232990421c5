"""websocketstream, as its README uses it."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio

from websocketstream import WebSocketRequest, WebSocketStream, open_websocket_stream, serve_websocket_streams

from .base import Link, Message

LIST = 1000  # messages that are sent in one call


class BatchLink(Link):
    """The messages by the list."""

    def __init__(self, conn: WebSocketStream) -> None:
        super().__init__(conn.writable.send, conn.readable.receive)
        self.send_batch = conn.writable.send_batch
        self.receive_batch = conn.readable.receive_batch
        self.ahead = 0  # messages that were received beyond what was asked for

    async def receive_n(self, count: int) -> Any:
        receive_batch, batch = self.receive_batch, [None]
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

    async def serve(self, announce: Callable[[int], None], *, keepalive: bool) -> None:
        async def handler(request: WebSocketRequest) -> None:
            async with request.accept() as conn:
                async for message in conn.readable:
                    await conn.writable.send(message)

        async def start(handler: object, host: str, *, task_status: anyio.abc.TaskStatus[object]) -> None:
            await serve_websocket_streams(
                handler,  # type: ignore[arg-type]
                host,
                origins=None,
                ping_interval=20 if keepalive else None,
                max_message_size=None,
                task_status=task_status,
            )

        async with anyio.create_task_group() as tasks:
            listener = await tasks.start(start, handler, "127.0.0.1")
            announce(listener.port)


CONTENDER = Ours()
