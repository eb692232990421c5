"""The send buffer: what was accepted and has not left, counted in bytes; messages leave whole or not at all."""

from __future__ import annotations

from typing import TypeAlias

from anyio import ClosedResourceError

from .._network.loop import EventLoop, Handle, Waiter
from .._protocol.codec import Message, Outgoing
from .budget import Budget
from .statistics import DirectionStatistics, Stopwatch

WAKE_AT_ONCE = 128  # senders that go on in one pass of the event loop: more of them would take too much of it

# What may be sent: text, or binary of any kind.
Sendable: TypeAlias = str | bytes | bytearray | memoryview
# str only if it is ASCII, whose size is its length and whose encoding cannot fail.
Queued: TypeAlias = Message | Outgoing


class SendBuffer:
    """Messages in order, and the senders that are held until there is room.

    While there is ``credit``, a sender may append to the ``queue`` without further ado: the writer will come for it.
    A message is known by its number, so that two equal ones are not confused.
    """

    __slots__ = (
        "_budget",
        "_end",
        "_held",
        "_limit",
        "_loop",
        "_paused",
        "_taken",
        "_unsent_bytes",
        "_unsent_messages",
        "_waking",
        "_withdrawn",
        "credit",
        "free",
        "queue",
    )

    def __init__(self, limit: int, budget: Budget, loop: EventLoop) -> None:
        self._limit = limit
        self._budget = budget
        self._loop = loop
        self.queue: list[Queued | None] = []  # None: taken back
        self.credit: int = 0
        self.free: int = limit  # room for so many bytes; below zero when a message was larger
        self._taken = 0  # messages ever that the writer has taken; those in the queue are numbered from here
        self._withdrawn = 0  # messages ever that were taken back, or dropped
        self._unsent_bytes = 0  # encoded, and not yet taken by the network
        self._unsent_messages = 0  # of them
        # Number -> bytes, and what wakes the sender, None when it was woken and has not had its turn yet.
        self._held: dict[int, tuple[int, Waiter | None]] = {}
        self._waking: Handle | None = None  # the turn in which more of them go on
        self._end: Exception | None = None
        self._paused = Stopwatch()

    # --- the application's side

    def raise_if_ended(self) -> None:
        """Raise what senders meet, if nothing can be sent any more."""
        if self._end is not None:
            raise self._end.with_traceback(None)

    def append(self, item: Queued, size: int) -> None:
        """Queue a message, room or not."""
        self.queue.append(item)
        self.free -= size

    async def hold(self, size: int) -> None:
        """Wait until there is room, holding the sender of the message that was queued last.

        When that is cancelled, or the connection ends, the message is taken back unless the writer has begun with it.
        """
        number = self._taken + len(self.queue)
        self.refused()
        try:
            while self.free <= 0 and self._end is None:
                waiter = self._loop.waiter()
                self._held[number] = size, waiter
                await waiter.wait()
                self._budget.waited()
        except BaseException:
            self._withdraw(number)
            self._wake_if_free()
            raise
        if self._end is None:
            self._held.pop(number, None)
        else:
            self._withdraw(number)
            self.raise_if_ended()

    def refused(self) -> None:
        """Take note that a sender was turned away or held: backpressure is felt from now until there is room."""
        self._paused.start(self._loop.stopwatch())

    def _withdraw(self, number: int) -> None:
        """Take a held message back unless the writer has begun with it: then its frame will be completed."""
        size, _ = self._held.pop(number, (0, None))
        if size and number > self._taken:
            self.queue[number - self._taken - 1] = None
            self._withdrawn += 1
            self.free += size

    # --- the connection's side

    @property
    def holds_senders(self) -> bool:
        """Whether a message is here that has not left far enough for its sender to go on."""
        return self.free <= 0 and bool(self._held)

    def take_batch(self, most: int) -> list[Queued]:
        """Remove and return the messages to encode next: small ones up to about so many bytes, or one large one."""
        queue = self.queue
        self.credit = 0  # whoever queues the next message has to wake the writer again
        queued_bytes = self._limit - self.free - self._unsent_bytes
        if queued_bytes < most:
            batch = [item for item in queue if item is not None]
            count = len(queue)
        else:
            batch, count, size = [], 0, 0
            while count < len(queue) and size < most:
                item = queue[count]
                count += 1
                if item is not None:
                    batch.append(item)
                    size += size_of(item)
            queued_bytes = size
        del queue[:count]
        self._taken += count
        # Until they are encoded they count as they did.
        self._unsent_bytes += queued_bytes
        self._unsent_messages += len(batch)
        return batch

    def passed_by(self, unsent: int) -> None:
        """Count a message that went past the queue, so many bytes of which the network has not yet taken."""
        self._taken += 1
        if unsent:
            self._unsent_messages += 1
            self.left_to_send(unsent)

    def left_to_send(self, unsent: int) -> None:
        """Take note of how many encoded bytes the network has not yet taken."""
        self.free += self._unsent_bytes - unsent
        self._unsent_bytes = unsent
        if not unsent:
            self._unsent_messages = 0
        self._wake_if_free()

    def finish(self, end: Exception, *, drop: bool = False) -> None:
        """Let senders meet ``end``; messages whose sender is held are taken back, ``drop`` takes back all."""
        self.credit = 0
        if self._end is None or isinstance(end, ClosedResourceError):
            self._end = end
        held = list(self._held.items())
        for number, (_, waiter) in held:
            self._withdraw(number)
            if waiter is not None:
                waiter.set()
        if drop:
            self._drop()
        self._wake_if_free()

    def _drop(self) -> None:
        dropped = sum(item is not None for item in self.queue)
        self._withdrawn += dropped
        self._taken += len(self.queue)
        self.queue.clear()
        self.free = self._limit - self._unsent_bytes

    def stop(self) -> None:
        """Nothing leaves any more: what has not left counts as never sent."""
        self._drop()
        self._withdrawn += self._unsent_messages
        self.left_to_send(0)

    def _wake_if_free(self) -> None:
        if self.free > 0:
            self._paused.stop(self._loop.stopwatch())
            if self._held and self._waking is None:
                self._wake_some()

    def _wake_some(self) -> None:
        woken = 0
        for number, (size, waiter) in self._held.items():
            if waiter is not None:
                if woken == WAKE_AT_ONCE:
                    self._waking = self._loop.call_soon(self._wake_more)
                    break
                self._held[number] = size, None
                waiter.set()
                woken += 1

    def _wake_more(self) -> None:
        self._waking = None
        self._wake_if_free()

    def statistics(self) -> DirectionStatistics:
        """Return how much waits for the network, and for how long senders were held back."""
        queued = len(self.queue) - self.queue.count(None)
        return DirectionStatistics(
            buffered_messages=queued + self._unsent_messages,
            buffered_bytes=self._limit - self.free,
            messages=self._taken + len(self.queue) - self._withdrawn,
            paused_seconds=self._paused.read(self._loop.stopwatch()),
        )


def size_of(item: Queued) -> int:
    """Return the bytes for which a message is charged."""
    return len(item.payload) if type(item) is Outgoing else len(item)  # type: ignore[arg-type]


def prepare(message: Sendable, compress: bool) -> Queued:
    """Turn a message into what the codec sends, or say why it cannot be sent."""
    if isinstance(message, str):
        if compress and type(message) is str and message.isascii():
            return message
        return Outgoing(_encode(message), True, compress)
    if type(message) is bytes:
        return message if compress else Outgoing(message, False, compress)
    if isinstance(message, (bytes, bytearray, memoryview)):
        return Outgoing(bytes(message), False, compress)
    raise TypeError(
        f"a message must be str, bytes, bytearray or memoryview, not {type(message).__name__}; nothing was sent"
    )


def _encode(message: str) -> bytes:
    try:
        return message.encode()
    except UnicodeEncodeError as exc:
        raise ValueError(
            f"a text message must be encodable as UTF-8, and the character at index {exc.start} is a lone "
            f"surrogate ({message[exc.start]!a}); send bytes, or replace it"
        ) from None
