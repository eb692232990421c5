"""uvicorn's own implementation that it calls websockets."""

from __future__ import annotations

from .asgi import UnderUvicorn

CONTENDER = UnderUvicorn("websockets")
