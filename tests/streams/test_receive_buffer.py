"""The receive buffer: order, bounds, budget, and no message lost to a cancellation."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from streams.connection_kit import Cancelled, LockstepLoop, Task
from streams.raw_peer import some_passes
from websocketstream._network.event_loop import EventLoop
from websocketstream._network.loop import current_event_loop
from websocketstream._protocol.close import CloseInfo
from websocketstream._streams import hot, waits
from websocketstream._streams.budget import CHECKPOINT_EVERY, CHECKPOINT_NOT_BEFORE, LOOK_EVERY
from websocketstream._streams.errors import ConnectionClosed, EndError
from websocketstream._streams.hot import Budget, ReceiveBuffer
from websocketstream._streams.readable import ReadableStream
from websocketstream._streams.receive_buffer import memory_of

is_asyncio = pytest.mark.parametrize(
    "anyio_backend",
    [pytest.param("asyncio", id="asyncio"), pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop")],
)


class Closed(Exception):
    """What receivers meet at the end of these connections."""


def ended(words: str) -> EndError:
    return EndError(lambda: Closed(words))


class Filler:
    """Notes what it is told; ``on_caught_up`` is what it does when the application has taken the last of everything."""

    def __init__(self, on_caught_up: Any = lambda: None) -> None:
        self.calls: list[str] = []
        self._on_caught_up = on_caught_up

    def room_made(self) -> None:
        self.calls.append("room made")

    def caught_up(self) -> None:
        self.calls.append("caught up")
        self._on_caught_up()


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> LockstepLoop:
    loop = LockstepLoop()
    for module in (hot.budget, hot.receive_buffer):
        monkeypatch.setattr(module, "perf_counter", loop.clock)
    monkeypatch.setattr(waits, "checkpoint", loop.checkpoint)
    return loop


def buffer_on(loop: EventLoop, limit: int = 10_000) -> ReceiveBuffer:
    return ReceiveBuffer(limit, Budget(loop), loop)


def reader_of(buffer: ReceiveBuffer) -> ReadableStream:
    return ReadableStream(SimpleNamespace(inbox=buffer))  # type: ignore[arg-type]


def push(buffer: ReceiveBuffer, *messages: str, size: int = 50) -> None:
    """Let these arrive together, each of a size in memory."""
    buffer.push(list(messages), size * len(messages))


def taken(buffer: ReceiveBuffer, count: int) -> list[object]:
    return [buffer.receive_nowait() for _ in range(count)]


def test_messages_come_out_in_the_order_of_their_arrival_whatever_arrived_together(
    loop: LockstepLoop,
) -> None:
    buffer = buffer_on(loop)
    push(buffer, "1")
    push(buffer, "2", "3", "4")
    push(buffer, "5")
    assert taken(buffer, 3) == ["1", "2", "3"]
    push(buffer, "6", "7")
    push(buffer, "8")
    assert taken(buffer, 5) == ["4", "5", "6", "7", "8"]
    with pytest.raises(anyio.WouldBlock):
        buffer.receive_nowait()
    push(buffer, "9")
    assert taken(buffer, 1) == ["9"]


def test_an_arrival_of_nothing_is_none(loop: LockstepLoop) -> None:
    buffer = buffer_on(loop)
    task = Task(reader_of(buffer).receive())
    buffer.push([], 0)
    assert not task.is_ready
    push(buffer, "one")
    buffer.push([], 0)
    push(buffer, "two")
    task.go_on()
    assert task.result() == "one"
    assert taken(buffer, 1) == ["two"]


def test_a_receiver_that_waits_gets_the_first_that_arrives(loop: LockstepLoop) -> None:
    buffer = buffer_on(loop)
    task = Task(reader_of(buffer).receive())
    assert not task.is_ready
    push(buffer, "one", "two")
    assert task.is_ready
    assert not task.done
    task.go_on()
    assert task.result() == "one"
    assert taken(buffer, 1) == ["two"]


def test_a_message_is_taken_out_only_by_a_receiver_that_runs(loop: LockstepLoop) -> None:
    buffer = buffer_on(loop)
    task = Task(reader_of(buffer).receive())
    push(buffer, "precious")
    task.cancel()
    assert isinstance(task.error, Cancelled)
    assert Task(reader_of(buffer).receive()).result() == "precious"


def test_while_one_receiver_waits_any_other_is_busy(loop: LockstepLoop) -> None:
    buffer = buffer_on(loop)
    waiting = Task(reader_of(buffer).receive())
    push(buffer, "one", "two")  # which is for the one that waits
    another = Task(reader_of(buffer).receive())
    assert another.is_ready  # after a checkpoint, for those who try again and again
    another.go_on()
    with pytest.raises(anyio.BusyResourceError):
        another.result()
    with pytest.raises(anyio.BusyResourceError):
        buffer.receive_nowait()
    waiting.go_on()
    assert waiting.result() == "one"
    assert taken(buffer, 1) == ["two"]


def test_a_receiver_that_was_woken_and_has_not_run_comes_before_any_other(loop: LockstepLoop) -> None:
    """Also when many messages arrive at once, and the time for this turn is not yet up."""
    buffer = buffer_on(loop)
    reader = reader_of(buffer)
    push(buffer, *map(str, range(CHECKPOINT_NOT_BEFORE + 1)))
    for _ in range(CHECKPOINT_NOT_BEFORE + 1):
        assert Task(reader.receive()).done
    waiting = Task(reader.receive())
    push(buffer, *map(str, range(3 * LOOK_EVERY)))
    another = Task(reader.receive())
    another.go_on()
    with pytest.raises(anyio.BusyResourceError):
        another.result()
    waiting.go_on()
    assert waiting.result() == "0"


def test_a_receiver_that_was_cancelled_leaves_the_place_to_the_next(loop: LockstepLoop) -> None:
    buffer = buffer_on(loop)
    Task(reader_of(buffer).receive()).cancel()
    with pytest.raises(anyio.WouldBlock):
        buffer.receive_nowait()
    task = Task(reader_of(buffer).receive())
    push(buffer, "one")
    task.go_on()
    assert task.result() == "one"


def test_what_is_buffered_comes_before_the_end_and_the_first_end_stays(loop: LockstepLoop) -> None:
    buffer = buffer_on(loop)
    push(buffer, "one")
    buffer.finish(ended("first"))
    buffer.finish(ended("second"))
    push(buffer, "too late")
    assert Task(reader_of(buffer).receive()).result() == "one"
    for _ in range(2):
        with pytest.raises(Closed, match="first"):
            Task(reader_of(buffer).receive()).result()
        with pytest.raises(Closed, match="first"):
            buffer.receive_nowait()
    assert buffer.statistics().messages == 1


def test_the_end_wakes_a_receiver_that_waits(loop: LockstepLoop) -> None:
    buffer = buffer_on(loop)
    task = Task(reader_of(buffer).receive())
    buffer.finish(ended("over"))
    task.go_on()
    with pytest.raises(Closed, match="over"):
        task.result()


def test_dropping_everything_leaves_the_end_as_it_is(loop: LockstepLoop) -> None:
    buffer = buffer_on(loop, 100)
    push(buffer, "one", "two", "three")
    push(buffer, "four")
    push(buffer, "five")
    assert Task(reader_of(buffer).receive()).result() == "one"
    buffer.finish(ended("by the peer"))
    buffer.drop()
    buffer.finish(ended("here"))
    for receive in (lambda: Task(reader_of(buffer).receive()).result(), buffer.receive_nowait):
        with pytest.raises(Closed, match="by the peer"):
            receive()
    statistics = buffer.statistics()
    assert (statistics.buffered_messages, statistics.buffered_bytes, statistics.messages) == (0, 0, 5)
    assert not buffer.full


def test_what_is_dropped_includes_what_may_be_taken_without_further_ado(loop: LockstepLoop) -> None:
    buffer = buffer_on(loop)
    reader = reader_of(buffer)
    push(buffer, *map(str, range(4 * LOOK_EVERY)))
    while not buffer.ready:
        assert Task(reader.receive()).done
    buffer.drop()
    buffer.finish(ended("here"))
    assert buffer.statistics().buffered_messages == 0
    for receive in (lambda: Task(reader.receive()).result(), buffer.receive_nowait):
        with pytest.raises(Closed, match="here"):
            receive()


def test_it_is_full_from_its_limit_until_half_of_it_is_read(loop: LockstepLoop) -> None:
    """Flipping with every batch costs a third of the throughput."""
    buffer = buffer_on(loop, 4000)
    buffer.filler = filler = Filler()
    for number in range(3):
        push(buffer, str(number), size=1000)
    assert not buffer.full
    push(buffer, "3", size=1000)
    assert buffer.full
    taken(buffer, 1)
    assert buffer.full
    assert not filler.calls
    taken(buffer, 1)
    assert not buffer.full
    assert filler.calls == ["room made"]
    push(buffer, "4", size=1000)
    assert not buffer.full
    push(buffer, "5", size=1000)
    assert buffer.full


def test_room_is_given_back_when_the_last_message_of_a_batch_is_taken(loop: LockstepLoop) -> None:
    buffer = buffer_on(loop, 1000)
    push(buffer, "1", "2", "3", size=500)
    assert buffer.full
    taken(buffer, 2)
    assert buffer.full
    taken(buffer, 1)
    assert not buffer.full


def test_without_a_filler_it_is_full_and_empty_all_the_same(loop: LockstepLoop) -> None:
    buffer = buffer_on(loop, 100)
    push(buffer, "1", "2")
    assert buffer.full
    taken(buffer, 2)
    assert not buffer.full
    push(buffer, "1", "2")
    assert buffer.full
    buffer.finish(ended("over"))
    assert not buffer.full


def test_the_end_lifts_the_limit(loop: LockstepLoop) -> None:
    buffer = buffer_on(loop, 100)
    buffer.filler = filler = Filler()
    push(buffer, "1", "2")
    buffer.finish(ended("over"))
    assert not buffer.full
    assert filler.calls == ["room made"]
    assert taken(buffer, 2) == ["1", "2"]
    assert filler.calls == ["room made"]


def test_who_fills_it_learns_that_the_application_comes_for_more_than_the_last(loop: LockstepLoop) -> None:
    buffer = buffer_on(loop)
    buffer.filler = filler = Filler()
    push(buffer, "one")
    assert not buffer.is_drained
    taken(buffer, 1)
    assert buffer.is_drained
    with pytest.raises(anyio.WouldBlock):
        buffer.receive_nowait()
    assert not filler.calls
    buffer.is_last = True
    with pytest.raises(anyio.WouldBlock):
        buffer.receive_nowait()
    assert filler.calls == ["caught up"]
    Task(reader_of(buffer).receive())
    assert filler.calls == ["caught up"] * 2


def test_who_fills_it_is_told_nothing_after_the_end(loop: LockstepLoop) -> None:
    buffer = buffer_on(loop)
    buffer.filler = filler = Filler()
    buffer.finish(ended("over"))
    for receive in (lambda: Task(reader_of(buffer).receive()).result(), buffer.receive_nowait):
        with pytest.raises(Closed):
            receive()
    assert not filler.calls


def test_an_end_that_follows_from_having_caught_up_is_met_at_once(loop: LockstepLoop) -> None:
    for receive in ("receive", "receive_nowait"):
        buffer = buffer_on(loop)
        buffer.filler = Filler(lambda buffer=buffer: buffer.finish(ended("the last word")))
        buffer.is_last = True
        with pytest.raises(Closed, match="the last word"):
            if receive == "receive":
                Task(reader_of(buffer).receive()).result()
            else:
                buffer.receive_nowait()


@pytest.mark.parametrize("waits_first", [False, True])
def test_iteration_ends_where_that_is_the_clean_end(loop: LockstepLoop, waits_first: bool) -> None:
    buffer = buffer_on(loop)
    reader = reader_of(buffer)
    if waits_first:
        task = Task(reader.__anext__())
        push(buffer, "the last")
        task.go_on()
        assert task.result() == "the last"
    buffer.filler = filler = Filler(lambda: buffer.finish(EndError(anyio.EndOfStream)))
    buffer.is_last = True
    with pytest.raises(StopAsyncIteration):
        Task(reader.__anext__()).result()
    assert filler.calls == ["caught up"]


def test_who_iterates_again_and_again_after_a_close_yields_to_others_by_budget(loop: LockstepLoop) -> None:
    buffer = buffer_on(loop)
    buffer.finish(EndError(ConnectionClosed, CloseInfo(1000, "", True)))
    for _ in range(CHECKPOINT_EVERY + 1):
        task = Task(reader_of(buffer).__anext__())
        if not task.done:
            break
        with pytest.raises(StopAsyncIteration):
            task.result()
    assert task.is_ready
    task.go_on()
    with pytest.raises(StopAsyncIteration):
        task.result()


def test_iteration_does_not_end_for_who_comes_while_another_task_receives(loop: LockstepLoop) -> None:
    buffer = buffer_on(loop)
    waiting = Task(reader_of(buffer).receive())
    buffer.finish(EndError(ConnectionClosed, CloseInfo(1000, "", True)))
    another = Task(reader_of(buffer).__anext__())
    another.go_on()
    with pytest.raises(anyio.BusyResourceError):
        another.result()
    waiting.go_on()
    with pytest.raises(ConnectionClosed):
        waiting.result()


def test_statistics_tell_what_waits_what_ever_came_and_for_how_long_the_peer_was_held_back(
    loop: LockstepLoop,
) -> None:
    buffer = buffer_on(loop, 200)
    push(buffer, "a", "b")
    loop.wait(5)
    assert buffer.statistics().paused_seconds == 0
    push(buffer, "c")
    push(buffer, "d")
    loop.wait(2)
    statistics = buffer.statistics()
    assert (statistics.buffered_messages, statistics.messages, statistics.paused_seconds) == (4, 4, 2)
    # One batch is being handed out and weighed anew, the others weigh what was said of them.
    assert statistics.buffered_bytes == 2 * memory_of("a") + 2 * 50
    taken(buffer, 3)
    loop.wait(5)
    statistics = buffer.statistics()
    assert (statistics.buffered_messages, statistics.messages, statistics.paused_seconds) == (1, 4, 2)
    push(buffer, *"efg")
    loop.wait(1)
    assert buffer.statistics().paused_seconds == 3


@pytest.mark.parametrize("batch", [1, 10, CHECKPOINT_EVERY * 2])
def test_a_checkpoint_is_due_at_the_latest_after_the_budget(loop: LockstepLoop, batch: int) -> None:
    buffer = buffer_on(loop)
    for start in range(0, CHECKPOINT_EVERY * 2, batch):
        push(buffer, *map(str, range(start, start + batch)))
    reader = reader_of(buffer)
    received = 0
    while (task := Task(reader.receive())).done:
        received += 1
    # Not all that a look at the clock allows is used.
    assert CHECKPOINT_EVERY / 2 <= received <= CHECKPOINT_EVERY
    with pytest.raises(anyio.BusyResourceError):
        buffer.receive_nowait()
    task.go_on()
    assert task.result() == str(received)
    assert taken(buffer, 1) == [str(received + 1)]


def test_waiting_is_a_checkpoint_too(loop: LockstepLoop) -> None:
    buffer = buffer_on(loop)
    reader = reader_of(buffer)
    push(buffer, "1", "2")
    for _ in range(CHECKPOINT_NOT_BEFORE):
        assert Task(reader.receive()).done
    loop.now += 1  # the time for this turn is up
    task = Task(reader.receive())
    push(buffer, "3", "4")
    task.go_on()
    assert Task(reader.receive()).result() == "4"


@pytest.mark.parametrize("count", range(1, 4 * LOOK_EVERY))
def test_a_few_messages_may_be_taken_without_further_ado_but_never_the_last_of_a_batch(
    loop: LockstepLoop, count: int
) -> None:
    """Whoever takes the last one gives the room of the batch back."""
    buffer = buffer_on(loop, 50 * count)
    reader = reader_of(buffer)
    push(buffer, *map(str, range(count)))
    most = 0
    for number in range(count):
        assert buffer.full
        assert Task(reader.receive()).result() == str(number)
        left = count - number - 1
        assert len(buffer.ready) <= min(LOOK_EVERY - 1, max(0, left - 1))
        assert buffer.statistics().buffered_messages == left
        assert buffer.is_drained == (not left)
        most = max(most, len(buffer.ready))
    assert not buffer.full
    # Those before the first look, the one that looks, and the few that are known to be no last ones.
    assert (most > 0) == (count > CHECKPOINT_NOT_BEFORE + 1 + LOOK_EVERY)


def test_receiving_with_and_without_waiting_may_be_mixed(loop: LockstepLoop) -> None:
    buffer = buffer_on(loop, 400)
    reader = reader_of(buffer)
    buffer.filler = filler = Filler()
    push(buffer, *"01234567")
    assert buffer.full
    for number in range(8):
        waits = number % 4 == 1
        assert (Task(reader.receive()).result() if waits else buffer.receive_nowait()) == str(number)
    assert filler.calls == ["room made"]
    with pytest.raises(anyio.WouldBlock):
        buffer.receive_nowait()
    assert not Task(reader.receive()).done


def test_receiving_without_waiting_takes_what_is_ready_first(loop: LockstepLoop) -> None:
    buffer = buffer_on(loop)
    reader = reader_of(buffer)
    count = 6 * LOOK_EVERY
    push(buffer, *map(str, range(count)))
    found_ready = 0
    for number in range(count):
        waits = number % 3 != 2
        found_ready += not waits and bool(buffer.ready)
        assert (Task(reader.receive()).result() if waits else buffer.receive_nowait()) == str(number)
    assert found_ready > LOOK_EVERY
    assert buffer.is_drained


def test_the_time_is_up_when_it_has_come(loop: LockstepLoop) -> None:
    budget = Budget(loop)
    buffer = ReceiveBuffer(10_000, budget, loop)
    reader = reader_of(buffer)
    push(buffer, *map(str, range(4 * LOOK_EVERY)))
    for _ in range(CHECKPOINT_NOT_BEFORE + LOOK_EVERY):
        assert Task(reader.receive()).done
    while buffer.ready:
        assert Task(reader.receive()).done
    loop.now = budget.until
    assert not Task(reader.receive()).done


@pytest.mark.parametrize("batch", [1, 3, CHECKPOINT_EVERY * 4])
def test_a_consumer_that_takes_long_for_each_message_yields_after_a_few(
    loop: LockstepLoop, batch: int
) -> None:
    """Also when it turns slow after a fast phase."""
    buffer = buffer_on(loop)
    count = CHECKPOINT_EVERY * 4
    for start in range(0, count, batch):
        push(buffer, *map(str, range(start, start + batch)))
    reader = reader_of(buffer)
    since = 0
    for number in range(count):
        task = Task(reader.receive())
        if not task.done:
            since = 0
            task.go_on()
        assert task.result() == str(number)
        since += 1
        if number > CHECKPOINT_EVERY // 2:
            loop.now += 0.02
            assert since <= CHECKPOINT_NOT_BEFORE or number < CHECKPOINT_EVERY


@pytest.mark.parametrize("batch", [1, 5, 30])
def test_a_receive_that_has_waited_counts_as_the_first_of_its_turn(loop: LockstepLoop, batch: int) -> None:
    """A batch after a wait is handed out without a checkpoint, as far as the budget goes, and no farther."""
    buffer = buffer_on(loop)
    reader = reader_of(buffer)
    task = Task(reader.receive())
    for start in range(0, 30, batch):
        push(buffer, *map(str, range(start, start + batch)))
    for _ in range(2):  # after the wait, and after the checkpoint that follows
        task.go_on()
        assert task.done
        for _ in range(CHECKPOINT_NOT_BEFORE - 1):
            assert Task(reader.receive()).done
        assert Task(reader.receive()).done  # looks at the clock
        loop.now += 1
        more = 1
        while (task := Task(reader.receive())).done:
            more += 1
        assert more == LOOK_EVERY
        assert not buffer.is_drained


@pytest.mark.anyio
@is_asyncio
async def test_a_native_cancellation_between_arrival_and_wake_up_loses_nothing(anyio_backend: object) -> None:
    """The message is in the buffer and the receiver is scheduled to run when the cancellation lands."""
    buffer = buffer_on(current_event_loop())
    receiver = asyncio.ensure_future(reader_of(buffer).receive())
    await some_passes()
    push(buffer, "precious")
    receiver.cancel()
    with pytest.raises(asyncio.CancelledError):
        await receiver
    assert await reader_of(buffer).receive() == "precious"


@pytest.mark.anyio
async def test_another_task_gets_its_turn_while_messages_are_buffered() -> None:
    buffer = buffer_on(current_event_loop())
    push(buffer, *map(str, range(CHECKPOINT_EVERY * 4)))
    reader = reader_of(buffer)
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(count_turns)
        for _ in range(CHECKPOINT_EVERY * 4):
            await reader.receive()
        assert turns >= 2
        tasks.cancel_scope.cancel()


@pytest.mark.anyio
async def test_a_cancelled_scope_stops_a_tight_loop_within_the_budget() -> None:
    buffer = buffer_on(current_event_loop())
    push(buffer, *map(str, range(CHECKPOINT_EVERY * 4)))
    reader = reader_of(buffer)
    received = 0
    with anyio.CancelScope() as scope:
        scope.cancel()
        while True:
            await reader.receive()
            received += 1
    assert received <= CHECKPOINT_EVERY
    assert buffer.statistics().buffered_messages == CHECKPOINT_EVERY * 4 - received
    assert await reader.receive() == str(received)
