"""The way to the peer: what the application sees of the send buffer."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable
from itertools import islice

from anyio import WouldBlock
from anyio.abc import ObjectSendStream

from .._network.loop import uninterrupted
from .._protocol.codec import Message, Outgoing
from .connection import Connection
from .hints import first_unsendable, unsendable
from .hot import AT_ONCE, NOT_YET, Batch, prepare
from .outgoing import OutgoingMessage, wait_for_others
from .send_buffer import Sendable
from .statistics import DirectionStatistics, Discarded
from .waits import wait_for_room, wait_for_turn


class WritableStream(ObjectSendStream[Sendable]):
    """The way to the peer: str goes out as a text message, bytes as a binary message."""

    __slots__ = ("_budget", "_buffer", "_connection", "_writer")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._buffer = connection.outbox
        self._writer = connection.writer
        self._budget = connection.budget

    @uninterrupted
    async def send(self, item: Sendable, *, compress: bool = True) -> None:
        """Queue one message and wait until what is unsent fits the write buffer.

        A message larger than the write buffer holds ``send()`` until most of it has left (rule T6). Returning means
        buffered, not delivered (rule T5). bytearrays and memoryviews are copied at the call (rule T2).

        Cancelling is safe: either no byte of the message goes out, or its frame is completed in the background and
        the connection stays usable. While there is room, this yields to the event loop by budget, see
        :doc:`/explanation/backpressure`.

        :param compress: false sends this message plain although permessage-deflate was negotiated
        :raises TypeError: the message is neither str nor bytes-like; nothing was sent
        :raises ValueError: the text has a lone surrogate, which UTF-8 cannot carry; nothing was sent
        :raises ConnectionClosed: the peer has closed the connection (also an :exc:`anyio.BrokenResourceError`)
        :raises ConnectionBroken: the connection ended in another way (an :exc:`anyio.BrokenResourceError`)
        :raises anyio.ClosedResourceError: we have closed the connection
        """
        try:
            size = self._writer.accept(item, compress)
        except TypeError as exc:
            raise unsendable(exc, item) from None
        if size:
            await self._wait(item, compress, size)

    async def _wait(self, item: Sendable, compress: bool, size: int) -> None:
        """Wait for what a message has to wait for: its sender's turn, or room, or both."""
        buffer = self._buffer
        if size == NOT_YET:
            queued = prepare_or_explain(item, compress)  # before anybody can change it
            await wait_for_turn(self._budget)
            await wait_for_others(buffer)
            buffer.raise_if_ended()
            self._writer.continue_burst()
            size = self._writer.put(queued)
        if buffer.free <= 0:
            await wait_for_room(buffer, size)

    async def send_batch(self, messages: Iterable[Sendable], *, compress: bool = True) -> None:
        """Queue several messages, in order, and wait until what is unsent fits the write buffer.

        As :meth:`send` for each of them, in a fraction of the time when they are small: the same backpressure, and the same
        promise when it is cancelled. Then those that were accepted are sent, the one that was waiting for room goes whole
        or not at all, and those behind it do not go.

        :param messages: any iterable of messages; all are looked at before the first is sent
        :param compress: as for :meth:`send`, for all of them
        :raises TypeError: one is neither str nor bytes-like; none was sent
        :raises ValueError: one is text that UTF-8 cannot carry; none was sent
        :raises ConnectionClosed: as :meth:`send`
        :raises ConnectionBroken: as :meth:`send`
        :raises anyio.ClosedResourceError: as :meth:`send`
        """
        if isinstance(messages, (str, bytes, bytearray, memoryview)):
            raise TypeError(
                f"several messages are wanted, not one {type(messages).__name__}; nothing was sent"
            )
        batch, rest = Batch(), iter(messages)
        # Not uninterrupted: this runs the caller's code, which may take any time.
        while some := list(islice(rest, AT_ONCE)):
            try:
                batch.add(some, compress)
            except TypeError as exc:
                raise first_unsendable(exc, some) from None
            await self._look_at_the_clock()
        if not batch.items:
            await self._look_at_the_clock()
        await self._send_all(batch)

    @uninterrupted
    async def _send_all(self, batch: Batch) -> None:
        buffer = self._buffer
        accepted = 0
        buffer.raise_if_ended()
        while accepted < len(batch.items):
            await self._look_at_the_clock()
            await wait_for_others(buffer)
            buffer.raise_if_ended()
            accepted = buffer.append_some(batch, accepted)
            self._writer.flush()
            if buffer.free <= 0:
                await wait_for_room(buffer, batch.size(accepted - 1))

    async def _look_at_the_clock(self) -> None:
        """Let others have their turn if it is time."""
        if not self._budget.allows_much():
            await wait_for_turn(self._budget)

    def message(self, *, text: bool = False, compress: bool = True) -> OutgoingMessage:
        """Send one message in chunks: for one that is larger than one wants to hold, or whose end is not there yet.

        ::

            async with conn.writable.message() as part:
                await part.send(chunk)

        Each chunk leaves as a frame of its own, with the backpressure of :meth:`send`. Other senders wait until the block is
        left; pings and pongs pass between. A message cannot be taken back: when an exception leaves the block after its
        first chunk, the connection fails (with 1011), and the exception goes on.

        :param text: true for text, whose chunks are str; false for binary
        :param compress: as for :meth:`send`; a message in chunks is compressed whatever its size
        :raises RuntimeError: (on entering) the task is in the middle of such a message already
        :raises ConnectionClosed: (on entering and leaving) as :meth:`send`
        :raises ConnectionBroken: (on entering and leaving) as :meth:`send`
        :raises anyio.ClosedResourceError: (on entering and leaving) as :meth:`send`
        """
        return OutgoingMessage(self._connection, text=text, compress=compress)

    async def send_chunks(
        self,
        chunks: Iterable[Sendable] | AsyncIterable[Sendable],
        *,
        text: bool = False,
        compress: bool = True,
    ) -> None:
        """Send one message whose chunks come from an iterable or an async iterable; see :meth:`message`.

        :param text: as there
        :param compress: as there
        :raises TypeError: ``chunks`` is one message, or no iterable; nothing was sent. A chunk is of the wrong kind: the
            connection fails unless it was the first
        :raises ConnectionClosed: as :meth:`send`
        :raises ConnectionBroken: as :meth:`send`
        :raises anyio.ClosedResourceError: as :meth:`send`
        """
        if isinstance(chunks, (str, bytes, bytearray, memoryview)):
            raise TypeError(f"chunks are wanted, not one {type(chunks).__name__}; nothing was sent")
        if not isinstance(chunks, (Iterable, AsyncIterable)):
            raise TypeError(f"chunks must be iterable, and {type(chunks).__name__} is not; nothing was sent")
        async with self.message(text=text, compress=compress) as part:
            if isinstance(chunks, AsyncIterable):
                async for chunk in chunks:
                    await part.send(chunk)
            else:
                for chunk in chunks:
                    await part.send(chunk)

    @uninterrupted
    def send_nowait(self, item: Sendable, *, compress: bool = True) -> None:
        """Queue one message if there is room in the write buffer.

        :raises anyio.WouldBlock: the write buffer is full; nothing was sent
        :raises TypeError: as :meth:`send`
        :raises ValueError: as :meth:`send`
        :raises ConnectionClosed: as :meth:`send`
        :raises ConnectionBroken: as :meth:`send`
        :raises anyio.ClosedResourceError: as :meth:`send`
        """
        queued = prepare_or_explain(item, compress)
        buffer = self._buffer
        buffer.raise_if_ended()
        if not buffer.has_room:
            buffer.refused()
            raise WouldBlock
        self._writer.put(queued)

    def discard(self) -> Discarded:
        """Drop the messages of which no byte has left, keep the connection, and say how much it was.

        A ``send()`` that waits for room with one of them returns. What the system was given cannot be taken back:
        ``low_latency`` keeps that little. A message in chunks that has begun stays.
        """
        return self._connection.discard_sent()

    def abort(self, error: BaseException | None = None) -> None:
        """Drop what is queued and start the closing handshake, like ``writer.abort()`` in the browser (rule S2).

        A :exc:`WebSocketError` gives the Close frame its code and reason; anything else an empty Close frame.
        """
        self._connection.abort(error)

    async def aclose(self) -> None:
        """Send what is queued, then close the connection and wait for it, like ``writer.close()`` (rule S1).

        Waits at most ``close_timeout`` seconds; a slow goodbye is no exception, ``close_info`` says how it went.
        """
        await self._connection.aclose()

    def statistics(self) -> DirectionStatistics:
        """Return how much waits for the network, and for how long senders were held back."""
        return self._buffer.statistics()


def prepare_or_explain(message: Sendable, compress: bool) -> Message | Outgoing:
    """Turn a message into what the codec sends, or say why it cannot be sent and what was probably meant."""
    try:
        return prepare(message, compress)
    except TypeError as exc:
        raise unsendable(exc, message) from None
