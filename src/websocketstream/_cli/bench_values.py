"""What a measurement is asked for, and what it finds."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections import Counter
from dataclasses import dataclass, field

from .._protocol.codec import Message
from .latencies import Latencies


class NoEcho(Exception):
    """The server does not send back what it is sent."""

    def __init__(self, answers: list[Message]) -> None:
        super().__init__("the server does not echo")
        self.answers = answers


@dataclass(frozen=True, slots=True)
class Load:
    """What to put a server under. ``messages`` and ``rate`` (per second) are those of all connections together."""

    connections: int = 1
    messages: int | None = None
    seconds: float = 5.0
    """How long to send, unless ``messages`` says how many."""
    size: int = 64
    text: bool = False
    rate: float | None = None
    """None for as fast as they come back."""
    in_flight: int = 1
    """Messages of a connection that are under way, without a rate."""
    timeout: float = 10.0
    """Seconds to wait for what has not come back in the end, for the first echo, and with ``messages`` for the next one."""

    def payload(self) -> Message:
        """Return the message that is sent: random letters that compress to three quarters, or random bytes that do not."""
        data = hashlib.shake_256(b"websocketstream").digest(self.size)
        return b64encode(data)[: self.size].decode() if self.text else data


@dataclass(slots=True)
class Result:
    """What came out; times in seconds."""

    opened: Latencies = field(default_factory=Latencies)
    opening_seconds: float = 0.0
    latencies: Latencies = field(default_factory=Latencies)
    sent: int = 0
    echoed: int = 0
    seconds: float = 0.0
    """From the first message to the last echo."""
    overdue: int = 0
    """Messages that were due and had not come back in the end, or could not even be sent. Their latency counts as what it was then."""
    unexpected: int = 0
    """Messages that were no echo."""
    errors: Counter[str] = field(default_factory=Counter)
    first_error: Exception | None = None

    def fail(self, error: Exception) -> None:
        """Count an error."""
        self.errors[str(error) or type(error).__name__] += 1
        self.first_error = self.first_error or error

    @property
    def went_well(self) -> bool:
        """Whether every message came back."""
        return self.echoed > 0 and not (self.overdue or self.unexpected or self.errors)
