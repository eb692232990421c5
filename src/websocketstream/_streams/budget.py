"""Checkpoints by budget: a full pass of the event loop for every message would cost more than the message."""

from __future__ import annotations

from anyio.lowlevel import checkpoint

CHECKPOINT_EVERY = 32  # messages


class Budget:
    """Yields to the event loop, and notices a cancellation, on every 32nd operation that did not have to wait.

    The first operation after a wait starts a new count: waiting is a checkpoint.
    """

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = CHECKPOINT_EVERY

    def spend(self) -> bool:
        """Take one operation from the budget and tell whether a :func:`checkpoint` is due."""
        self._left -= 1
        return self._left <= 0

    async def checkpoint(self) -> None:
        """Yield once and start a new count."""
        self._left = CHECKPOINT_EVERY
        await checkpoint()

    def waited(self) -> None:
        """Start a new count: the operation has waited, which was a checkpoint."""
        self._left = CHECKPOINT_EVERY
