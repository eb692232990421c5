"""Waiting until a listening socket has a connection: asyncio's loops go on watching it in between."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress

from anyio import wait_readable

from .asyncio_loop import AsyncioLoop
from .event_loop import EventLoop
from .wakeups import TaskWaiter


class Arrivals:
    """Waits on a descriptor of its own, again and again.

    anyio registers it with the event loop each time, and takes it back: an eighth of what a server does for a connection, where
    they come one after the other.
    """

    def __init__(self, listening: socket.socket, loop: EventLoop) -> None:
        # An event loop must not be left waiting for a descriptor that somebody else closes, and that may by then be
        # that of another socket: it waits for a duplicate.
        self._socket = listening.dup()
        self._loop = loop if isinstance(loop, AsyncioLoop) and loop.watches_sockets else None
        # Where it is registered. Not among the connections' sockets: who is alone there is read without a question.
        self._watching: asyncio.AbstractEventLoop | None = None
        self._waiter: TaskWaiter | None = None

    async def wait(self) -> None:
        """Wait until there may be a connection; for one task at a time. Cancelling is safe."""
        if self._loop is None:
            await wait_readable(self._socket)
            return
        self._waiter = self._loop.wakeups.waiter()
        try:
            if self._watching is None:
                running = asyncio.get_running_loop()
                running.add_reader(self._socket.fileno(), self._arrived)
                self._watching = running
            await self._waiter
        finally:
            self._waiter = None

    def close(self) -> None:
        """Let go of the descriptor; the listening socket stays as it is."""
        self._stop()
        self._socket.close()

    def _arrived(self) -> None:
        if self._waiter is None or self._loop is None:
            self._stop()  # until somebody waits again: there is no slot for a connection, or too little memory
            return
        wakeups = self._loop.wakeups
        wakeups.begin()
        try:
            wakeups.wake(self._waiter)
        finally:
            wakeups.end()

    def _stop(self) -> None:
        watching, self._watching = self._watching, None
        if watching is not None:
            with suppress(RuntimeError):  # it was closed
                watching.remove_reader(self._socket.fileno())
