"""The receive buffer: bounded, in memory, and a message is taken out only by a receiver that has woken up.

anyio's own memory stream hands an item to the waiting task; a native asyncio cancellation that lands between the
hand-over and the wake-up loses it. Here the item stays in the buffer until the receiver runs, so nothing is lost.
"""

from __future__ import annotations

from sys import getsizeof
from typing import Protocol

from anyio import BusyResourceError, WouldBlock

from .._network.loop import EventLoop, Waiter
from .._protocol.codec import Message
from .budget import LOOK_EVERY, Budget
from .statistics import DirectionStatistics, Stopwatch

# A buffered message is charged with its memory in bytes, so that tiny messages are not free.
memory_of = getsizeof


class Filler(Protocol):
    """Who fills the buffer, and wants to know how the application gets on."""

    def room_made(self) -> None:
        """There is room again."""
        ...

    def caught_up(self) -> None:
        """The application has taken everything, and comes for more."""
        ...


class ReceiveBuffer:
    """Batches of messages: what arrived together stays together until it is handed out.

    ``items`` is the batch that is being handed out, the next message last; while there is ``credit``, a receiver may pop
    from it without further ado. It is never empty while other batches wait.
    """

    __slots__ = (
        "_arrival",
        "_arrived",
        "_budget",
        "_bytes",
        "_count",
        "_end",
        "_limit",
        "_loop",
        "_paused",
        "_ready",
        "_receiving",
        "_size",
        "credit",
        "filler",
        "full",
        "items",
    )

    def __init__(self, limit: int, budget: Budget, loop: EventLoop) -> None:
        self._limit = limit
        self._budget = budget
        self._loop = loop
        self.items: list[Message] = []
        self.credit: int = 0
        self.filler: Filler | None = None
        self.full: bool = False  # from reaching the limit until half of it is left, so that it does not flip with every batch
        self._size = 0  # bytes of the whole batch that is being handed out
        self._ready: list[tuple[list[Message], int]] = []  # batches, the next one last
        self._arrived: list[tuple[list[Message], int]] = []  # those behind them, in order
        self._bytes = 0  # of all batches that are not used up
        self._count = 0  # messages ever
        self._receiving = False
        self._arrival: Waiter | None = None
        self._end: Exception | None = None
        self._paused = Stopwatch()

    # --- the application's side

    def take(self) -> Message | None:
        """Return the next message; None when that needs a wait, a checkpoint, or an error to be raised."""
        if self._receiving or not self.items:
            return None
        budget = self._budget
        if budget.left <= 0 and not budget.renew():
            return None
        budget.left -= 1
        return self._pop()

    async def wait(self) -> Message:
        """Wait for the next message, after a checkpoint if that is due."""
        if self._receiving:
            raise BusyResourceError("receiving from")
        self._receiving = True
        try:
            if self.items and self._budget.left <= 0:
                await self._budget.checkpoint()
            while not self.items:
                self._raise_if_ended()
                if self.filler is not None:
                    self.filler.caught_up()
                    self._raise_if_ended()
                self._arrival = self._loop.waiter()
                await self._arrival.wait()
                self._budget.waited()
        finally:
            self._receiving = False
            self._arrival = None
        self._budget.left -= 1
        return self._pop()

    def receive_nowait(self) -> Message:
        """Return the next message if one is buffered."""
        if self._receiving:
            raise BusyResourceError("receiving from")
        if not self.items:
            self._raise_if_ended()
            if self.filler is not None:
                self.filler.caught_up()
                self._raise_if_ended()
            raise WouldBlock
        return self._pop()

    def _pop(self) -> Message:
        message = self.items.pop()
        self.credit = 0
        if self.items:
            # The last one is left to this method: it gives the batch's room back.
            self.credit = self._budget.take(min(len(self.items) - 1, LOOK_EVERY))
        else:
            self._next_batch()
        return message

    def _next_batch(self) -> None:
        """Give room back for the batch that has been handed out, and go on with the next one."""
        self._bytes -= self._size
        self._size = 0
        if not self._ready:
            self._ready, self._arrived = self._arrived, self._ready
            self._ready.reverse()
        if self._ready:
            self.items, self._size = self._ready.pop()
            self.items.reverse()
        if self.full and self._bytes <= self._limit // 2:
            self._make_room()

    def _raise_if_ended(self) -> None:
        if self._end is not None:
            raise self._end.with_traceback(None)

    # --- the connection's side

    def push(self, messages: list[Message], size: int) -> None:
        """Take a list of messages over; ``size`` is their memory in bytes."""
        if self._end is not None or not messages:
            return
        self._count += len(messages)
        self._bytes += size
        if self._bytes >= self._limit and not self.full:
            self.full = True
            self._paused.start(self._loop.stopwatch())
        if self.items:
            self._arrived.append((messages, size))
        else:
            messages.reverse()
            self.items = messages
            self._size = size
        if self._arrival is not None:
            self._arrival.set()

    @property
    def is_drained(self) -> bool:
        """Whether nothing waits for the application."""
        return not self.items

    def finish(self, end: Exception) -> None:
        """Let receivers meet ``end`` behind what is buffered; the first end stays."""
        if self._end is None:
            self._end = end
            self._wake()

    def close(self, end: Exception) -> None:
        """Drop everything, and let receivers meet ``end`` from now on (rule R7)."""
        self.items, self._ready, self._arrived = [], [], []
        self._bytes = self._size = self.credit = 0
        self._end = end
        self._wake()

    def _wake(self) -> None:
        if self._arrival is not None:
            self._arrival.set()
        if self.full:
            self._make_room()

    def _make_room(self) -> None:
        self.full = False
        self._paused.stop(self._loop.stopwatch())
        if self.filler is not None:
            self.filler.room_made()

    def statistics(self) -> DirectionStatistics:
        """Return how much waits ahead of the reader, and for how long the peer was held back."""
        whole = self._ready + self._arrived
        return DirectionStatistics(
            buffered_messages=len(self.items) + sum(len(batch) for batch, _ in whole),
            buffered_bytes=sum(map(memory_of, self.items)) + sum(size for _, size in whole),
            messages=self._count,
            paused_seconds=self._paused.read(self._loop.stopwatch()),
        )
