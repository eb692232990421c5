"""Connections over socket pairs whose other ends the test holds, all in one event loop."""

from __future__ import annotations

import socket
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

from websocketstream._network.loop import current_event_loop
from websocketstream._network.sockets import wrap_socket
from websocketstream.testing import over_stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from websocketstream import WebSocketStream


@asynccontextmanager
async def connections_with_sockets(
    count: int, **options: Any
) -> AsyncIterator[list[tuple[WebSocketStream, socket.socket]]]:
    """Give connections in the client's role, and the bare sockets at their other ends; nothing was read yet."""
    async with AsyncExitStack() as stack:
        pairs = []
        blocks = []
        for _ in range(count):
            ours, theirs = socket.socketpair()
            stack.callback(theirs.close)
            blocks.append(over_stream(await wrap_socket(ours), server=False, **options))
            pairs.append((theirs, blocks[-1]))
        yield [(await stack.enter_async_context(block), theirs) for theirs, block in pairs]
        for theirs, _ in pairs:
            theirs.close()  # so that nobody waits for a goodbye


def in_passes(count: int, callback: Callable[[], object]) -> None:
    """Call back after so many passes of the event loop."""
    loop = current_event_loop()

    def count_down(left: int) -> None:
        if left:
            loop.call_soon(lambda: count_down(left - 1))
        else:
            callback()

    count_down(count)
