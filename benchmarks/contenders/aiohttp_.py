"""aiohttp: one session for all connections of a client, as its documentation wants it.

It compresses at zlib's level 1, the others at 6, and there is no option for that. A server's windows are those that the
client asks for, but for what it inflates: that is always with one of 32 KiB.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import ClientSession, WSMsgType, web

from .base import Link, Message, Serving


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

    async def serve(self, announce: Callable[[int], None], how: Serving) -> None:
        clients: set[web.WebSocketResponse] = set()

        def response() -> web.WebSocketResponse:
            return web.WebSocketResponse(
                heartbeat=20 if how.keepalive else None, compress=how.deflate, max_msg_size=0
            )

        async def echo(request: web.Request) -> web.WebSocketResponse:
            websocket = response()
            await websocket.prepare(request)
            async for message in websocket:
                if message.type is WSMsgType.BINARY:
                    await websocket.send_bytes(message.data)
            return websocket

        async def chat(request: web.Request) -> web.WebSocketResponse:
            websocket = response()
            await websocket.prepare(request)
            clients.add(websocket)
            try:
                async for message in websocket:
                    if message.type is WSMsgType.BINARY:
                        for client in clients:  # as its examples do: the slowest sets the pace
                            await client.send_bytes(message.data)
            finally:
                clients.discard(websocket)
            return websocket

        app = web.Application()
        app.router.add_get("/", chat if how.broadcast else echo)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(
            runner, "127.0.0.1", how.port, ssl_context=how.context, reuse_port=how.shared or None
        ).start()
        announce(runner.addresses[0][1])
        await asyncio.get_running_loop().create_future()


CONTENDER = Aiohttp()
