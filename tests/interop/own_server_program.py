"""One process of several of our own server on one port: python own_server_program.py PORT."""

from __future__ import annotations

import logging
import os
import sys

from websocketstream import WebSocketRequest, run_server


async def handle(request: WebSocketRequest) -> None:
    async with request.accept() as conn:
        await conn.send(str(os.getpid()))
        async for message in conn:
            await conn.send(message)


logging.basicConfig(level=logging.INFO)  # says when it listens
run_server(handle, "127.0.0.1", int(sys.argv[1]), origins=None, reuse_port=True)
