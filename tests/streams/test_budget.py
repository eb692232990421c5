"""The budget: when a program that need not wait yields, be it fast, or slow, or turn slow."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from itertools import pairwise
from typing import Any

import anyio
import pytest

from streams.connection_kit import LockstepLoop, LockstepTransport, Task, connect, frame, lockstep
from websocketstream._streams.budget import CHECKPOINT_EVERY, CHECKPOINT_NOT_BEFORE, LOOK_EVERY
from websocketstream.testing import websocket_stream_pair

MANY = 3 * CHECKPOINT_EVERY

Operation = Callable[[], Coroutine[Any, Any, object]]


@pytest.fixture
def loop() -> Iterator[LockstepLoop]:
    with lockstep() as loop:
        yield loop


@pytest.fixture(params=["receive", "next", "send", "send uncompressed"])
def operation(loop: LockstepLoop, request: pytest.FixtureRequest) -> Operation:
    """What a program can do many times without having to wait."""
    transport = LockstepTransport()
    conn, _ = connect(transport, server=True, read_buffer=2**24, write_buffer=2**24)
    assert transport.receiver is not None
    transport.receiver.data_received(frame("M", b"x") * MANY)
    loop.run()
    operations: dict[str, Operation] = {
        "receive": conn.readable.receive,
        "next": conn.readable.__anext__,
        "send": lambda: conn.writable.send(b"x"),
        "send uncompressed": lambda: conn.writable.send(b"x", compress=False),
    }
    return operations[request.param]


def operations_until_it_yields(operation: Operation, then: Callable[[int], None] = lambda done: None) -> int:
    """Count the operations before the one that yields, and let that one go on; ``then`` is what the program does after each."""
    done = 0
    while (task := Task(operation())).done:
        task.result()
        done += 1
        assert done < MANY, "it never yields"
        then(done)
    task.go_on()
    task.result()
    return done


def test_a_fast_program_yields_after_as_many_as_are_allowed_at_the_most(operation: Operation) -> None:
    most = CHECKPOINT_EVERY
    assert most - 2 * LOOK_EVERY < operations_until_it_yields(operation) <= most
    # The one that has yielded is the first of its turn.
    assert most - 2 * LOOK_EVERY < 1 + operations_until_it_yields(operation) <= most


def test_a_program_that_works_long_on_each_yields_after_every_second_one(
    loop: LockstepLoop, operation: Operation
) -> None:
    def work(done: int) -> None:
        loop.now += 0.02

    assert operations_until_it_yields(operation, work) == CHECKPOINT_NOT_BEFORE == 2
    for _ in range(10):
        work(1)
        assert 1 + operations_until_it_yields(operation, work) == CHECKPOINT_NOT_BEFORE


@pytest.mark.parametrize("slow_from", range(CHECKPOINT_NOT_BEFORE + 1, 4 * LOOK_EVERY))
def test_a_program_that_turns_slow_yields_within_a_few(
    loop: LockstepLoop, operation: Operation, slow_from: int
) -> None:
    def work(done: int) -> None:
        if done >= slow_from:
            loop.now += 0.02

    assert operations_until_it_yields(operation, work) - slow_from < LOOK_EVERY


@pytest.mark.anyio
@pytest.mark.parametrize("receiving", [False, True])
async def test_who_is_cancelled_where_a_checkpoint_is_due_goes_on_with_the_next_operation(
    receiving: bool,
) -> None:
    cancelled: list[bool] = []
    async with websocket_stream_pair(read_buffer=2**20, write_buffer=2**20) as (client, server):
        if receiving:
            await server.writable.send_batch([b"x"] * MANY)
            await anyio.wait_all_tasks_blocked()
        for _ in range(MANY // 2):
            with anyio.CancelScope() as scope:
                scope.cancel()
                await (client.readable.receive() if receiving else client.send(b"x"))
            cancelled.append(scope.cancelled_caught)
    assert True in cancelled
    assert (True, True) not in [*pairwise(cancelled)]
