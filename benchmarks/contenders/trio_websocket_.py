"""trio-websocket: the WebSocket library of trio, on wsproto."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio
from trio_websocket import (
    ConnectionClosed,
    WebSocketConnection,
    WebSocketRequest,
    WebSocketServer,
    open_websocket_url,
    serve_websocket,
)

from .base import Link, Serving, shared_listener

MAX_MESSAGE_BYTES = 2**24


class TrioWebsocket:
    @asynccontextmanager
    async def connect(
        self, url: str, *, text: bool, context: ssl.SSLContext | None = None, deflate: bool = False
    ) -> AsyncIterator[Link]:
        del text
        assert not deflate
        async with open_websocket_url(url, context, max_message_size=MAX_MESSAGE_BYTES) as websocket:
            yield Link(websocket.send_message, websocket.get_message)

    async def serve(self, announce: Callable[[int], None], how: Serving) -> None:
        clients: set[WebSocketConnection] = set()  # keepalive it has none

        async def echo(request: WebSocketRequest) -> None:
            websocket = await request.accept()
            try:
                while True:
                    await websocket.send_message(await websocket.get_message())
            except ConnectionClosed:
                pass

        async def chat(request: WebSocketRequest) -> None:
            websocket = await request.accept()
            clients.add(websocket)
            try:
                while True:
                    message = await websocket.get_message()
                    for client in list(
                        clients
                    ):  # its documentation has nothing for it: the slowest sets the pace
                        await client.send_message(message)
            except ConnectionClosed:
                pass
            finally:
                clients.discard(websocket)

        handler = chat if how.broadcast else echo

        async def start(*, task_status: trio.TaskStatus[object]) -> None:
            if how.shared:
                listeners = [shared_listener(how.port)]
                server = WebSocketServer(handler, listeners, max_message_size=MAX_MESSAGE_BYTES)
                await server.run(task_status=task_status)
            await serve_websocket(
                handler,
                "127.0.0.1",
                how.port,
                how.context,
                max_message_size=MAX_MESSAGE_BYTES,
                task_status=task_status,
            )

        async with trio.open_nursery() as nursery:
            server = await nursery.start(start)
            announce(server.port)


CONTENDER = TrioWebsocket()
