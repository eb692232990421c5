"""Transports that are byte streams as well, as long as they have no receiver: for handshakes, and for TLS."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from socket import socket
from typing import NoReturn, TypeGuard

from anyio import CancelScope, ClosedResourceError, EndOfStream, current_time
from anyio.abc import ByteStream
from anyio.lowlevel import cancel_shielded_checkpoint, checkpoint, checkpoint_if_cancelled

from .event_loop import NOTHING_TO_WAIT_FOR, EventLoop, Signal, Waiter, uninterrupted
from .transport import RELEASE_SECONDS, Buffer, Receiver, Transport, discard, lost

MAX_BACKLOG = 65536  # bytes that may arrive although nobody reads: to stop the transport each time costs more


class StreamTransport(Transport, ByteStream):
    """A transport and, as long as it has no receiver, a byte stream.

    What each kind does in its own way is left to the subclasses: :meth:`receive`, :meth:`attach`, :meth:`write`,
    :meth:`pause`, :meth:`resume`, and the methods with an underscore.
    """

    def __init__(self, loop: EventLoop) -> None:
        self.loop: EventLoop = loop
        self._receiver: Receiver | None = None
        self._paused = False
        self._ended = False  # by the peer
        self._end_told = False  # to the receiver
        self._error: Exception | None = None
        self._write_error: Exception | None = None  # reading may go on
        self._released = False
        self._sending_ended = False
        self._flushed = NOTHING_TO_WAIT_FOR  # for who waits in `send`
        self._gone = NOTHING_TO_WAIT_FOR  # for who has released it; most are gone at once

    # --- as a byte stream

    async def send(self, item: bytes) -> None:
        """Send bytes and wait until the system has taken them all; cancelled, they are sent all the same.

        :raises anyio.BrokenResourceError: the transport has failed
        :raises anyio.ClosedResourceError: this end was closed
        """
        await checkpoint_if_cancelled()
        if not await self.send_all(item):
            await cancel_shielded_checkpoint()

    @uninterrupted
    async def send_all(self, data: Buffer) -> bool:
        """Send bytes, and wait only if that is necessary; return whether it was."""
        waited = self.congested
        while self.congested:  # a cancelled `send` has left something over
            await self._wait_flushed()
        if self.write(data) == len(data):
            return waited
        await self._wait_flushed()
        return True

    async def _wait_flushed(self) -> None:
        await self._flushed.wait()
        self._check_writing()

    async def receive_some(self, max_bytes: int) -> bytes:
        """Receive as :meth:`receive` does, and wait only if that is necessary."""
        return await self.receive(max_bytes)

    async def send_eof(self) -> None:
        """End our direction behind what was sent."""
        self.end_sending()
        await checkpoint()

    async def aclose(self) -> None:
        """Drop the connection; unsent bytes are lost."""
        self.release()
        await checkpoint()
        await self.wait_released()

    # --- as a transport

    @uninterrupted
    def end_sending(self) -> None:
        """See :class:`Transport`."""
        if not self._sending_ended:
            self._sending_ended = True
            if not self.congested:
                self._end_direction()

    @uninterrupted
    def release(self) -> None:
        """See :class:`Transport`."""
        if not self._released:
            self._released = True
            self._receiver = self._error = self._write_error = None  # whose tracebacks hold us
            self._flushed.set()
            try:  # noqa: SIM105  (suppress() takes longer)
                self._drop()
            except Exception:  # noqa: BLE001, S110  (whatever a socket says, it is over)
                pass

    async def wait_released(self) -> None:
        """See :class:`Transport`."""
        if not self._gone.is_set:
            try:
                await self._gone.wait()  # which takes the event loop one pass
            except BaseException:
                with CancelScope(shield=True, deadline=current_time() + RELEASE_SECONDS):
                    await self._gone.wait()
                raise

    @property
    @abstractmethod
    def raw_socket(self) -> socket | None:
        """The socket, or the event loop's stand-in for it; None when the connection is gone, or has none."""

    # --- what the subclasses do

    @abstractmethod
    def _end_direction(self) -> None:
        """End our direction: nothing of ours is on its way any more."""

    @abstractmethod
    def _drop(self) -> None:
        """Drop the connection."""

    # --- what the subclasses call

    def _congest(self) -> None:
        self.congested = True
        self._flushed = Signal(self.loop)

    def _decongest(self) -> None:
        self.congested = False
        if self._sending_ended:
            with suppress(Exception):
                self._end_direction()
        self._flushed.set()
        if self._receiver is not None:
            self._receiver.flushed()

    def _end(self) -> None:
        """The peer has ended its direction."""
        self._ended = True
        if self._receiver is not None and not (self._paused or self._end_told):
            self._end_told = True
            self._receiver.eof_received()

    def _fail(self, error: Exception) -> None:
        """Nothing works any more."""
        if self._error is None and not self._released:
            self._error = error
            self._flushed.set()
            self._tell_failure()

    def _fail_to_write(self, error: Exception) -> None:
        """What is unsent cannot leave any more; what the peer sent before may still be read."""
        if self._released:
            return
        self._write_error = error
        self._flushed.set()
        if self._receiver is not None:
            self._receiver.write_failed(lost(error))

    def _tell_failure(self) -> None:
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.failed(lost(self._error))

    def _check(self) -> None:
        if self._released:
            raise ClosedResourceError
        if self._error is not None:
            raise lost(self._error)

    def _check_writing(self) -> None:
        self._check()
        if self._write_error is not None:
            raise lost(self._write_error)


def is_stream_transport(stream: object) -> TypeGuard[StreamTransport]:
    """Tell whether a stream is one of these, in a fraction of the time that isinstance() takes for an abstract class."""
    return _are_stream_transports(type(stream))  # type: ignore[arg-type]  # to mypy, a class has no hash


@lru_cache(maxsize=64)
def _are_stream_transports(kind: type) -> bool:
    return issubclass(kind, StreamTransport)


class FedStream(StreamTransport):
    """One that is fed with what arrives, and keeps it until somebody comes for it."""

    def __init__(self, loop: EventLoop) -> None:
        super().__init__(loop)
        self._backlog = bytearray()  # what arrived before there was a receiver
        self._arrival: Waiter | None = None  # for who waits in `receive`
        self._deliver: Callable[[Buffer], object]  # takes what has arrived
        self._deliver_to(self._keep)

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Wait for bytes and return them. Cancelling is safe: nothing is lost.

        :raises anyio.EndOfStream: the peer has ended its direction
        :raises anyio.BrokenResourceError: the transport has failed
        :raises anyio.ClosedResourceError: this end was closed
        """
        if self._backlog or self._ended or self._released or self._error is not None:
            await checkpoint()
        else:
            self._read_on()
            self._arrival = self.loop.waiter()
            await self._arrival
        if not self._backlog:
            self._raise_end()
        data = bytes(self._backlog[:max_bytes])
        del self._backlog[:max_bytes]
        return data

    @uninterrupted
    def attach(self, receiver: Receiver) -> None:
        """See :class:`Transport`."""
        self._receiver = receiver
        self._choose_taker()
        self._hand_over()

    @uninterrupted
    def pause(self) -> None:
        """See :class:`Transport`."""
        self._paused = True
        self._choose_taker()
        self._stop_reading()

    @uninterrupted
    def resume(self) -> None:
        """See :class:`Transport`."""
        if self._paused:
            self._paused = False
            self._choose_taker()
            if self._backlog or self._ended:
                with suppress(OSError):  # the event loop has ended
                    self.loop.call_soon(self._hand_over)
            else:
                self._read_on()

    def _raise_end(self) -> NoReturn:
        if self._released or not self._ended:
            self._check()
        raise EndOfStream

    def _choose_taker(self) -> None:
        receiver = self._receiver
        if receiver is not None:
            self._deliver_to(self._set_aside if self._paused else receiver.data_received)

    def _deliver_to(self, taker: Callable[[Buffer], object]) -> None:
        self._deliver = taker

    # --- what the subclasses do

    @abstractmethod
    def _read_on(self) -> None:
        """Let come what arrives."""

    @abstractmethod
    def _stop_reading(self) -> None:
        """Let nothing come, soon at least."""

    # --- what the subclasses call

    def _end(self) -> None:
        super()._end()
        self._arrived()

    def _fail(self, error: Exception) -> None:
        if self._backlog and self._receiver is not None and self._error is None and not self._released:
            self._error = error  # which comes behind what has arrived; senders need not wait for it
            self._fail_to_write(error)
        else:
            super()._fail(error)
        self._arrived()

    def _tell_failure(self) -> None:
        super()._tell_failure()
        self._deliver_to(discard)

    def _keep(self, data: Buffer) -> None:
        self._backlog += data
        if len(self._backlog) > MAX_BACKLOG:
            self._stop_reading()
        self._arrived()

    def _set_aside(self, data: Buffer) -> None:
        """Keep what arrives although the receiver may not have it now."""
        self._backlog += data

    def _arrived(self) -> None:
        arrival, self._arrival = self._arrival, None
        if arrival is not None:
            self.loop.wake(arrival)

    def _hand_over(self) -> None:
        """Give the receiver what arrived before it came, unless it has to wait for that."""
        if self._backlog and not self._paused:
            backlog, self._backlog = self._backlog, bytearray()
            self._deliver(backlog)
        if self._error is not None:
            if not self._backlog:
                self._tell_failure()
        elif not self._paused:
            if self._ended:
                self._end()
            else:
                self._read_on()
