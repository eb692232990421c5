"""Messages of the peer in chunks: for those that are larger than one wants to hold, or that never end."""

from __future__ import annotations

from collections.abc import AsyncIterator

from anyio import ClosedResourceError, EndOfStream, ResourceGuard
from anyio.lowlevel import checkpoint

from .._network.loop import uninterrupted
from .._protocol.close import CloseCode, CloseInfo, describe
from .._protocol.codec import Chunk, Message
from .connection import Connection
from .errors import ConnectionBroken, ConnectionClosed
from .waits import wait_for_chunk


class ChunkedMessages(AsyncIterator["IncomingMessage"]):
    """The messages of the peer, each as a stream of its own; see :meth:`ReadableStream.chunked`."""

    def __init__(self, connection: Connection, max_size: int | None) -> None:
        self._connection = connection
        self._max_size = max_size
        self._message: IncomingMessage | None = None
        self._receiving = ResourceGuard("receiving from")

    def __aiter__(self) -> ChunkedMessages:
        return self

    async def __anext__(self) -> IncomingMessage:
        """Skip what was not read of the message before, and wait for the next one."""
        if self._message is not None:
            await self._message.skip()
        with self._receiving:
            try:
                first = await self._wait_for_chunk()
            except EndOfStream:
                raise StopAsyncIteration from None
            self._message = IncomingMessage(self, first, self._connection.max_message_size)
            return self._message

    async def next_chunk(self) -> Chunk:
        """Wait for the next chunk of the message in progress."""
        with self._receiving:
            try:
                return await self._wait_for_chunk()
            except ConnectionClosed as closed:
                info = CloseInfo(closed.close_code or CloseCode.NO_STATUS_RECEIVED, closed.reason)
                message = f"the peer closed with {describe(info)} in the middle of a message"
                raise ConnectionBroken(message, info) from closed

    @uninterrupted
    async def _wait_for_chunk(self) -> Chunk:
        return await wait_for_chunk(self._connection.inbox)

    def check_size(self, size: int) -> None:
        """Fail the connection if a message has more bytes than it may have."""
        if self._max_size is not None and size > self._max_size:
            self.refuse(self._max_size, "max_size of chunked()")

    def refuse(self, most: int, limit: str) -> None:
        """Fail the connection on account of a message that is too large."""
        raise self._connection.refuse(
            CloseCode.MESSAGE_TOO_BIG, f"message is larger than {most} bytes (limit: {limit})"
        )


class IncomingMessage(AsyncIterator[Message]):
    """One message of the peer, in chunks as they arrive: str if it is text, else bytes; none is empty.

    See :meth:`ReadableStream.chunked`.
    """

    def __init__(self, source: ChunkedMessages, first: Chunk, max_message_size: int | None) -> None:
        self._source = source
        self._next: Chunk | None = first  # here, and not handed out yet
        self._kept: list[Message] = []  # by a read() that was cancelled
        self._max_message_size = max_message_size
        self._size = 0
        self._is_over = False
        self._is_skipped = False
        self._text = isinstance(first.data, str)

    @property
    def text(self) -> bool:
        """Whether it is a text message."""
        return self._text

    def __aiter__(self) -> IncomingMessage:
        return self

    async def __anext__(self) -> Message:
        try:
            return await self.receive()
        except EndOfStream:
            raise StopAsyncIteration from None

    async def receive(self) -> Message:
        """Wait for the next chunk and return it. Cancelling is safe: nothing is lost.

        A chunk is what has arrived together, about 1 MiB at the most; of text it is whole characters.

        :raises anyio.EndOfStream: the message is complete
        :raises ConnectionBroken: the connection ended before the message did, in whichever way, or the message is larger than
            the ``max_size`` of :meth:`ReadableStream.chunked` (an :exc:`anyio.BrokenResourceError`)
        :raises anyio.ClosedResourceError: we have closed the connection, or gone on to the next message
        :raises anyio.BusyResourceError: another task is receiving already
        """
        if self._kept:
            return self._kept.pop(0)
        while not (self._is_over or self._is_skipped):
            if data := await self._take():
                return data
        await checkpoint()
        if self._is_skipped:
            raise ClosedResourceError("the next message was asked for, and what was left of this one is gone")
        raise EndOfStream

    async def _take(self) -> Message:
        chunk = self._next or await self._source.next_chunk()
        self._next = None
        self._size += _bytes_of(chunk.data)
        self._source.check_size(self._size)
        self._is_over = chunk.last
        return chunk.data

    async def read(self) -> Message:
        """Wait for all that was not received yet, and return it as one message.

        Cancelling is safe: what has come so far is kept for the next call. The bytes of the whole message are limited by the
        connection's ``max_message_size``.

        :raises ConnectionBroken: as :meth:`receive`, or the message is larger
        :raises anyio.ClosedResourceError: as :meth:`receive`
        :raises anyio.BusyResourceError: as :meth:`receive`
        """
        chunks: list[Message] = []
        try:
            async for chunk in self:
                chunks.append(chunk)
                self._check_whole_size()
        except BaseException:
            self._kept = chunks
            raise
        return "".join(chunks) if self._text else b"".join(chunks)  # type: ignore[arg-type]

    def _check_whole_size(self) -> None:
        most = self._max_message_size
        if most is not None and self._size > most:
            self._source.refuse(most, "max_message_size")

    async def skip(self) -> None:
        """Wait for the end of the message, and drop what was not received of it.

        When this is cancelled, or another task is receiving, the message can go on unless something of it was dropped.
        """
        if self._kept:
            self._kept.clear()
            self._is_skipped = True
        while not self._is_over:
            await self._take()
            self._is_skipped = True


def _bytes_of(data: Message) -> int:
    return len(data) if isinstance(data, bytes) or data.isascii() else len(data.encode())
