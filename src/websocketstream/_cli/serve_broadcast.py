"""``serve --broadcast``: what one client says goes to all others, and none of them can hold the others back."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from anyio import ClosedResourceError

from .._server.request import WebSocketRequest
from .._server.visit import Handler
from .._streams.backlog import CloseWhenBehind, DropOldest, LatestOnly, Policy
from .._streams.broadcast import Broadcast

POLICIES: dict[str, Callable[..., Policy]] = {
    "close": CloseWhenBehind,
    "drop-oldest": DropOldest,
    "latest-only": LatestOnly,
}
"""What becomes of a client that does not keep up, by the words of ``--policy``."""


def make_hub(policy: str = "close", behind: int | None = 2**20) -> Broadcast:
    """Return the hub of all clients.

    :param policy: one of :data:`POLICIES`
    :param behind: how many bytes may wait for a client; None for any number
    """
    return Broadcast(policy=POLICIES[policy](max_bytes=behind))


def make_handler(hub: Broadcast) -> Handler:
    """Return a handler whose clients hear each other by a hub."""

    async def handle(request: WebSocketRequest) -> None:
        async with request.accept() as conn:
            with hub.subscribe(conn), suppress(ClosedResourceError):  # by the hub: it was too far behind
                async for message in conn:
                    hub.send(message, exclude=conn)

    return handle
