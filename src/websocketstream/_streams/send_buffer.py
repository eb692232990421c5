"""The send buffer: what was accepted and has not left, counted in bytes; messages leave whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from time import perf_counter
from typing import Any, Protocol, TypeAlias

from .._network.loop import EventLoop, Waiter
from .._protocol.codec import Encoded, Message, Outgoing
from .._streams.budget import LOOK_EVERY
from .._streams.errors import EndError
from .._streams.statistics import DirectionStatistics, Stopwatch
from .budget import Budget

WAKE_AT_ONCE = 128  # senders that go on in one pass of the event loop: more of them would take too much of it

AT_ONCE = 512  # messages of a batch between two looks at the clock

# What may be sent: text, or binary of any kind.
Sendable: TypeAlias = str | bytes | bytearray | memoryview
# str only if it is ASCII, whose size is its length and whose encoding cannot fail.
Queued: TypeAlias = Message | Outgoing | Encoded


class Parts(Protocol):
    """A message that is sent in parts."""

    def over(self) -> None:
        """Let others send: it is complete, or will never be."""
        ...


class Held:
    """A sender that waits for room."""

    __slots__ = ("is_free", "number", "size", "waiter")

    def __init__(self, number: int, size: int, waiter: Waiter) -> None:
        self.number: int = number  # of its message
        self.size: int = size  # bytes of its message
        self.waiter: Waiter = waiter
        self.is_free: bool = False  # to go on, whatever happens to the connection from then on


class SendBuffer:
    """Messages in order, and the senders that are held until there is room.

    While there is ``credit``, a sender may append to the ``queue`` without further ado: the writer will come for it.
    A message is known by its number, so that two equal ones are not confused.
    """

    __slots__ = (
        "_freed",
        "_had_parts",
        "_held",
        "_is_felt",
        "_limit",
        "_loop",
        "_paused",
        "_taken",
        "_unsent_bytes",
        "_unsent_messages",
        "_watchers",
        "_withdrawn",
        "budget",
        "credit",
        "encoded",
        "end",
        "free",
        "is_fetched",
        "parts",
        "queue",
    )

    def __init__(self, limit: int, budget: Budget, loop: EventLoop) -> None:
        self._limit = limit
        self.budget: Budget = budget
        self._loop = loop
        self.queue: list[Queued | None] = []  # None: taken back
        self.encoded: int = 0  # items of the queue that are frames already
        self.credit: int = 0
        self.is_fetched: bool = False  # the writer will come for the next messages, too
        self.free: int = limit  # room for so many bytes; below zero when a message was larger
        self._taken = 0  # messages ever that the writer has taken; those in the queue are numbered from here
        self._withdrawn = 0  # messages ever that were taken back, or dropped
        self._unsent_bytes = 0  # encoded, and not yet taken by the network
        self._unsent_messages = 0  # of them
        self._held: dict[int, Held] = {}  # senders that wait, by the number of their message
        self.end: EndError | None = None  # what senders meet
        self.parts: Parts | None = None  # the message that comes in parts: until it ends, others have to wait
        self._had_parts = False  # so that messages have to be told from parts
        self._freed: list[Waiter] = []  # of senders that may go on, and have not been woken yet
        self._is_felt = False  # somebody waits for room, or was refused
        self._paused = Stopwatch()
        self._watchers: list[Callable[[], object]] | None = None  # called when there is room again

    # --- the application's side

    def raise_if_ended(self) -> None:
        """Raise what senders meet, if nothing can be sent any more."""
        if self.end is not None:
            raise self.end.to_raise()

    @property
    def has_room(self) -> bool:
        """Whether a message of anybody would be taken now."""
        return self.free > 0 and self.parts is None and self.end is None

    def renew_credit(self) -> bool:
        """Give credit for a few messages more, if the budget allows it and the writer will come for them."""
        budget = self.budget
        if self.is_fetched and self.parts is None and perf_counter() < budget.until and budget.rest:
            budget.rest -= 1
            budget.left = 0
            self.credit = LOOK_EVERY
            return True
        return False

    def append(self, item: Queued, size: int) -> None:
        """Queue a message, room or not."""
        self.queue.append(item)
        self.free -= size

    def append_some(self, batch: Batch, start: int) -> int:
        """Queue messages from ``start`` on until there is no more room, one at least; return where the others begin."""
        items, charged, end = batch.items, 0, start
        most = min(start + AT_ONCE, len(items))
        while end < most:
            charged += size_of(items[end])
            end += 1
            if charged >= self.free:
                break
        self.queue += items[start:end]
        self.free -= charged
        return end

    def hold(self, size: int) -> Held:
        """Hold the sender of the message that was queued last, until there is room."""
        number = self._taken + len(self.queue)
        held = self._held[number] = Held(number, size, self._loop.waiter())
        if self.end is not None:  # it came while the message was queued
            self._take_back(number)
            self.raise_if_ended()
        self.refused()
        return held

    def begin_parts(self, parts: Parts) -> None:
        """Let nobody else send until the message that comes in parts is over."""
        self.parts = parts
        self.credit, self.is_fetched = 0, False

    def part_queued(self) -> None:
        """Take note that a part was queued that is not the last one: all of them count as one message."""
        self._had_parts = True
        self._withdrawn += 1

    def end_parts(self) -> None:
        """Let others send again."""
        parts, self.parts = self.parts, None
        if parts is not None:
            parts.over()
            self._call_watchers()

    def release(self, held: Held) -> None:
        """Hold a sender no longer that was cancelled, and keep what it has queued."""
        self._held.pop(held.number, None)

    def give_up(self, held: Held) -> None:
        """Hold a sender no longer that was cancelled: its message is taken back unless the writer has begun with it."""
        if held.number in self._held:
            self._take_back(held.number)
            self._wake_if_free()

    def refused(self) -> None:
        """Take note that a sender was turned away or held: backpressure is felt from now until there is room."""
        self._is_felt = True
        self._paused.start(self._loop.stopwatch())

    def watch(self, callback: Callable[[], object]) -> None:
        """Call back, from the event loop, when there is room again for who was :meth:`refused`, and at the end."""
        if self._watchers is None:
            self._watchers = []
        if callback not in self._watchers:
            self._watchers.append(callback)

    def unwatch(self, callback: Callable[[], object]) -> None:
        """Call back no more; it may be repeated."""
        if self._watchers is not None and callback in self._watchers:
            self._watchers.remove(callback)

    def _take_back(self, number: int) -> None:
        """Let go of a held sender, and take its message back unless the writer has begun with it."""
        size = self._held.pop(number).size
        place = number - self._taken - 1
        item = self.queue[place] if place >= 0 else None
        if item is not None:
            self._withdrawn += ends(item)
            self.queue[place] = None
            self.free += size

    # --- the connection's side

    @property
    def holds_senders(self) -> bool:
        """Whether a message is here that has not left far enough for its sender to go on."""
        return bool(self._held)

    def take_batch(self, most: int) -> list[Queued]:
        """Remove and return the messages to encode next: small ones up to about so many bytes, or one large one."""
        queue = self.queue
        self.credit, self.is_fetched = (
            0,
            False,
        )  # whoever queues the next message has to wake the writer again
        size = self._limit - self.free - self._unsent_bytes  # of the whole queue
        if size <= most + most // 8:
            count = len(queue)
        else:
            count, size = 0, 0
            while count < len(queue) and size < most:
                item = queue[count]
                size += 0 if item is None else size_of(item)
                count += 1
        batch = [item for item in queue[:count] if item is not None]
        del queue[:count]
        self._taken += count
        # Until they are encoded they count as they did.
        self._unsent_bytes += size
        self._unsent_messages += number_of_ends(batch) if self._had_parts else len(batch)
        return batch

    def passed_by(self, item: Queued, unsent: int) -> None:
        """Count a message that went past the queue, so many bytes of which the network has not yet taken."""
        self._taken += 1
        if unsent:
            self._unsent_messages += ends(item)
            self.left_to_send(unsent)

    def left_to_send(self, unsent: int) -> None:
        """Take note of how many encoded bytes the network has not yet taken."""
        self.free += self._unsent_bytes - unsent
        self._unsent_bytes = unsent
        if not unsent:
            self._unsent_messages = 0
        self._wake_if_free()

    def dropped(self, size: int) -> None:
        """Count a message of so many bytes that the writer has taken, and dropped, as never sent."""
        self._withdrawn += 1
        self._unsent_messages -= 1
        held = self._held.get(self._taken)  # its sender: it was the last one that was taken
        if held is not None:
            self._let_go(self._taken, held)
            self._wake_some()
        self.left_to_send(self._unsent_bytes - size)

    def lost(self) -> None:
        """Count what the writer has taken, and what has not left, as never sent."""
        self._withdrawn += self._unsent_messages
        self._unsent_messages = 0

    def discard(self) -> tuple[int, int]:
        """Drop the messages that the writer has not begun with, and return how many they were, and of how many bytes.

        Who has sent one of them goes on. Parts stay: they belong to a message that has begun.
        """
        messages = size = 0
        for place, item in enumerate(self.queue):
            if item is not None and is_whole(item):
                self.queue[place] = None
                self.encoded -= type(item) is Encoded
                messages += 1
                size += size_of(item)
        self._withdrawn += messages
        self.free += size
        for number, held in list(self._held.items()):
            place = number - self._taken - 1
            if place >= 0 and self.queue[place] is None:
                self._let_go(number, held)
        self._forget_dropped()
        self._wake_some()
        self._wake_if_free()
        return messages, size

    def _forget_dropped(self) -> None:
        """Let the queue not grow while the network takes nothing, however often messages are dropped."""
        count = 0
        while count < len(self.queue) and self.queue[count] is None:
            count += 1
        del self.queue[:count]
        self._taken += count

    def _let_go(self, number: int, held: Held) -> None:
        del self._held[number]
        held.is_free = True
        self._freed.append(held.waiter)

    def finish(self, end: EndError, *, drop: bool = False) -> None:
        """Let senders meet ``end``, the first end stays; messages whose sender is held are taken back, ``drop`` takes back all."""
        self.credit, self.is_fetched = 0, False
        if self.end is None:
            self.end = end
        for number, held in list(self._held.items()):
            self._take_back(number)
            self._loop.wake(held.waiter)
        if drop:
            self._drop()
        self._is_felt = False
        self._paused.stop(self._loop.stopwatch())
        self.end_parts()
        self._call_watchers()

    def _drop(self) -> None:
        self._withdrawn += number_of_ends(self.queue)
        self._taken += len(self.queue)
        self.queue.clear()
        self.encoded = 0
        self.free = self._limit - self._unsent_bytes

    def stop(self) -> None:
        """Nothing leaves any more: what has not left counts as never sent."""
        self._drop()
        self.lost()
        self.left_to_send(0)

    def _wake_if_free(self) -> None:
        """Let go of all who are held, if there is room: whatever happens next, their messages are accepted."""
        if self._is_felt and self.free > 0:
            self._is_felt = False
            self._paused.stop(self._loop.stopwatch())
            for number, held in list(self._held.items()):
                self._let_go(number, held)
            # First, for who was held has had his message taken, and sends the next one whether or not there is room.
            self._call_watchers()
            self._wake_some()

    def _call_watchers(self) -> None:
        """Call them in the next pass, for who calls us is in the middle of something."""
        if self._watchers:
            with suppress(OSError):  # the event loop is over
                self._loop.call_soon(self._tell_watchers)

    def _tell_watchers(self) -> None:
        if self._watchers:
            self._watchers.append(self._watchers.pop(0))  # each has its turn to be the first
            for callback in list(self._watchers):
                callback()

    def _wake_some(self) -> None:
        for waiter in self._freed[:WAKE_AT_ONCE]:
            self._loop.wake(waiter)
        del self._freed[:WAKE_AT_ONCE]
        if self._freed:
            with suppress(OSError):  # the event loop is over, and with it all who wait
                self._loop.call_soon(self._wake_some)

    def statistics(self) -> DirectionStatistics:
        """Return how much waits for the network, and for how long senders were held back."""
        return DirectionStatistics(
            buffered_messages=number_of_ends(self.queue) + self._unsent_messages,
            buffered_bytes=self._limit - self.free,
            messages=self._taken + len(self.queue) - self._withdrawn,
            paused_seconds=self._paused.read(self._loop.stopwatch()),
        )

    def totals(self) -> tuple[int, float]:
        """Return how many messages were accepted ever, and for how long senders were held back."""
        messages = self._taken + len(self.queue) - self._withdrawn
        return messages, self._paused.read(self._loop.stopwatch())


def ends(item: Queued) -> bool:
    """Tell whether a message is complete with this."""
    return type(item) is not Outgoing or item.ends


def number_of_ends(items: Sequence[Queued | None]) -> int:
    """Return how many messages are complete with these: one that comes in parts counts with its last one."""
    # Not by ends(), for the sake of speed.
    return len([1 for item in items if item is not None and (type(item) is not Outgoing or item.ends)])


def is_whole(item: Queued) -> bool:
    """Tell whether this is a message by itself."""
    return type(item) is not Outgoing or (item.begins and item.ends)


def size_of(item: Queued) -> int:
    """Return the bytes for which a message is charged; an empty one is not free, or there could be any number."""
    if type(item) is bytes or type(item) is str:  # first, because no name has to be looked up for it
        return len(item) or 1
    return len(item.payload if type(item) is Outgoing else item) or 1  # type: ignore[arg-type]


def prepare(message: Sendable, compress: bool) -> Message | Outgoing:
    """Turn a message into what the codec sends, or say why it cannot be sent."""
    if isinstance(message, str):
        if compress and type(message) is str and message.isascii():
            return message
        return Outgoing(_encode(message), True, compress)
    if type(message) is bytes:
        return message if compress else Outgoing(message, False, compress)
    if isinstance(message, (bytes, bytearray, memoryview)):
        payload = bytes(memoryview(message))  # not bytes(message): a subclass may have a say in that
        return Outgoing(payload, False, compress)
    raise TypeError(
        f"a message must be str, bytes, bytearray or memoryview, not {type(message).__name__}; nothing was sent"
    )


class Batch:
    """Several messages, as what the codec sends."""

    __slots__ = ("items",)

    def __init__(self) -> None:
        self.items: list[Queued] = []

    def add(self, given: list[Any], compress: bool) -> None:
        """Add messages, or say which of them cannot be sent, and why."""
        items = self.items
        for item in given:
            items.append(prepare(item, compress))

    def size(self, number: int) -> int:
        """Return for how many bytes a message is charged."""
        return size_of(self.items[number])


def _encode(message: str) -> bytes:
    try:
        return message.encode()
    except UnicodeEncodeError as exc:
        raise ValueError(
            f"a text message must be encodable as UTF-8, and the character at index {exc.start} is a lone "
            f"surrogate ({message[exc.start]!a}); send bytes, or replace it"
        ) from None
