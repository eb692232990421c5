"""Sockets on asyncio's loops with a selector: plain system calls, without the event loop's own transports.

Those cost two passes of the event loop to set up and one to end, 3 KiB, and three calls for each read; and they close a
socket that they cannot write to, with all that is still to be read.
"""

from __future__ import annotations

from asyncio.trsock import TransportSocket
from socket import socket
from time import perf_counter
from typing import Any

from anyio import BrokenResourceError, BusyResourceError, EndOfStream
from anyio.lowlevel import cancel_shielded_checkpoint, checkpoint_if_cancelled

from .asyncio_loop import AsyncioLoop, current_asyncio_loop
from .event_loop import Waiter
from .transport import SCRATCH, Buffer
from .turns import LargeReads
from .watched_stream import WatchedStream


class SelectorStream(LargeReads, WatchedStream):
    """A socket that asyncio watches."""

    loop: AsyncioLoop

    def __init__(self, connected: socket) -> None:
        super().__init__(current_asyncio_loop(), connected)
        self._is_over = self.loop.is_closed
        self._small = SCRATCH.small
        self._busy = False  # whether the last read was a large one
        self._arrival: Waiter | None = None  # for who waits in `receive`
        self._stand_in: TransportSocket | None = None

    def on_readable(self) -> None:
        """Hand on what has arrived."""
        if self._receiver is None:
            self._note_arrival()
            return
        try:
            count = self._socket.recv_into(self._room() if self._busy else self._small)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as exc:
            self._fail(exc)
            return
        if count:
            self._deliver(self._large[:count])
            self._busy = count >= self._many
        else:
            self._change_watch(reading=False)
            self._end()

    def _room(self) -> memoryview:
        buffer = self._large if self.large_reads else self._small
        return self._share_of(buffer, self.loop.read_turns, perf_counter())

    def write(self, data: Buffer) -> int:
        """See :class:`Transport`."""
        if self._is_over():
            self._check()
            raise BrokenResourceError("the event loop has ended")
        return super().write(data)

    # --- as a byte stream

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Wait for bytes and return them. Cancelling is safe: nothing is lost.

        :raises anyio.EndOfStream: the peer has ended its direction
        :raises anyio.BrokenResourceError: the transport has failed
        :raises anyio.ClosedResourceError: this end was closed
        """
        await checkpoint_if_cancelled()
        waited = False
        while True:
            self._check()
            try:
                data = self._socket.recv(max_bytes)
            except (BlockingIOError, InterruptedError):
                await self._wait_readable()
                waited = True
            except OSError as exc:
                self._fail(exc)
            else:
                if not waited:
                    await cancel_shielded_checkpoint()
                if not data:
                    raise EndOfStream
                return data

    async def _wait_readable(self) -> None:
        if self._arrival is not None:
            raise BusyResourceError("reading from")
        self._arrival = self.loop.waiter()
        try:
            self._change_watch(reading=True)
            await self._arrival.wait()
        finally:
            self._arrival = None

    def _note_arrival(self) -> None:
        if self._arrival is not None:
            self._arrival.set()
        else:  # nobody wants it yet; until then the socket stays as it is, for that costs nothing
            self._change_watch(reading=False)

    def _fail(self, error: Exception) -> None:
        super()._fail(error)
        if self._arrival is not None:
            self._arrival.set()

    def _drop(self) -> None:
        if self._arrival is not None:
            self._arrival.set()
        super()._drop()

    @property
    def raw_socket(self) -> Any:  # noqa: ANN401  (a stand-in has no type in common with a socket)
        """See :class:`StreamTransport`; as on asyncio's transports, it cannot be closed."""
        if self._released or self.loop.has_ended():
            return None
        if self._stand_in is None:
            self._stand_in = TransportSocket(self._socket)
        return self._stand_in
