"""Sockets on asyncio: what arrives is handed on in the event loop's callback, and what leaves goes past its transport.

anyio's stream pauses and resumes the transport on every receive and spends a pass of the event loop on every send.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from socket import socket
from time import perf_counter
from typing import Any, cast

from anyio import BrokenResourceError

from .addresses import socket_attributes
from .asyncio_loop import AsyncioLoop, current_asyncio_loop
from .direct_stream import DirectStream
from .event_loop import Signal
from .hot import SystemCalls
from .large_reads import LargeReads
from .socket_calls import sender_of
from .stream_transport import FedStream
from .transport import Buffer, discard, lost, rest_of

DIRECT_WRITES = os.name == "posix"  # elsewhere a socket is no file


class AsyncioStream(asyncio.BufferedProtocol, LargeReads, FedStream, DirectStream):
    """One end of a socket connection, on the event loop's own transport."""

    loop: AsyncioLoop

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop_is_closed = self._loop.is_closed
        loop = current_asyncio_loop()
        self._system = SystemCalls(
            self,
            loop.scratch,
            running_loop=asyncio.get_running_loop,
            loop=self._loop,
            wakeups=loop.wakeups,
        )
        super().__init__(loop)
        self._gone = Signal(loop)
        self._transport: asyncio.Transport
        # Without a method in between.
        self.get_buffer = self._system.get_buffer  # type: ignore[method-assign]
        self.buffer_updated = self._system.buffer_updated  # type: ignore[method-assign]
        self.write = self._system.write  # type: ignore[method-assign]
        self._reading = True  # so is the transport, that is
        self._resuming = False  # called by the transport to say that all has left

    # --- called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        # "Writable" shall mean that all has left: what waits belongs into the send buffer, where it is counted.
        self._transport.set_write_buffer_limits(0)
        self._raw_socket: socket = transport.get_extra_info("socket")
        self._descriptor: int = self._raw_socket.fileno()
        # Past the transport, which has nothing to write: half of what its own way costs.
        self._system.send = sender_of(self._raw_socket) if DIRECT_WRITES else _send_nothing

    def get_buffer(self, sizehint: int) -> memoryview:
        """See :class:`asyncio.BufferedProtocol`."""
        return self._system.get_buffer(sizehint)

    def buffer_updated(self, nbytes: int) -> None:
        """See :class:`asyncio.BufferedProtocol`."""
        self._system.buffer_updated(nbytes)

    def eof_received(self) -> bool:
        self._end()
        return True  # the other direction stays open

    def pause_writing(self) -> None:
        self._congest()

    def resume_writing(self) -> None:
        self._resuming = True
        self._decongest()
        self._resuming = False

    def connection_lost(self, exc: Exception | None) -> None:
        self._system.barred = True
        self._gone.set()
        if not self._released:
            self._fail(exc or ConnectionAbortedError("the event loop has closed the connection"))

    # --- called by the connection

    def write(self, data: Buffer) -> int:
        """See :class:`Transport`."""
        return self._system.write(data)

    def write_all(self, buffers: Sequence[Buffer]) -> int:
        """See :class:`Transport`."""
        if not DIRECT_WRITES or len(buffers) == 1 or self._system.barred or self._loop_is_closed():
            return super().write_all(buffers)
        sent = 0
        try:
            sent = os.writev(self._descriptor, buffers)
        except BlockingIOError:
            pass
        except OSError as exc:
            raise lost(exc) from exc
        rest = rest_of(buffers, sent)
        return sent + self.keep_unsent(rest) if rest else sent

    # --- called by the system calls

    def share(self) -> memoryview:
        """See :class:`Owner`."""
        buffer = self._system.large if self.large_reads else self._system.small
        return self._share_of(buffer, self.loop.read_turns, perf_counter())

    def arrived_unasked(self) -> None:
        """See :class:`Owner`: this is nothing that happens here."""

    def read_much(self) -> None:
        """See :class:`Owner`."""
        if not self.loop.reads_once_a_pass:
            self._let_others_read()

    def read_nothing(self) -> None:
        """See :class:`Owner`: the event loop says that in another way."""

    def read_failed(self, error: Exception) -> None:
        """See :class:`Owner`: the event loop says that in another way."""

    def raise_if_barred(self) -> None:
        """See :class:`Owner`."""
        # The number of the descriptor may be another file's.
        if self._system.barred or self._loop_is_closed():
            self._check()
            raise BrokenResourceError("the event loop has ended")

    def keep_unsent(self, data: Buffer) -> int:
        """See :class:`Owner`: the event loop's transport writes it."""
        self._transport.write(data)
        if self._transport.is_closing() and not self.congested:
            self._congest()  # it has failed, takes what it is given for nothing, and says so in the next pass
            return 0
        return len(data) - self._transport.get_write_buffer_size() if self.congested else len(data)

    @property
    def raw_socket(self) -> socket | None:
        """See :class:`StreamTransport`."""
        # The number of the descriptor may be another file's.
        return self._raw_socket if not self._system.barred and not self._loop_is_closed() else None

    def _socket_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        raw_socket = self.raw_socket
        if raw_socket is None:
            return {}
        info = self._transport.get_extra_info
        return socket_attributes(raw_socket, raw_socket.family, info("sockname"), info("peername"))

    # --- reading

    def _deliver_to(self, taker: Callable[[Buffer], object]) -> None:
        super()._deliver_to(taker)
        self._system.deliver = taker

    def _let_others_read(self) -> None:
        """Read no more in this pass, if there are others."""
        last, self.loop.last_reader = self.loop.last_reader, id(self)
        if last is not None and last != id(self) and self._reading:
            self._stop_reading()
            self._loop.call_soon(self._take_turn)

    def _take_turn(self) -> None:
        if not (self._paused or self._backlog):
            self._read_on()

    def _stop_reading(self) -> None:
        if self._reading and not self._system.barred:
            self._reading = False
            with suppress(RuntimeError):  # it is closed
                self._transport.pause_reading()

    def _read_on(self) -> None:
        if not self._reading and not self._system.barred:
            self._reading = True
            with suppress(RuntimeError):  # it is closed
                self._transport.resume_reading()

    # --- the end

    def _end_direction(self) -> None:
        if not self._system.barred:
            self._call(self._transport.write_eof)

    def _drop(self) -> None:
        self._deliver_to(discard)
        self._system.release()
        self._arrived()
        self._call(self._transport.abort)
        if self._loop_is_closed():  # nobody will tell us
            self._gone.set()

    def _call(self, method: Callable[[], object]) -> None:
        """Call the transport, but not from within a call of its own: it does not expect to end there."""
        if self._resuming:
            self._loop.call_soon(self._call, method)
        else:
            with suppress(Exception):  # it has failed, as whoever reads will learn
                method()


def _send_nothing(_data: Buffer) -> int:
    return 0
