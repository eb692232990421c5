"""The receive buffer: bounded, in memory, and a message is taken out only by a receiver that has woken up.

anyio's own memory stream hands an item to the waiting task; a native asyncio cancellation that lands between the
hand-over and the wake-up loses it. Here the item stays in the buffer until the receiver runs, so nothing is lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from sys import getsizeof
from time import perf_counter
from typing import Protocol

from anyio import BusyResourceError, WouldBlock

from .._network.loop import EventLoop, Waiter
from .._protocol.codec import Chunk, Message
from .._streams.budget import LOOK_EVERY
from .._streams.errors import EndError
from .._streams.statistics import DirectionStatistics, Stopwatch
from .budget import Budget


def memory_of(item: Message | Chunk) -> int:
    """Return the bytes for which a message is charged: its memory, so that tiny ones are not free."""
    return getsizeof(item.data if isinstance(item, Chunk) else item)


def number_of_ends(items: Sequence[Message | Chunk]) -> int:
    """Return how many messages are complete with these: one in chunks counts with its last one."""
    return sum(not isinstance(item, Chunk) or item.last for item in items)


class Filler(Protocol):
    """Who fills the buffer, and wants to know how the application gets on."""

    def room_made(self) -> None:
        """There is room again."""
        ...

    def caught_up(self) -> None:
        """The application has taken the last of everything, and comes for more."""
        ...


class ReceiveBuffer:
    """Batches of messages: what arrived together stays together until it is handed out.

    A receiver may pop from ``ready`` without further ado: a few messages of the batch that is being handed out, the next
    one last. The last one of a batch is never among them; so whoever takes it gives the batch's room back.
    """

    __slots__ = (
        "_arrival",
        "_arrived",
        "_batch",
        "_bytes",
        "_count",
        "_end",
        "_following",
        "_is_locked",
        "_limit",
        "_loop",
        "_new_waiter",
        "_paused",
        "_receiving",
        "_size",
        "_wake",
        "budget",
        "filler",
        "full",
        "is_last",
        "ready",
    )

    def __init__(self, limit: int, budget: Budget, loop: EventLoop) -> None:
        self._limit = limit
        self.budget: Budget = budget
        self._loop = loop
        self._new_waiter = loop.waiter
        self._wake = loop.wake
        self.ready: list[Message] = []  # always this object
        self.filler: Filler | None = None
        self.is_last: bool = False  # nothing follows what is here, for the peer has said its last word
        self.full: bool = False  # from reaching the limit until half of it is left, so that it does not flip with every batch
        self._batch: list[Message] = []  # what is being handed out behind `ready`, the next one last
        self._size = 0  # bytes of that whole batch
        self._following: list[tuple[list[Message], int]] = []  # batches, the next one last
        self._arrived: list[tuple[list[Message], int]] = []  # those behind them, in order
        self._bytes = 0  # of all batches that are not used up
        self._count = 0  # messages ever
        self._receiving = False
        self._is_locked = False  # who receives does so for good, in chunks
        self._arrival: Waiter | None = None
        self._end: EndError | None = None
        self._paused = Stopwatch()

    # --- the application's side

    def take(self) -> Message | None:
        """Return the next message when none is ready; None when that needs a wait, a checkpoint, or an error."""
        batch = self._batch
        budget = self.budget
        if len(batch) > LOOK_EVERY and perf_counter() < budget.until and budget.rest and not self._receiving:
            budget.rest -= 1  # the budget's own words for it, for the sake of speed
            budget.left = 0
            ready = self.ready
            ready += batch[-LOOK_EVERY:]
            del batch[-LOOK_EVERY:]
            return ready.pop()
        if not batch or self._receiving or not budget.allows():
            return None
        return self.pop()

    def take_all(self) -> list[Message] | None:
        """Return all messages that are here; None when that needs a wait, a checkpoint, or an error."""
        if not self._batch or self._receiving:
            return None
        return self.pop_all() if self.budget.allows_much() else None

    def receive_nowait(self) -> Message:
        """Return the next message if one is buffered."""
        if self._receiving:
            raise BusyResourceError("receiving from")
        if not self._batch:
            self._come_for_more()
            raise WouldBlock
        return self.pop()

    def _come_for_more(self) -> None:
        """Raise what receivers meet at the end; before that, say that they have come that far."""
        if self._end is None and self.is_last and self.filler is not None:
            self.filler.caught_up()
        if self._end is not None:
            raise self._end.to_raise()

    def pop(self) -> Message:
        """Hand the next message out, and with the last one of a batch give its room back."""
        if self.ready:
            return self.ready.pop()
        message = self._batch.pop()
        if not self._batch:
            self._next_batch()
        return message

    def pop_all(self) -> list[Message]:
        """Hand everything out and give all room back."""
        messages = self._batch
        messages += self.ready  # which come before them
        messages.reverse()
        for batches in (reversed(self._following), self._arrived):
            for batch, _ in batches:
                messages += batch
        self.drop()
        return messages

    def _next_batch(self) -> None:
        self._bytes -= self._size
        self._size = 0
        if not self._following:
            self._following, self._arrived = self._arrived, self._following
            self._following.reverse()
        if self._following:
            self._batch, self._size = self._following.pop()
            self._batch.reverse()
        if self.full and self._bytes <= self._limit // 2:
            self._make_room()

    def discard(self) -> None:
        """Drop everything that nobody has taken."""
        if self._is_locked:
            raise BusyResourceError("receiving from")
        self.drop()

    # --- for messages that are taken in chunks

    def lock(self) -> None:
        """Let nobody receive any more but who takes chunks."""
        if self._receiving:
            raise BusyResourceError("receiving from")
        self._batch += self.ready
        self.ready.clear()
        self._receiving = self._is_locked = True

    def end_waiting_for_chunk(self) -> None:
        """Wait no longer, and keep others from receiving."""
        self._arrival = None

    def pop_chunk(self) -> Chunk:
        """Hand the next chunk out, or a message that was whole before, as one."""
        item: Message | Chunk = self.pop()
        if not isinstance(item, Chunk):
            return Chunk(item, True)
        return item

    # --- for a receiver that has to wait

    def expect(self) -> Waiter | None:
        """Let one receiver wait if it only has to wait for what arrives next, after :meth:`take` has found nothing.

        It calls :meth:`take_arrived` or :meth:`end_waiting` then. Return None when there is anything else to it.
        """
        if self._receiving or self._batch or self._end is not None:
            return None
        if self.is_last and self.filler is not None:
            self.filler.caught_up()
        if self._batch or self._end is not None:
            return None
        self._receiving = True
        self._arrival = self._new_waiter()
        return self._arrival

    def take_arrived(self) -> Message | None:
        """Return the message that has arrived, and let others receive again; None when there is none, but perhaps the end."""
        self.budget.waited()
        self.end_waiting()
        return self.pop() if self._batch else None

    def is_over(self) -> bool:
        """Tell whether the peer has closed and nothing is left, for who would make an error of that only to drop it.

        Not where another task receives, or where who asks again and again has to yield first: that is for :meth:`begin_waiting`.
        """
        end = self._end
        return (
            end is not None and end.is_close and not (self._batch or self._receiving) and self.budget.allows()
        )

    def begin_waiting(self) -> Waiter | None:
        """Let one receiver wait, and nobody else receive.

        Return what to wait for; None when the receiver has to yield to others first, then ask for the :meth:`arrival`;
        or raise the end, for which those who ask again and again have to yield as well.
        """
        if self._receiving:
            raise BusyResourceError("receiving from")
        self._batch += self.ready  # for which waiting is not meant
        self.ready.clear()
        must_yield = self._batch or not (self._end is None or self.budget.allows())
        arrival = None if must_yield else self.arrival()
        self._receiving = True
        return arrival

    def arrival(self) -> Waiter | None:
        """Return what to wait for until something has arrived, None when something is there; or raise the end."""
        if not self._batch:
            self._come_for_more()
        if self._batch:
            return None
        self._arrival = self._new_waiter()
        return self._arrival

    def arrival_after_wait(self) -> Waiter | None:
        """Return what :meth:`arrival` does, after a wait."""
        self.budget.waited()
        return self.arrival()

    def end_waiting(self) -> None:
        """Let others receive again."""
        self._receiving = False
        self._arrival = None

    # --- the connection's side

    def push(self, messages: list[Message], size: int) -> None:
        """Take a list of messages over; ``size`` is their memory in bytes."""
        if self._end is not None or not messages:
            return
        if self._is_locked:
            self._count += number_of_ends(messages)
        else:
            self._count += len(messages)
        self._bytes += size
        if self._bytes >= self._limit and not self.full:
            self.full = True
            self._paused.start(self._loop.stopwatch())
        if self._batch:
            self._arrived.append((messages, size))
        else:
            messages.reverse()
            self._batch = messages
            self._size = size
        if self._arrival is not None:
            self._wake(self._arrival)

    @property
    def is_drained(self) -> bool:
        """Whether nothing waits for the application."""
        return not self._batch

    def finish(self, end: EndError) -> None:
        """Let receivers meet ``end`` behind what is buffered; the first end stays."""
        if self._end is None:
            self._end = end
            if self._arrival is not None:
                self._wake(self._arrival)
            if self.full:
                self._make_room()

    def drop(self) -> None:
        """Let go of everything (rule R7), and give all room back."""
        self.ready.clear()
        self._batch, self._following, self._arrived = [], [], []
        self._bytes = self._size = 0
        if self.full:
            self._make_room()

    def _make_room(self) -> None:
        self.full = False
        self._paused.stop(self._loop.stopwatch())
        if self.filler is not None:
            self.filler.room_made()

    def statistics(self) -> DirectionStatistics:
        """Return how much waits ahead of the reader, and for how long the peer was held back."""
        parts = (self.ready, self._batch)
        whole = self._following + self._arrived
        batches = (*parts, *(batch for batch, _ in whole))
        return DirectionStatistics(
            buffered_messages=sum(map(number_of_ends, batches)),
            buffered_bytes=sum(sum(map(memory_of, part)) for part in parts) + sum(size for _, size in whole),
            messages=self._count,
            paused_seconds=self._paused.read(self._loop.stopwatch()),
        )

    def totals(self) -> tuple[int, float]:
        """Return how many messages have arrived ever, and for how long the peer was held back."""
        return self._count, self._paused.read(self._loop.stopwatch())
