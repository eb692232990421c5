"""Pings between the messages, to learn how much of what was sent the peer has read."""

from __future__ import annotations

from functools import partial

from .._network.loop import EventLoop
from .._protocol.keepalive import PendingPing, Pings
from .._protocol.life import Life
from .._protocol.pace import Mark, Pace
from .hot import ReceiveBuffer


class PacedPings:
    """Sends a ping behind every few messages, and keeps the pace by the answers."""

    def __init__(self, pings: Pings, life: Life, inbox: ReceiveBuffer, loop: EventLoop) -> None:
        self._pings = pings
        self._life = life
        self._inbox = inbox
        self._loop = loop
        self._pace = Pace()

    @property
    def is_full(self) -> bool:
        """Whether nothing more should be written before the peer has read more, which we only learn while we read."""
        return self._pace.is_full and not self._inbox.full and self._life.hears_pongs

    def written(self, total: int) -> bytes | None:
        """Take note of how many bytes were ever written, and return the payload of a ping that should follow them."""
        self._pace.written = total
        if not self._pace.wants_ping:
            return None
        mark = self._pace.mark()
        ping = self._pings.start(self._loop.stopwatch())
        ping.wake = partial(self._answered, ping, mark)
        return ping.payload

    def _answered(self, ping: PendingPing, mark: Mark) -> None:
        if ping.latency is not None:
            self._pace.answered(mark, ping.latency)
