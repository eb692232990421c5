"""The way from the peer: what the application sees of the receive buffer."""

from __future__ import annotations

from collections.abc import AsyncIterator

from anyio import EndOfStream
from anyio.abc import ObjectReceiveStream

from .._network.loop import uninterrupted
from .._protocol.codec import Message
from .connection import Connection
from .statistics import DirectionStatistics
from .waits import wait_for_message, wait_for_messages


class ReadableStream(ObjectReceiveStream[Message]):
    """The messages of the peer: text as str, binary as bytes, each message whole.

    Iteration ends when the peer closes the connection, whatever its code (rule X1); an unclean end raises
    :exc:`ConnectionBroken` after everything that had arrived complete was delivered.
    """

    __slots__ = ("_buffer", "_connection", "_ready")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._buffer = connection.inbox
        self._ready = connection.inbox.ready

    @uninterrupted
    async def receive(self) -> Message:
        """Wait for the next message and return it.

        Cancelling is safe, by a cancel scope as well as by ``asyncio.timeout()`` or ``Task.cancel()``: no message is
        lost. While messages are buffered, this yields to the event loop by budget, see :doc:`/explanation/backpressure`.

        :raises ConnectionClosed: the peer has closed the connection (an :exc:`anyio.EndOfStream`)
        :raises ConnectionBroken: the connection ended in another way (an :exc:`anyio.BrokenResourceError`)
        :raises anyio.ClosedResourceError: we have closed the connection, or cancelled this stream
        :raises anyio.BusyResourceError: another task is receiving already
        """
        if ready := self._ready:
            return ready.pop()
        message = self._buffer.take()
        return await wait_for_message(self._buffer) if message is None else message

    @uninterrupted
    async def __anext__(self) -> Message:
        if ready := self._ready:  # not by receive(), for the sake of speed
            return ready.pop()
        message = self._buffer.take()
        if message is not None:
            return message
        try:
            return await wait_for_message(self._buffer)
        except EndOfStream:
            raise StopAsyncIteration from None

    @uninterrupted
    async def receive_batch(self) -> list[Message]:
        """Wait for the next message and return all that have arrived, one at least.

        For those who have more to do with many than with one: for small messages it takes a fraction of the time of
        :meth:`receive`. How many there are is nothing to rely on; ``read_buffer`` bounds them. Cancelling is safe, and it
        yields to the event loop, as there.

        :raises ConnectionClosed: as :meth:`receive`
        :raises ConnectionBroken: as :meth:`receive`
        :raises anyio.ClosedResourceError: as :meth:`receive`
        :raises anyio.BusyResourceError: as :meth:`receive`
        """
        messages = self._buffer.take_all()
        return await wait_for_messages(self._buffer) if messages is None else messages

    def batches(self) -> AsyncIterator[list[Message]]:
        """Iterate over what :meth:`receive_batch` returns: ``async for messages in conn.readable.batches()``.

        It ends as iteration over the messages does.
        """
        return _Batches(self)

    @uninterrupted
    def receive_nowait(self) -> Message:
        """Return the next message if one is buffered.

        :raises anyio.WouldBlock: no message is buffered, and the stream has not ended
        :raises ConnectionClosed: as :meth:`receive`
        :raises ConnectionBroken: as :meth:`receive`
        :raises anyio.ClosedResourceError: as :meth:`receive`
        :raises anyio.BusyResourceError: another task is receiving already
        """
        return self._buffer.receive_nowait()

    def cancel(self, error: BaseException | None = None) -> None:
        """Drop what is buffered and start the closing handshake, like ``reader.cancel()`` in the browser (rule S3).

        A :exc:`WebSocketError` gives the Close frame its code and reason; anything else an empty Close frame.
        """
        self._connection.cancel(error)

    async def aclose(self) -> None:
        """Close the whole connection, both directions (rule S5), and wait for it, at most ``close_timeout`` seconds."""
        await self._connection.aclose()

    def statistics(self) -> DirectionStatistics:
        """Return how much waits ahead of the reader, and for how long the peer was held back."""
        return self._buffer.statistics()


class _Batches(AsyncIterator[list[Message]]):
    """The messages of the peer by the list; see :meth:`ReadableStream.batches`."""

    __slots__ = ("_readable",)

    def __init__(self, readable: ReadableStream) -> None:
        self._readable = readable

    def __aiter__(self) -> _Batches:
        return self

    async def __anext__(self) -> list[Message]:
        try:
            return await self._readable.receive_batch()
        except EndOfStream:
            raise StopAsyncIteration from None
