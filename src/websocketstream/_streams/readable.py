"""The way from the peer: what the application sees of the receive buffer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, NoReturn

from anyio import BusyResourceError, EndOfStream
from anyio.abc import ObjectReceiveStream

from .._network.loop import uninterrupted
from .._protocol.codec import Message
from .connection import Connection
from .hints import ASYNC_FOR, ONE_RECEIVER
from .incoming import ChunkedMessages, ChunkSource
from .options import check_size
from .statistics import DirectionStatistics, Discarded
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

    if not TYPE_CHECKING:  # a mistake that type checkers see without us

        def __iter__(self) -> NoReturn:
            raise TypeError(ASYNC_FOR)

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
        buffer = self._buffer
        message = buffer.take()
        if message is None and (arrival := buffer.expect()) is not None:
            try:  # what wait_for_message() does, for the sake of speed
                await arrival
            except BaseException:
                buffer.end_waiting()
                raise
            message = buffer.take_arrived()
        return await wait_for_message(buffer) if message is None else message

    @uninterrupted
    async def __anext__(self) -> Message:
        if ready := self._ready:  # not by receive(), for the sake of speed
            return ready.pop()
        buffer = self._buffer
        message = buffer.take()
        if message is None and (arrival := buffer.expect()) is not None:
            try:
                await arrival
            except BaseException:
                buffer.end_waiting()
                raise
            message = buffer.take_arrived()
        if message is not None:
            return message
        if buffer.is_over():
            raise StopAsyncIteration
        try:
            return await wait_for_message(buffer)
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

    def chunked(self, *, max_size: int | None = None) -> ChunkedMessages:
        """Take the messages in chunks, each as it arrives: for those that are larger than one wants to hold.

        ::

            async for message in conn.readable.chunked():  # message.text says which kind it is
                async for chunk in message:  # or: whole = await message.read()
                    ...

        What is not read of a message is skipped when the next one is asked for. Iteration over the messages ends as that over
        the stream does, iteration over the chunks only at the end of a message that is complete. Of what nobody has asked for,
        no more than ``read_buffer`` is held.

        From here on nobody can receive whole messages, as in the browser from a stream that is locked. Ask for it first in the block:
        ``max_message_size``, which does not hold for chunks, holds for what arrives before.

        :param max_size: the most bytes of a message (UTF-8 for text); None for any number. One that is larger fails the
            connection with 1009
        :raises anyio.BusyResourceError: a task is receiving, or this was called before
        """
        if max_size is not None:
            check_size("max_size", max_size)
        self._connection.read_in_chunks()
        return ChunkedMessages(ChunkSource(self._connection, max_size))

    @uninterrupted
    def receive_nowait(self) -> Message:
        """Return the next message if one is buffered.

        :raises anyio.WouldBlock: no message is buffered, and the stream has not ended
        :raises ConnectionClosed: as :meth:`receive`
        :raises ConnectionBroken: as :meth:`receive`
        :raises anyio.ClosedResourceError: as :meth:`receive`
        :raises anyio.BusyResourceError: another task is receiving already
        """
        try:
            return self._buffer.receive_nowait()
        except BusyResourceError as busy:
            busy.add_note(ONE_RECEIVER)
            raise

    def discard(self) -> Discarded:
        """Drop the messages that have arrived and that nobody has received, keep the connection, and say how much it was.

        What the system has still in its buffers arrives later.

        :raises anyio.BusyResourceError: messages are taken in chunks
        """
        return self._connection.discard_received()

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
