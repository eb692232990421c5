"""websockets' trio implementation."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio
from websockets.trio.client import connect
from websockets.trio.server import ServerConnection, serve

from .base import Link


class WebsocketsTrio:
    @asynccontextmanager
    async def connect(
        self, url: str, *, text: bool, context: ssl.SSLContext | None = None, deflate: bool = False
    ) -> AsyncIterator[Link]:
        del text
        async with connect(
            url,
            ssl=context,
            compression="deflate" if deflate else None,
            ping_interval=None,
            max_size=None,
            proxy=None,
        ) as websocket:
            yield Link(websocket.send, websocket.recv)

    async def serve(self, announce: Callable[[int], None], *, keepalive: bool) -> None:
        async def handler(websocket: ServerConnection) -> None:
            async for message in websocket:
                await websocket.send(message)

        async def start(*, task_status: trio.TaskStatus[object]) -> None:
            await serve(
                handler,
                0,
                host="127.0.0.1",
                compression=None,
                ping_interval=20 if keepalive else None,
                max_size=None,
                task_status=task_status,
            )

        async with trio.open_nursery() as nursery:
            server = await nursery.start(start)
            announce(server.listeners[0].socket.getsockname()[1])


CONTENDER = WebsocketsTrio()
