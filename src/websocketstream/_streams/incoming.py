"""Messages of the peer in chunks: for those that are larger than one wants to hold, or that never end."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator

from anyio import ClosedResourceError, EndOfStream
from anyio.lowlevel import checkpoint

from .._network.loop import uninterrupted
from .._protocol.close import CloseCode, CloseInfo, describe
from .._protocol.codec import Chunk, Message
from .connection import Connection
from .errors import ConnectionBroken, ConnectionClosed
from .waits import OneAtATime, wait_for_chunk


class ChunkSource:
    """Where the chunks of all messages come from, one receiver at a time."""

    def __init__(self, connection: Connection, max_size: int | None) -> None:
        self._connection = connection
        self._max_size = max_size
        self._receiving = OneAtATime("receiving from")

    @uninterrupted
    async def first(self) -> Chunk:
        """Wait for the first chunk of the next message."""
        async with self._receiving:
            return await wait_for_chunk(self._connection.inbox)

    @uninterrupted
    async def next(self) -> Chunk:
        """Wait for the next chunk of the message in progress, whose end is not that of the connection."""
        async with self._receiving:
            try:
                return await wait_for_chunk(self._connection.inbox)
            except ConnectionClosed as closed:
                info = CloseInfo(closed.close_code or CloseCode.NO_STATUS_RECEIVED, closed.reason)
                message = f"the peer closed with {describe(info)} in the middle of a message"
                raise ConnectionBroken(message, info) from closed

    def check_size(self, size: int) -> None:
        """Fail the connection if a message has more bytes than it may have."""
        if self._max_size is not None and size > self._max_size:
            self._refuse(self._max_size, "max_size of chunked()")

    def check_whole_size(self, size: int) -> None:
        """Likewise if it is wanted as one."""
        most = self._connection.max_message_size
        if most is not None and size > most:
            self._refuse(most, "max_message_size")

    def _refuse(self, most: int, limit: str) -> None:
        raise self._connection.refuse(
            CloseCode.MESSAGE_TOO_BIG, f"message is larger than {most} bytes (limit: {limit})"
        )


class ChunkedMessages(AsyncIterator["IncomingMessage"]):
    """The messages of the peer, each as a stream of its own; see :meth:`ReadableStream.chunked`."""

    def __init__(self, source: ChunkSource) -> None:
        self._source = source
        self._message: IncomingMessage | None = None

    def __aiter__(self) -> ChunkedMessages:
        return self

    async def __anext__(self) -> IncomingMessage:
        """Skip what was not read of the message before, and wait for the next one."""
        if self._message is not None:
            await self._message.skip()
        try:
            first = await self._source.first()
        except EndOfStream:
            raise StopAsyncIteration from None
        self._message = IncomingMessage(self._source, first)
        return self._message


class IncomingMessage(AsyncIterator[Message]):
    """One message of the peer, in chunks as they arrive: str if it is text, else bytes; none is empty.

    See :meth:`ReadableStream.chunked`.
    """

    def __init__(self, source: ChunkSource, first: Chunk) -> None:
        self._source = source
        self._next: Chunk | None = first  # here, and not handed out yet
        self._text = isinstance(first.data, str)
        self._kept: io.StringIO | io.BytesIO | None = None  # what read() has read so far
        self._size = 0
        self._is_over = False
        self._is_skipped = False

    @property
    def text(self) -> bool:
        """Whether it is a text message."""
        return self._text

    @property
    def complete(self) -> bool:
        """Whether all of it was received: :meth:`receive` has nothing more."""
        return self._is_over and self._kept is None

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
        if kept := self._take_kept():
            return kept
        while not (self._is_over or self._is_skipped):
            if data := await self._take():
                return data
        await checkpoint()
        self._check_not_skipped()
        raise EndOfStream

    def _check_not_skipped(self) -> None:
        if self._is_skipped:
            raise ClosedResourceError("the next message was asked for, and what was left of this one is gone")

    async def _take(self) -> Message:
        chunk = self._next or await self._source.next()
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
        if self._is_over and self._kept is None:
            await checkpoint()  # nothing more comes, however often it is asked for
        if self._kept is None:
            self._kept = io.StringIO() if self._text else io.BytesIO()
        while not (self._is_over or self._is_skipped):
            self._kept.write(await self._take())  # type: ignore[arg-type]
            self._source.check_whole_size(self._size)
        self._check_not_skipped()
        return self._take_kept()

    def _take_kept(self) -> Message:
        kept, self._kept = self._kept, None
        if kept is None:
            return "" if self._text else b""
        return kept.getvalue()

    async def skip(self) -> None:
        """Wait for the end of the message, and drop what was not received of it.

        When this is cancelled, or another task is receiving, the message can go on unless something of it was dropped.
        """
        while not self._is_over:
            await self._take()
            self._is_skipped = True
        if self._take_kept():
            self._is_skipped = True


def _bytes_of(data: Message) -> int:
    return len(data) if isinstance(data, bytes) or data.isascii() else len(data.encode())
