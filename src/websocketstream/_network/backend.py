"""What the hot paths need of an event loop, without a look-up on every call."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from anyio import Event
from sniffio import current_async_library


class Waiter(Protocol):
    """One task waits, once, for one call of ``set``. Waiting is a checkpoint; cancelling it is safe."""

    def set(self) -> object:
        """Wake the task; further calls change nothing."""
        ...

    def wait(self) -> Awaitable[object]:
        """Wait for :meth:`set`."""
        ...


class Timer(Protocol):
    """A call to come."""

    def cancel(self) -> object:
        """Prevent it."""
        ...


class Signal:
    """An event that costs next to nothing until somebody waits for it."""

    __slots__ = ("_event", "is_set")

    def __init__(self) -> None:
        self.is_set: bool = False
        self._event: Event | None = None

    def set(self) -> None:
        """Wake all who wait; further calls change nothing."""
        self.is_set = True
        if self._event is not None:
            self._event.set()

    async def wait(self) -> None:
        """Wait for :meth:`set`; a checkpoint in any case."""
        if self._event is None:
            self._event = Event()
            if self.is_set:
                self._event.set()
        await self._event.wait()


@dataclass(frozen=True, slots=True)
class Backend:
    """The event loop's clock (seconds), how to wait on it, its timers if it has any, and how to mark a background task.

    trio raises KeyboardInterrupt in whatever task runs when Ctrl-C is pressed, unless that is marked. From a task of
    ours it would come out in an exception group; it is for the program's main task.
    """

    clock: Callable[[], float]
    waiter: Callable[[], Waiter]
    mark_background: Callable[[Callable[..., object]], object]
    call_at: Callable[[float, Callable[[], object]], Timer] | None = None


class _FutureWaiter:
    """A bare future: a third of the cost of an event."""

    __slots__ = ("_future",)

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._future: asyncio.Future[None] = loop.create_future()

    def set(self) -> None:
        if not self._future.done():
            self._future.set_result(None)

    def wait(self) -> Awaitable[None]:
        return self._future


def current_backend() -> Backend:
    """Return the backend of the event loop that is running."""
    if current_async_library() == "trio":
        import trio

        return Backend(trio.current_time, trio.Event, trio.lowlevel.enable_ki_protection)
    loop = asyncio.get_running_loop()
    return Backend(loop.time, partial(_FutureWaiter, loop), lambda _: None, loop.call_at)
