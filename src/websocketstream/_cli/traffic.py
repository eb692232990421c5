"""What has passed in each direction, for the meter."""

from __future__ import annotations

from dataclasses import dataclass, field

from .._protocol.codec import Message
from .._streams.stream import WebSocketStream


@dataclass(slots=True)
class Counter:
    """Messages and bytes of one direction since the beginning."""

    messages: int = 0
    bytes: int = 0

    def add(self, messages: int, size: int) -> None:
        """Count some more."""
        self.messages += messages
        self.bytes += size


@dataclass(slots=True)
class Traffic:
    """Both directions, and the connection that they are of now."""

    outgoing: Counter = field(default_factory=Counter)
    incoming: Counter = field(default_factory=Counter)
    conn: WebSocketStream | None = None

    def sent(self, messages: int, size: int) -> None:
        """Count what was sent."""
        self.outgoing.add(messages, size)

    def received(self, messages: int, size: int) -> None:
        """Count what was received."""
        self.incoming.add(messages, size)


def bytes_of(message: Message) -> int:
    """Return the payload's size in bytes."""
    return len(message) if isinstance(message, bytes) or message.isascii() else len(message.encode())
