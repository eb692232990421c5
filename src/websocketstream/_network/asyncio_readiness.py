"""Which sockets can be read or written, on uvloop: one epoll for all of them.

libuv tells of a socket that has failed only once, and then watches it no more, whatever is still to be read.
"""

from __future__ import annotations

import asyncio
import select
from contextlib import suppress
from contextvars import Context
from os import getpid

from sniffio import current_async_library_cvar

from .hot import Callback, Calls, EpollReadiness
from .readiness import Watched

# Nobody has set anything in it, but for what tells anyio in a callback, where no task runs, which library it is called from.
_NEUTRAL = Context()
_NEUTRAL.run(current_async_library_cvar.set, "asyncio")


def neutral_context() -> Context:
    """Return a context for what is called for many, which belongs to none of them."""
    return _NEUTRAL.copy()


class EpollOfAsyncio(EpollReadiness):
    """One epoll for all sockets, for which the event loop watches one descriptor.

    :param loop: the event loop
    :param calls: knows how long the present pass may take
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, calls: Calls) -> None:
        super().__init__(calls)
        self._loop = loop
        self._process = getpid()
        self._callback = Callback()
        self._attached = 0  # sockets with a receiver

    def update(self, watch: Watched) -> None:
        """See :class:`EpollReadiness`."""
        try:
            super().update(watch)
        finally:
            self._callback.keeps = self or None
            self._close_if_idle()

    def attach(self, number: int) -> None:
        """Take note of so many sockets more that have a receiver: while that is paused, they will be watched again."""
        self._attached += number
        self._close_if_idle()

    def _close_if_idle(self) -> None:
        if not (self or self._attached):
            self._close_epoll()

    def _open(self, epoll: select.epoll) -> None:
        try:
            # Not in the context of whoever is the first to watch: it would be kept, and all others would be called in it.
            neutral_context().run(self._loop.add_reader, epoll.fileno(), self._callback)
        except RuntimeError as exc:
            raise OSError("this event loop was closed") from exc

    def _close(self, epoll: select.epoll) -> None:
        with suppress(RuntimeError):  # it was closed
            self._loop.remove_reader(epoll.fileno())

    def __del__(self) -> None:
        epoll, self.epoll = self.epoll, None
        if epoll is None:
            return
        loop = self._loop
        if getpid() != self._process:
            # A forked child shares the loop's own epoll with its parent, which still watches this one.
            epoll.close()
        elif loop.is_running() and not _is_here(loop):
            loop.call_soon_threadsafe(_let_go, loop, epoll)
        else:
            _let_go(loop, epoll)


def _is_here(loop: asyncio.AbstractEventLoop) -> bool:
    """Tell whether that is where a loop runs: garbage is collected in other threads as well, and in a child that was forked."""
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


def _let_go(loop: asyncio.AbstractEventLoop, epoll: select.epoll) -> None:
    with suppress(RuntimeError):  # it was closed
        loop.remove_reader(epoll.fileno())
    epoll.close()
