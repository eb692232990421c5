"""The receive buffer: a bounded in-memory object stream that pops only after it has woken up.

anyio's own memory stream hands an item to the waiting task; a native asyncio cancellation that lands between the
hand-over and the wake-up loses it. Here the item stays in the buffer until the receiver runs, so nothing is lost.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from sys import getsizeof

from anyio import BusyResourceError, ClosedResourceError, EndOfStream, WouldBlock
from anyio.abc import ObjectReceiveStream

from .._protocol.codec import Message
from .backend import Backend, Waiter
from .budget import Budget
from .statistics import DirectionStatistics, Stopwatch

# A buffered message is charged with its memory in bytes, so that tiny messages are not free.
memory_of = getsizeof


class ReadableStream(ObjectReceiveStream[Message]):
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
        self._limit = limit
        self._budget = budget
        self._backend = backend
        self._on_cancel = on_cancel
        self._on_aclose = on_aclose
        self._items: deque[Message] = deque()
        self._credit = 0  # messages of those in the buffer that may be handed out without further ado
        self._arrived = 0  # messages ever
        self._batches: deque[tuple[int, int]] = (
            deque()
        )  # what arrived together: the last one's number, and the bytes
        self._bytes = 0  # of the batches that are not used up
        self._receiving = False
        self._end: Exception | None = None
        self._arrival: Waiter | None = None
        self._room: Waiter | None = None
        self._drained: Waiter | None = None
        self._paused = Stopwatch()

    # --- the application's side

    async def receive(self) -> Message:
        """Wait for the next message and return it.

        Cancelling is safe, by a cancel scope as well as by ``asyncio.timeout()`` or ``Task.cancel()``: no message is
        lost. While messages are buffered, this yields to the event loop by budget, see :doc:`/explanation/backpressure`.

        :raises ConnectionClosed: the peer has closed the connection (an :exc:`anyio.EndOfStream`)
        :raises ConnectionBroken: the connection ended in another way (an :exc:`anyio.BrokenResourceError`)
        :raises anyio.ClosedResourceError: we have closed the connection, or cancelled this stream
        :raises anyio.BusyResourceError: another task is receiving already
        """
        if self._credit > 0:
            self._credit -= 1
            return self._items.popleft()
        return await self._receive()

    async def __anext__(self) -> Message:
        if self._credit > 0:  # not by receive(): this is the hottest path there is
            self._credit -= 1
            return self._items.popleft()
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
                self._account()
                self._came_for_more()
                self._arrival = self._backend.waiter()
                await self._arrival.wait()
                budget.waited()
            budget.left -= 1
            message = self._items.popleft()
            self._account()
            self._credit = budget.take(self._without_ado())
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
        message = self._items.popleft()
        self._account()
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
        return DirectionStatistics(
            buffered_messages=len(self._items),
            buffered_bytes=sum(map(memory_of, self._items)),
            messages=self._arrived,
            paused_seconds=self._paused.read(self._backend.clock()),
        )

    def _raise_if_ended(self) -> None:
        if self._end is not None:
            raise self._end.with_traceback(None)

    def _account(self) -> None:
        """Give room back for what has been handed out, one batch at a time: that is exact enough, and cheap."""
        handed_out = self._arrived - len(self._items)
        while self._batches and self._batches[0][0] <= handed_out:
            self._bytes -= self._batches.popleft()[1]
        if self._room is not None and self._bytes <= self._limit // 2:
            self._room.set()

    def _without_ado(self) -> int:
        """Return how many messages may be handed out before room must be given back: while paused, one batch."""
        if self._room is None or not self._batches:
            return len(self._items)
        return self._batches[0][0] - (self._arrived - len(self._items)) - 1

    def _came_for_more(self) -> None:
        if self._drained is not None:
            self._drained.set()

    # --- the connection's side

    def _push(self, messages: Sequence[Message]) -> None:
        if self._end is not None or not messages:
            return
        self._items.extend(messages)
        self._arrived += len(messages)
        size = sum(map(memory_of, messages))
        self._batches.append((self._arrived, size))
        self._bytes += size
        if self._arrival is not None:
            self._arrival.set()

    @property
    def _full(self) -> bool:
        return self._bytes >= self._limit and self._end is None

    async def _wait_for_room(self) -> None:
        """Wait until the application has caught up to half of the limit; at once when nothing is kept any more."""
        self._paused.start(self._backend.clock())
        self._credit = 0
        self._account()
        try:
            while self._bytes > self._limit // 2 and self._end is None:
                self._room = self._backend.waiter()
                await self._room.wait()
        finally:
            self._room = None
            self._paused.stop(self._backend.clock())

    async def _wait_until_drained(self) -> None:
        """Wait until the application has taken what is buffered and comes for more; at once when nothing is buffered."""
        if self._items and self._end is None:
            self._drained = self._backend.waiter()
            await self._drained.wait()

    def _finish(self, end: Exception) -> None:
        """Let receivers meet ``end`` behind what is buffered; the first end stays."""
        if self._end is None:
            self._end = end
            self._wake()

    def _close(self) -> None:
        """Drop everything: the application has closed the connection (rule R7)."""
        self._items.clear()
        self._batches.clear()
        self._bytes = self._credit = 0
        if not isinstance(self._end, ClosedResourceError):
            self._end = ClosedResourceError("the connection was closed on this side")
        self._wake()

    def _wake(self) -> None:
        for event in (self._arrival, self._room, self._drained):
            if event is not None:
                event.set()
