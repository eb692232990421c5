"""uvicorn with one WebSocket implementation or another, and an application of Starlette's on it."""

from __future__ import annotations

from collections.abc import Callable

import uvicorn
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from .base import Serving


async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    try:
        while True:
            await websocket.send_bytes(await websocket.receive_bytes())
    except WebSocketDisconnect:
        pass


class Announcing(uvicorn.Server):
    """A server that tells its port."""

    announce: Callable[[int], None]

    async def startup(self, sockets: list[object] | None = None) -> None:
        await super().startup(sockets)
        self.announce(self.servers[0].sockets[0].getsockname()[1])


async def serve_asgi(announce: Callable[[int], None], ws: str) -> None:
    """Serve echoes forever, with uvicorn's defaults but for its log and the keepalive."""
    app = Starlette(routes=[WebSocketRoute("/", echo)])
    config = uvicorn.Config(
        app, port=0, ws=ws, ws_ping_interval=None, lifespan="off", log_level="warning", access_log=False
    )
    server = Announcing(config)
    server.announce = announce
    await server.serve()


class UnderUvicorn:
    """One of uvicorn's own implementations; it is no client, and no server without uvicorn."""

    def __init__(self, ws: str) -> None:
        self._ws = ws

    async def serve(self, announce: Callable[[int], None], how: Serving) -> None:
        assert how.asgi
        await serve_asgi(announce, self._ws)
