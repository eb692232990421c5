"""When to try again, sans-IO: growing delays, attempts in a row, and what a server asks for by ``Retry-After``."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from random import random as any_random

from .arguments import check_seconds, check_size
from .http import Headers

# RFC 9110 15.5 and 15.6, RFC 6585 4, RFC 8470 5.2: what may be otherwise in a while. Of what servers and proxies answer from
# 500 on, only two say that it will not be: 501 (not implemented) and 505 (HTTP version not supported).
_TRANSIENT_4XX = frozenset({408, 425, 429})
_LASTING_5XX = frozenset({501, 505})
# Those of the registry that speak of the server's state, and not of what it thinks of us (IANA's registry of close codes).
_TRANSIENT_CODES = frozenset({1001, 1006, 1011, 1012, 1013, 1014})
# What we hang up with when we do not understand the peer, or do not want what it sends: it would be the same again.
_COMPLAINTS = frozenset({1002, 1003, 1007, 1009, 1010})

_DELAY_SECONDS = re.compile(r"[0-9]+")  # RFC 9110 10.2.3


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before another attempt: longer with each that fails, and not as long as all the others wait.

    Times are seconds. The delays are ``initial``, then ``factor`` times the one before, up to ``maximum``. ``jitter`` is the
    share of each that is up to chance: 0 for none; 1, the default, for anything from no time to all of it, which
    spreads the clients of a server that has restarted best (RFC 6455 section 7.2.3). A connection that was open for
    ``healthy_after`` seconds makes the next delay the first one again. When the server says ``Retry-After``, that is waited for
    first, but not longer than ``max_retry_after``.

    :raises TypeError: one of them is no number
    :raises ValueError: one of them is negative or not finite, ``factor`` is less than 1, or ``jitter`` more
    """

    initial: float = 1.0
    factor: float = 2.0
    maximum: float = 60.0
    jitter: float = 1.0
    healthy_after: float = 60.0
    max_retry_after: float = 600.0

    def __post_init__(self) -> None:
        for name in ("initial", "maximum", "healthy_after", "max_retry_after"):
            check_seconds(name, getattr(self, name))
        for name in ("factor", "jitter"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise TypeError(f"{name} must be a number, not {type(value).__name__}")
        if not 1 <= self.factor < math.inf:
            raise ValueError(f"factor must be at least 1 and finite, not {self.factor}")
        if not 0 <= self.jitter <= 1:
            raise ValueError(f"jitter must be from 0 to 1, not {self.jitter}")


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt to connect, as a hook sees it before it is made.

    ``number`` counts the attempts in a row, from 1; a healthy connection ends the row. ``error`` is why the attempt or the
    connection before failed, None when there was none or it did not fail. ``delay`` is how long it is waited for, in seconds.
    """

    number: int
    error: Exception | None
    delay: float


class Row:
    """Attempts in a row: the count, the delays, the limits. All times are seconds of one monotonic clock.

    :param max_attempts: how many there may be; None for any number
    :param give_up_after: seconds from the row's beginning within which the last one begins; None for no limit
    :param random: returns a number from 0 up to 1
    """

    __slots__ = ("_backoff", "_began", "_delay", "_give_up_after", "_max_attempts", "_random", "attempts")

    def __init__(
        self,
        backoff: Backoff,
        *,
        max_attempts: int | None,
        give_up_after: float | None,
        now: float,
        random: Callable[[], float] = any_random,
    ) -> None:
        self._backoff = backoff
        self._max_attempts = math.inf if max_attempts is None else max_attempts
        self._give_up_after = math.inf if give_up_after is None else give_up_after
        self._random = random
        self.begin(now)

    def begin(self, now: float) -> None:
        """Begin a new row; nothing has failed yet."""
        self._began = now
        self._delay = min(self._backoff.initial, self._backoff.maximum)
        self.attempts: int = 0

    def connection_ended(self, now: float, *, opened: float) -> None:
        """Begin a new row if the connection was open for long enough to be called healthy."""
        if now - opened >= self._backoff.healthy_after:
            self.begin(now)

    def next_delay(self, asked_for: float | None = None) -> float:
        """Return how long to wait now; it is longer each time.

        :param asked_for: the seconds that the server wants to be left alone
        """
        delay = self._delay * (1 - self._backoff.jitter * self._random())
        self._delay = min(self._delay * self._backoff.factor, self._backoff.maximum)
        # Behind it, not instead of it: all the others were told the same.
        return min(asked_for or 0.0, self._backoff.max_retry_after) + delay

    def allows_attempt_at(self, time: float) -> bool:
        """Tell whether there may be one more, at that time."""
        return self.attempts < self._max_attempts and time - self._began <= self._give_up_after

    def describe(self, now: float) -> str:
        """Say how much was tried."""
        times = "1 attempt" if self.attempts == 1 else f"{self.attempts} attempts"
        return f"gave up after {times} in {max(now - self._began, 0):.1f} s"


def check_limits_of_row(max_attempts: int | None, give_up_after: float | None) -> None:
    """Insist on limits, or None.

    :raises TypeError: one is no number
    :raises ValueError: one is not positive
    """
    if max_attempts is not None:
        check_size("max_attempts", max_attempts)
    if give_up_after is not None:
        check_seconds("give_up_after", give_up_after, zero=False)


def seconds_asked_for(headers: Headers, now: float) -> float | None:
    """Return for how many seconds a server wants to be left alone, None when it does not say so (RFC 9110 10.2.3).

    :param now: the seconds since 1970; a date is taken relative to the server's own clock if it tells it
    """
    values = headers.get_all("retry-after")
    if not values:
        return None
    text = values[0].strip()
    if _DELAY_SECONDS.fullmatch(text):
        return float(text)  # no int: that many digits are an error there, and infinity here
    until = _date(text)
    if until is None:
        return None
    own = _date(headers.get("date", ""))
    return max(until - (now if own is None else own), 0.0)


def _date(text: str) -> float | None:
    """Read a date in any of HTTP's three formats (RFC 9110 5.6.7), as seconds since 1970."""
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    # The one without a name of a zone means GMT, too.
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()


def is_transient_status(status: int) -> bool:
    """Tell whether a refusal with this status speaks of now, and not of always."""
    return status in _TRANSIENT_4XX or (status >= 500 and status not in _LASTING_5XX)


def is_transient_end(close_code: int | None, sent_code: int | None = None) -> bool:
    """Tell whether a connection that ended with these codes, the peer's and ours, may do better next time."""
    return sent_code not in _COMPLAINTS and close_code in _TRANSIENT_CODES
