from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from websocketstream import WebSocketStream, open_websocket_stream
from wpt.server import HANDLERS, Server

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator


class Open(Protocol):
    """`open_websocket_stream` on a path of the test's server."""

    def __call__(
        self, path: str = "/echo", **options: Any
    ) -> AbstractAsyncContextManager[WebSocketStream]: ...


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """uvloop is asyncio for what these tests are about; the promises and the peers are tested on it, too."""
    backend: str = request.param
    return backend


@pytest.fixture(params=["ws", "wss"])
def server(request: pytest.FixtureRequest, server_ssl: ssl.SSLContext) -> Iterator[Server]:
    server = Server(dict(HANDLERS), server_ssl if request.param == "wss" else None)
    yield server
    server.close()


def _open(
    server: Server, client_ssl: ssl.SSLContext, path: str = "/echo", **options: Any
) -> AbstractAsyncContextManager[WebSocketStream]:
    options.setdefault("ssl_context", client_ssl if server.context else None)
    return open_websocket_stream(server.url(path), **options)


@pytest.fixture
def connect(server: Server, client_ssl: ssl.SSLContext) -> Open:
    """Open a stream to a path of the server."""
    return partial(_open, server, client_ssl)
