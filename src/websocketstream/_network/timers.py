"""Many deadlines on one timer of the event loop."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from itertools import count
from time import perf_counter

# What is due together is called in portions of this size (seconds of real time), then others have their turn.
PORTION_SECONDS = 0.004
CANCELLED_TO_KEEP = 64  # entries; more than that, and more than half of all, and the heap is built anew


class Timer:
    """A call to come."""

    __slots__ = ("_timers", "callback")

    def __init__(self, timers: Timers, callback: Callable[[], object]) -> None:
        self._timers = timers
        self.callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        """Prevent it, and let go of the callback."""
        if self.callback is not None:
            self.callback = None
            self._timers.forget_one()


class Timers:
    """A heap of deadlines; whoever owns it has one timer, for the earliest of them.

    :param clock: seconds
    :param call: calls a callback, and sees to what it raises
    :param on_empty: called when the last timer was cancelled
    """

    def __init__(
        self,
        clock: Callable[[], float],
        call: Callable[[Callable[[], object]], object],
        on_empty: Callable[[], object] = lambda: None,
    ) -> None:
        self._clock = clock
        self._call = call
        self._on_empty = on_empty
        self._heap: list[tuple[float, int, Timer]] = []
        self._order = count()  # of equal deadlines
        self._cancelled = 0

    def __len__(self) -> int:
        return len(self._heap) - self._cancelled

    def add(self, deadline: float, callback: Callable[[], object]) -> Timer:
        """Call back at the deadline; see whether :attr:`earliest` has changed."""
        timer = Timer(self, callback)
        heapq.heappush(self._heap, (deadline, next(self._order), timer))
        return timer

    @property
    def earliest(self) -> float:
        """The earliest deadline, infinite when there is none."""
        heap = self._heap
        while heap and heap[0][2].callback is None:
            heapq.heappop(heap)
            self._cancelled -= 1
        return heap[0][0] if heap else math.inf

    def call_due(self) -> bool:
        """Call what is due; true when more is, but others should have their turn first."""
        now = self._clock()
        enough = perf_counter() + PORTION_SECONDS
        while self.earliest <= now:
            timer = heapq.heappop(self._heap)[2]
            callback, timer.callback = timer.callback, None
            assert callback is not None
            self._call(callback)
            if perf_counter() >= enough:
                return self.earliest <= now
        return False

    def forget_one(self) -> None:
        """Take note that an entry was cancelled, and throw them out before they are many."""
        self._cancelled += 1
        if self._cancelled == len(self._heap):
            self.clear()
            self._on_empty()
        elif self._cancelled > CANCELLED_TO_KEEP and 2 * self._cancelled > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].callback is not None]
            heapq.heapify(self._heap)
            self._cancelled = 0

    def clear(self) -> None:
        """Forget all."""
        self._heap.clear()
        self._cancelled = 0
