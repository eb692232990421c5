"""Short cuts past the event loop: transports that take bytes, and hand them over, without a task in between.

Any anyio byte stream works without them; they make the common transports fast.
"""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Callable
from socket import socket
from typing import Protocol, TypeAlias, cast

from anyio import BrokenResourceError
from anyio.abc import AnyByteStream, ByteStream, SocketAttribute, SocketStream
from anyio.lowlevel import checkpoint

Buffer: TypeAlias = bytes | bytearray | memoryview

# What one system call may bring. Large messages cost a third less CPU time with the larger reads, but what small ones
# bring beyond the read buffer shall not be more than the smaller.
READ_BYTES = 2**18
LARGE_READ_BYTES = 2**20


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


class Sink(Protocol):
    """Where bytes can go at once, as long as nothing else is on its way."""

    def try_send(self, data: Buffer) -> int:
        """Send without waiting and return how many bytes have left; the others are for :meth:`finish_send`.

        :raises anyio.BrokenResourceError: the transport has failed
        """
        ...

    def call_when_sent(self, callback: Callable[[], object]) -> bool:
        """Call when what :meth:`try_send` left over has left, or never will; false when a task has to wait for it."""
        ...

    async def finish_send(self, rest: Buffer) -> None:
        """Wait until what :meth:`try_send` left over has left as well.

        :raises anyio.BrokenResourceError: the transport has failed
        """
        ...


class DirectStream(ByteStream):
    """A byte stream that is its own sink, and that can call a function with what arrives."""

    large_reads: bool = False  # whether a large message is arriving

    @abstractmethod
    def try_send(self, data: Buffer) -> int:
        """See :class:`Sink`."""

    def call_when_sent(self, callback: Callable[[], object]) -> bool:  # noqa: ARG002
        """See :class:`Sink`."""
        return False

    @abstractmethod
    async def finish_send(self, rest: Buffer) -> None:
        """See :class:`Sink`."""

    @abstractmethod
    async def pump(self, feed: Callable[[Buffer], bool]) -> None:
        """Call ``feed`` with whatever arrives, until it returns true.

        The buffer is only good during the call. Cancelling is safe: what has arrived and was not fed stays.

        :raises anyio.EndOfStream: the peer has ended its direction
        :raises anyio.BrokenResourceError: the transport has failed
        """

    def listen(self, feed: Callable[[Buffer], bool], stopped: Callable[[], object]) -> bool:  # noqa: ARG002
        """Call ``feed`` with whatever arrives, without a task that waits for it, where the transport can do that.

        ``stopped`` is called when ``feed`` has returned true or the stream has ended: :meth:`pump` goes on from there.
        Return false when a task has to wait.
        """
        return False

    @abstractmethod
    def end_sending(self) -> None:
        """End our direction behind what was sent, without waiting; the other one stays open."""

    @abstractmethod
    def drop(self) -> None:
        """Drop the connection; unsent bytes are lost."""

    async def send_eof(self) -> None:
        """End our direction behind what was sent."""
        self.end_sending()

    async def aclose(self) -> None:
        """Drop the connection; unsent bytes are lost."""
        self.drop()
        await checkpoint()


class SocketSink:
    """A non-blocking socket, tried from the sender's task; anyio's stream around it does the waiting."""

    def __init__(self, stream: SocketStream, raw_socket: socket) -> None:
        self._stream = stream
        self._socket = raw_socket

    def try_send(self, data: Buffer) -> int:
        """Send what the system takes."""
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0
        except OSError as exc:
            raise BrokenResourceError from exc

    def call_when_sent(self, callback: Callable[[], object]) -> bool:  # noqa: ARG002
        """Only anyio's stream can wait."""
        return False

    async def finish_send(self, rest: Buffer) -> None:
        """Send the rest, waiting for the system to take it."""
        await self._stream.send(cast("bytes", rest))  # a socket takes any buffer


def sink_of(stream: AnyByteStream) -> Sink | None:
    """Return the short cut into a stream, None where there is none."""
    if isinstance(stream, DirectStream):
        return stream
    if isinstance(stream, SocketStream):
        raw_socket = stream.extra(SocketAttribute.raw_socket, None)
        # On asyncio the event loop owns the socket, and hands out a stand-in that cannot send.
        if isinstance(raw_socket, socket):
            return SocketSink(stream, raw_socket)
    return None
