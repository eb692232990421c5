from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from peers import aiohttp_peer, websockets_peer
from peers.loop_thread import LoopThread

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator


@pytest.fixture
def peer_loop() -> Iterator[LoopThread]:
    with LoopThread() as thread:
        yield thread


@pytest.fixture(params=[websockets_peer, aiohttp_peer], ids=["websockets", "aiohttp"])
def peer(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(params=[False, True], ids=["plain", "compressed"])
def compression(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(params=[False, True], ids=["tcp", "tls"])
def contexts(
    request: pytest.FixtureRequest, server_ssl: ssl.SSLContext, client_ssl: ssl.SSLContext
) -> tuple[ssl.SSLContext | None, ssl.SSLContext | None]:
    """The server's and the client's TLS context."""
    return (server_ssl, client_ssl) if request.param else (None, None)
