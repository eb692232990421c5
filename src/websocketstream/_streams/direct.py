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

Buffer: TypeAlias = bytes | bytearray | memoryview

RECEIVE_BYTES = 2**20  # by one system call; with a quarter of it, large messages cost a third more CPU time


class _Scratch(threading.local):
    """Where the system puts what arrives: one for all connections of a thread, for it is used up at once."""

    def __init__(self) -> None:
        self.view = memoryview(bytearray(RECEIVE_BYTES))


SCRATCH = _Scratch()


class Sink(Protocol):
    """Where bytes can go at once, as long as nothing else is on its way."""

    def try_send(self, data: Buffer) -> int:
        """Send without waiting and return how many bytes have left; the others are for :meth:`finish_send`.

        :raises anyio.BrokenResourceError: the transport has failed
        """
        ...

    async def finish_send(self, rest: Buffer) -> None:
        """Wait until what :meth:`try_send` left over has left as well."""
        ...


class DirectStream(ByteStream):
    """A byte stream that is its own sink, and that can call a function with what arrives."""

    @abstractmethod
    def try_send(self, data: Buffer) -> int:
        """See :class:`Sink`."""

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

    async def send_eof(self) -> None:
        """End our direction behind what was sent."""
        self.end_sending()


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
