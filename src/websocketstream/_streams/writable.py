"""The send buffer: a bounded in-memory object stream whose messages leave whole or not at all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeAlias

from anyio import ClosedResourceError, Event, WouldBlock
from anyio.abc import ObjectSendStream

from .._network.backend import Backend
from .._protocol.codec import Message, Outgoing
from .budget import CHECKPOINT_EVERY, Budget
from .statistics import DirectionStatistics, Stopwatch

# str only if it is ASCII, whose size is its length and whose encoding cannot fail.
Queued: TypeAlias = Message | Outgoing

BATCH_BYTES = 65536  # how much payload of small messages is encoded and written in one go


class MessageWriter(Protocol):
    """What the stream needs of the one who writes."""

    def begins_turn(self) -> bool:
        """Tell whether a message may be written at once, being the first of its sender's turn."""
        ...

    def write_alone(self, item: Queued) -> bool:
        """Write a message past the queue; false when something else comes first."""
        ...

    def write_now(self) -> bool:
        """Write what is queued, as far as that is possible without waiting; false when that will happen later."""
        ...

    def wake(self) -> None:
        """Let what is queued be written as soon as possible."""
        ...

    def continue_burst(self) -> None:
        """Take note that the sender goes on sending without having waited for anything else."""
        ...


class WritableStream(ObjectSendStream[Message]):
    """The way to the peer: str goes out as a text message, bytes as a binary message."""

    def __init__(
        self,
        limit: int,
        budget: Budget,
        backend: Backend,
        writer: MessageWriter,
        *,
        on_abort: Callable[[BaseException | None], None],
        on_aclose: Callable[[], Awaitable[None]],
    ) -> None:
        self._limit = limit
        self._budget = budget
        self._backend = backend
        self._writer = writer
        self._on_abort = on_abort
        self._on_aclose = on_aclose
        self._queue: list[Queued | None] = []  # None: taken back
        self._withdrawn = 0  # messages ever that were taken back
        self._taken = 0  # messages ever that the writer has taken; those in the queue are numbered from here
        self._free = limit  # room for so many bytes; below zero when a message was larger
        self._writing_bytes = 0  # encoded, and not yet taken by the network
        self._credit = 0  # messages that may be queued without further ado: the writer is awake
        self._end: Exception | None = None
        self._held: dict[int, int] = {}  # messages whose send() has not returned: number -> bytes
        self._room: Event | None = None
        self._paused = Stopwatch()

    # --- the application's side

    async def send(self, message: Message, *, compress: bool = True) -> None:
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
        kind = type(message)
        item: Queued
        if compress and (kind is bytes or (kind is str and message.isascii())):
            if self._credit > 0:
                self._credit -= 1
                self._queue.append(message)
                self._free -= len(message)
                if self._free <= 0:
                    await self._hold(len(message))
                return
            item = message
        else:
            item = prepare(message, compress)
        self._raise_if_ended()
        if self._budget.left <= 0:
            self._writer.write_now()
            await self._budget.checkpoint()
            self._raise_if_ended()
            self._writer.continue_burst()
        self._budget.left -= 1
        size = self._enqueue(item)
        if self._free <= 0:
            await self._hold(size)

    def send_nowait(self, message: Message, *, compress: bool = True) -> None:
        """Queue one message if there is room in the write buffer.

        :raises anyio.WouldBlock: the write buffer is full; nothing was sent
        :raises TypeError: as :meth:`send`
        :raises ValueError: as :meth:`send`
        :raises ConnectionClosed: as :meth:`send`
        :raises ConnectionBroken: as :meth:`send`
        :raises anyio.ClosedResourceError: as :meth:`send`
        """
        item = prepare(message, compress)
        self._raise_if_ended()
        if self._free <= 0:
            raise WouldBlock
        self._enqueue(item)

    def abort(self, error: BaseException | None = None) -> None:
        """Drop what is queued and start the closing handshake, like ``writer.abort()`` in the browser (rule S2).

        A :exc:`WebSocketError` gives the Close frame its code and reason; anything else an empty Close frame.
        """
        self._on_abort(error)

    async def aclose(self) -> None:
        """Send what is queued, then close the connection and wait for it, like ``writer.close()`` (rule S1).

        Waits at most ``close_timeout`` seconds; a slow goodbye is no exception, ``close_info`` says how it went.
        """
        await self._on_aclose()

    def statistics(self) -> DirectionStatistics:
        """Return how much waits for the network, and for how long senders were held back."""
        return DirectionStatistics(
            buffered_messages=len(self._queue) - self._queue.count(None),
            buffered_bytes=self._limit - self._free,
            messages=self._taken + len(self._queue) - self._withdrawn,
            paused_seconds=self._paused.read(self._backend.clock()),
        )

    def _raise_if_ended(self) -> None:
        if self._end is not None:
            raise self._end.with_traceback(None)

    def _enqueue(self, item: Queued) -> int:
        size = _size(item)
        at_once = self._writer.begins_turn()
        if at_once and size < BATCH_BYTES and not self._queue and self._writer.write_alone(item):
            self._taken += 1
            return size
        self._queue.append(item)
        self._free -= size
        if (at_once or self._free <= 0) and self._writer.write_now():
            return size
        self._writer.wake()
        self._credit = self._budget.take(CHECKPOINT_EVERY)
        return size

    async def _hold(self, size: int) -> None:
        """Wait for room; messages are known by their number, so that two equal ones are not confused."""
        number = self._taken + len(self._queue)
        self._held[number] = size
        self._paused.start(self._backend.clock())
        try:
            while self._free <= 0 and self._end is None:
                if self._room is None or self._room.is_set():
                    self._room = Event()
                await self._room.wait()
                self._budget.waited()
            if number in self._held:
                return
        except BaseException:
            self._withdraw(number)
            raise
        finally:
            self._held.pop(number, None)
            if not self._held:
                self._paused.stop(self._backend.clock())
        self._raise_if_ended()

    def _withdraw(self, number: int) -> None:
        """Take a message back unless the writer has begun with it: then its frame will be completed."""
        if number > self._taken and number in self._held:
            self._queue[number - self._taken - 1] = None
            self._withdrawn += 1
            self._free += self._held[number]

    # --- the connection's side

    def _take_batch(self) -> list[Queued]:
        """Remove and return the messages to encode next: many small ones, or one large one."""
        queue = self._queue
        self._credit = 0  # whoever queues the next message has to wake the writer again
        if self._limit - self._free - self._writing_bytes < BATCH_BYTES:
            count = len(queue)
            self._free = self._limit - self._writing_bytes
        else:
            count, size = 0, 0
            while count < len(queue) and size < BATCH_BYTES:
                item = queue[count]
                size += 0 if item is None else _size(item)
                count += 1
            self._free += size
        batch = [item for item in queue[:count] if item is not None]
        del queue[:count]
        self._taken += count
        return batch

    def _progress(self, writing_bytes: int) -> None:
        """Take note of how many encoded bytes the network has not yet taken."""
        self._free += self._writing_bytes - writing_bytes
        self._writing_bytes = writing_bytes
        if self._room is not None and self._free > 0:
            self._room.set()

    @property
    def _has_held_senders(self) -> bool:
        return bool(self._held)

    def _finish(self, end: Exception, *, drop: bool = False) -> None:
        """Let senders meet ``end``; messages whose ``send()`` still waits are taken back, ``drop`` takes back all."""
        self._credit = 0
        for number in self._held:
            self._withdraw(number)
        self._held.clear()
        if drop:
            self._taken += len(self._queue)
            self._queue.clear()
            self._free = self._limit - self._writing_bytes
        if self._end is None or isinstance(end, ClosedResourceError):
            self._end = end
        if self._room is not None:
            self._room.set()


def _size(item: Queued) -> int:
    return len(item.payload) if type(item) is Outgoing else len(item)  # type: ignore[arg-type]


def prepare(message: Message, compress: bool) -> Queued:
    """Turn a message into what the codec sends, or say why it cannot be sent."""
    kind = type(message)
    if kind is bytes or (kind is str and message.isascii()):
        return message if compress else Outgoing(_encode(message), kind is str, compress)
    if isinstance(message, str):
        return Outgoing(_encode(message), True, compress)
    if isinstance(message, (bytes, bytearray, memoryview)):
        return Outgoing(bytes(message), False, compress)
    raise TypeError(
        f"a message must be str, bytes, bytearray or memoryview, not {type(message).__name__}; nothing was sent"
    )


def _encode(message: Message) -> bytes:
    if isinstance(message, bytes):
        return message
    try:
        return message.encode()
    except UnicodeEncodeError as exc:
        raise ValueError(
            f"a text message must be encodable as UTF-8, and the character at index {exc.start} is a lone "
            f"surrogate ({message[exc.start]!a}); send bytes, or replace it"
        ) from None
