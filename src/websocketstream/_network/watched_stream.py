"""Sockets that an event loop watches for us: plain system calls, and no task that only waits."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from socket import SHUT_WR, socket
from typing import Any

from anyio import EndOfStream
from anyio.lowlevel import checkpoint

from .addresses import socket_attributes
from .direct_stream import DirectStream
from .event_loop import EventLoop, uninterrupted
from .hot import SystemCalls
from .socket_calls import SocketCalls
from .transport import NOTHING, Buffer, Receiver, lost, rest_of

VECTORS = hasattr(socket, "sendmsg")  # not on Windows


class WatchedStream(DirectStream):  # and Watched
    """One end of a socket connection; it owns the socket, which does not block."""

    def __init__(self, loop: EventLoop, connected: socket) -> None:
        super().__init__(loop)
        self._socket = connected
        self.descriptor: int = connected.fileno()
        self.reading = self.writing = False
        self._unsent = NOTHING
        self._is_attached = False
        self._system = self._system_calls(connected)
        self.on_readable: Callable[[], None] = self._system.on_readable

    # --- called by the event loop

    def fileno(self) -> int:
        """See :class:`Watched`."""
        return self._socket.fileno()

    def on_writable(self) -> None:
        """Write what was left over."""
        try:
            self._unsent = self._unsent[self._socket.send(self._unsent) :]
        except BlockingIOError:
            return
        except OSError as exc:
            self._unsent = NOTHING
            self._change_watch(writing=False)
            self._fail_to_write(exc)
            return
        if not self._unsent and self.congested:
            self._unsent = NOTHING
            self._change_watch(writing=False)
            self._decongest()

    def on_unwatched(self, error: Exception) -> None:
        """Take note that the event loop cannot watch the socket any more, but not in the middle of something else."""
        with suppress(OSError):
            self.loop.call_soon(partial(self._fail, error))

    # --- called by the connection

    @uninterrupted
    def attach(self, receiver: Receiver) -> None:
        """See :class:`Transport`."""
        if not self._is_attached:
            self._is_attached = True
            self.loop.attached()
        system = self._system
        system.deliver, system.offer, system.filled = (
            receiver.data_received,
            receiver.room,
            receiver.room_filled,
        )
        self._receiver = receiver
        if self._error is not None:
            self._tell_failure()
        else:
            self.reading = not self._paused
            self.loop.watch(self)

    @uninterrupted
    def pause(self) -> None:
        """See :class:`Transport`."""
        if not self._paused:
            self._paused = True
            self._change_watch(reading=False)

    @uninterrupted
    def resume(self) -> None:
        """See :class:`Transport`."""
        if self._paused:
            self._paused = False
            self._change_watch(reading=not self._ended)

    @uninterrupted
    def write(self, data: Buffer) -> int:
        """See :class:`Transport`."""
        return self._system.write(data)

    @uninterrupted
    def write_all(self, buffers: Sequence[Buffer]) -> int:
        """See :class:`Transport`."""
        if not VECTORS or len(buffers) == 1 or self._system.barred:
            return super().write_all(buffers)
        try:
            sent = self._socket.sendmsg(buffers)
        except BlockingIOError:
            sent = 0
        except OSError as exc:
            raise lost(exc) from exc
        if rest := rest_of(buffers, sent):
            self.keep_unsent(memoryview(rest))
        return sent

    # --- called by the system calls

    def share(self) -> memoryview:
        """See :class:`Owner`."""
        return self._system.large if self.large_reads else self._system.small

    def arrived_unasked(self) -> None:
        """See :class:`Owner`."""

    def read_much(self) -> None:
        """See :class:`Owner`."""

    def read_nothing(self) -> None:
        """See :class:`Owner`."""
        self._change_watch(reading=False)
        self._end()

    def read_failed(self, error: Exception) -> None:
        """See :class:`Owner`."""
        self._fail(error)

    def keep_unsent(self, data: memoryview) -> int:
        """See :class:`Owner`."""
        self._unsent = data
        self._congest()
        self._change_watch(writing=True)
        return 0

    def raise_if_barred(self) -> None:
        """See :class:`Owner`."""
        self._check_writing()

    # --- as a byte stream

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Wait for bytes and return them. Cancelling is safe: nothing is lost.

        :raises anyio.EndOfStream: the peer has ended its direction
        :raises anyio.BrokenResourceError: the transport has failed
        :raises anyio.ClosedResourceError: this end was closed
        """
        await checkpoint()
        return await self._receive_when_there(max_bytes)

    async def _receive_when_there(self, max_bytes: int) -> bytes:
        while (data := self._receive_nowait(max_bytes)) is None:
            await self._wait_readable()
        return self._unless_ended(data)

    def _receive_nowait(self, max_bytes: int) -> bytes | None:
        self._check()
        try:
            return self._socket.recv(max_bytes)
        except BlockingIOError:
            return None
        except OSError as exc:
            self._fail(exc)
            self._check()
            raise

    @staticmethod
    def _unless_ended(data: bytes) -> bytes:
        if not data:
            raise EndOfStream
        return data

    @property
    def raw_socket(self) -> socket | None:
        """See :class:`StreamTransport`."""
        return None if self._released else self._socket

    def _socket_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        raw_socket = self.raw_socket
        if raw_socket is None:
            return {}
        addresses = []
        for ask in (self._socket.getsockname, self._socket.getpeername):
            try:
                addresses.append(ask())
            except OSError:
                addresses.append(None)
        return socket_attributes(raw_socket, self._socket.family, *addresses)

    # --- what each event loop does in its own way

    def _system_calls(self, connected: socket) -> SystemCalls:
        calls = SocketCalls(connected)
        return SystemCalls(
            self, self.loop.scratch, send=calls.send, receive=calls.receive, receive_both=calls.receive_both
        )

    @abstractmethod
    async def _wait_readable(self) -> None:
        """Wait until there may be something to read."""

    # --- what it waits for

    def _change_watch(self, *, reading: bool | None = None, writing: bool | None = None) -> None:
        if self._released or self._error is not None:
            return
        self.reading = self.reading if reading is None else reading
        self.writing = self.writing if writing is None else writing
        try:
            self.loop.watch(self)
        except OSError as exc:
            self.on_unwatched(exc)

    # --- the end

    def _fail(self, error: Exception) -> None:
        self._system.barred = True
        self._unwatch()
        super()._fail(self._write_error or error)

    def _fail_to_write(self, error: Exception) -> None:
        self._system.barred = True
        super()._fail_to_write(error)

    def _unwatch(self) -> None:
        if self.reading or self.writing:
            self.reading = self.writing = False
            try:  # noqa: SIM105  (suppress() takes longer)
                self.loop.watch(self)
            except OSError:
                pass

    def _end_direction(self) -> None:
        with suppress(OSError):  # it has failed, as whoever reads will learn
            self._socket.shutdown(SHUT_WR)

    def _drop(self) -> None:
        self._system.release()
        self._unwatch()
        if self._is_attached:
            self.loop.detached()
        self._close()

    def _close(self) -> None:
        self._socket.close()
