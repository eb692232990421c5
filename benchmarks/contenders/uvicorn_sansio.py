"""uvicorn's own implementation that it calls websockets-sansio."""

from __future__ import annotations

from .asgi import UnderUvicorn

CONTENDER = UnderUvicorn("websockets-sansio")
