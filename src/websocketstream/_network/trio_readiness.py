"""Which sockets can be read or written, on trio: one epoll for all of them, or waiting tasks where there is none."""

from __future__ import annotations

import select
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Coroutine
from time import perf_counter
from typing import Any

import trio
from trio.lowlevel import checkpoint, notify_closing, wait_readable, wait_writable

from .event_loop import Watched, call, logger
from .hot import Calls
from .turns import PASS_SECONDS, Turns

EVENTS_AT_ONCE = 64  # for one call of the system


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


class EpollReadiness(Readiness):
    """One descriptor to wait for, however many the sockets.

    :param on_open: called when :meth:`wait` has something new to wait for
    :param calls: knows how long the present pass may take
    """

    def __init__(self, on_open: Callable[[], object], calls: Calls) -> None:
        self._on_open = on_open
        self._calls = calls
        self._epoll: select.epoll | None = None
        self._watches: dict[int, Watched] = {}
        self._ready: deque[tuple[int, int]] = deque()

    def __bool__(self) -> bool:
        return bool(self._watches)

    def update(self, watch: Watched) -> None:
        """See :class:`Readiness`."""
        descriptor = watch.descriptor
        known = self._watches.get(descriptor)
        events = _events(watch)
        if known is watch:
            assert self._epoll is not None
            if events:
                self._epoll.modify(descriptor, events)
            else:
                self._remove(watch)
        elif events:
            if known is not None:  # somebody has closed its socket, or we could not have got this number
                self._remove(known)
                known.on_unwatched(OSError("the socket was closed by somebody else"))
            self._opened().register(descriptor, events)
            self._watches[descriptor] = watch

    async def wait(self) -> None:
        """See :class:`Readiness`."""
        if self._epoll is None:
            await trio.sleep_forever()
        else:
            try:
                await wait_readable(self._epoll)
            except trio.ClosedResourceError:
                pass  # there is another one
            else:
                self._note_only_watch()

    def _note_only_watch(self) -> None:
        """Spare the system the question who is ready, if it can be only one, and only in one way."""
        if len(self._watches) == 1 and not self._ready:
            (watch,) = self._watches.values()
            if not watch.writing:
                self._ready.append((watch.descriptor, select.EPOLLIN))

    def close(self, error: Exception) -> None:
        """See :class:`Readiness`."""
        self._close_epoll()
        left = list(self._watches.values())
        self._watches.clear()
        for watch in left:
            watch.on_unwatched(error)

    def call_ready(self) -> None:
        """See :class:`Readiness`."""
        if self._epoll is None:
            return
        enough = perf_counter() + PASS_SECONDS
        ready = self._ready
        if not ready:
            ready.extend(self._epoll.poll(0, EVENTS_AT_ONCE))
        while ready:
            descriptor, events = ready.popleft()
            watch = self._watches.get(descriptor)
            if watch is None:
                continue  # somebody who was called before has let it go
            try:
                # Errors and hang-ups come unasked, and whoever then reads or writes learns of them.
                if watch.reading and events != select.EPOLLOUT:
                    watch.on_readable()
                if watch.writing and events != select.EPOLLIN:
                    watch.on_writable()
            except Exception:  # noqa: BLE001  (others have to be called, too)
                logger.exception("internal error in %r", watch.on_readable)
            if ready and perf_counter() > min(enough, self._calls.until):
                return

    def _remove(self, watch: Watched) -> None:
        del self._watches[watch.descriptor]
        assert self._epoll is not None
        try:
            if watch.fileno() != watch.descriptor:
                raise OSError("the socket was closed by somebody else")
            self._epoll.unregister(watch.descriptor)
        except OSError:
            # If a duplicate keeps the connection open, epoll goes on reporting it, under a number that it does not take
            # back any more, or that is another socket's by now.
            self._start_anew()

    def _start_anew(self) -> None:
        self._close_epoll()
        for watch in list(self._watches.values()):
            try:
                self._opened().register(watch.descriptor, _events(watch))
            except OSError as exc:
                del self._watches[watch.descriptor]
                watch.on_unwatched(exc)

    def _opened(self) -> select.epoll:
        if self._epoll is None:
            self._epoll = select.epoll()
            self._on_open()
        return self._epoll

    def _close_epoll(self) -> None:
        self._ready.clear()
        if self._epoll is not None:
            notify_closing(self._epoll)
            self._epoll.close()
            self._epoll = None


def _events(watch: Watched) -> int:
    return (select.EPOLLIN if watch.reading else 0) | (select.EPOLLOUT if watch.writing else 0)


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
