"""A task that never waits for long notices that it is cancelled, too.

Anyio cancels no task of asyncio's that waits for a future which is done. What such a task waits for is there again before anybody could: a
peer sends in each pass of the event loop, or reads in each.
"""

from __future__ import annotations

from contextlib import suppress
from time import perf_counter
from typing import TYPE_CHECKING

import anyio
import pytest
from anyio.abc import ByteStream
from anyio.lowlevel import checkpoint

from promises.open_sockets import connections_with_sockets, in_passes
from websocketstream._protocol.codec import CodecLimits, Ping
from websocketstream._protocol.engine import make_codec
from websocketstream.testing import over_stream
from wire import Frame, Opcode

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable

    from websocketstream import WebSocketStream

pytestmark = pytest.mark.anyio
MESSAGE = bytes(2**18)  # more than the socket takes at once
FRAME = Frame(Opcode.BINARY, b"!").encode()
MANY = 2_000  # passes, and as many waits: a task that has not ended by then would not end


class Step:
    """Counts what a task has done."""

    def __init__(self) -> None:
        self.count = 0
        self.too_many = False

    def __call__(self) -> None:
        self.count += 1
        self.too_many = self.count > MANY


async def receiving(conn: WebSocketStream, step: Step) -> None:
    while not step.too_many:
        await conn.receive()
        step()


async def iterating(conn: WebSocketStream, step: Step) -> None:
    async for _ in conn.readable:
        step()
        if step.too_many:
            break


async def receiving_batches(conn: WebSocketStream, step: Step) -> None:
    while not step.too_many:
        await conn.readable.receive_batch()
        step()


async def receiving_chunks(conn: WebSocketStream, step: Step) -> None:
    async for message in conn.readable.chunked():
        async for _ in message:
            step()
        if step.too_many:
            break


async def sending(conn: WebSocketStream, step: Step) -> None:
    while not step.too_many:
        await conn.send(MESSAGE)
        step()


async def sending_batches(conn: WebSocketStream, step: Step) -> None:
    while not step.too_many:
        await conn.writable.send_batch([MESSAGE, MESSAGE])
        step()


async def sending_chunks(conn: WebSocketStream, step: Step) -> None:
    while not step.too_many:
        async with conn.writable.message() as part:
            await part.send(MESSAGE)
            step()


async def sending_one_message(conn: WebSocketStream, step: Step) -> None:
    async with conn.writable.message() as part:
        while not step.too_many:
            await part.send(MESSAGE)
            step()


async def pinging(conn: WebSocketStream, step: Step) -> None:
    while not step.too_many:
        await conn.ping()
        step()


def in_every_pass(busy: Callable[[], object], stop: Step) -> None:
    def again() -> None:
        if not stop.too_many:
            with suppress(OSError):
                busy()
            in_passes(1, again)

    again()


def sends(theirs: socket.socket) -> Callable[[], object]:
    return lambda: theirs.send(FRAME)


def reads(theirs: socket.socket) -> Callable[[], object]:
    return lambda: theirs.recv(2**20)


def answers(theirs: socket.socket) -> Callable[[], object]:
    codec = make_codec(client=False, limits=CodecLimits(None, None))

    def answer() -> None:
        for event in codec.receive_data(theirs.recv(2**16)):
            assert isinstance(event, Ping)
            theirs.send(codec.send_pong(event.payload))

    return answer


SENDING = [sending, sending_batches, sending_chunks, sending_one_message]
RECEIVING = [receiving, iterating, receiving_batches, receiving_chunks]


async def count_after_cancellation(
    task: Callable[[WebSocketStream, Step], Awaitable[None]], conn: WebSocketStream, passes: int
) -> int:
    """Cancel a task after so many passes; return what it has done since."""
    step = Step()
    cancelled_at = 0

    def cancel() -> None:
        nonlocal cancelled_at
        scope.cancel()
        cancelled_at = step.count

    with anyio.CancelScope() as scope:
        in_passes(passes, cancel)
        await task(conn, step)
    assert cancelled_at > 10, "too little happens for this to mean anything"
    return step.count - cancelled_at


@pytest.mark.parametrize("passes", [200, 201])
@pytest.mark.parametrize(
    ("task", "peer"),
    [*((task, sends) for task in RECEIVING), *((task, reads) for task in SENDING), (pinging, answers)],
)
async def test_a_cancellation_is_noticed_although_the_peer_does_something_in_every_pass(
    task: Callable[[WebSocketStream, Step], Awaitable[None]],
    peer: Callable[[socket.socket], Callable[[], object]],
    passes: int,
) -> None:
    async with connections_with_sockets(1, write_buffer=1, ping_interval=None) as [(conn, theirs)]:
        theirs.setblocking(False)
        peers = Step()
        in_every_pass(peer(theirs), peers)
        assert await count_after_cancellation(task, conn, passes) < 100
        peers.too_many = True


@pytest.mark.parametrize("size", [1, 1000, 2**15, 2**20])
@pytest.mark.parametrize("passes", [200, 201])
@pytest.mark.parametrize("task", SENDING)
async def test_a_cancellation_is_noticed_although_a_given_stream_takes_everything_at_once(
    task: Callable[[WebSocketStream, Step], Awaitable[None]], passes: int, size: int
) -> None:
    class TakesEverything(ByteStream):
        async def receive(self, max_bytes: int = 65536) -> bytes:
            await anyio.sleep_forever()
            raise AssertionError

        async def send(self, item: bytes) -> None:
            await checkpoint()

        async def send_eof(self) -> None:
            await checkpoint()

        async def aclose(self) -> None:
            await checkpoint()

    async with over_stream(
        TakesEverything(), server=False, write_buffer=size, ping_interval=None, close_timeout=0
    ) as conn:
        assert await count_after_cancellation(task, conn, passes) < 100


@pytest.mark.parametrize("passes", [20, 25, 30])
async def test_a_task_that_works_long_on_each_message_notices_a_cancellation_with_the_next(
    passes: int,
) -> None:
    async def work(conn: WebSocketStream, step: Step) -> None:
        while not step.too_many:
            await conn.receive()
            done = perf_counter() + 0.003
            while perf_counter() < done:
                pass
            step()

    async with connections_with_sockets(1, ping_interval=None) as [(conn, theirs)]:
        theirs.setblocking(False)
        peers = Step()
        in_every_pass(sends(theirs), peers)
        assert await count_after_cancellation(work, conn, passes) <= 4
        peers.too_many = True
