"""Checkpoints by budget: a full pass of the event loop for every message would cost more than the message."""

from __future__ import annotations

from time import perf_counter

from .._network.event_loop import EventLoop

# And at the least: what was received after a wait can be answered before anything else happens.
CHECKPOINT_NOT_BEFORE = 2
CHECKPOINT_SECONDS = 0.0005  # what the operations between two checkpoints should take, at the most
LOOK_EVERY = 12  # operations until the next look at the clock: a program that turns slow is noticed at once
LOOKS = 80  # at the clock until the next checkpoint, at the most, whatever it says
CHECKPOINT_EVERY = LOOK_EVERY * LOOKS + CHECKPOINT_NOT_BEFORE  # operations, at the most


class Budget:
    """Says how many operations, which need not wait, may pass until the next checkpoint.

    Checkpoints yield to the event loop and notice a cancellation. As many operations are allowed as fit into half a
    millisecond, and into what is left of the loop's pass, but never more than about a thousand. Waiting is a
    checkpoint, too; every checkpoint starts a new ``turn``.
    """

    __slots__ = ("_began", "_calls", "_seen", "_turns", "left", "rest", "turn", "until")

    def __init__(self, loop: EventLoop) -> None:
        self._turns = loop.turns
        self._calls = loop.calls
        self._seen = -1  # the pass in which we were last
        self._began = perf_counter()  # when this turn did
        self.turn: int = 0
        self.until: float = 0.0  # when the next checkpoint is due; zero until the first look in this turn
        self.rest: int = LOOKS  # how often the clock may be looked at until then
        self.left: int = CHECKPOINT_NOT_BEFORE  # operations until the next look

    def allows(self) -> bool:
        """Take note of one operation; false when a checkpoint is due before it."""
        if self.left > 0 or self._look():
            self.left -= 1
            return True
        return False

    def allows_much(self) -> bool:
        """Take note of an operation that is as much as many: it is always worth a look at the clock."""
        self.left = 0
        return self.allows()

    def _look(self) -> bool:
        now = perf_counter()
        if not self.until:
            self._seen = self._turns.enter(self._seen, now)
            self.until = min(self._began + CHECKPOINT_SECONDS, self._turns.until, self._calls.until)
        if now >= self.until or not self.rest:
            return False
        self.rest -= 1
        self.left = LOOK_EVERY
        return True

    def waited(self) -> None:
        """Start a new turn: the task has waited, and what it has waited with is the first operation of it."""
        self.turn += 1
        self._began = perf_counter()
        self.until = 0.0
        self.rest = LOOKS
        self.left = CHECKPOINT_NOT_BEFORE - 1
