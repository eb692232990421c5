"""httpx-ws: WebSockets for httpx, on anyio; a client only."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from httpx import AsyncClient
from httpx_ws import AsyncWebSocketSession, aconnect_ws

from .base import Link, Serving


class HttpxWs:
    _client: AsyncClient | None = None

    @asynccontextmanager
    async def connect(
        self, url: str, *, text: bool, context: ssl.SSLContext | None = None, deflate: bool = False
    ) -> AsyncIterator[Link]:
        assert not deflate
        if self._client is None:
            self._client = AsyncClient(verify=context or True, trust_env=False)
        session: AsyncWebSocketSession
        async with aconnect_ws(url, self._client, keepalive_ping_interval_seconds=None) as session:
            if text:
                yield Link(session.send_text, session.receive_text)
            else:
                yield Link(session.send_bytes, session.receive_bytes)

    async def serve(self, announce: Callable[[int], None], how: Serving) -> None:
        raise NotImplementedError


CONTENDER = HttpxWs()
