"""Checkpoints by budget: a full pass of the event loop for every message would cost more than the message."""

from __future__ import annotations

from time import perf_counter

from anyio.lowlevel import checkpoint

from .._network.event_loop import EventLoop

CHECKPOINT_EVERY = 128  # operations, at the most
# And at the least: what was received after a wait can be answered before anything else happens.
CHECKPOINT_NOT_BEFORE = 2
CHECKPOINT_SECONDS = 0.0005  # what the operations between two checkpoints should take, at the most
LOOK_EVERY = 4  # operations until the next look at the clock: a consumer that turns slow is noticed at once
_IN_LOOKS = CHECKPOINT_EVERY - LOOK_EVERY  # with those before the first look: 128 in all, or less


class Budget:
    """Says how many operations, which need not wait, may pass until the next checkpoint.

    Checkpoints yield to the event loop and notice a cancellation. As many operations are allowed as fit into half a
    millisecond, and into what is left of the loop's pass, but never more than 128: a consumer that takes long for each
    message yields after every second one. Waiting is a checkpoint, too; every checkpoint starts a new ``turn``.
    """

    __slots__ = ("_allowed", "_began", "_calls", "_seen", "_turns", "_until", "left", "turn")

    def __init__(self, loop: EventLoop) -> None:
        self._turns = loop.turns
        self._calls = loop.calls
        self._seen = -1  # the pass in which we were last
        self._began = 0.0  # when this turn did
        self._until = 0.0  # when it should end; zero until that is asked for the first time
        self._allowed = _IN_LOOKS
        self.left: int = CHECKPOINT_NOT_BEFORE
        self.turn: int = 0

    def take(self, operations: int) -> int:
        """Take up to so many operations from what is left, and return how many they are."""
        taken = min(operations, self.left)
        self.left -= taken
        return taken

    def renew(self) -> bool:
        """Look at the clock, and allow a few operations more; false when a checkpoint is due."""
        now = perf_counter()
        if not self._until:
            self._seen = self._turns.enter(self._seen, now)
            self._until = min(self._began + CHECKPOINT_SECONDS, self._turns.until, self._calls.until)
        if now >= self._until or self._allowed <= 0:
            return False
        self._allowed -= LOOK_EVERY
        self.left = LOOK_EVERY
        return True

    async def checkpoint(self) -> None:
        """Yield to the event loop because nothing is left, and start a new turn."""
        await checkpoint()
        self.waited()

    def waited(self) -> None:
        """Start a new turn: the task has waited."""
        self.turn += 1
        self._began = perf_counter()
        self.left = CHECKPOINT_NOT_BEFORE
        self._until = 0.0
        self._allowed = _IN_LOOKS
