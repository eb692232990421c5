"""The way to a message that is there already: the hottest path of all."""

from __future__ import annotations

import sys
from abc import abstractmethod
from typing import TYPE_CHECKING

from .._protocol.codec import Message
from .._protocol.engine import ENGINE


class PortableInbox:
    """Messages to hand out, the next one last, as long as there is credit; then the stream has to be asked."""

    def __init__(self) -> None:
        self._items: list[Message] = []
        self._credit = 0  # messages of these that may be handed out without further ado

    async def receive(self) -> Message:
        """Wait for the next message and return it.

        Cancelling is safe, by a cancel scope as well as by ``asyncio.timeout()`` or ``Task.cancel()``: no message is
        lost. While messages are buffered, this yields to the event loop by budget, see :doc:`/explanation/backpressure`.

        :raises ConnectionClosed: the peer has closed the connection (an :exc:`anyio.EndOfStream`)
        :raises ConnectionBroken: the connection ended in another way (an :exc:`anyio.BrokenResourceError`)
        :raises anyio.ClosedResourceError: we have closed the connection, or cancelled this stream
        :raises anyio.BusyResourceError: another task is receiving already
        """
        if self._credit > 0:
            self._credit -= 1
            return self._items.pop()
        return await self._receive()

    async def __anext__(self) -> Message:
        if self._credit > 0:  # not by receive(), for the sake of speed
            self._credit -= 1
            return self._items.pop()
        return await self._next()

    @abstractmethod
    async def _receive(self) -> Message:
        """Return the next message, after a wait or a checkpoint if need be."""

    @abstractmethod
    async def _next(self) -> Message:
        """Do the same for an iteration, whose end is :exc:`StopAsyncIteration`."""


def fastest_inbox() -> type[PortableInbox]:
    """Return the class to build on: in C where that was built, and where it is faster.

    Measured per message that is there already: 60 ns instead of 180 with CPython 3.11. From 3.12 on the interpreter runs
    a coroutine as fast as it asks anything else for its result.
    """
    if ENGINE != "compiled" or sys.version_info >= (3, 12):
        return PortableInbox
    try:
        from ._inbox import Inbox as CompiledInbox
    except ImportError:
        return PortableInbox
    CompiledInbox.receive.__doc__ = PortableInbox.receive.__doc__
    return CompiledInbox


if TYPE_CHECKING:
    Inbox = PortableInbox
else:
    Inbox = fastest_inbox()
