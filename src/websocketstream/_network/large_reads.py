"""Large reads of many sockets: the time that a pass has for them is for all together."""

from __future__ import annotations

from .hot import SystemCalls
from .turns import BUSY_BYTES, ReadTurns


class LargeReads:
    """A participant of the turns of large reads."""

    _system: SystemCalls
    _pass = -1  # in which the last one was

    def _share_of(self, buffer: memoryview, turns: ReadTurns, now: float) -> memoryview:
        """Return as much of a buffer as may be read into now."""
        self._pass = turns.enter(self._pass, now)
        share = turns.share_at(now)
        if share < 1:
            buffer = buffer[: int(len(buffer) * share)]
        self._system.many = min(BUSY_BYTES, len(buffer))
        return buffer
