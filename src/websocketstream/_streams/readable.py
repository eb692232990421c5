"""The receive buffer: a bounded in-memory object stream that pops only after it has woken up.

anyio's own memory stream hands an item to the waiting task; a native asyncio cancellation that lands between the
hand-over and the wake-up loses it. Here the item stays in the buffer until the receiver runs, so nothing is lost.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from sys import getsizeof
from typing import TYPE_CHECKING

from anyio import BusyResourceError, ClosedResourceError, EndOfStream, WouldBlock
from anyio.abc import ObjectReceiveStream

from .._network.backend import Backend, Waiter
from .._protocol.codec import Message
from .budget import Budget
from .inbox import Inbox
from .statistics import DirectionStatistics, Stopwatch

# A buffered message is charged with its memory in bytes, so that tiny messages are not free.
memory_of = getsizeof


class ReadableStream(Inbox, ObjectReceiveStream[Message]):
    """The messages of the peer: text as str, binary as bytes, each message whole.

    Iteration ends when the peer closes the connection, whatever its code (rule X1); an unclean end raises
    :exc:`ConnectionBroken` after everything that had arrived complete was delivered.
    """

    def __init__(
        self,
        limit: int,
        budget: Budget,
        backend: Backend,
        *,
        on_cancel: Callable[[BaseException | None], None],
        on_aclose: Callable[[], Awaitable[None]],
    ) -> None:
        super().__init__()
        self._limit = limit
        self._budget = budget
        self._backend = backend
        self._on_cancel = on_cancel
        self._on_aclose = on_aclose
        # What arrived together stays together: the batch that is being handed out is the inbox, the others follow.
        self._size = 0  # bytes of the whole batch that is being handed out
        self._ready: list[tuple[list[Message], int]] = []  # batches, the next one last
        self._arrived: list[tuple[list[Message], int]] = []  # those behind them, in order
        self._bytes = 0  # of all batches that are not used up
        self._full = False  # from reaching the limit until half of it is left, so that it does not flip with every batch
        self._count = 0  # messages ever
        self._receiving = False
        self._end: Exception | None = None
        self._arrival: Waiter | None = None
        self._room: Waiter | None = None
        self._drained: Waiter | None = None
        self._paused = Stopwatch()

    # --- the application's side

    if not TYPE_CHECKING:
        receive = Inbox.receive  # documented as what it is to users, a method of this class

    async def _next(self) -> Message:
        try:
            return await self._receive()
        except EndOfStream:
            raise StopAsyncIteration from None

    async def _receive(self) -> Message:
        if self._receiving:
            raise BusyResourceError("receiving from")
        self._receiving = True
        budget = self._budget
        try:
            if budget.left <= 0:
                await budget.checkpoint()
            while not self._items:
                self._raise_if_ended()
                self._came_for_more()
                self._arrival = self._backend.waiter()
                await self._arrival.wait()
                budget.waited()
            budget.left -= 1
            message = self._items.pop()
            if self._items:
                # The last one is left to this method: it gives the batch's room back.
                self._credit = budget.take(len(self._items) - 1)
            else:
                self._next_batch()
            return message
        finally:
            self._receiving = False
            self._arrival = None

    def receive_nowait(self) -> Message:
        """Return the next message if one is buffered.

        :raises anyio.WouldBlock: no message is buffered, and the stream has not ended
        :raises ConnectionClosed: as :meth:`receive`
        :raises ConnectionBroken: as :meth:`receive`
        :raises anyio.ClosedResourceError: as :meth:`receive`
        :raises anyio.BusyResourceError: another task is receiving already
        """
        if self._receiving:
            raise BusyResourceError("receiving from")
        if not self._items:
            self._raise_if_ended()
            self._came_for_more()
            raise WouldBlock
        self._credit = 0
        message = self._items.pop()
        if not self._items:
            self._next_batch()
        return message

    def cancel(self, error: BaseException | None = None) -> None:
        """Drop what is buffered and start the closing handshake, like ``reader.cancel()`` in the browser (rule S3).

        A :exc:`WebSocketError` gives the Close frame its code and reason; anything else an empty Close frame.
        """
        self._on_cancel(error)

    async def aclose(self) -> None:
        """Close the whole connection, both directions (rule S5), and wait for it, at most ``close_timeout`` seconds."""
        await self._on_aclose()

    def statistics(self) -> DirectionStatistics:
        """Return how much waits ahead of the reader, and for how long the peer was held back."""
        batches = [self._items, *(batch for batch, _ in self._ready + self._arrived)]
        return DirectionStatistics(
            buffered_messages=sum(map(len, batches)),
            buffered_bytes=sum(sum(map(memory_of, batch)) for batch in batches),
            messages=self._count,
            paused_seconds=self._paused.read(self._backend.clock()),
        )

    def _raise_if_ended(self) -> None:
        if self._end is not None:
            raise self._end.with_traceback(None)

    def _next_batch(self) -> None:
        """Give room back for the batch that has been handed out, and go on: the inbox is never empty while others wait."""
        self._bytes -= self._size
        if self._full and self._bytes <= self._limit // 2:
            self._make_room()
        self._size = 0
        if not self._ready:
            self._ready, self._arrived = self._arrived, self._ready
            self._ready.reverse()
        if self._ready:
            self._items, self._size = self._ready.pop()
            self._items.reverse()

    def _came_for_more(self) -> None:
        if self._drained is not None:
            self._drained.set()

    # --- the connection's side

    def _push(self, messages: list[Message], size: int) -> None:
        """Take a list of messages over; ``size`` is their memory in bytes."""
        if self._end is not None or not messages:
            return
        self._count += len(messages)
        self._bytes += size
        self._full = self._full or self._bytes >= self._limit
        if self._items:
            self._arrived.append((messages, size))
        else:
            messages.reverse()
            self._items = messages
            self._size = size
        if self._arrival is not None:
            self._arrival.set()

    def _make_room(self) -> None:
        self._full = False
        if self._room is not None:
            self._room.set()

    async def _wait_for_room(self) -> None:
        """Wait until the application has caught up to half of the limit; at once when nothing is kept any more."""
        self._paused.start(self._backend.clock())
        try:
            while self._full:
                self._room = self._backend.waiter()
                await self._room.wait()
        finally:
            self._room = None
            self._paused.stop(self._backend.clock())

    @property
    def _is_drained(self) -> bool:
        return not self._items or self._end is not None

    async def _wait_until_drained(self) -> None:
        """Wait until the application has taken what is buffered and comes for more; at once when nothing is buffered."""
        if not self._is_drained:
            self._drained = self._backend.waiter()
            await self._drained.wait()

    def _finish(self, end: Exception) -> None:
        """Let receivers meet ``end`` behind what is buffered; the first end stays."""
        if self._end is None:
            self._end = end
            self._wake()

    def _close(self) -> None:
        """Drop everything: the application has closed the connection (rule R7)."""
        self._items, self._ready, self._arrived = [], [], []
        self._bytes = self._size = self._credit = 0
        if not isinstance(self._end, ClosedResourceError):
            self._end = ClosedResourceError("the connection was closed on this side")
        self._wake()

    def _wake(self) -> None:
        self._make_room()
        for event in (self._arrival, self._drained):
            if event is not None:
                event.set()
