"""uvicorn's own implementation that it calls wsproto."""

from __future__ import annotations

from .asgi import UnderUvicorn

CONTENDER = UnderUvicorn("wsproto")
