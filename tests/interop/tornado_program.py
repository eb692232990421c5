"""`tornado` in both roles: python tornado_program.py server, or URL [compress]."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application
from tornado.websocket import WebSocketHandler, websocket_connect

from interop.exchanges import MESSAGES


class Echo(WebSocketHandler):
    def on_message(self, message: str | bytes) -> None:
        self.write_message(message, binary=isinstance(message, bytes))

    def get_compression_options(self) -> dict[str, Any]:
        return {}


class Close(WebSocketHandler):
    def open(self) -> None:
        self.close(4001, "go")


async def serve() -> None:
    application = Application([("/echo", Echo), ("/close", Close)], websocket_max_message_size=4 * 2**20)
    sockets = bind_sockets(0, "127.0.0.1")
    HTTPServer(application).add_sockets(sockets)
    print(f"port {sockets[0].getsockname()[1]}", flush=True)
    await asyncio.Event().wait()


async def connect(url: str, compress: bool) -> None:
    connection = await websocket_connect(
        url, subprotocols=["echo"], compression_options={} if compress else None
    )
    result: dict[str, Any] = {"protocol": connection.selected_subprotocol}
    if url.endswith("/echo"):
        result["wrong"] = 0
        for message in MESSAGES:
            await connection.write_message(message, binary=isinstance(message, bytes))
            result["wrong"] += await connection.read_message() != message
        connection.close(4000, "done")
    assert await connection.read_message() is None
    result["close"] = [connection.close_code, connection.close_reason]
    print(json.dumps(result))


asyncio.run(serve() if sys.argv[1] == "server" else connect(sys.argv[1], "compress" in sys.argv[2:]))
