"""Is the peer's host gone? What TCP's own questions say about that while an application's pong is missing.

The figures behind the rules are in docs/explanation/keepalive.md.
"""

from __future__ import annotations

from dataclasses import dataclass

# How often TCP gets to ask, unheard, before a host is given up. The system gives up by itself after 15 questions
# (net.ipv4.tcp_retries2): with eight it does not forestall us.
_QUESTIONS = 8

# What Linux takes for the longest time between two questions (TCP_RTO_MAX_MS), in seconds.
_OFTENEST, _RAREST = 1.0, 120.0

# The figures of TCP_INFO advance in steps of a clock tick, up to 10 ms; a timer that is as fine would spin.
_TICK = 0.01


@dataclass(frozen=True, slots=True)
class TcpReport:
    """What the system's TCP knows about the other host; times in seconds.

    :ivar waiting: bytes of ours are unsent or unacknowledged in the system's buffers
    :ivar unanswered: TCP has sent two packets in a row that ask for an answer, and has had none
    :ivar silent_for: how long ago the last acknowledgement, of whatever kind, arrived
    """

    waiting: bool
    unanswered: bool
    silent_for: float


def seconds_between_questions(ping_interval: float, ping_timeout: float) -> float:
    """How often TCP has to ask, so that a host that vanished is found in ``ping_interval + ping_timeout``."""
    return min(max((ping_interval + ping_timeout) / _QUESTIONS, _OFTENEST), _RAREST)


def patience_left(report: TcpReport, ping_interval: float, ping_timeout: float) -> float:
    """Say for how many seconds a peer may go on owing a pong before TCP is asked again; 0 when its host is gone.

    To be called when a ping was written ``ping_timeout`` ago, or earlier, and nothing has arrived since.
    """
    # An acknowledgement is as good a sign of life as any byte that arrives. While bytes of ours wait, the pong may have
    # to wait as well, so TCP's silence alone counts. Otherwise the other host has had the ping since that last
    # acknowledgement at the latest, and its application has `ping_timeout` for the pong.
    allowed = ping_interval + ping_timeout if report.waiting else ping_timeout
    if report.silent_for < allowed:
        return max(allowed - report.silent_for, _TICK)
    # Silence proves nothing as long as TCP has not asked: without TCP_RTO_MAX_MS it asks every two minutes at worst.
    if report.waiting and not report.unanswered:
        return max(min(1.0, ping_timeout / 4), _TICK)
    return 0.0
