"""What a connection sees of the network: a transport, which calls it back, as asyncio's transports do.

A connection has no tasks. What a byte stream needs some for is the business of its transport.
"""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, ClassVar, Protocol, TypeAlias

from anyio import (
    BrokenResourceError,
    CancelScope,
    ClosedResourceError,
    TypedAttributeProvider,
    TypedAttributeSet,
    current_time,
    typed_attribute,
)
from anyio.abc import ByteStream
from anyio.lowlevel import cancel_shielded_checkpoint, checkpoint, checkpoint_if_cancelled

from .event_loop import Signal

Buffer: TypeAlias = bytes | bytearray | memoryview

# What one system call may bring. Large messages cost a third less CPU time with the larger reads, but what small ones
# bring beyond the read buffer shall not be more than the smaller.
READ_BYTES = 2**18
LARGE_READ_BYTES = 2**20

RELEASE_SECONDS = 1.0  # what a transport that was dropped may still take, before nobody waits for it any more


class _Scratch(threading.local):
    """Where the system puts what arrives: one for all connections of a thread, for it is used up at once."""

    def __init__(self) -> None:
        self.large = memoryview(bytearray(LARGE_READ_BYTES))
        self.small = self.large[:READ_BYTES]


SCRATCH = _Scratch()

# Linux's malloc gives the end of its heap back to the system as soon as 128 KiB of it are free, and for a stream of large
# messages asks for it again with each of them, page by page: half of the time that 64 KiB take. Freeing one larger block
# raises that threshold to twice its size, for good (mallopt(3), M_MMAP_THRESHOLD). Its pages are never touched.
_block = bytes(2**21)
del _block


class Receiver(Protocol):
    """Who is called by a transport: a connection. Nothing here may raise."""

    def data_received(self, data: Buffer) -> None:
        """Take what has arrived; the buffer is only good during the call."""
        ...

    def eof_received(self) -> None:
        """Take note that the peer has ended its direction: nothing more arrives."""
        ...

    def flushed(self) -> None:
        """Take note that all that was written has left: the transport is not congested any more."""
        ...

    def failed(self, error: Exception) -> None:
        """Take note that the transport has failed, while reading or in the background; nothing follows."""
        ...


class Transport(TypedAttributeProvider):
    """A connected byte stream that calls a receiver, and that is written to without waiting."""

    # True where a release behind the peer's last words loses nothing of what was sent.
    keeps_last_words: ClassVar[bool]

    large_reads: bool = False  # set by the receiver, while large messages arrive
    congested: bool = False  # from a write that did not leave whole until `flushed`

    @abstractmethod
    def attach(self, receiver: Receiver) -> None:
        """Call the receiver from now on, beginning with what has arrived, possibly from within this call.

        :raises OSError: the system has no room for one more; the transport is to be released
        """

    @abstractmethod
    def pause(self) -> None:
        """Call nobody with what arrives until :meth:`resume`, not even with the end."""

    @abstractmethod
    def resume(self) -> None:
        """Go on; the receiver is not called from within this call."""

    @abstractmethod
    def write(self, data: Buffer) -> int:
        """Write without waiting, and return how many bytes have left.

        When these are not all, the transport is congested: it completes the rest, which must not change meanwhile, and
        then calls ``flushed``, but not from within this call. It must not be written to before that, nor behind
        :meth:`end_sending`.

        :raises anyio.BrokenResourceError: the transport has failed
        :raises anyio.ClosedResourceError: it was released
        """

    @abstractmethod
    def end_sending(self) -> None:
        """End our direction behind what was written; the other one goes on. This cannot fail."""

    @abstractmethod
    def release(self) -> None:
        """Drop the connection and let go of the receiver. This cannot fail, and it may be repeated."""

    @abstractmethod
    async def wait_released(self) -> None:
        """Wait until nothing is left of a released transport, a second at the most, shielded from cancellation."""


class BelowAttribute(TypedAttributeSet):
    """What a stream on top of others is built on."""

    direct_stream: DirectStream = typed_attribute()


class DirectStream(Transport, ByteStream):
    """A socket as a transport and, as long as it has no receiver, as a byte stream for handshakes and for TLS.

    What each event loop does in its own way is left to the subclasses: :meth:`receive`, :meth:`write`,
    :meth:`pause`, :meth:`resume`, and the methods with an underscore.
    """

    keeps_last_words = True

    def __init__(self) -> None:
        self._receiver: Receiver | None = None
        self._paused = False
        self._ended = False  # by the peer
        self._error: Exception | None = None
        self._released = False
        self._sending_ended = False
        self._flushed = Signal()  # for who waits in `send`
        self._gone = Signal()

    # --- as a byte stream

    async def send(self, item: bytes) -> None:
        """Send bytes and wait until the system has taken them all; cancelled, they are sent all the same.

        :raises anyio.BrokenResourceError: the transport has failed
        :raises anyio.ClosedResourceError: this end was closed
        """
        await checkpoint_if_cancelled()
        if not await self.send_all(item):
            await cancel_shielded_checkpoint()

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
        self._check()

    async def send_eof(self) -> None:
        """End our direction behind what was sent."""
        self.end_sending()
        await checkpoint()

    async def aclose(self) -> None:
        """Drop the connection; unsent bytes are lost."""
        self.release()
        await checkpoint()

    # --- as a transport

    def end_sending(self) -> None:
        """See :class:`Transport`."""
        if not self._sending_ended:
            self._sending_ended = True
            if not self.congested:
                self._end_direction()

    def release(self) -> None:
        """See :class:`Transport`."""
        if not self._released:
            self._released = True
            self._receiver = None
            self._flushed.set()
            with suppress(Exception):
                self._drop()

    async def wait_released(self) -> None:
        """See :class:`Transport`."""
        if not self._gone.is_set:
            with CancelScope(shield=True, deadline=current_time() + RELEASE_SECONDS):
                await self._gone.wait()

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """The attributes of the socket, as long as it is connected."""
        attributes = dict(self._socket_attributes())
        attributes[BelowAttribute.direct_stream] = lambda: self
        return attributes

    # --- what the subclasses do

    @abstractmethod
    def _socket_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """Return the attributes of the socket, none when it is gone."""

    @abstractmethod
    def _end_direction(self) -> None:
        """Shut the socket for writing."""

    @abstractmethod
    def _drop(self) -> None:
        """Drop the connection."""

    # --- what the subclasses call

    def _congest(self) -> None:
        self.congested = True
        self._flushed = Signal()

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
        if self._receiver is not None and not self._paused:
            self._receiver.eof_received()

    def _fail(self, error: Exception) -> None:
        """Nothing works any more."""
        if self._error is None and not self._released:
            self._error = error
            self._flushed.set()
            self._tell_failure()

    def _tell_failure(self) -> None:
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.failed(self._broken())

    def _broken(self) -> BrokenResourceError:
        error = BrokenResourceError("the connection was lost")
        error.__cause__ = self._error
        return error

    def _check(self) -> None:
        if self._released:
            raise ClosedResourceError
        if self._error is not None:
            raise self._broken()
