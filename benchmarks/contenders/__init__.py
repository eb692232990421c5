"""Who takes part: how each is called, where it comes from, where it runs, and what it cannot do."""

from __future__ import annotations

import importlib
import importlib.metadata
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .base import Contender

OURS = "websocketstream"
RAW = "raw"

ASYNCIO = ("asyncio", "uvloop")
TRIO = ("trio",)
SERVER = frozenset({"accept", "many", "memory", "broadcast"})
ASGI = frozenset({"asgi"})
OWN = frozenset({"own"})  # everything but ASGI


@dataclass(frozen=True)
class Entry:
    """One contender; ``awaitable`` ones are the peers that ratios are formed with."""

    name: str
    module: str
    distribution: str
    backends: tuple[str, ...]
    cannot: frozenset[str] = ASGI  # kinds of rows, "deflate", "asgi" or "own"
    awaitable: bool = True

    def missing(self) -> str:
        """Return why it cannot run here, "" when it can."""
        try:
            importlib.import_module(f"{__name__}.{self.module}")
        except ImportError as exc:
            return str(exc)
        return ""

    def version(self) -> str:
        try:
            return importlib.metadata.version(self.distribution)
        except importlib.metadata.PackageNotFoundError:
            return "from the checkout"

    def load(self) -> Contender:
        contender: Contender = importlib.import_module(f"{__name__}.{self.module}").CONTENDER
        return contender


ENTRIES = {
    entry.name: entry
    for entry in (
        Entry(OURS, "ours", "websocketstream", ASYNCIO + TRIO, frozenset()),
        Entry("websockets", "websockets_", "websockets", ASYNCIO),
        Entry("websockets-trio", "websockets_trio", "websockets", TRIO),
        Entry("picows.websockets", "picows_websockets", "picows", ASYNCIO),
        # Callbacks instead of await: faster by what a coroutine and a wake-up cost, and no backpressure on receiving.
        Entry("picows", "picows_", "picows", ASYNCIO, ASGI | {"deflate", "slow"}, awaitable=False),
        Entry("aiohttp", "aiohttp_", "aiohttp", ASYNCIO),
        # A client only, and it does not offer permessage-deflate.
        Entry("httpx-ws", "httpx_ws_", "httpx-ws", ASYNCIO + TRIO, SERVER | ASGI | {"deflate"}),
        Entry("trio-websocket", "trio_websocket_", "trio-websocket", TRIO, ASGI | {"deflate"}),
        Entry("uvicorn-sansio", "uvicorn_sansio", "uvicorn", ASYNCIO, OWN),
        Entry("uvicorn-websockets", "uvicorn_websockets", "uvicorn", ASYNCIO, OWN),
        Entry("uvicorn-wsproto", "uvicorn_wsproto", "uvicorn", ASYNCIO, OWN),
        Entry(RAW, "raw", "", ("none",), ASGI | {"deflate", "slow", "memory"}, awaitable=False),
    )
}
