"""Our own pings and the pongs that answer them (RFC 6455 sections 5.5.2 and 5.5.3)."""

from __future__ import annotations

from secrets import token_bytes

from .._network.backend import Signal


class PendingPing:
    """One ping under way; ``latency`` is in seconds, None until its pong has come."""

    __slots__ = ("answered", "latency", "payload", "sent_at")

    def __init__(self, sent_at: float) -> None:
        # Unpredictable, so that no peer can answer what it has not read.
        self.payload: bytes = token_bytes(8)
        self.sent_at: float = sent_at
        self.latency: float | None = None
        self.answered: Signal = Signal()


class Pings:
    """The pings of one connection that wait for their pongs."""

    def __init__(self) -> None:
        self._pending: dict[bytes, PendingPing] = {}
        self.latency: float | None = None

    def start(self, now: float) -> PendingPing:
        """Register a new ping."""
        ping = PendingPing(now)
        self._pending[ping.payload] = ping
        return ping

    def pong(self, payload: bytes, now: float) -> None:
        """Resolve the ping that a pong answers, and every earlier one: a pong may answer several (section 5.5.3)."""
        answered = self._pending.get(payload)
        if answered is None:
            return  # unsolicited, or for a ping that was cancelled
        self.latency = answered.latency = now - answered.sent_at
        for ping in list(self._pending.values()):
            self.forget(ping)
            ping.latency = now - ping.sent_at
            ping.answered.set()
            if ping is answered:
                break

    def forget(self, ping: PendingPing) -> None:
        """Stop waiting for a ping."""
        self._pending.pop(ping.payload, None)

    def give_up(self) -> None:
        """Wake everybody who waits: there will be no more pongs."""
        for ping in self._pending.values():
            ping.answered.set()
        self._pending.clear()
