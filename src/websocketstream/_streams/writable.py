"""The send buffer: a bounded in-memory object stream whose messages leave whole or not at all."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable

from anyio import ClosedResourceError, Event, WouldBlock, current_time
from anyio.abc import ObjectSendStream

from .._protocol.codec import Message, Outgoing
from .budget import Budget
from .statistics import DirectionStatistics, Stopwatch

BATCH_BYTES = 65536  # how much payload of small messages is encoded and written in one go


class WritableStream(ObjectSendStream[Message]):
    """The way to the peer: str goes out as a text message, bytes as a binary message."""

    def __init__(
        self,
        limit: int,
        budget: Budget,
        *,
        on_work: Callable[[], None],
        on_abort: Callable[[BaseException | None], None],
        on_aclose: Callable[[], Awaitable[None]],
    ) -> None:
        self._limit = limit
        self._budget = budget
        self._on_work = on_work
        self._on_abort = on_abort
        self._on_aclose = on_aclose
        self._queue: deque[Outgoing] = deque()
        self._queued_bytes = 0
        self._writing_bytes = 0  # encoded, and not yet taken by the network
        self._messages = 0
        self._end: Exception | None = None
        self._held: list[Outgoing] = []  # messages whose send() has not returned
        self._room: Event | None = None
        self._paused = Stopwatch()

    # --- the application's side

    async def send(self, message: Message, *, compress: bool = True) -> None:
        """Queue one message and wait until what is unsent fits the write buffer.

        A message larger than the write buffer holds ``send()`` until most of it has left (rule T6). Returning means
        buffered, not delivered (rule T5). bytearrays and memoryviews are copied at the call (rule T2).

        Cancelling is safe: either no byte of the message goes out, or its frame is completed in the background and
        the connection stays usable. While there is room, this yields to the event loop on every 32nd call only.

        :param compress: false sends this message plain although permessage-deflate was negotiated
        :raises TypeError: the message is neither str nor bytes-like; nothing was sent
        :raises ValueError: the text has a lone surrogate, which UTF-8 cannot carry; nothing was sent
        :raises ConnectionClosed: the peer has closed the connection (also an :exc:`anyio.BrokenResourceError`)
        :raises ConnectionBroken: the connection ended in another way (an :exc:`anyio.BrokenResourceError`)
        :raises anyio.ClosedResourceError: we have closed the connection
        """
        outgoing = prepare(message, compress)
        self._raise_if_ended()
        if self._budget.spend():
            await self._budget.checkpoint()
            self._raise_if_ended()
        self._enqueue(outgoing)
        if self._unsent >= self._limit:
            await self._hold(outgoing)

    def send_nowait(self, message: Message, *, compress: bool = True) -> None:
        """Queue one message if there is room in the write buffer.

        :raises anyio.WouldBlock: the write buffer is full; nothing was sent
        :raises TypeError: as :meth:`send`
        :raises ValueError: as :meth:`send`
        :raises ConnectionClosed: as :meth:`send`
        :raises ConnectionBroken: as :meth:`send`
        :raises anyio.ClosedResourceError: as :meth:`send`
        """
        outgoing = prepare(message, compress)
        self._raise_if_ended()
        if self._unsent >= self._limit:
            raise WouldBlock
        self._enqueue(outgoing)

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
            buffered_messages=len(self._queue),
            buffered_bytes=self._unsent,
            messages=self._messages,
            paused_seconds=self._paused.read(current_time()),
        )

    def _raise_if_ended(self) -> None:
        if self._end is not None:
            raise self._end.with_traceback(None)

    @property
    def _unsent(self) -> int:
        return self._queued_bytes + self._writing_bytes

    def _enqueue(self, outgoing: Outgoing) -> None:
        self._queue.append(outgoing)
        self._queued_bytes += len(outgoing.payload)
        self._messages += 1
        self._on_work()

    async def _hold(self, outgoing: Outgoing) -> None:
        self._held.append(outgoing)
        self._paused.start(current_time())
        try:
            while self._unsent >= self._limit and self._end is None:
                if self._room is None or self._room.is_set():
                    self._room = Event()
                await self._room.wait()
                self._budget.waited()
            if outgoing in self._held:
                return
        except BaseException:
            self._withdraw(outgoing)
            raise
        finally:
            self._release(outgoing)
        self._raise_if_ended()

    def _release(self, outgoing: Outgoing) -> None:
        if outgoing in self._held:
            self._held.remove(outgoing)
        if not self._held:
            self._paused.stop(current_time())

    def _withdraw(self, outgoing: Outgoing) -> None:
        """Take a message back unless the writer has begun with it: then its frame will be completed."""
        if outgoing in self._queue:
            self._queue.remove(outgoing)
            self._queued_bytes -= len(outgoing.payload)
            self._messages -= 1

    # --- the connection's side

    def _take_batch(self) -> list[Outgoing]:
        """Remove and return the messages to encode next: many small ones, or one large one."""
        batch: list[Outgoing] = []
        size = 0
        while self._queue and size < BATCH_BYTES:
            outgoing = self._queue.popleft()
            size += len(outgoing.payload)
            batch.append(outgoing)
        self._queued_bytes -= size
        return batch

    def _progress(self, writing_bytes: int) -> None:
        """Take note of how many encoded bytes the network has not yet taken."""
        self._writing_bytes = writing_bytes
        if self._room is not None and self._unsent < self._limit:
            self._room.set()

    @property
    def _has_held_senders(self) -> bool:
        return bool(self._held)

    def _finish(self, end: Exception, *, drop: bool = False) -> None:
        """Let senders meet ``end``; messages whose ``send()`` still waits are taken back, ``drop`` takes back all."""
        for outgoing in self._held:
            self._withdraw(outgoing)
        self._held.clear()
        if drop:
            self._queue.clear()
            self._queued_bytes = 0
        if self._end is None or isinstance(end, ClosedResourceError):
            self._end = end
        if self._room is not None:
            self._room.set()


def prepare(message: Message, compress: bool) -> Outgoing:
    """Turn a message into what the codec sends, or say why it cannot be sent."""
    if type(message) is bytes:
        return Outgoing(message, False, compress)
    if isinstance(message, str):
        try:
            return Outgoing(message.encode(), True, compress)
        except UnicodeEncodeError as exc:
            raise ValueError(
                f"a text message must be encodable as UTF-8, and the character at index {exc.start} is a lone "
                f"surrogate ({message[exc.start]!a}); send bytes, or replace it"
            ) from None
    if isinstance(message, (bytes, bytearray, memoryview)):
        return Outgoing(bytes(message), False, compress)
    raise TypeError(
        f"a message must be str, bytes, bytearray or memoryview, not {type(message).__name__}; nothing was sent"
    )
