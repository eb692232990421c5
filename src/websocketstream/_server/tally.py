"""What a server knows of all its clients together: sums of those who have gone, and of those who are there."""

from __future__ import annotations

from collections.abc import Iterable

from .._streams.connection import Connection
from .._streams.statistics import DirectionStatistics, ServerStatistics

NOTHING = DirectionStatistics(0, 0, 0, 0.0)


class Sums:
    """The figures of several connections."""

    __slots__ = ("bytes_received", "bytes_sent", "connections", "readable", "writable")

    def __init__(self) -> None:
        self.connections = 0
        self.bytes_received = 0
        self.bytes_sent = 0
        self.readable = NOTHING
        self.writable = NOTHING

    def add(self, connection: Connection) -> None:
        """Add those of one more."""
        self.connections += 1
        self.bytes_received += connection.bytes_received
        self.bytes_sent += connection.bytes_sent
        self.readable = _sum(self.readable, connection.inbox.statistics())
        self.writable = _sum(self.writable, connection.outbox.statistics())


class Tally:
    """What became of the clients that a server has had."""

    __slots__ = ("_ended", "lost", "refused")

    def __init__(self) -> None:
        self._ended = Sums()
        self.refused = 0
        self.lost = 0

    def ended(self, connection: Connection) -> None:
        """Take over the figures of a connection that is over; nothing of it is buffered any more."""
        self._ended.add(connection)
        self._ended.readable = _without_buffers(self._ended.readable)
        self._ended.writable = _without_buffers(self._ended.writable)

    def statistics(self, clients: int, open_now: Iterable[Connection]) -> ServerStatistics:
        """Return the figures, given how many clients there are, and the connections of those that have one."""
        now, ended = Sums(), self._ended
        for connection in open_now:
            now.add(connection)
        return ServerStatistics(
            connections=now.connections,
            handshakes=clients - now.connections,
            opened=ended.connections + now.connections,
            refused=self.refused,
            lost=self.lost,
            bytes_received=ended.bytes_received + now.bytes_received,
            bytes_sent=ended.bytes_sent + now.bytes_sent,
            readable=_sum(ended.readable, now.readable),
            writable=_sum(ended.writable, now.writable),
        )


def _sum(one: DirectionStatistics, other: DirectionStatistics) -> DirectionStatistics:
    return DirectionStatistics(
        one.buffered_messages + other.buffered_messages,
        one.buffered_bytes + other.buffered_bytes,
        one.messages + other.messages,
        one.paused_seconds + other.paused_seconds,
    )


def _without_buffers(statistics: DirectionStatistics) -> DirectionStatistics:
    return DirectionStatistics(0, 0, statistics.messages, statistics.paused_seconds)
