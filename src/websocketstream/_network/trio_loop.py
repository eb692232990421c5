"""trio: one system task per run calls back whoever waits for a socket, for a time, or for the next pass.

It is started with the first thing to wait for, and ends with the last.
"""

from __future__ import annotations

import math
import select
from collections.abc import Callable, Coroutine, Generator
from typing import Any

import trio
from trio.lowlevel import (
    Abort,
    RunVar,
    cancel_shielded_checkpoint,
    checkpoint,
    current_task,
    enable_ki_protection,
    reschedule,
    spawn_system_task,
    wait_task_rescheduled,
)

from .event_loop import UNINTERRUPTED, EventLoop, Handle, call, logger, uninterrupted
from .hot import Calls
from .readiness import Watched
from .timers import Timers
from .transport import Scratch
from .trio_readiness import EpollOfTrio, Readiness, TaskReadiness
from .turns import Turns

# When the program's main task has ended, how long (seconds) the connections of its system tasks may take to say goodbye.
FAREWELL_SECONDS = 1.0
LAST_PASSES = 8  # in which what is called at the very end may call for something more


class TrioLoop(EventLoop):
    """The run of trio that is going on."""

    def __init__(self) -> None:
        self.clock = self.stopwatch = trio.lowlevel.current_clock().current_time
        self.waiter = _TaskWaiter
        self.wake = _TaskWaiter.wake
        self.scratch = Scratch()
        self.turns = Turns()
        self._timers = Timers(self.clock, call, on_empty=self._wake_if_idle)
        self.calls = Calls(call, self._wake)
        self._sockets: Readiness = (
            EpollOfTrio(self._wake, self.calls)
            if hasattr(select, "epoll")
            else TaskReadiness(self._start_wait)
        )
        self._attached = 0  # sockets with a receiver, which may be paused
        self._tasks: set[trio.CancelScope] = set()  # those of the background tasks
        self._running = False  # whether the system task is
        self._sleep: trio.CancelScope | None = None  # what it sleeps in
        self._end = math.inf  # when background tasks are cancelled

    def is_running(self) -> bool:
        """See :class:`EventLoop`."""
        return trio.lowlevel.in_trio_run() and _loop.get() is self

    def has_ended(self) -> bool:
        """See :class:`EventLoop`."""
        return self._end < math.inf and not self._running

    @uninterrupted
    def call_soon(self, callback: Callable[[], object]) -> Handle:
        """See :class:`EventLoop`."""
        return super().call_soon(callback)

    @uninterrupted
    def call_at(self, deadline: float, callback: Callable[[], object]) -> Handle:
        """See :class:`EventLoop`."""
        timer = self._timers.add(deadline, callback)
        if self._sleep is not None:
            self._sleep.deadline = min(deadline, self._sleep.deadline)
        elif not self._running:
            self._start()
        return timer

    @uninterrupted
    def start_task(
        self,
        function: Callable[[], Coroutine[Any, Any, object]],
        *,
        name: str,
        on_end: Callable[[], object],
    ) -> None:
        """See :class:`EventLoop`."""
        scope = trio.CancelScope(shield=True, deadline=self._end)
        self._tasks.add(scope)

        async def run() -> None:
            try:
                with scope:
                    await function()
            except trio.Cancelled:
                raise
            except BaseException:  # noqa: BLE001  (trio would end the whole program for it)
                logger.exception("internal error in a background task: %s", name)
            finally:
                self._tasks.discard(scope)
                call(on_end)
                self._wake_if_idle()

        _spawn(run, f"websocketstream {name}")
        self._wake()

    @uninterrupted
    def watch(self, watched: Watched) -> None:
        """See :class:`EventLoop`."""
        if not self._running:
            self._start()
        self._sockets.update(watched)
        self._wake_if_idle()

    def attached(self) -> None:
        """See :class:`EventLoop`: the system task does not end while that is paused."""
        self._attached += 1

    def detached(self) -> None:
        """See :class:`EventLoop`."""
        self._attached -= 1
        self._wake_if_idle()

    async def wait_idle(self) -> None:
        """See :class:`EventLoop`."""
        for _ in range(LAST_PASSES):
            if not self._running or self._attached or self._sockets or self._timers or self.calls:
                return  # tasks may be ending, too
            await cancel_shielded_checkpoint()

    @property
    def _is_idle(self) -> bool:
        return not (self._attached or self._sockets or self._timers or self.calls or self._tasks)

    def _wake(self) -> None:
        if self._sleep is not None:
            self._sleep.cancel()
        elif not self._running:
            self._start()

    def _wake_if_idle(self) -> None:
        if self._sleep is not None and self._is_idle:
            self._sleep.cancel()

    def _start(self) -> None:
        _spawn(self._run, "websocketstream")
        self._running = True

    def _start_wait(self, function: Callable[[], Coroutine[Any, Any, object]]) -> None:
        self.start_task(function, name="socket", on_end=lambda: None)

    async def _run(self) -> None:
        try:
            await self._serve()
        except trio.Cancelled:
            # The main task has ended. Other system tasks are cancelled as well, and may have to say goodbye.
            self._end = self.clock() + FAREWELL_SECONDS
            for scope in self._tasks:
                scope.deadline = self._end
            with trio.CancelScope(shield=True, deadline=self._end):
                await self._serve()
        finally:
            self._sleep = None
            self._sockets.close(OSError("this run of trio is over"))
            for _ in range(LAST_PASSES):
                self.calls.call_some()
            self._timers.clear()
            self._running = False

    async def _serve(self) -> None:
        while not self._is_idle:
            with trio.CancelScope(deadline=self._timers.earliest) as self._sleep:
                while not self.calls:
                    await self._sockets.wait()
                    self._sockets.call_ready()
                await trio.lowlevel.checkpoint()
            self._sleep = None
            self.calls.call_some()
            self._timers.call_due()
            self._sockets.call_ready()  # whatever else there always is to do


class _TaskWaiter:
    """Half of the cost of an event, which any number of tasks may wait for."""

    __slots__ = ("_is_over", "_task")

    def __init__(self) -> None:
        self._task: trio.lowlevel.Task | None = None
        self._is_over = False

    def __await__(self) -> Generator[Any, Any, None]:
        return self._wait().__await__()

    async def _wait(self) -> None:
        if self._is_over:
            await checkpoint()
        else:
            self._task = current_task()
            await wait_task_rescheduled(self._give_up)

    def _give_up(self, _raise_cancel: Callable[[], Any]) -> Abort:
        self._task, self._is_over = None, True
        return Abort.SUCCEEDED

    def wake(self) -> None:
        if not self._is_over:
            self._is_over = True
            if self._task is not None:
                reschedule(self._task)


def _spawn(function: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
    try:
        spawn_system_task(function, name=name)
    except RuntimeError as exc:
        raise OSError("this run of trio is over") from exc


_loop: RunVar[TrioLoop | None] = RunVar("websocketstream event loop", None)


def current_trio_loop() -> TrioLoop:
    """Return the run that is going on."""
    loop = _loop.get()
    if loop is None:
        for function in UNINTERRUPTED:
            enable_ki_protection(function)
        loop = TrioLoop()
        _loop.set(loop)
    return loop
