"""websockets' asyncio implementation."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

from .base import Link


class Websockets:
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

        async with serve(
            handler,
            "127.0.0.1",
            0,
            compression=None,
            ping_interval=20 if keepalive else None,
            max_size=None,
        ) as server:
            announce(next(iter(server.sockets)).getsockname()[1])
            await asyncio.get_running_loop().create_future()


CONTENDER = Websockets()
