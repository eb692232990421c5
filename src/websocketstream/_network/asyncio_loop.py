"""asyncio's event loop, or uvloop."""

from __future__ import annotations

import asyncio
import math
import select
import time
from collections.abc import Callable, Coroutine
from typing import Any
from weakref import ReferenceType, WeakKeyDictionary, ref

from .asyncio_readiness import EpollOfAsyncio, neutral_context
from .event_loop import EventLoop, Handle, call, logger
from .hot import Calls, Wakeups
from .readiness import Watched
from .timers import Timers
from .transport import Scratch
from .turns import ReadTurns, Turns

# uvloop's timers know whole milliseconds, rounded, and may be early: one that was is set this much later (seconds).
RESOLUTION = 0.001


class AsyncioLoop(EventLoop):
    """One for each loop, as long as somebody uses it.

    What it asks of the loop for many is called in a neutral context: the one of whoever asks first would be kept, in the alarm for
    as long as there are timers, and all others would be called in it.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        # What the method of asyncio's own loops does, without the call of a method.
        is_stock = getattr(loop.time, "__func__", None) is asyncio.BaseEventLoop.time
        self.clock = time.monotonic if is_stock else loop.time
        self.stopwatch = time.monotonic  # uvloop's own clock has whole milliseconds
        self.wakeups = Wakeups(loop)
        self.waiter = self.wakeups.waiter
        self.wake = self.wakeups.wake
        self.turns = Turns(self.wakeups)
        self.calls = Calls(call, self._ask_for_pass)
        self.read_turns: ReadTurns = ReadTurns()
        self.scratch = _scratches.get(loop) or _scratches.setdefault(loop, Scratch())
        self.last_reader: int | None = None  # the id of who has done the last large read
        is_asyncios = isinstance(loop, asyncio.BaseEventLoop)
        self._readiness = (
            None if is_asyncios or not hasattr(select, "epoll") else EpollOfAsyncio(loop, self.calls)
        )
        # Asyncio's own does, on Windows perhaps not.
        self.watches_sockets: bool = self._readiness is not None or isinstance(
            loop, asyncio.SelectorEventLoop
        )
        # libuv reads on as long as a read fills its buffer, up to 32 times in one pass.
        self.reads_once_a_pass: bool = is_asyncios
        self._loop = loop
        self._readers: dict[int, Watched] = {}  # by descriptor, who is registered
        self._writers: dict[int, Watched] = {}
        self._timers = Timers(self.clock, call)
        self._alarm: Handle | None = None  # the one timer of the loop
        self._alarm_at = math.inf
        self._tasks: set[asyncio.Task[object]] = set()  # asyncio itself keeps only weak references

    def is_running(self) -> bool:
        """See :class:`EventLoop`."""
        return self._loop.is_running()

    async def wait_idle(self) -> None:
        """See :class:`EventLoop`: there is none."""

    def has_ended(self) -> bool:
        """See :class:`EventLoop`."""
        return self._loop.is_closed()

    def call_at(self, deadline: float, callback: Callable[[], object]) -> Handle:
        """See :class:`EventLoop`."""
        self._check()
        timer = self._timers.add(deadline, callback)
        if deadline < self._alarm_at:
            self._set_alarm(deadline)
        return timer

    def watch(self, watched: Watched) -> None:
        """See :class:`EventLoop`."""
        if self._readiness is not None:
            if watched.reading or watched.writing:  # else it can be let go at any time
                self._check()
            self._readiness.update(watched)
            return
        known = self._readers.get(watched.descriptor) or self._writers.get(watched.descriptor, watched)
        try:
            if known is watched:
                self._register(watched, watched.reading, watched.writing)
            elif watched.reading or watched.writing:
                # Somebody has closed its socket, or we could not have got this number.
                self._register(known, False, False)
                known.on_unwatched(OSError("the socket was closed by somebody else"))
                self._register(watched, watched.reading, watched.writing)
        except RuntimeError as exc:
            raise OSError("this event loop was closed") from exc

    def attached(self) -> None:
        """See :class:`EventLoop`."""
        if self._readiness is not None:
            self._readiness.attach(1)

    def detached(self) -> None:
        """See :class:`EventLoop`."""
        if self._readiness is not None:
            self._readiness.attach(-1)

    def start_task(
        self,
        function: Callable[[], Coroutine[Any, Any, object]],
        *,
        name: str,
        on_end: Callable[[], object],
    ) -> None:
        """See :class:`EventLoop`."""

        def over(task: asyncio.Task[object]) -> None:
            self._tasks.discard(task)
            if not task.cancelled() and task.exception() is not None:
                logger.error("internal error in %r", task, exc_info=task.exception())
            call(on_end)

        self._check()
        # Not by the loop's factory: an eager task would take its first step here, in the middle of a callback of ours.
        task = asyncio.Task(function(), loop=self._loop, name=f"websocketstream {name}")
        self._tasks.add(task)
        task.add_done_callback(over)

    def _register(self, watched: Watched, reading: bool, writing: bool) -> None:
        loop, descriptor = self._loop, watched.descriptor
        # Also when the event loop was closed, and says so.
        stops_reading = not reading and self._readers.pop(descriptor, None) is not None
        stops_writing = not writing and self._writers.pop(descriptor, None) is not None
        if stops_reading:
            loop.remove_reader(descriptor)
        if stops_writing:
            loop.remove_writer(descriptor)
        if reading and descriptor not in self._readers:
            loop.add_reader(descriptor, watched.on_readable)
            self._readers[descriptor] = watched
        if writing and descriptor not in self._writers:
            loop.add_writer(descriptor, watched.on_writable)
            self._writers[descriptor] = watched

    def _ask_for_pass(self) -> None:
        self._check()
        self._loop.call_soon(self.calls.call_some, context=neutral_context())

    def _check(self) -> None:
        if self.has_ended():
            raise OSError("this event loop was closed")

    def _set_alarm(self, deadline: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = deadline
        self._alarm = (
            None
            if deadline == math.inf
            else self._loop.call_at(deadline, self._ring, context=neutral_context())
        )

    def _ring(self) -> None:
        early = self._timers.earliest > self.clock()
        self._alarm_at = -math.inf  # what callbacks add is seen to below
        if self._timers.call_due():
            self._alarm = self._loop.call_soon(self._ring, context=neutral_context())
            return
        self._alarm = None
        self._set_alarm(self._timers.earliest + (RESOLUTION if early else 0))


# What a loop's AsyncioLoop holds is the loop itself, so the other way only a weak reference will do.
_loops: WeakKeyDictionary[asyncio.AbstractEventLoop, ReferenceType[AsyncioLoop]] = WeakKeyDictionary()


# As long as the loop itself: to make one takes time.
_scratches: WeakKeyDictionary[asyncio.AbstractEventLoop, Scratch] = WeakKeyDictionary()


def current_asyncio_loop() -> AsyncioLoop:
    """Return the loop that is running."""
    running = asyncio.get_running_loop()
    reference = _loops.get(running)
    loop = None if reference is None else reference()
    if loop is None:
        loop = AsyncioLoop(running)
        _loops[running] = ref(loop)
    return loop
