"""What ``statistics()`` returns."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DirectionStatistics:
    """One direction of a connection, at one moment.

    ``buffered_bytes`` is the memory of the messages ahead of the reader, or the bytes not yet handed to the network;
    ``paused_seconds`` is for how long backpressure has held the peer back (readable) or our senders (writable). A message
    in chunks counts as one, with its last chunk.
    """

    buffered_messages: int
    buffered_bytes: int
    messages: int
    paused_seconds: float


@dataclass(frozen=True, slots=True)
class ConnectionStatistics:
    """Both directions of a connection, at one moment."""

    readable: DirectionStatistics
    writable: DirectionStatistics


@dataclass(frozen=True, slots=True)
class Discarded:
    """What ``discard()`` has dropped: messages, and the bytes for which they were charged."""

    messages: int
    bytes: int


@dataclass(frozen=True, slots=True)
class ServerStatistics:
    """A whole server, at one moment.

    ``connections`` are open now, ``handshakes`` are under way now. Since the beginning ``opened`` connections were opened, ``refused``
    clients got another answer, and ``lost`` went before they had one. ``bytes_received`` and ``bytes_sent`` are those of the frames
    of all connections, the ended ones included, without handshakes and TLS. ``readable`` and ``writable`` are sums: of what is
    buffered now, and of the messages and pauses of all connections ever.
    """

    connections: int
    handshakes: int
    opened: int
    refused: int
    lost: int
    bytes_received: int
    bytes_sent: int
    readable: DirectionStatistics
    writable: DirectionStatistics


@dataclass(frozen=True, slots=True)
class SubscriptionStatistics:
    """What a hub has done for one client, at one moment.

    Every message that was sent since it subscribed is among ``sent`` (handed to its connection), ``dropped`` or
    ``waiting_messages``; these have ``waiting_bytes``, as policies count them. ``behind_seconds`` is the age of the oldest that
    waits, zero when none does.
    """

    sent: int
    dropped: int
    waiting_messages: int
    waiting_bytes: int
    behind_seconds: float


class Stopwatch:
    """Adds up the time that something was held back (seconds of the event loop's clock)."""

    __slots__ = ("_since", "_total")

    def __init__(self) -> None:
        self._since: float | None = None
        self._total = 0.0

    def start(self, now: float) -> None:
        """Begin a pause, unless one is under way."""
        if self._since is None:
            self._since = now

    def stop(self, now: float) -> None:
        """End the pause, if there is one."""
        if self._since is not None:
            self._total += now - self._since
            self._since = None

    def read(self, now: float) -> float:
        """Return the seconds so far, a running pause included."""
        return self._total + (now - self._since if self._since is not None else 0.0)
