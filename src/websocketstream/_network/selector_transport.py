"""Sockets on asyncio's loops with a selector, and on uvloop: plain system calls, without the event loop's own transports.

Asyncio's cost two passes of the event loop to set up and one to end, 3 KiB, and three calls for each read; and they close a
socket that they cannot write to, with all that is still to be read. uvloop's cost 1 KiB.
"""

from __future__ import annotations

import asyncio
from asyncio.trsock import TransportSocket
from collections.abc import Sequence
from socket import socket
from time import perf_counter
from typing import Any

from anyio import BrokenResourceError, BusyResourceError
from anyio.lowlevel import cancel_shielded_checkpoint, checkpoint_if_cancelled

from .asyncio_loop import AsyncioLoop
from .event_loop import Waiter
from .hot import SystemCalls
from .large_reads import LargeReads
from .socket_calls import SocketCalls
from .transport import Buffer
from .watched_stream import WatchedStream


class SelectorStream(LargeReads, WatchedStream):
    """A socket that asyncio watches."""

    loop: AsyncioLoop

    def __init__(self, connected: socket, loop: AsyncioLoop) -> None:
        self._loop = asyncio.get_running_loop()
        super().__init__(loop, connected)
        self.write = self._system.write  # type: ignore[method-assign]  # without a method in between
        self._arrival: Waiter | None = None  # for who waits in `receive`
        self._stand_in: TransportSocket | None = None

    def _system_calls(self, connected: socket) -> SystemCalls:
        calls = SocketCalls(connected)
        return SystemCalls(
            self,
            self.loop.scratch,
            send=calls.send,
            receive=calls.receive,
            receive_both=calls.receive_both,
            running_loop=asyncio.get_running_loop,
            loop=self._loop,
            wakeups=self.loop.wakeups,
        )

    def write_all(self, buffers: Sequence[Buffer]) -> int:
        """See :class:`Transport`."""
        self.raise_if_barred()
        return super().write_all(buffers)

    def raise_if_barred(self) -> None:
        """See :class:`Owner`."""
        super().raise_if_barred()
        if self._loop.is_closed():
            raise BrokenResourceError("the event loop has ended")

    def share(self) -> memoryview:
        """See :class:`Owner`."""
        return self._share_of(super().share(), self.loop.read_turns, perf_counter())

    def arrived_unasked(self) -> None:
        """See :class:`Owner`."""
        if self._arrival is not None:
            self.loop.wake(self._arrival)
        else:  # nobody wants it yet; until then the socket stays as it is, for that costs nothing
            self._change_watch(reading=False)

    # --- as a byte stream

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Wait for bytes and return them. Cancelling is safe: nothing is lost.

        :raises anyio.EndOfStream: the peer has ended its direction
        :raises anyio.BrokenResourceError: the transport has failed
        :raises anyio.ClosedResourceError: this end was closed
        """
        await checkpoint_if_cancelled()
        data = self._receive_nowait(max_bytes)
        if data is None:
            return await self._receive_when_there(max_bytes)
        await cancel_shielded_checkpoint()
        return self._unless_ended(data)

    async def receive_some(self, max_bytes: int) -> bytes:
        """See :class:`StreamTransport`."""
        return await self._receive_when_there(max_bytes)

    async def _wait_readable(self) -> None:
        if self._arrival is not None:
            raise BusyResourceError("reading from")
        self._arrival = self.loop.waiter()
        try:
            self._change_watch(reading=True)
            await self._arrival
        finally:
            self._arrival = None

    def _fail(self, error: Exception) -> None:
        super()._fail(error)
        if self._arrival is not None:
            self.loop.wake(self._arrival)

    def _drop(self) -> None:
        if self._arrival is not None:
            self.loop.wake(self._arrival)
        super()._drop()
        self.is_gone = True

    @property
    def raw_socket(self) -> Any:  # noqa: ANN401  (a stand-in has no type in common with a socket)
        """See :class:`StreamTransport`; as on asyncio's transports, it cannot be closed."""
        if self._released or self._loop.is_closed():
            return None
        if self._stand_in is None:
            self._stand_in = TransportSocket(self._socket)
        return self._stand_in
