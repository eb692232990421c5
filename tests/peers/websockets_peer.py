"""`websockets` as the other end."""

from __future__ import annotations

import contextlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosedError

from peers.messages import LARGEST

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator

    from websockets.asyncio.server import ServerConnection

FRAGMENTS = 7


def fragments(message: str | bytes) -> list[str] | list[bytes]:
    size = max(1, len(message) // FRAGMENTS)
    return [message[start : start + size] for start in range(0, len(message), size)] or [message]


async def _echo(connection: ServerConnection) -> None:
    fragmented = "fragmented" in connection.request.path
    with contextlib.suppress(ConnectionClosedError):  # what it makes of every code but 1000 and 1001
        async for message in connection:
            await connection.send(fragments(message) if fragmented else message)


@asynccontextmanager
async def echo_server(context: ssl.SSLContext | None, *, compression: bool) -> AsyncIterator[int]:
    """Serve echoes (in fragments under /fragmented) and give the port."""
    async with serve(
        _echo,
        "127.0.0.1",
        0,
        ssl=context,
        compression="deflate" if compression else None,
        max_size=2 * LARGEST,
        subprotocols=["echo"],
    ) as server:
        yield server.sockets[0].getsockname()[1]


async def exchange(
    url: str, messages: list[str | bytes], context: ssl.SSLContext | None, *, compression: bool
) -> list[str | bytes]:
    """Send each message, every second one in fragments, and return what came back."""
    answers: list[str | bytes] = []
    async with connect(
        url,
        ssl=context,
        compression="deflate" if compression else None,
        max_size=2 * LARGEST,
        subprotocols=["echo"],
        proxy=None,
    ) as connection:
        for number, message in enumerate(messages):
            await connection.send(fragments(message) if number % 2 else message)
            answers.append(await connection.recv())
        await connection.close(4000, "done")
        assert (connection.close_code, connection.close_reason) == (4000, "done")
    return answers
