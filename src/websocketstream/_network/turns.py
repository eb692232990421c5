"""Passes of the event loop: what many busy connections may take of one, all together."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .wakeups import Wakeups

PASS_SECONDS = 0.01
MIN_SHARE = 1 / 64  # of a read: 4 KiB
BUSY_BYTES = 2**14  # who reads so many at once takes turns with others that do


class Turns:
    """Who takes part in passes, and how long the present one may take.

    Who comes again has seen a pass: every event loop gives each of us one turn in each. A participant remembers in
    which pass it was last. Only who goes on in the event loop's callback may come for the second time in a pass.

    :param wakeups: who lets tasks go on in the event loop's callbacks, if anybody
    """

    __slots__ = ("_last", "_wakeups", "number", "until")

    def __init__(self, wakeups: Wakeups | None = None) -> None:
        self._wakeups = wakeups
        self.number: int = 0
        self.until: float = 0.0  # seconds of the clock that the participants look at
        self._last = 0.0

    def enter(self, seen: int, now: float) -> int:
        """Take part in the present pass, or begin the next one; return its number.

        :param seen: the pass in which the participant was last, -1 for none
        :param now: seconds
        """
        wakeups = self._wakeups
        comes_again = seen == self.number and (wakeups is None or not wakeups.is_going_on)
        if comes_again or now - self._last > PASS_SECONDS:
            self._begin(now)
        self._last = now
        return self.number

    def _begin(self, now: float) -> None:
        self.number += 1
        self.until = now + PASS_SECONDS


class ReadTurns(Turns):
    """Those of large reads.

    When one pass has taken too long, each read of the next gets a smaller share. So all have the same, whatever the
    order in which the event loop finds them; who comes when the time is used up, before that has settled, gets the least.
    """

    __slots__ = ("_began", "share")

    def __init__(self) -> None:
        super().__init__()
        self.share: float = 1.0
        self._began = 0.0

    def _begin(self, now: float) -> None:
        took = self._last - self._began
        if took > PASS_SECONDS:
            self.share = max(MIN_SHARE, self.share * PASS_SECONDS / took)
        elif took < PASS_SECONDS / 2:
            self.share = min(1.0, self.share * 2)
        self._began = now
        super()._begin(now)

    def share_at(self, now: float) -> float:
        """The part of a whole read that may be read now."""
        return self.share if now <= self.until else MIN_SHARE
