"""What a connection sees of the network: a transport, which calls it back, as asyncio's transports do.

A connection has no tasks. What a byte stream needs some for is the business of its transport.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Protocol, TypeAlias

from anyio import BrokenResourceError, TypedAttributeProvider

Buffer: TypeAlias = bytes | bytearray | memoryview

NOTHING = memoryview(b"")  # an empty part of a message would hold the whole of it

# What one system call may bring. The larger reads are for messages that are read to where they stay: what is copied out of the
# buffer again, or is decrypted out of it, has to be in the processor's cache, and what small messages bring beyond the read
# buffer shall not be more than the smaller.
READ_BYTES = 2**18
LARGE_READ_BYTES = 2**20

# Where the rest of a large message is read straight into its memory, this may come with it of what is behind.
BEHIND_BYTES = 2**16

# Of a read that was full, and perhaps cut off by TLS in the middle of a record.
FULL_READ_BYTES = READ_BYTES - 2**15

RELEASE_SECONDS = 1.0  # what a transport that was dropped may still take, before nobody waits for it any more


class Scratch:
    """Where the system puts what arrives: one for all connections of an event loop, for it is used up at once.

    Not one of a thread: a loop may go on in another thread, while the first one runs another loop.
    """

    __slots__ = ("large", "plain", "small")

    def __init__(self) -> None:
        self.large: memoryview = memoryview(bytearray(LARGE_READ_BYTES))
        self.small: memoryview = self.large[:READ_BYTES]
        # What TLS makes of it: a record may have come in part before.
        self.plain: memoryview = memoryview(bytearray(LARGE_READ_BYTES + 2**15))


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

    def room(self, most: int) -> memoryview | None:
        """Return where the next bytes that arrive may be put, up to so many, or None; it is asked for before each large read.

        What is put there is said by :meth:`room_filled`, at once, and nobody holds a part of it then.
        """
        ...

    def room_filled(self, size: int, data: Buffer) -> None:
        """Take so many bytes that are in the :meth:`room`, and what has arrived behind them, as :meth:`data_received` does."""
        ...

    def eof_received(self) -> None:
        """Take note that the peer has ended its direction: nothing more arrives."""
        ...

    def flushed(self) -> None:
        """Take note that all that was written has left: the transport is not congested any more."""
        ...

    def write_failed(self, error: Exception) -> None:
        """Take note that what was written could not leave in the background; reading goes on."""
        ...

    def failed(self, error: Exception) -> None:
        """Take note that the transport has failed; nothing follows."""
        ...


class Transport(TypedAttributeProvider):
    """A connected byte stream that calls a receiver, and that is written to without waiting."""

    # True where a release behind the peer's last words loses nothing of what was sent.
    keeps_last_words: ClassVar[bool]

    large_reads: bool = False  # set by the receiver, while large messages arrive
    is_gone: bool = False  # it was released, and there is nothing that `wait_released` would wait for
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

    def write_all(self, buffers: Sequence[Buffer]) -> int:
        """Write several buffers as if they were one; see :meth:`write`."""
        return self.write(buffers[0] if len(buffers) == 1 else b"".join(buffers))

    @abstractmethod
    def end_sending(self) -> None:
        """End our direction behind what was written; the other one goes on. This cannot fail."""

    @abstractmethod
    def release(self) -> None:
        """Drop the connection and let go of the receiver. This cannot fail, and it may be repeated."""

    @abstractmethod
    async def wait_released(self) -> None:
        """Wait until nothing is left of a released transport; a cancellation may only come out behind that.

        Whatever is in the way, a second is the most that a cancelled task waits.
        """


def rest_of(buffers: Sequence[Buffer], sent: int) -> Buffer:
    """Return what is left of some buffers of which so many bytes have been sent, in one piece."""
    for number, buffer in enumerate(buffers):
        if sent < len(buffer):
            return b"".join([memoryview(buffer)[sent:], *buffers[number + 1 :]])
        sent -= len(buffer)
    return NOTHING


def lost(cause: Exception | None) -> BrokenResourceError:
    """Make the error of a connection that was lost."""
    error = BrokenResourceError("the connection was lost")
    # Not its traceback: frames lead to those that called them, and these hold the connection that keeps the error.
    error.__cause__ = None if cause is None else cause.with_traceback(None)
    return error


def discard(data: Buffer) -> None:
    """Take what arrives although nobody wants it any more."""
