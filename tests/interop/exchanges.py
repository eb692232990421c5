"""What our client does with every peer's server."""

from __future__ import annotations

import anyio

from peers.messages import SIZES, binary, text
from websocketstream import CloseInfo, WebSocketStream, open_websocket_stream

MESSAGES: list[str | bytes] = [make(size) for size in SIZES for make in (text, binary)]


async def echoes(conn: WebSocketStream, messages: list[str | bytes] = MESSAGES) -> None:
    """Send each message and see it come back."""
    for message in messages:
        await conn.send(message)
        assert await conn.receive() == message


async def is_closed_with_our_code(conn: WebSocketStream, reason: str = "done") -> None:
    """Close, and see our code in the answer; the reason some leave out."""
    await conn.aclose(4000, "done")
    assert await conn.closed == CloseInfo(4000, reason)


async def are_closed(url: str) -> None:
    """Be closed by the server, with 4001."""
    with anyio.fail_after(10):
        async with open_websocket_stream(url) as conn:
            assert [message async for message in conn] == []
            assert await conn.closed == CloseInfo(4001, "go")
