"""websockets' trio implementation."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio
from websockets.trio.client import connect
from websockets.trio.server import ServerConnection, broadcast, serve

from .base import Link, Serving, shared_listener
from .websockets_ import DEFLATE


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

    async def serve(self, announce: Callable[[int], None], how: Serving) -> None:
        clients: set[ServerConnection] = set()

        async def echo(websocket: ServerConnection) -> None:
            async for message in websocket:
                await websocket.send(message)

        async def chat(websocket: ServerConnection) -> None:
            clients.add(websocket)
            try:
                async for message in websocket:
                    await broadcast(clients, message)
            finally:
                clients.remove(websocket)

        where: dict[str, Any] = {"host": "127.0.0.1", "port": how.port}
        if how.shared:
            where = {"listeners": [shared_listener(how.port)]}

        async def start(*, task_status: trio.TaskStatus[object]) -> None:
            await serve(
                chat if how.broadcast else echo,
                **where,
                ssl=how.context,
                compression="deflate" if how.deflate else None,
                extensions=[DEFLATE] if how.deflate else None,
                ping_interval=20 if how.keepalive else None,
                max_size=None,
                task_status=task_status,
            )

        async with trio.open_nursery() as nursery:
            server = await nursery.start(start)
            announce(server.listeners[0].socket.getsockname()[1])


CONTENDER = WebsocketsTrio()
