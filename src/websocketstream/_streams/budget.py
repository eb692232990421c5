"""Checkpoints by budget: a full pass of the event loop for every message would cost more than the message."""

from __future__ import annotations

from anyio.lowlevel import checkpoint

CHECKPOINT_EVERY = 32  # operations


class Budget:
    """Yields to the event loop, and notices a cancellation, on every 32nd operation that did not have to wait.

    Each operation takes one from ``left`` and checkpoints when nothing is left. Waiting is a checkpoint, too, so it
    starts a new ``turn`` with a full budget.
    """

    __slots__ = ("left", "turn")

    def __init__(self) -> None:
        self.left = CHECKPOINT_EVERY
        self.turn = 0

    def waited(self) -> None:
        """Start a new turn: the operation has waited."""
        self.left = CHECKPOINT_EVERY
        self.turn += 1

    async def checkpoint(self) -> None:
        """Yield to the event loop and start a new turn."""
        self.waited()
        await checkpoint()
