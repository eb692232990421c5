"""Keepalive: when to ping, which pong answers what, and when a silent peer is given up; arithmetic on a given clock.

A peer is given up only when its host is gone. Backpressure must never look like death, from either end:

- Any inbound byte is a sign of life. While we do not read, because the application is slow, the clock stands still;
  only TCP can be asked then, as long as bytes of ours wait.
- While bytes of ours wait for the peer, a ping waits behind them, or its pong does. Then not the peer is asked but its
  TCP, which answers without the application's help: only when that stays silent, too, the host is gone.
- What the peer's system has taken may still be unread: a ping behind it has the time that a slow reader needs.
- On a connection where nothing of ours waits, a missing pong decides.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from secrets import token_bytes

# A deadline noticed this late (seconds) says that the whole program stood still (a blocked loop, a suspended laptop):
# what arrived meanwhile has not been read yet, so nothing can be concluded before that has had its turn.
_LATE = 0.5
_SECOND_LOOK = 1.0
# The slowest reader that is not given up, in bytes per second: what lies in the buffers of its system is read in time.
SLOWEST_READER = 2**14
MOST_UNREAD = 2**23  # bytes that its system takes: Linux's limit is 6 MiB (net.ipv4.tcp_rmem)
# How often TCP gets to ask, unheard, before a host is given up. The system gives up by itself after 15 questions
# (net.ipv4.tcp_retries2): with eight it does not forestall us.
_QUESTIONS = 8
# What Linux takes for the longest time between two questions (TCP_RTO_MAX_MS), in seconds.
_OFTENEST, _RAREST = 1.0, 120.0
# The figures of TCP_INFO advance in steps of a clock tick, up to 10 ms; a timer that is as fine would spin.
_TICK = 0.01


class Action(enum.Enum):
    """What to do when the deadline has passed."""

    WAIT = "wait"
    PING = "ping"
    GIVE_UP = "give up"


@dataclass(frozen=True, slots=True)
class TcpReport:
    """What the system's TCP knows about the other host; docs/explanation/keepalive.md has the figures.

    :ivar waiting: bytes of ours are unsent or unacknowledged in the system's buffers
    :ivar unanswered: TCP has sent two packets in a row that ask for an answer, and has had none
    :ivar silent_for: how long ago (seconds) the last acknowledgement, of whatever kind, arrived
    """

    waiting: bool
    unanswered: bool
    silent_for: float


def seconds_between_questions(ping_interval: float, ping_timeout: float) -> float:
    """How often TCP has to ask, so that a host that vanished is found in ``ping_interval + ping_timeout``."""
    return min(max((ping_interval + ping_timeout) / _QUESTIONS, _OFTENEST), _RAREST)


def patience_left(
    report: TcpReport, ping_interval: float, ping_timeout: float, reading_time: float = 0.0
) -> float:
    """Say for how many seconds a peer may go on owing a pong before TCP is asked again; 0 when its host is gone.

    To be called when a ping was written ``ping_timeout`` ago, or earlier, and nothing has arrived since. The peer may
    have ``reading_time`` seconds of reading to do before it comes to the ping.
    """
    # An acknowledgement is as good a sign of life as any byte that arrives. While bytes of ours wait, the pong may have
    # to wait as well, so TCP's silence alone counts. Otherwise the other host has had the ping since that last
    # acknowledgement at the latest, and its application has `ping_timeout` for the pong.
    allowed = ping_interval + ping_timeout if report.waiting else ping_timeout + reading_time
    if report.silent_for < allowed:
        return max(allowed - report.silent_for, _TICK)
    # Silence proves nothing as long as TCP has not asked: without TCP_RTO_MAX_MS it asks every two minutes at worst.
    if report.waiting and not report.unanswered:
        return max(min(1.0, ping_timeout / 4), _TICK)
    return 0.0


class PendingPing:
    """One ping under way; ``latency`` is in seconds, None until its pong has come."""

    __slots__ = ("latency", "payload", "sent_at", "wake")

    def __init__(self, sent_at: float, wake: Callable[[], object] | None) -> None:
        # Unpredictable, so that no peer can answer what it has not read.
        self.payload: bytes = token_bytes(8)
        self.sent_at: float = sent_at
        self.latency: float | None = None
        self.wake: Callable[[], object] | None = wake


class Pings:
    """The pings of one connection that wait for their pongs (RFC 6455 sections 5.5.2 and 5.5.3)."""

    __slots__ = ("_pending", "latency")

    def __init__(self) -> None:
        self._pending: dict[bytes, PendingPing] = {}
        self.latency: float | None = None

    def start(self, now: float, wake: Callable[[], object] | None = None) -> PendingPing:
        """Register a new ping; ``wake`` is called once, when it is answered or there will be no answer."""
        ping = PendingPing(now, wake)
        self._pending[ping.payload] = ping
        return ping

    def pong(self, payload: bytes, now: float) -> None:
        """Resolve the ping that a pong answers, and every earlier one: a pong may answer several (section 5.5.3)."""
        answered = self._pending.get(payload)
        if answered is None:
            return  # unsolicited, or for a ping that was cancelled
        self.latency = now - answered.sent_at
        while True:
            ping = self._pending.pop(next(iter(self._pending)))
            ping.latency = now - ping.sent_at
            if ping.wake is not None:
                ping.wake()
            if ping is answered:
                return

    def forget(self, ping: PendingPing) -> None:
        """Stop waiting for a ping."""
        self._pending.pop(ping.payload, None)

    def give_up(self) -> None:
        """Wake everybody who waits: there will be no more pongs."""
        for ping in self._pending.values():
            if ping.wake is not None:
                ping.wake()
        self._pending.clear()


class Keepalive:
    """The clock of one connection; all times in seconds of one monotonic clock.

    :param interval: silence after which a ping is due
    :param timeout: further silence after which the peer is given up; None never gives up
    """

    __slots__ = (
        "_counted_at",
        "_forgave",
        "_interval",
        "_next_look",
        "_noted_at",
        "_paused_at",
        "_paused_look",
        "_pinged_at",
        "_timeout",
        "_unread",
        "_unread_at_ping",
        "_written",
        "_written_at_ping",
        "heard_at",
        "ping",
        "verdict",
    )

    def __init__(self, interval: float, timeout: float | None, now: float) -> None:
        self._interval = interval
        self._timeout = math.inf if timeout is None else timeout
        self.heard_at: float = now  # inbound bytes, by whoever brings them: that is all they cost
        self._noted_at = now  # up to which of them we know of
        self._pinged_at: float | None = None
        self._paused_at: float | None = None
        self._paused_look = math.inf  # when TCP is asked although we do not read
        self._next_look: float | None = None
        self._forgave = False  # that we were late ourselves
        # Bytes of ours that the slowest reader may not have read: only a pong says more than that.
        self._unread = 0.0
        self._counted_at = now  # when they were counted, and ...
        self._written = 0  # ... how many we had ever written
        self._unread_at_ping = 0.0  # they lie in front of the ping
        self._written_at_ping = 0
        self.ping: PendingPing | None = None  # the one that is under way for us
        self.verdict: str = ""  # why the peer is given up

    @property
    def deadline(self) -> float:
        """When :meth:`expired` wants to be asked next; signs of life move it further away."""
        if self._paused_at is not None:
            return self._paused_look
        self._note_signs_of_life()
        if self._next_look is not None:
            return self._next_look
        return self.heard_at + self._interval

    def _note_signs_of_life(self) -> None:
        if self.heard_at != self._noted_at:
            self._noted_at = self.heard_at
            self._pinged_at = self._next_look = None
            self._forgave = False

    def answered(self) -> None:
        """Take note that the pong has come: all that lay in front of the ping has been read."""
        self._unread = self._written - self._written_at_ping

    def pause(self, now: float) -> None:
        """Stop the clock: we are not reading."""
        if self._paused_at is None:
            self._note_signs_of_life()
            self._paused_at = now
            self._paused_look = math.inf if self._timeout == math.inf else now + self._interval

    def resume(self, now: float) -> None:
        """Let the clock go on where it stood."""
        if self._paused_at is None:
            return
        self._note_signs_of_life()
        stood_still = now - self._paused_at
        self._paused_at = None
        self.heard_at += stood_still
        self._noted_at = self.heard_at
        if self._pinged_at is not None:
            self._pinged_at += stood_still
            self._next_look = min(now + self._interval, self._pinged_at + self._timeout)

    def expired(
        self,
        now: float,
        *,
        written: int = 0,
        unsent: bool = False,
        tcp: Callable[[], TcpReport | None] = lambda: None,
    ) -> Action:
        """Decide what follows from the clock having reached ``now``.

        :param written: bytes of ours ever
        :param unsent: bytes of ours wait in our own buffers
        :param tcp: asks TCP, None when there is nothing to ask
        """
        self._count(now, written)
        due = self.deadline
        if now < due:
            return Action.WAIT
        if self._paused_at is not None:
            return self._look_at_host(now, tcp(), unsent)
        if self._pinged_at is None:
            return self._ping(now, written)
        if now < self._pinged_at + self._timeout:
            self._next_look = min(now + self._interval, self._pinged_at + self._timeout)
            return Action.WAIT
        if now - due > _LATE and not self._forgave:
            self._forgave = True
            self._next_look = now + _SECOND_LOOK
            return Action.WAIT
        report = tcp()
        if unsent and report is not None and not (report.waiting or report.unanswered):
            # We hold back what the peer is too slow for, and TCP has nothing to ask about: this is something.
            return self._ping(now, written)
        left = self._patience_left(now, report, unsent)
        if left > 0:
            self._next_look = now + left
            return Action.WAIT
        return Action.GIVE_UP

    def _ping(self, now: float, written: int) -> Action:
        self._pinged_at = now
        self._unread_at_ping = self._unread
        self._written_at_ping = written
        # The pong makes the next ping due before this one's time is up, where that is longer than the interval.
        self._next_look = now + min(self._interval, self._timeout)
        return Action.PING

    def _count(self, now: float, written: int) -> None:
        """Count what may be unread: what was written since the last count may be quite new."""
        read = (now - self._counted_at) * SLOWEST_READER
        self._unread = min(max(self._unread - read, 0) + written - self._written, MOST_UNREAD)
        self._counted_at, self._written = now, written

    def _look_at_host(self, now: float, report: TcpReport | None, unsent: bool) -> Action:
        """Ask TCP alone: we would not read a pong."""
        left = self._interval
        if report is not None and (unsent or report.waiting):
            left = self._patience_left(now, report, unsent)
        self._paused_look = now + left
        return Action.WAIT if left > 0 else Action.GIVE_UP

    def _patience_left(self, now: float, report: TcpReport | None, unsent: bool) -> float:
        reading_time = self._unread_at_ping / SLOWEST_READER
        self.verdict = f"the peer did not answer a ping within ping_timeout={self._timeout} s"
        if report is not None:
            if unsent:
                report = replace(report, waiting=True)
            if report.waiting:
                self.verdict = (
                    f"the peer's host is gone: it has acknowledged nothing for {report.silent_for:.1f} s "
                    f"(ping_interval={self._interval} s, ping_timeout={self._timeout} s)"
                )
            return patience_left(report, self._interval, self._timeout, reading_time)
        assert self._pinged_at is not None
        if unsent:
            # There is no way to tell a slow peer from a dead one: the system's own time-outs end what is dead. The
            # patience with the peer begins when nothing waits any more.
            self._pinged_at = now
            return self._timeout
        return self._pinged_at + self._timeout + reading_time - now
