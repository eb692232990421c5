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
from .stream_transport import FedStream, discard
from .transport import SCRATCH, Buffer, lost, rest_of
from .turns import LargeReads

DIRECT_WRITES = os.name == "posix"  # elsewhere a socket is no file


class AsyncioStream(asyncio.BufferedProtocol, LargeReads, FedStream, DirectStream):
    """One end of a socket connection, on the event loop's own transport."""

    loop: AsyncioLoop

    def __init__(self) -> None:
        super().__init__(current_asyncio_loop())
        self._loop = asyncio.get_running_loop()
        self._loop_is_closed = self._loop.is_closed
        self._transport: asyncio.Transport
        # Of the loop's thread: to ask at every read which that is would cost more.
        self._small, self._large = SCRATCH.small, SCRATCH.large
        self._reading = True  # so is the transport, that is
        self._usable = True
        self._resuming = False  # called by the transport to say that all has left
        self._busy = False  # whether the last one was

    # --- called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        # "Writable" shall mean that all has left: what waits belongs into the send buffer, where it is counted.
        self._transport.set_write_buffer_limits(0)
        self._raw_socket: socket = transport.get_extra_info("socket")
        self._descriptor: int = self._raw_socket.fileno()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        if not self._busy:
            return self._small
        buffer = self._large if self.large_reads else self._small
        return self._share_of(buffer, self.loop.read_turns, perf_counter())

    def buffer_updated(self, nbytes: int) -> None:
        self._deliver(self._large[:nbytes])
        self._busy = nbytes >= self._many
        if self._busy and not self.loop.reads_once_a_pass:
            self._let_others_read()

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
        self._usable = False
        self._gone.set()
        if not self._released:
            self._fail(exc or ConnectionAbortedError("the event loop has closed the connection"))

    # --- called by the connection

    def write(self, data: Buffer) -> int:
        """See :class:`Transport`."""
        if not self._usable or self._loop_is_closed():
            # The number of the descriptor may be another file's.
            self._check()
            raise BrokenResourceError("the event loop has ended")
        sent = 0
        if DIRECT_WRITES:
            # Past the transport, which has nothing to write: half of what its own way costs.
            try:
                sent = os.write(self._descriptor, data)
            except BlockingIOError:
                pass
            except OSError as exc:
                raise lost(exc) from exc
            if sent == len(data):
                return sent
        return sent + self._leave_to_transport(memoryview(data)[sent:])

    def write_all(self, buffers: Sequence[Buffer]) -> int:
        """See :class:`Transport`."""
        if not DIRECT_WRITES or len(buffers) == 1 or not self._usable or self._loop_is_closed():
            return super().write_all(buffers)
        sent = 0
        try:
            sent = os.writev(self._descriptor, buffers)
        except BlockingIOError:
            pass
        except OSError as exc:
            raise lost(exc) from exc
        rest = rest_of(buffers, sent)
        return sent + self._leave_to_transport(rest) if rest else sent

    def _leave_to_transport(self, data: Buffer) -> int:
        """Let the event loop's transport write; return how much of it has left at once."""
        self._transport.write(data)
        if self._transport.is_closing() and not self.congested:
            self._congest()  # it has failed, takes what it is given for nothing, and says so in the next pass
            return 0
        return len(data) - self._transport.get_write_buffer_size() if self.congested else len(data)

    @property
    def raw_socket(self) -> socket | None:
        """See :class:`StreamTransport`."""
        # The number of the descriptor may be another file's.
        return self._raw_socket if self._usable and not self._loop_is_closed() else None

    def _socket_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        raw_socket = self.raw_socket
        if raw_socket is None:
            return {}
        info = self._transport.get_extra_info
        return socket_attributes(raw_socket, raw_socket.family, info("sockname"), info("peername"))

    # --- reading

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
        if self._reading and self._usable:
            self._reading = False
            with suppress(RuntimeError):  # it is closed
                self._transport.pause_reading()

    def _read_on(self) -> None:
        if not self._reading and self._usable:
            self._reading = True
            with suppress(RuntimeError):  # it is closed
                self._transport.resume_reading()

    # --- the end

    def _end_direction(self) -> None:
        if self._usable:
            self._call(self._transport.write_eof)

    def _drop(self) -> None:
        self._usable = False
        self._deliver = discard
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
