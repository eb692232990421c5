"""Accepting connections: as fast as they come, never more than there are slots, whatever the system says."""

from __future__ import annotations

import errno
import logging
import math
import socket
from collections.abc import Callable
from contextlib import closing
from itertools import count

from anyio import Semaphore, WouldBlock, current_time, sleep
from anyio.lowlevel import checkpoint

from .._network.arrivals import Arrivals
from .._network.loop import current_event_loop
from .._network.sockets import connections_of

logger = logging.getLogger("websocketstream.server")

ACCEPTED_AT_ONCE = 32  # connections, then it is the turn of others
ACCEPT_PAUSE = 0.1  # seconds to wait when the system is out of descriptors or memory
COMPLAIN_EVERY = 60.0  # seconds from one complaint about that to the next
_CLOSED = frozenset({errno.EBADF, errno.EINVAL, errno.ENOTSOCK})  # EINVAL: it was shut down
# An error of the connection that waited, which is gone: accept(2) says to treat these like EAGAIN.
_OF_THE_CONNECTION = frozenset(
    getattr(errno, name)
    for name in (
        "ECONNABORTED",
        "ECONNRESET",
        "EHOSTDOWN",
        "EHOSTUNREACH",
        "EINTR",
        "ENETDOWN",
        "ENETUNREACH",
        "ENONET",
        "ENOPROTOOPT",
        "EOPNOTSUPP",
        "EPERM",  # a firewall's word
        "EPROTO",
        "ETIMEDOUT",
    )
    if hasattr(errno, name)
)


class Slots:
    """How many connections there may be at the same time, None for any number."""

    def __init__(self, number: int | None) -> None:
        self._free = None if number is None else Semaphore(number)

    def take_nowait(self) -> bool:
        """Take a slot if one is free."""
        try:
            if self._free is not None:
                self._free.acquire_nowait()
        except WouldBlock:
            return False
        return True

    async def take(self) -> None:
        """Wait for a slot and take it; first come, first served. Cancelling is safe."""
        if self._free is not None:
            await self._free.acquire()

    def give_back(self) -> None:
        """Let somebody else have it."""
        if self._free is not None:
            self._free.release()


class Acceptor:
    """Accepts from one listening socket, and takes a slot for each connection."""

    def __init__(
        self, listening: socket.socket, slots: Slots, on_connection: Callable[[socket.socket], object]
    ) -> None:
        self._next_connection = connections_of(listening)
        self._arrivals = Arrivals(listening, current_event_loop())
        self._slots = slots
        self._on_connection = on_connection
        self._complain_again_at = -math.inf

    def close(self) -> None:
        """Let go of the descriptor; the listening socket stays as it is."""
        self._arrivals.close()

    async def run(self) -> None:
        """Accept until cancelled, or until the listening socket turns out to be closed; then close this, too."""
        with closing(self._arrivals):
            for turn in count(1):
                accepted = await self._accept()
                if accepted is None:
                    return
                self._on_connection(accepted)
                if turn % ACCEPTED_AT_ONCE == 0:
                    await checkpoint()

    async def _accept(self) -> socket.socket | None:
        """Return the next connection, None if the listening socket was closed; a checkpoint where none is waiting."""
        while True:
            if not self._slots.take_nowait():
                await self._wait_for_arrival()  # who has no connection yet must not queue for a slot
                await self._slots.take()
            try:
                return self._next_connection()
            except OSError as exc:
                self._slots.give_back()
                if exc.errno in _CLOSED:
                    return None
                if isinstance(exc, BlockingIOError):
                    await self._wait_for_arrival()
                else:
                    await self._wait_after(exc)

    async def _wait_for_arrival(self) -> None:
        try:
            await self._arrivals.wait()
        except OSError as exc:  # the system lets nobody watch one more socket
            await self._complain_and_pause(exc)

    async def _wait_after(self, exc: OSError) -> None:
        if exc.errno in _OF_THE_CONNECTION:
            logger.debug("connection lost before it was accepted: %s", exc)
            await checkpoint()
        else:
            await self._complain_and_pause(exc)

    async def _complain_and_pause(self, exc: OSError) -> None:
        if current_time() >= self._complain_again_at:
            self._complain_again_at = current_time() + COMPLAIN_EVERY
            logger.error("cannot accept connections: %s; trying on", exc)
        await sleep(ACCEPT_PAUSE)
