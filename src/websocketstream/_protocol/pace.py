"""How much may be under way to the peer, where it counts how old it is on arrival: all the buffers in between included.

Nobody says how much waits in the network, in the other host's buffers, in a proxy. But a peer answers a ping when it has
read what came before it. So pings between the messages tell how much has been read, and how long that took.
"""

from __future__ import annotations

import math

QUEUE_SECONDS = (
    0.1  # how long what is sent may wait on the way, on top of what the way takes when it is empty
)
FIRST_BYTES = 16384  # under way until the first answers have come
LEAST_BYTES = 4096  # under way at the least, whatever the answers say
PINGS = 4  # for what is under way: how often we learn how it gets on


class Pace:
    """How many bytes may be written before the peer has read those before them; times in seconds of one clock.

    The window is what the peer reads in the time that an empty way takes and :data:`QUEUE_SECONDS`. As long as not that
    much is under way, answers come sooner, and the window grows, so a fast way is not slowed down.
    """

    __slots__ = ("_read", "_shortest", "_window", "marked", "written")

    def __init__(self) -> None:
        self.written = 0  # bytes ever
        self.marked = 0  # of them, those before the last ping
        self._read = 0  # of them, those that the peer has read
        self._shortest = math.inf  # that an answer has taken
        self._window = FIRST_BYTES

    @property
    def is_full(self) -> bool:
        """Whether nothing more should be written before the peer has read more."""
        # What is behind the last ping does not count: where this is true, an answer is still to come.
        return self.marked - self._read >= self._window

    @property
    def wants_ping(self) -> bool:
        """Whether a ping should follow what was written."""
        # A peer that only asks makes us write answers, full or not: what it owes an answer to must not pile up.
        return not self.is_full and self.written - self.marked >= self._window // PINGS

    def mark(self) -> Mark:
        """Take note of a ping behind what was written."""
        self.marked = self.written
        return Mark(self.written, self._read)

    def answered(self, mark: Mark, seconds: float) -> None:
        """Take note of the answer to a ping, and of how long it took."""
        self._shortest = min(self._shortest, seconds)
        self._read = max(self._read, mark.written)
        was_used = (
            mark.written - mark.read >= self._window // 2
        )  # or there was less to write than might have been
        rate = (self._read - mark.read) / max(seconds, 1e-6)
        allowed = self._shortest + QUEUE_SECONDS
        wanted = int(rate * allowed)
        if seconds > allowed:
            self._window = max(LEAST_BYTES, min(wanted, self._window))
        elif was_used:
            self._window = max(self._window, min(wanted, 2 * self._window))


class Mark:
    """A ping, and what was known when it was sent: the bytes written before it, and those of them that were read."""

    __slots__ = ("read", "written")

    def __init__(self, written: int, read: int) -> None:
        self.written = written
        self.read = read
