"""Cancelling a receive loses no message: by anyio, by trio, and by what only asyncio has."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio
import pytest
import trio

from websocketstream import WebSocketStream, open_websocket_stream

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from promises.conftest import Serve
    from wpt.server import Connection

pytestmark = pytest.mark.anyio
COUNT = 3000
MOMENT = (
    0.0006  # seconds: about as long as a message takes to come, so that many cancellations hit the hand-over
)

Received = list[int]


def trickle(connection: Connection) -> None:
    """Send numbered messages in small bursts, with pauses that are longer than a reader's patience."""
    connection.accept()
    for number in range(COUNT):
        connection.send_message(str(number))
        if number % 3 == 0:
            time.sleep(MOMENT * (1 + number % 4 / 2))
    connection.answer_close(connection.read_close())


# Each attempt adds what it receives and tells whether it was cancelled.


async def asyncio_timeout(conn: WebSocketStream, received: Received) -> bool:
    try:
        async with asyncio.timeout(MOMENT):
            received.append(int(await conn.receive()))
    except TimeoutError:
        return True
    return False


async def asyncio_wait_for(conn: WebSocketStream, received: Received) -> bool:
    try:
        received.append(int(await asyncio.wait_for(conn.receive(), MOMENT)))
    except TimeoutError:
        return True
    return False


async def asyncio_cancel(conn: WebSocketStream, received: Received) -> bool:
    async def receive() -> None:
        received.append(int(await conn.receive()))

    task = asyncio.create_task(receive())
    await asyncio.wait([task], timeout=MOMENT)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    return task.cancelled()


async def anyio_scope(conn: WebSocketStream, received: Received) -> bool:
    with anyio.move_on_after(MOMENT) as scope:
        received.append(int(await conn.receive()))
    return scope.cancelled_caught


async def anyio_scope_around_iteration(conn: WebSocketStream, received: Received) -> bool:
    with anyio.move_on_after(MOMENT) as scope:
        async for message in conn.readable:
            received.append(int(message))
            if len(received) == COUNT:
                break
    return scope.cancelled_caught


async def trio_scope(conn: WebSocketStream, received: Received) -> bool:
    with trio.move_on_after(MOMENT) as scope:
        received.append(int(await conn.receive()))
    return scope.cancelled_caught


@pytest.mark.wpt("6.20.10")
@pytest.mark.parametrize(
    "attempt",
    [
        asyncio_timeout,
        asyncio_wait_for,
        asyncio_cancel,
        anyio_scope,
        anyio_scope_around_iteration,
        trio_scope,
    ],
)
async def test_no_message_is_lost_and_none_comes_twice(
    attempt: Callable[[WebSocketStream, Received], Awaitable[bool]], anyio_backend_name: str, serve: Serve
) -> None:
    library = attempt.__name__.partition("_")[0]
    if library not in ("anyio", anyio_backend_name):
        pytest.skip(f"{library} does not run here")
    received: Received = []
    cancelled = 0
    async with open_websocket_stream(serve(trickle).url("/")) as conn:
        while len(received) < COUNT:
            cancelled += await attempt(conn, received)
    assert received == list(range(COUNT))
    assert cancelled > COUNT // 50, "too few receives were cancelled for this to mean anything"
