"""websockets' asyncio implementation."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, broadcast, serve
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory

from ..frames import WINDOW_BITS
from .base import Link, Serving

# Its own settings, with windows that do not depend on its version.
DEFLATE = ServerPerMessageDeflateFactory(
    server_max_window_bits=WINDOW_BITS,
    client_max_window_bits=WINDOW_BITS,
    compress_settings={"memLevel": 5},
)


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

    async def serve(self, announce: Callable[[int], None], how: Serving) -> None:
        clients: set[ServerConnection] = set()

        async def echo(websocket: ServerConnection) -> None:
            async for message in websocket:
                await websocket.send(message)

        async def chat(websocket: ServerConnection) -> None:
            clients.add(websocket)
            try:
                async for message in websocket:
                    broadcast(clients, message)
            finally:
                clients.remove(websocket)

        async with serve(
            chat if how.broadcast else echo,
            "127.0.0.1",
            how.port,
            ssl=how.context,
            compression="deflate" if how.deflate else None,
            extensions=[DEFLATE] if how.deflate else None,
            ping_interval=20 if how.keepalive else None,
            max_size=None,
            reuse_port=how.shared or None,
        ) as server:
            announce(next(iter(server.sockets)).getsockname()[1])
            await asyncio.get_running_loop().create_future()


CONTENDER = Websockets()
