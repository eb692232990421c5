"""picows.websockets: the interface of websockets on picows, the fastest awaitable peer."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from picows.websockets import broadcast, connect, serve

from ..frames import WINDOW_BITS
from .base import Link, Serving

EXTENSIONS = "Sec-WebSocket-Extensions"
DEFLATE = f"permessage-deflate; server_max_window_bits={WINDOW_BITS}; client_max_window_bits={WINDOW_BITS}"


def with_windows(_connection: object, _request: object, response: Any) -> Any:
    """Answer with windows: its servers take their own answer's, there is no option for them, nor for zlib's level."""
    if EXTENSIONS in response.headers:
        response.headers[EXTENSIONS] = DEFLATE
    return response


class PicowsWebsockets:
    @asynccontextmanager
    async def connect(
        self, url: str, *, text: bool, context: ssl.SSLContext | None = None, deflate: bool = False
    ) -> AsyncIterator[Link]:
        del text
        options: dict[str, Any] = {"ssl": context} if context else {}  # it does not take None
        async with connect(
            url,
            **options,
            compression="deflate" if deflate else None,
            ping_interval=None,
            max_size=None,
            proxy=None,
        ) as websocket:
            yield Link(websocket.send, websocket.recv)

    async def serve(self, announce: Callable[[int], None], how: Serving) -> None:
        clients: set[Any] = set()

        async def echo(websocket: Any) -> None:
            async for message in websocket:
                await websocket.send(message)

        async def chat(websocket: Any) -> None:
            clients.add(websocket)
            try:
                async for message in websocket:
                    broadcast(clients, message)
            finally:
                clients.remove(websocket)

        options: dict[str, Any] = {"ssl": how.context} if how.context else {}
        async with serve(
            chat if how.broadcast else echo,
            "127.0.0.1",
            how.port,
            **options,
            compression="deflate" if how.deflate else None,
            process_response=with_windows if how.deflate else None,
            ping_interval=20 if how.keepalive else None,
            max_size=None,
            reuse_port=how.shared or None,
        ) as server:
            announce(next(iter(server.sockets)).getsockname()[1])
            await asyncio.get_running_loop().create_future()


CONTENDER = PicowsWebsockets()
