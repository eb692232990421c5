"""aiohttp: one session for all connections of a client, as its documentation wants it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import ClientSession, WSMsgType, web

from .base import Link, Message


class AiohttpLink(Link):
    def data(self, received: Any) -> Message:
        return received.data  # type: ignore[no-any-return]


class Aiohttp:
    _session: ClientSession | None = None

    @asynccontextmanager
    async def connect(
        self, url: str, *, text: bool, context: ssl.SSLContext | None = None, deflate: bool = False
    ) -> AsyncIterator[Link]:
        if self._session is None:
            self._session = ClientSession()
        async with self._session.ws_connect(
            url, ssl=context or True, compress=15 if deflate else 0, max_msg_size=0
        ) as websocket:
            yield AiohttpLink(websocket.send_str if text else websocket.send_bytes, websocket.receive)

    async def serve(self, announce: Callable[[int], None], *, keepalive: bool) -> None:
        async def handler(request: web.Request) -> web.WebSocketResponse:
            websocket = web.WebSocketResponse(
                heartbeat=20 if keepalive else None, compress=False, max_msg_size=0
            )
            await websocket.prepare(request)
            async for message in websocket:
                if message.type is WSMsgType.BINARY:
                    await websocket.send_bytes(message.data)
            return websocket

        app = web.Application()
        app.router.add_get("/", handler)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        announce(runner.addresses[0][1])
        await asyncio.get_running_loop().create_future()


CONTENDER = Aiohttp()
