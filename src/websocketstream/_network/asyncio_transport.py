"""A lean byte stream on asyncio: what arrives is decoded in the event loop's callback, and nothing is paused in between.

anyio's stream pauses and resumes the transport on every receive and spends a pass of the event loop on every send.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NoReturn, cast

from anyio import BrokenResourceError, ClosedResourceError, EndOfStream
from anyio.abc import SocketAttribute
from anyio.lowlevel import checkpoint, checkpoint_if_cancelled

from .transport import SCRATCH, Buffer, DirectStream

DIRECT_WRITES = os.name == "posix"  # elsewhere a socket is no file
MAX_BACKLOG = 65536  # bytes that may arrive although nobody reads: to stop the transport each time costs more


class AsyncioStream(asyncio.BufferedProtocol, DirectStream):
    """One end of a socket connection, on the event loop's own transport."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport
        self._feed: Callable[[Buffer], bool] | None = None
        self._backlog = bytearray()  # what arrived while nobody wanted it
        self._ended = False
        self._lost = False
        self._error: Exception | None = None
        self._closed = False
        self._reading = True
        self._stopped: Callable[[], object] | None = None  # to be called when the feed gets no more
        self._when_sent: Callable[[], object] | None = None
        self._flowing = True

    # --- called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        # "Writable" shall mean that all has left: what waits belongs into the send buffer, where it is counted.
        self._transport.set_write_buffer_limits(0)
        self._descriptor: int = transport.get_extra_info("socket").fileno()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        return SCRATCH.large if self.large_reads else SCRATCH.small

    def buffer_updated(self, nbytes: int) -> None:
        data = SCRATCH.large[:nbytes]
        if self._feed is None:
            self._backlog += data
            if len(self._backlog) > MAX_BACKLOG:
                self._pause()
        else:
            try:
                if not self._feed(data):
                    return
            except Exception as exc:  # noqa: BLE001  (it comes out where somebody reads)
                self._error = exc
            self._feed = None
            self._pause()
        self._stop()

    def eof_received(self) -> bool:
        self._ended = True
        self._stop()
        return True  # the other direction stays open

    def connection_lost(self, exc: Exception | None) -> None:
        self._error = self._error or exc
        self._lost = True
        self._stop()
        self._sent()

    def pause_writing(self) -> None:
        self._flowing = False

    def resume_writing(self) -> None:
        self._flowing = True
        self._sent()

    def _sent(self) -> None:
        callback, self._when_sent = self._when_sent, None
        if callback is not None:
            callback()

    # --- called by the connection

    def listen(self, feed: Callable[[Buffer], bool], stopped: Callable[[], object]) -> bool:
        """See :class:`DirectStream`."""
        if self._backlog or self._ended or self._lost or self._closed:
            return False
        self._feed = feed
        self._stopped = stopped
        self._resume()
        return True

    async def pump(self, feed: Callable[[Buffer], bool]) -> None:
        """See :class:`DirectStream`."""
        if self._backlog:
            data, self._backlog = self._backlog, bytearray()
            if feed(data):
                return
        self._feed = feed
        try:
            await self._wait_for_arrival()
            enough = self._feed is None
        finally:
            self._feed = None
        if not enough:
            self._raise_end()

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Wait for bytes and return them. Cancelling is safe: nothing is lost.

        :raises anyio.EndOfStream: the peer has ended its direction
        :raises anyio.BrokenResourceError: the transport has failed
        :raises anyio.ClosedResourceError: this end was closed
        """
        if self._backlog:
            await checkpoint()
        else:
            await self._wait_for_arrival()
        if not self._backlog:
            self._raise_end()
        data = bytes(self._backlog[:max_bytes])
        del self._backlog[:max_bytes]
        return data

    async def send(self, item: bytes) -> None:
        """Send bytes and wait until the system has taken them all.

        :raises anyio.BrokenResourceError: the transport has failed
        :raises anyio.ClosedResourceError: this end was closed
        """
        await checkpoint_if_cancelled()
        self.try_send(item)
        if self._flowing:
            await checkpoint()
        await self.finish_send(b"")

    def try_send(self, data: Buffer) -> int:
        """See :class:`Sink`; what has not left is in the transport's hands."""
        if self._closed or self._lost:
            self._check()
        sent = self._write_directly(data) if self._flowing and DIRECT_WRITES else 0
        if sent < len(data):
            self._transport.write(memoryview(data)[sent:])
            if not self._flowing:
                return max(0, len(data) - self._transport.get_write_buffer_size())
        return len(data)

    def _write_directly(self, data: Buffer) -> int:
        """Write past the transport, which has nothing to write: half of what its own way costs."""
        try:
            return os.write(self._descriptor, data)
        except BlockingIOError:
            return 0
        except OSError as exc:
            raise BrokenResourceError("the connection was lost") from exc

    async def finish_send(self, rest: Buffer) -> None:  # noqa: ARG002
        """See :class:`Sink`."""
        while not self._flowing and not self._lost:
            sent = asyncio.get_running_loop().create_future()
            self._when_sent = partial(self._wake, sent)
            await sent
        self._check()

    def call_when_sent(self, callback: Callable[[], object]) -> bool:
        """See :class:`Sink`."""
        self._when_sent = callback
        return True

    def end_sending(self) -> None:
        """See :class:`DirectStream`."""
        if not self._transport.is_closing():
            self._transport.write_eof()

    def drop(self) -> None:
        """See :class:`DirectStream`."""
        self._closed = True
        self._transport.abort()

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """The attributes of the socket."""
        info = self._transport.get_extra_info
        return {
            SocketAttribute.family: lambda: info("socket").family,
            SocketAttribute.local_address: lambda: info("sockname"),
            SocketAttribute.remote_address: lambda: info("peername"),
            SocketAttribute.local_port: lambda: info("sockname")[1],
            SocketAttribute.remote_port: lambda: info("peername")[1],
            SocketAttribute.raw_socket: lambda: info("socket"),
        }

    async def _wait_for_arrival(self) -> None:
        """Wait for something in the backlog, for the feed to have had enough, or for the end."""
        if self._ended or self._lost or self._closed or self._error is not None:
            await checkpoint()
            self._raise_end()
        self._resume()
        arrival = asyncio.get_running_loop().create_future()
        self._stopped = partial(self._wake, arrival)
        try:
            await arrival
        finally:
            self._stopped = None

    def _stop(self) -> None:
        stopped, self._stopped = self._stopped, None
        if stopped is not None:
            stopped()

    def _raise_end(self) -> NoReturn:
        if self._closed:
            raise ClosedResourceError
        if self._error is not None and not self._ended:
            raise BrokenResourceError("the connection was lost") from self._error
        raise EndOfStream

    def _pause(self) -> None:
        if self._reading and not self._lost:
            self._reading = False
            self._transport.pause_reading()

    def _resume(self) -> None:
        if not self._reading and not self._lost:
            self._reading = True
            self._transport.resume_reading()

    def _check(self) -> None:
        if self._closed:
            raise ClosedResourceError
        if self._lost or self._transport.is_closing():
            raise BrokenResourceError("the connection was lost") from self._error

    @staticmethod
    def _wake(future: asyncio.Future[None]) -> None:
        if not future.done():
            future.set_result(None)
