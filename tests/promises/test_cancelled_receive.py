"""Cancelling a receive loses no message: by anyio, by trio, and by what only asyncio has.

Messages arrive, and receivers are cancelled, each after so many passes of the event loop, in every combination: so each
step between a message's arrival and the receiver's going on is met.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from itertools import product
from typing import TYPE_CHECKING

import anyio
import pytest
import trio

from promises.open_sockets import connections_with_sockets, in_passes
from streams.raw_peer import some_passes
from wire import Frame, Opcode

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from websocketstream import WebSocketStream

pytestmark = pytest.mark.anyio
PASSES = range(8)  # until messages arrive, and until a receiver is cancelled
BURSTS = [1, 2, 30]

Received = list[int]


# Each attempt adds what it receives, is cancelled after some passes, and tells whether it was.


async def asyncio_timeout(conn: WebSocketStream, received: Received, passes: int) -> bool:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(None) as timeout:
            expire = loop.time() - 1
            in_passes(passes, lambda: None if timeout.expired() else _reschedule(timeout, expire))
            received.append(int(await conn.receive()))
    except TimeoutError:
        return True
    return False


def _reschedule(timeout: asyncio.Timeout, when: float) -> None:
    with suppress(RuntimeError):  # it has been left
        timeout.reschedule(when)


async def asyncio_wait_for(conn: WebSocketStream, received: Received, passes: int) -> bool:
    # It takes nothing but a time, which no test may rely on: so its time is over in the next pass, until it has none.
    try:
        received.append(int(await asyncio.wait_for(conn.receive(), 1e-9 if passes in PASSES else None)))
    except TimeoutError:
        return True
    return False


async def asyncio_cancel(conn: WebSocketStream, received: Received, passes: int) -> bool:
    async def receive() -> None:
        received.append(int(await conn.receive()))

    task = asyncio.create_task(receive())
    in_passes(passes, task.cancel)
    with suppress(asyncio.CancelledError):
        await task
    return task.cancelled()


async def anyio_scope(conn: WebSocketStream, received: Received, passes: int) -> bool:
    with anyio.CancelScope() as scope:
        in_passes(passes, scope.cancel)
        received.append(int(await conn.receive()))
    return scope.cancelled_caught


async def anyio_scope_around_iteration(conn: WebSocketStream, received: Received, passes: int) -> bool:
    with anyio.CancelScope() as scope:
        in_passes(passes, scope.cancel)
        async for message in conn.readable:
            received.append(int(message))
    return scope.cancelled_caught


async def trio_scope(conn: WebSocketStream, received: Received, passes: int) -> bool:
    with trio.CancelScope() as scope:
        in_passes(passes, scope.cancel)
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
    attempt: Callable[[WebSocketStream, Received, int], Awaitable[bool]], anyio_backend_name: str
) -> None:
    library = attempt.__name__.partition("_")[0]
    if library not in ("anyio", anyio_backend_name):
        pytest.skip(f"{library} does not run here")
    received: Received = []
    sent = cancelled = 0
    async with connections_with_sockets(1) as [(conn, theirs)]:
        for arrival, patience, burst in product(PASSES, PASSES, BURSTS):
            frames = [Frame(Opcode.TEXT, b"%d" % number).encode() for number in range(sent, sent + burst)]
            in_passes(arrival, partial(theirs.sendall, b"".join(frames)))
            sent += burst
            attempts = 0
            while len(received) < sent:
                # The more often it is cancelled, the longer it waits: a pass may be all that it needs.
                cancelled += await attempt(conn, received, patience + attempts // 10)
                attempts += 1
        await some_passes()  # for those who are to be cancelled, and are not there any more
    assert received == list(range(sent))
    assert cancelled > len(PASSES) * len(PASSES) / 2, (
        "too few receives were cancelled for this to mean anything"
    )
