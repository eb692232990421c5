"""Which sockets can be read or written: one epoll for all of them."""

from __future__ import annotations

import logging
import select
from collections import deque
from collections.abc import Callable
from time import perf_counter
from typing import Protocol

from .._network.turns import PASS_SECONDS
from .calls import Calls

logger = logging.getLogger("websocketstream")

EVENTS_AT_ONCE = 64  # for one call of the system
IN, OUT = 0x001, 0x004  # EPOLLIN and EPOLLOUT, which are the same on every Linux


class Watched(Protocol):
    """A socket, and what it waits for: it is called when that is there."""

    descriptor: int  # what the socket's was: by the time that we look, the number may be another file's
    reading: bool
    writing: bool

    def fileno(self) -> int:
        """The descriptor as it is now, -1 when the socket was closed."""
        ...

    def on_readable(self) -> None:
        """Read something."""
        ...

    def on_writable(self) -> None:
        """Write something."""
        ...

    def on_unwatched(self, error: Exception) -> None:
        """Take note that nobody watches any more; this is called in the middle of something else."""
        ...


class EpollReadiness:
    """One descriptor for the event loop to wait for, however many the sockets.

    :param calls: knows how long the present pass may take
    """

    __slots__ = ("_calls", "_readers", "_ready", "_watches", "_writers", "epoll", "told")

    def __init__(self, calls: Calls) -> None:
        self._calls: Calls = calls
        self.epoll: select.epoll | None = None
        self.told: bool = False  # by the event loop, that the epoll is ready
        self._watches: dict[int, Watched] = {}
        self._readers: dict[int, Callable[[], None]] = {}  # whom to call for what is there to read
        self._writers: set[int] = set()  # who waits to write
        self._ready: deque[tuple[int, int]] = deque()

    def __bool__(self) -> bool:
        """Whether there are any watches."""
        return bool(self._watches)

    def update(self, watch: Watched) -> None:
        """Take note that a watch waits for something else, or for nothing.

        :raises OSError: it cannot be watched
        """
        descriptor = watch.descriptor
        known = self._watches.get(descriptor)
        events = _events(watch)
        if known is watch:
            assert self.epoll is not None
            if events:
                self._keep(watch)
                self.epoll.modify(descriptor, events)
            else:
                self._remove(watch)
        elif events:
            if known is not None:  # somebody has closed its socket, or we could not have got this number
                self._remove(known)
                known.on_unwatched(OSError("the socket was closed by somebody else"))
            self._opened().register(descriptor, events)
            self._watches[descriptor] = watch
            self._keep(watch)

    def _keep(self, watch: Watched) -> None:
        """Keep what a watch waits for."""
        descriptor = watch.descriptor
        if watch.reading:
            self._readers[descriptor] = watch.on_readable
        else:
            self._readers.pop(descriptor, None)
        if watch.writing:
            self._writers.add(descriptor)
        else:
            self._writers.discard(descriptor)

    def _forget(self, watch: Watched) -> None:
        del self._watches[watch.descriptor]
        self._readers.pop(watch.descriptor, None)
        self._writers.discard(watch.descriptor)

    def close(self, error: Exception) -> None:
        """Watch nobody any more, and tell those who are left why."""
        self._close_epoll()
        left = list(self._watches.values())
        self._watches.clear()
        self._readers.clear()
        self._writers.clear()
        for watch in left:
            watch.on_unwatched(error)

    def call_ready(self) -> None:
        """Call whom it concerns, for the time of one pass at the most; the others come first the next time."""
        self._call_ready()

    def call_told(self) -> None:
        """Call whom it concerns, as the epoll is ready."""
        self.told = True
        self._call_ready()

    def _call_ready(self) -> None:
        told, self.told = self.told, False
        if self.epoll is None:
            return
        ready = self._ready
        if told and not ready and len(self._watches) == 1 and not self._writers:
            # The system need not be asked who is ready if it can be only one, and only in one way.
            for only in self._readers.values():
                self._call(only)
                return
        enough = perf_counter() + PASS_SECONDS
        if not ready:
            ready.extend(self.epoll.poll(0, EVENTS_AT_ONCE))
        while ready:
            descriptor, events = ready.popleft()
            # Somebody who was called before may have let it go. Errors and hang-ups come unasked, and whoever then reads or
            # writes learns of them.
            if events != OUT and descriptor in self._readers:
                self._call(self._readers[descriptor])
            if events != IN and descriptor in self._writers:
                self._call(self._watches[descriptor].on_writable)
            if ready and perf_counter() > min(enough, self._calls.until):
                return

    def _call(self, who: Callable[[], None]) -> None:
        try:
            who()
        except Exception:
            logger.exception("internal error in %r", who)

    def _remove(self, watch: Watched) -> None:
        self._forget(watch)
        assert self.epoll is not None
        try:
            if watch.fileno() != watch.descriptor:
                raise OSError("the socket was closed by somebody else")
            self.epoll.unregister(watch.descriptor)
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
                self._forget(watch)
                watch.on_unwatched(exc)

    def _opened(self) -> select.epoll:
        if self.epoll is None:
            epoll = select.epoll()
            try:
                self._open(epoll)
            except BaseException:
                epoll.close()
                raise
            self.epoll = epoll
        return self.epoll

    def _close_epoll(self) -> None:
        self._ready.clear()
        if self.epoll is not None:
            self._close(self.epoll)
            self.epoll.close()
            self.epoll = None

    # --- what each event loop does in its own way

    def _open(self, epoll: select.epoll) -> None:
        """Take note of an epoll to wait for."""

    def _close(self, epoll: select.epoll) -> None:
        """Take note that an epoll is about to be closed."""


class Callback:
    """What an event loop calls when the epoll is ready.

    As long as there is a socket to watch, it keeps everybody who waits for that, as the loop does with those that it watches
    itself: to asyncio, a task that nobody else knows is garbage.
    """

    __slots__ = ("keeps",)

    def __init__(self) -> None:
        self.keeps: EpollReadiness | None = None

    def __call__(self) -> None:
        """See :meth:`EpollReadiness.call_ready`."""
        readiness = self.keeps
        if readiness is not None:
            readiness.call_told()


def _events(watch: Watched) -> int:
    return (IN if watch.reading else 0) | (OUT if watch.writing else 0)
