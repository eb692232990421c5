"""Checkpoints by budget: a full pass of the event loop for every message would cost more than the message."""

from __future__ import annotations

from collections.abc import Callable

from anyio.lowlevel import checkpoint

CHECKPOINT_EVERY = 128  # operations, at the most
# And at the least: what was received after a wait can be answered before anything else happens.
CHECKPOINT_NOT_BEFORE = 2
CHECKPOINT_SECONDS = 0.0005  # what the operations between two checkpoints should take, at the most


class Budget:
    """Says how many operations, which need not wait, may pass until the next checkpoint.

    Checkpoints yield to the event loop and notice a cancellation. As many operations are allowed as fit into half a
    millisecond, going by those before, but never more than 128: a consumer that takes long for each message yields
    after every second one. Waiting is a checkpoint, too; every checkpoint starts a new ``turn``.
    """

    __slots__ = ("_allowed", "_clock", "_since", "left", "turn")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.left: int = CHECKPOINT_EVERY // 8
        self._allowed = self.left
        self._since = clock()
        self.turn: int = 0

    def take(self, operations: int) -> int:
        """Take up to so many operations from what is left, and return how many they are."""
        taken = min(operations, self.left)
        self.left -= taken
        return taken

    async def checkpoint(self) -> None:
        """Yield to the event loop because nothing is left, and start a new turn."""
        took = self._clock() - self._since
        if took > CHECKPOINT_SECONDS:
            self._allowed = max(CHECKPOINT_NOT_BEFORE, int(self._allowed * CHECKPOINT_SECONDS / took))
        elif took < CHECKPOINT_SECONDS / 2:
            self._allowed = min(CHECKPOINT_EVERY, self._allowed * 2)
        await checkpoint()
        self.waited()

    def waited(self) -> None:
        """Start a new turn: the task has waited."""
        self.turn += 1
        self.left = self._allowed
        self._since = self._clock()
