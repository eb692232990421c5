"""Calls in the event loop's next pass: as many as it has time for, the others in the passes that follow."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from time import perf_counter

from .._network.turns import PASS_SECONDS

NO_LIMIT = math.inf
PORTION_SECONDS = 0.004  # what the calls of one pass may take together, but for the last of them


class Call:
    """A call to come."""

    __slots__ = ("callback",)

    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        """Prevent it, and let go of the callback."""
        self.callback = None


class Calls:
    """The calls that many want from the event loop, in the order in which they asked.

    It also knows how long the present pass may take, once those who say that they took much of it have gone on doing so
    for the time of a portion. To learn when a pass ends costs one more, and who is alone needs no limit.

    :param call: calls a callback, and sees to what it raises
    :param wake: sees to it that :meth:`call_some` is called in the next pass
    """

    __slots__ = ("_call", "_due", "_is_limited", "_queue", "_since", "_wake", "until")

    def __init__(self, call: Callable[[Callable[[], object]], object], wake: Callable[[], object]) -> None:
        self._call = call
        self._wake = wake
        self._queue: deque[Call] = deque()
        self._due = False  # whether the next pass has been asked for
        # Of time.perf_counter(): when somebody took much for the first time in this pass, or shortly before.
        self._since = -math.inf
        self.until: float = NO_LIMIT  # the present pass should take no longer than that
        self._is_limited = False

    def __bool__(self) -> bool:
        return self._due

    def add(self, callback: Callable[[], object]) -> Call:
        """Call back in one of the next passes."""
        self._queue.append(entry := Call(callback))
        self._ask()
        return entry

    def call_some(self) -> None:
        """Call those who have waited, for the time of a portion: a new pass has begun."""
        self._due = False
        self._since = -math.inf
        self.until = NO_LIMIT
        self._is_limited = False
        enough = perf_counter() + PORTION_SECONDS
        for _ in range(len(self._queue)):
            callback = self._queue.popleft().callback
            if callback is not None:
                self._call(callback)
                if perf_counter() >= enough:
                    break
        if self._queue:
            self._ask()

    def took_much(self) -> None:
        """Take note of work that took a good part of the present pass."""
        if self._is_limited:
            return
        now = perf_counter()
        if now - self._since > PASS_SECONDS:
            self._since = now
        elif now - self._since >= PORTION_SECONDS:
            self.until = now + PASS_SECONDS - PORTION_SECONDS
            self._is_limited = True
            self._ask()

    def are_late(self) -> bool:
        """Tell whether the present pass has taken as long as it may."""
        return self._is_limited and perf_counter() > self.until

    def _ask(self) -> None:
        if not self._due:
            self._due = True
            self._wake()
