"""What connections need of an event loop, whichever it is."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, Protocol, TypeAlias, TypeVar, cast

from anyio.lowlevel import checkpoint

from .hot import Calls
from .readiness import Watched
from .transport import Scratch
from .turns import Turns

logger = logging.getLogger("websocketstream")

Function = TypeVar("Function", bound=Callable[..., object])
UNINTERRUPTED: list[Callable[..., object]] = []  # for trio, which is not imported before it is used


# What one task waits for, once, until somebody passes it to `EventLoop.wake`. Waiting is a checkpoint; cancelling it is safe.
Waiter: TypeAlias = Awaitable[object]


class Handle(Protocol):
    """A call to come."""

    def cancel(self) -> object:
        """Prevent it; further calls change nothing."""
        ...


class EventLoop(ABC):
    """The event loop that is running: its clocks, its timers, and what is called or runs in the background.

    One that has ended raises OSError where it should call or start something.
    """

    # The time (seconds) that deadlines are compared with; it may be virtual, or have whole milliseconds only.
    clock: Callable[[], float]
    # A time (seconds) in full resolution, for durations.
    stopwatch: Callable[[], float]
    # Makes something for one task to wait for, ...
    waiter: Callable[[], Waiter]
    # ... and lets that task go on; further calls change nothing.
    wake: Callable[[Any], object]
    # Where all its sockets are read into.
    scratch: Scratch
    # The passes in which tasks take messages, by time.perf_counter().
    turns: Turns
    # The calls to come, and how long the present pass may take.
    calls: Calls

    @abstractmethod
    def is_running(self) -> bool:
        """Tell whether it runs now, so that a task can wait for something of it."""

    @abstractmethod
    async def wait_idle(self) -> None:
        """Wait for a task of its own, if there is one and it is about to end."""

    @abstractmethod
    def has_ended(self) -> bool:
        """Tell whether it is over, so that nobody is called any more."""

    def call_soon(self, callback: Callable[[], object]) -> Handle:
        """Call back in the event loop's next pass, or as soon after it as the others that wait let it."""
        return self.calls.add(callback)

    @abstractmethod
    def call_at(self, deadline: float, callback: Callable[[], object]) -> Handle:
        """Call back at a time of :meth:`clock`, or as soon after it as the others that are due let it."""

    def watch(self, watched: Watched) -> None:
        """Take note of what a socket waits for now, possibly nothing.

        :raises OSError: it cannot be watched, or this event loop is over
        """
        raise OSError(f"{self!r} watches no sockets: {watched!r}")

    @abstractmethod
    def attached(self) -> None:
        """Take note of a watched socket that has a receiver, and may wait for nothing while that is paused."""

    @abstractmethod
    def detached(self) -> None:
        """Take note that one has let its receiver go."""

    @abstractmethod
    def start_task(
        self,
        function: Callable[[], Coroutine[Any, Any, object]],
        *,
        name: str,
        on_end: Callable[[], object],
    ) -> None:
        """Start a background task, from a task or from a callback.

        It belongs to the event loop's run: no cancel scope of the caller's reaches it. ``on_end`` is called when it is
        over, also when it was cancelled before its first step. What it raises is logged.
        """


class Signal:
    """An event that costs next to nothing until somebody waits for it, and little then."""

    __slots__ = ("_loop", "_waiters", "is_set")

    def __init__(self, loop: EventLoop) -> None:
        self._loop = loop
        self.is_set: bool = False
        self._waiters: list[Waiter] | None = None  # there are many signals that nobody ever waits for

    def set(self) -> None:
        """Wake all who wait; further calls change nothing."""
        self.is_set = True
        if self._waiters is None:
            return
        waiters, self._waiters = self._waiters, None
        for waiter in waiters:
            with suppress(RuntimeError):  # their event loop was closed before they were through
                self._loop.wake(waiter)

    async def wait(self) -> None:
        """Wait for :meth:`set`; a checkpoint in any case."""
        if self.is_set:
            await checkpoint()
            return
        waiter = self._loop.waiter()
        waiters = self._waiters
        if waiters is None:
            waiters = self._waiters = []
        waiters.append(waiter)
        try:
            await waiter
        except BaseException:
            if waiter in waiters:
                waiters.remove(waiter)
            raise


# One that is set, for all who have nothing to wait for.
NOTHING_TO_WAIT_FOR = Signal(cast("EventLoop", None))
NOTHING_TO_WAIT_FOR.set()


def uninterrupted(function: Function) -> Function:
    """Let no Ctrl-C interrupt a function on trio, which raises KeyboardInterrupt in whatever it finds running.

    What is left half done there would never be finished. The interrupt comes out at the next checkpoint.
    """
    UNINTERRUPTED.append(function)
    return function


def call(callback: Callable[[], object]) -> None:
    """Call back, and log what that raises: it must not end what calls many."""
    try:
        callback()
    except Exception:
        logger.exception("internal error in %r", callback)
