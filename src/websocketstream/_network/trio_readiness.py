"""Which sockets can be read or written, on trio: one epoll for all of them, or waiting tasks where there is none."""

from __future__ import annotations

import select
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from time import perf_counter
from typing import Any

import trio
from trio.lowlevel import checkpoint, notify_closing, wait_readable, wait_writable

from .event_loop import call
from .hot import Calls, EpollReadiness
from .readiness import Watched
from .turns import Turns


class Readiness(ABC):
    """Calls watches when their sockets are ready."""

    @abstractmethod
    def __bool__(self) -> bool:
        """Whether there are any watches."""

    @abstractmethod
    def update(self, watch: Watched) -> None:
        """Take note that a watch waits for something else, or for nothing.

        :raises OSError: it cannot be watched
        """

    @abstractmethod
    async def wait(self) -> None:
        """Wait until there may be somebody to call."""

    @abstractmethod
    def call_ready(self) -> None:
        """Call whom it concerns, for the time of one pass at the most; the others come first the next time."""

    @abstractmethod
    def close(self, error: Exception) -> None:
        """Watch nobody any more, and tell those who are left why."""


class EpollOfTrio(EpollReadiness, Readiness):
    """One epoll for all sockets, for which the system task waits.

    :param on_open: called when :meth:`wait` has something new to wait for
    :param calls: knows how long the present pass may take
    """

    def __init__(self, on_open: Callable[[], object], calls: Calls) -> None:
        super().__init__(calls)
        self._on_open = on_open

    async def wait(self) -> None:
        """See :class:`Readiness`."""
        if self.epoll is None:
            await trio.sleep_forever()
        else:
            try:
                await wait_readable(self.epoll)
            except trio.ClosedResourceError:
                pass  # there is another one
            else:
                self.told = True

    def _open(self, epoll: select.epoll) -> None:  # noqa: ARG002
        self._on_open()

    def _close(self, epoll: select.epoll) -> None:
        notify_closing(epoll)


class TaskReadiness(Readiness):
    """A waiting task for each direction of each socket: what trio offers on every system.

    :param start_task: starts a background task
    """

    def __init__(self, start_task: Callable[[Callable[[], Coroutine[Any, Any, None]]], object]) -> None:
        self._start_task = start_task
        self._turns = Turns()
        self._waits: dict[tuple[int, bool], _Wait] = {}  # by descriptor, and whether it is for writing

    def __bool__(self) -> bool:
        return bool(self._waits)

    def update(self, watch: Watched) -> None:
        """See :class:`Readiness`."""
        for writing, wanted in ((False, watch.reading), (True, watch.writing)):
            known = self._waits.get((watch.descriptor, writing))
            if known is not None and known.watch is not watch:
                if not wanted:
                    continue
                # Somebody has closed its socket, or we could not have got this number. trio has one wait for a number.
                known.stop()
                known.watch.on_unwatched(OSError("the socket was closed by somebody else"))
                known = None
            if known is None and wanted:
                self._waits[watch.descriptor, writing] = wait = _Wait(watch, writing, self._turns)
                self._start_task(wait.run)
            elif known is not None and not wanted:
                del self._waits[watch.descriptor, writing]
                known.stop()

    async def wait(self) -> None:
        """See :class:`Readiness`: the tasks do it."""
        await trio.sleep_forever()

    def call_ready(self) -> None:
        """See :class:`Readiness`: the tasks do it."""

    def close(self, error: Exception) -> None:
        """See :class:`Readiness`."""
        watches = {wait.watch for wait in self._waits.values()}
        for wait in self._waits.values():
            wait.stop()
        self._waits.clear()
        for watch in watches:
            watch.on_unwatched(error)


class _Wait:
    """What one task waits for."""

    def __init__(self, watch: Watched, writing: bool, turns: Turns) -> None:
        self.watch: Watched = watch
        self._turns = turns
        self._seen = -1
        self._until = wait_writable if writing else wait_readable
        self._callback = watch.on_writable if writing else watch.on_readable
        self._scope = trio.CancelScope()

    async def run(self) -> None:
        with self._scope:
            while not self._scope.cancel_called:
                try:
                    if (
                        self.watch.fileno() != self.watch.descriptor
                    ):  # trio would never let go of a negative number
                        raise OSError("the socket was closed by somebody else")
                    await self._until(self.watch)
                    await self._wait_for_time()
                except (OSError, ValueError, trio.ClosedResourceError, trio.BusyResourceError) as exc:
                    self.watch.on_unwatched(exc)
                    return
                if not self._scope.cancel_called:  # in the pass in which it was ready
                    call(self._callback)

    async def _wait_for_time(self) -> None:
        """Wait for a pass in which others have left some."""
        self._seen = self._turns.enter(self._seen, perf_counter())
        while perf_counter() > self._turns.until:
            await checkpoint()
            self._seen = self._turns.enter(self._seen, perf_counter())

    def stop(self) -> None:
        self._scope.cancel()
