"""A real uvicorn on the loop of the test, with any of its WebSocket implementations."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from waiting import until
from websocketstream.uvicorn import Protocol

uvicorn: Any = pytest.importorskip("uvicorn")


class Served:
    """What a test knows of a running server."""

    def __init__(self, server: Any) -> None:
        self.server = server
        self.state = server.server_state

    @property
    def port(self) -> int:
        port: int = self.server.servers[0].sockets[0].getsockname()[1]
        return port

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    async def idle(self) -> None:
        """Wait until nothing of a connection is left."""
        await until(lambda: not (self.state.connections or self.state.tasks))


@asynccontextmanager
async def serving(
    app: Callable[..., Any], *, context: ssl.SSLContext | None = None, **options: Any
) -> AsyncIterator[Served]:
    """Serve an application with our protocol, or with the one that ``ws`` says."""
    settings = {
        "ws": Protocol,
        "http": "h11",
        "lifespan": "off",
        "host": "127.0.0.1",
        "port": 0,
        "log_config": None,
    }
    config = uvicorn.Config(app, **{**settings, **options})
    config.load()
    config.ssl = context
    server = uvicorn.Server(config)
    serve = asyncio.create_task(server.serve())  # a group would wrap what the block raises
    try:
        await until(lambda: server.started or serve.done())
        yield Served(server)
    finally:
        server.should_exit = True
        with anyio.move_on_after(10, shield=True):
            await serve
