"""When to ping, and when to give a silent peer up: arithmetic on a clock that somebody else reads.

Backpressure must never look like death. Any inbound byte is a sign of life; while we do not read, because the
application is slow, the clock stands still; and a ping that waits behind our own data has all the time that data needs,
as long as some of it keeps leaving.
"""

from __future__ import annotations

import enum
import math

# A deadline noticed this late (seconds) says that the whole program stood still (a blocked loop, a suspended laptop):
# what arrived meanwhile has not been read yet, so nothing can be concluded before the reader has had a turn.
_LATE = 0.5
_SECOND_LOOK = 1.0


class Action(enum.Enum):
    """What to do when the deadline has passed."""

    WAIT = "wait"
    PING = "ping"
    GIVE_UP = "give up"


class Keepalive:
    """The clock of one connection; all times in seconds of one monotonic clock.

    :param interval: silence after which a ping is due
    :param timeout: further silence after which the peer is given up; None never gives up
    """

    def __init__(self, interval: float, timeout: float | None, now: float) -> None:
        self._interval = interval
        self._timeout = math.inf if timeout is None else timeout
        self._heard_at = now
        self._pinged_at: float | None = None
        self._ping_queued = False
        self._paused_at: float | None = None
        self._second_look: float | None = None

    @property
    def paused(self) -> bool:
        """Whether the clock stands still."""
        return self._paused_at is not None

    @property
    def deadline(self) -> float:
        """When :meth:`expired` wants to be asked next; signs of life move it further away."""
        if self._second_look is not None:
            return self._second_look
        if self._pinged_at is None:
            return self._heard_at + self._interval
        return self._pinged_at + self._timeout

    def heard(self, now: float) -> None:
        """Take note of inbound bytes."""
        self._heard_at = now
        self._pinged_at = self._second_look = None

    def wrote(self, now: float, *, ping: bool) -> None:
        """Take note of outbound progress: the patience for a ping starts when it has left."""
        if self._pinged_at is not None and self._ping_queued:
            self._pinged_at = now
            self._ping_queued = not ping

    def pause(self, now: float) -> None:
        """Stop the clock: we are not reading."""
        self._paused_at = now

    def resume(self, now: float) -> None:
        """Let the clock go on where it stood."""
        if self._paused_at is None:
            return
        stood_still = now - self._paused_at
        self._paused_at = None
        self._heard_at += stood_still
        if self._pinged_at is not None:
            self._pinged_at += stood_still
        self._second_look = None

    def expired(self, now: float) -> Action:
        """Decide what follows from the clock having reached ``now``."""
        if self.paused or now < self.deadline:
            return Action.WAIT
        if self._pinged_at is None:
            self._pinged_at, self._ping_queued = now, True
            return Action.PING
        if self._second_look is None and now - self.deadline > _LATE:
            self._second_look = now + _SECOND_LOOK
            return Action.WAIT
        return Action.GIVE_UP
