"""websocketstream, as its README uses it."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio

from websocketstream import WebSocketRequest, open_websocket_stream, serve_websocket_streams

from .base import Link


class Ours:
    @asynccontextmanager
    async def connect(
        self, url: str, *, text: bool, context: ssl.SSLContext | None = None, deflate: bool = False
    ) -> AsyncIterator[Link]:
        del text
        async with open_websocket_stream(
            url, ssl_context=context, compression=deflate, ping_interval=None, max_message_size=None
        ) as conn:
            yield Link(conn.writable.send, conn.readable.receive)

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
