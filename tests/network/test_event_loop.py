"""The event loop as connections see it: timers, calls and background tasks."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import weakref
from contextvars import ContextVar, copy_context
from typing import TYPE_CHECKING, Any

import anyio
import pytest
import sniffio
from sniffio import current_async_library
from transport_kit import some_passes

from waiting import until
from websocketstream._network.asyncio_loop import AsyncioLoop
from websocketstream._network.loop import Signal, current_event_loop
from websocketstream._network.timers import PORTION_SECONDS, Timers

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.anyio


def nothing() -> None: ...


async def test_it_is_the_same_object_throughout_the_run() -> None:
    loop = current_event_loop()
    await some_passes()
    gc.collect()
    assert current_event_loop() is loop


def test_it_does_not_outlive_the_run() -> None:
    references = []

    async def main() -> None:
        loop = current_event_loop()
        loop.call_at(loop.clock() + 1000, nothing)
        references.append(weakref.ref(loop))

    for backend in ("asyncio", "trio"):
        anyio.run(main, backend=backend)
    gc.collect()
    assert [reference() for reference in references] == [None, None]


async def test_the_stopwatch_has_more_than_milliseconds() -> None:
    loop = current_event_loop()
    times = []
    for _ in range(5):
        times.append(loop.stopwatch())
        await anyio.sleep(0)
    assert len(set(times)) == len(times)
    assert any(round(time, 3) != time for time in times)


async def test_a_call_comes_in_the_next_pass_and_not_at_once() -> None:
    loop = current_event_loop()
    called: list[str] = []
    loop.call_soon(lambda: called.append("first"))
    loop.call_soon(lambda: called.append("second"))
    assert not called
    await until(lambda: len(called) == 2)
    assert called == ["first", "second"]


async def test_a_call_that_was_cancelled_never_comes() -> None:
    loop = current_event_loop()
    called: list[str] = []
    handles = [
        loop.call_soon(lambda: called.append("soon")),
        loop.call_at(loop.clock(), lambda: called.append("at")),
    ]
    for handle in handles * 2:
        handle.cancel()
    await some_passes()
    assert not called


async def test_nobody_is_called_in_the_context_of_who_came_first() -> None:
    variable: ContextVar[str] = ContextVar("variable", default="nobody's")
    loop = current_event_loop()
    seen: list[tuple[str, str]] = []

    def see() -> None:
        seen.append((variable.get(), current_async_library()))  # anyio asks for the latter whatever it makes

    library = current_async_library()

    def come_first() -> None:
        variable.set("the first one's")
        loop.call_soon(see)
        loop.call_at(loop.clock(), see)

    copy_context().run(come_first)
    await until(lambda: len(seen) == 2)
    assert seen == [("nobody's", library)] * 2


async def test_timers_come_in_the_order_of_their_deadlines_and_never_early() -> None:
    loop = current_event_loop()
    called: list[float] = []
    early = []

    def note(deadline: float) -> None:
        called.append(deadline)
        if loop.clock() < deadline:
            early.append(deadline)

    start = loop.clock()
    deadlines = [start + number * 0.0037 for number in (5, 1, 3, 0, 4, 2)]
    for deadline in deadlines:
        loop.call_at(deadline, lambda deadline=deadline: note(deadline))  # type: ignore[misc]
    await until(lambda: len(called) == 6)
    assert called == sorted(deadlines)
    assert not early


async def test_a_timer_set_by_a_timer_comes_as_well() -> None:
    loop = current_event_loop()
    called: list[str] = []

    def first() -> None:
        called.append("first")
        loop.call_at(loop.clock() + 0.001, lambda: called.append("second"))
        loop.call_at(loop.clock() - 1, lambda: called.append("overdue"))

    loop.call_at(loop.clock() + 0.001, first)
    await until(lambda: len(called) == 3)
    assert called == ["first", "overdue", "second"]


async def test_an_earlier_timer_overtakes_one_that_is_set_already() -> None:
    loop = current_event_loop()
    called: list[str] = []
    late = loop.call_at(loop.clock() + 1000, lambda: called.append("late"))
    loop.call_at(loop.clock() + 0.001, lambda: called.append("early"))
    await until(lambda: called)
    assert called == ["early"]
    late.cancel()
    await some_passes()


@pytest.mark.parametrize("where", ["call_soon", "call_at", "task"])
async def test_what_a_callback_raises_is_logged_and_the_others_are_called(
    where: str, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise ValueError("a bug")

    async def fail_in_a_task() -> None:
        fail()

    loop = current_event_loop()
    called: list[str] = []
    if where == "call_soon":
        loop.call_soon(fail)
        loop.call_soon(lambda: called.append("other"))
    elif where == "call_at":
        loop.call_at(loop.clock(), fail)
        loop.call_at(loop.clock(), lambda: called.append("other"))
    else:
        loop.start_task(fail_in_a_task, name="test", on_end=lambda: called.append("other"))
    with caplog.at_level(logging.ERROR, "websocketstream"):
        await until(lambda: called)
    assert "a bug" in caplog.text


async def test_what_is_due_together_is_called_in_portions() -> None:
    """Nine thousand keepalives: others have their turn in between."""
    loop = current_event_loop()
    called = 0

    def work() -> None:
        nonlocal called
        called += 1
        end = loop.stopwatch() + PORTION_SECONDS / 4
        while loop.stopwatch() < end:
            pass

    deadline = loop.clock()
    for _ in range(40):
        loop.call_at(deadline, work)
    seen = set()
    while called < 40:
        seen.add(called)
        await anyio.sleep(0)
    assert len(seen) >= 4


async def test_cancelled_timers_let_go_at_once_and_do_not_pile_up() -> None:
    class Callback:
        def __call__(self) -> None: ...

    timers = Timers(lambda: 0, lambda _: None)
    keep = timers.add(1, nothing)
    for _ in range(10_000):
        callback = Callback()
        reference = weakref.ref(callback)
        timer = timers.add(100, callback)
        del callback
        timer.cancel()
        assert reference() is None
    assert len(timers) == 1
    assert len(timers._heap) < 200
    keep.cancel()
    assert not len(timers)
    assert timers.earliest == math.inf


async def test_a_timer_that_was_called_lets_go_and_cannot_be_cancelled_twice() -> None:
    called: list[str] = []
    timers = Timers(lambda: 10, lambda callback: callback())
    timer = timers.add(5, lambda: called.append("called"))
    other = timers.add(50, nothing)
    assert not timers.call_due()
    timer.cancel()
    assert called == ["called"]
    assert len(timers) == 1
    other.cancel()
    assert not timers


async def test_a_task_belongs_to_no_scope_of_its_starter() -> None:
    loop = current_event_loop()
    signal, ended = Signal(current_event_loop()), Signal(current_event_loop())
    with anyio.CancelScope() as scope:
        loop.start_task(signal.wait, name="test", on_end=ended.set)
        scope.cancel()
        await anyio.sleep(0)
    await some_passes()
    assert not ended.is_set
    signal.set()
    await ended.wait()


async def test_a_task_can_be_started_out_of_a_callback_and_use_anyio() -> None:
    loop = current_event_loop()
    done = Signal(current_event_loop())

    async def work() -> None:
        with anyio.move_on_after(0.001):
            await anyio.sleep_forever()

    loop.call_soon(lambda: loop.start_task(work, name="test", on_end=done.set))
    with anyio.fail_after(5):
        await done.wait()


async def test_nothing_is_left_running_when_there_is_nothing_to_do() -> None:
    before = {task.id for task in anyio.get_running_tasks()}
    loop = current_event_loop()
    for start in (
        lambda: loop.call_soon(nothing),
        lambda: loop.call_at(loop.clock() + 1000, nothing).cancel(),
        lambda: loop.call_at(loop.clock(), nothing),
        lambda: loop.start_task(anyio.lowlevel.checkpoint, name="test", on_end=nothing),
    ):
        start()
        await some_passes()
        assert {task.id for task in anyio.get_running_tasks()} == before


@pytest.mark.parametrize("cancel", [True, False])
def test_a_task_that_is_cancelled_before_its_first_step_is_over_all_the_same(cancel: bool) -> None:
    """asyncio's final cancel-all finds it so, and asyncio.run() has to return."""
    log: list[str] = []

    async def work() -> None:
        log.append("a step")

    def start(_: object) -> None:
        loop.start_task(work, name="test", on_end=lambda: log.append("over"))

    async def main() -> None:
        nonlocal loop
        loop = current_event_loop()
        main_task = asyncio.current_task()
        assert main_task is not None
        if cancel:
            main_task.add_done_callback(start)
        else:
            start(main_task)

    loop: Any = None

    asyncio.run(main())
    assert log == (["over"] if cancel else ["a step", "over"])


async def test_many_calls_in_a_row_do_not_keep_others_from_their_turn() -> None:
    loop = current_event_loop()
    stop = False

    def again() -> None:
        if not stop:
            loop.call_soon(again)
            loop.call_at(loop.clock(), nothing)

    again()
    await some_passes(10)
    stop = True
    await some_passes()


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_a_timer_of_trio_follows_the_clock_of_the_run(anyio_backend: object) -> None:
    import trio
    import trio.testing

    called: list[float] = []

    async def main() -> None:
        loop = current_event_loop()
        start = loop.clock()
        loop.call_at(start + 100, lambda: called.append(loop.clock() - start))
        loop.call_at(start + 3600, lambda: called.append(loop.clock() - start))
        await trio.sleep(4000)

    await anyio.to_thread.run_sync(lambda: trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0)))
    assert called == [pytest.approx(100), pytest.approx(3600)]


def eager_task_factory() -> Callable[..., object] | None:
    return getattr(asyncio, "eager_task_factory", None)


async def test_a_task_takes_no_step_within_the_call_that_starts_it() -> None:
    log: list[str] = []

    async def work() -> None:
        log.append("a step")

    def start() -> None:
        current_event_loop().start_task(work, name="test", on_end=lambda: log.append("over"))
        assert not log

    if sniffio.current_async_library() == "asyncio" and (factory := eager_task_factory()) is not None:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(factory)  # type: ignore[arg-type]
        try:
            start()
        finally:
            loop.set_task_factory(None)  # the test runner's own tasks are not for it
    else:
        start()
    await until(lambda: len(log) == 2)
    assert log == ["a step", "over"]


class CountedTimers(asyncio.SelectorEventLoop):
    """An event loop that remembers the timers that were asked of it."""

    def __init__(self) -> None:
        super().__init__()
        self.timers: list[asyncio.TimerHandle] = []

    def call_at(self, *args: Any, **options: Any) -> asyncio.TimerHandle:
        self.timers.append(super().call_at(*args, **options))
        return self.timers[-1]


def test_asyncio_has_one_timer_of_ours_however_often_the_earliest_deadline_changes() -> None:
    loop = CountedTimers()
    try:
        ours = AsyncioLoop(loop)
        for seconds in (50, 40, 60, 30):
            ours.call_at(loop.time() + seconds, nothing)
        assert [timer.cancelled() for timer in loop.timers] == [True, True, False]
    finally:
        loop.close()
