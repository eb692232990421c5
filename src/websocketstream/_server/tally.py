"""What a server knows of all its clients together: sums of those who have gone, and of those who are there."""

from __future__ import annotations

from collections.abc import Iterable

from .._streams.connection import Connection
from .._streams.statistics import DirectionStatistics, ServerStatistics


class Direction:
    """The sums of one direction; numbers and no values, because they change with each connection that ends."""

    __slots__ = ("buffered_bytes", "buffered_messages", "messages", "paused_seconds")

    def __init__(self) -> None:
        self.buffered_messages = 0
        self.buffered_bytes = 0
        self.messages = 0
        self.paused_seconds = 0.0

    def add(self, statistics: DirectionStatistics) -> None:
        """Add those of one more connection, which is open."""
        self.buffered_messages += statistics.buffered_messages
        self.buffered_bytes += statistics.buffered_bytes
        self.messages += statistics.messages
        self.paused_seconds += statistics.paused_seconds

    def together(self, other: Direction) -> DirectionStatistics:
        """Return the sums of both."""
        return DirectionStatistics(
            self.buffered_messages + other.buffered_messages,
            self.buffered_bytes + other.buffered_bytes,
            self.messages + other.messages,
            self.paused_seconds + other.paused_seconds,
        )


class Sums:
    """The figures of several connections."""

    __slots__ = ("bytes_received", "bytes_sent", "connections", "readable", "writable")

    def __init__(self) -> None:
        self.connections = 0
        self.bytes_received = 0
        self.bytes_sent = 0
        self.readable = Direction()
        self.writable = Direction()

    def count(self, connection: Connection) -> None:
        """Count one more, and its bytes."""
        self.connections += 1
        self.bytes_received += connection.bytes_received
        self.bytes_sent += connection.bytes_sent


class Tally:
    """What became of the clients that a server has had."""

    __slots__ = ("_ended", "lost", "refused")

    def __init__(self) -> None:
        self._ended = Sums()
        self.refused = 0
        self.lost = 0

    def ended(self, connection: Connection) -> None:
        """Take over the figures of a connection that is over: nothing of it is buffered any more."""
        ended = self._ended
        ended.count(connection)
        for direction, totals in (
            (ended.readable, connection.inbox.totals()),
            (ended.writable, connection.outbox.totals()),
        ):
            messages, paused_seconds = totals
            direction.messages += messages
            direction.paused_seconds += paused_seconds

    def statistics(self, clients: int, open_now: Iterable[Connection]) -> ServerStatistics:
        """Return the figures, given how many clients there are, and the connections of those that have one."""
        now, ended = Sums(), self._ended
        for connection in open_now:
            now.count(connection)
            now.readable.add(connection.inbox.statistics())
            now.writable.add(connection.outbox.statistics())
        return ServerStatistics(
            connections=now.connections,
            handshakes=clients - now.connections,
            opened=ended.connections + now.connections,
            refused=self.refused,
            lost=self.lost,
            bytes_received=ended.bytes_received + now.bytes_received,
            bytes_sent=ended.bytes_sent + now.bytes_sent,
            readable=ended.readable.together(now.readable),
            writable=ended.writable.together(now.writable),
        )
