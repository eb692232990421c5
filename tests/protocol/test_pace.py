"""What is under way is what the way takes, and a tenth of a second more: over slow, far, fast and changing links."""

from __future__ import annotations

from collections import deque

import pytest

from websocketstream._protocol.pace import FIRST_BYTES, LEAST_BYTES, QUEUE_SECONDS, Mark, Pace

STEP = 0.001  # seconds


class Link:
    """A link with a rate, a way to go and a buffer without end, and a sender that has always more to say."""

    def __init__(self, rate: float, round_trip: float) -> None:
        self.pace = Pace()
        self.rate = rate
        self.round_trip = round_trip
        self.now = 0.0
        self.queue: deque[tuple[float, int, Mark | None]] = deque()  # sent at, bytes, a ping behind them
        self.answers: deque[tuple[float, Mark, float]] = deque()  # arrive at, to which, sent at
        self.credit = 0.0
        self.passed = 0
        self.oldest = 0.0  # the longest that something has waited in the queue

    def run(self, seconds: float, *, message: int = 320) -> float:
        """Let so much time pass, and return how much of the link was used."""
        end, before = self.now + seconds, self.passed
        self.oldest = 0.0
        while self.now < end:
            self.now += STEP
            while self.answers and self.answers[0][0] <= self.now:
                _, mark, sent_at = self.answers.popleft()
                self.pace.answered(mark, self.now - sent_at)
            while not self.pace.is_full:
                self.pace.written += message
                mark = self.pace.mark() if self.pace.wants_ping else None
                self.queue.append((self.now, message, mark))
            self._pass_on()
        return (self.passed - before) / (self.rate * seconds)

    def _pass_on(self) -> None:
        self.credit += self.rate * STEP
        while self.queue and self.queue[0][1] <= self.credit:
            sent_at, size, mark = self.queue.popleft()
            self.credit -= size
            self.passed += size
            self.oldest = max(self.oldest, self.now - sent_at)
            if mark is not None:
                self.answers.append((self.now + self.round_trip, mark, sent_at))
        if not self.queue:
            self.credit = min(self.credit, self.rate * STEP)


@pytest.mark.parametrize("rate", [16_000, 125_000, 10_000_000], ids=["128 kbit/s", "1 Mbit/s", "80 Mbit/s"])
@pytest.mark.parametrize("round_trip", [0.0, 0.05, 0.3], ids=["near", "50 ms", "300 ms"])
def test_the_link_is_used_and_little_waits(rate: int, round_trip: float) -> None:
    link = Link(rate, round_trip)
    link.run(5 + 10 * round_trip)
    used = link.run(5)
    assert used > 0.9
    assert link.oldest < QUEUE_SECONDS + round_trip + max(0.08, 1.5 * LEAST_BYTES / rate)


def test_a_link_that_slows_down_is_noticed_and_one_that_speeds_up() -> None:
    link = Link(1_000_000, 0.02)
    link.run(3)
    link.rate = 50_000
    link.run(5)
    assert link.run(3) > 0.9
    assert link.oldest < 2 * QUEUE_SECONDS + 0.1
    link.rate = 1_000_000
    link.run(2)
    assert link.run(3) > 0.9


def write(pace: Pace, size: int) -> Mark | None:
    pace.written += size
    return pace.mark() if pace.wants_ping else None


def fill(pace: Pace) -> tuple[int, Mark]:
    """Write until it is full; return how many bytes that were, and the last ping."""
    before, last = pace.written, None
    while not pace.is_full:
        last = write(pace, 100) or last
    assert last is not None, "no answer is to come"
    return pace.written - before, last


def test_nothing_more_is_written_when_the_peer_reads_nothing() -> None:
    pace = Pace()
    size, mark = fill(pace)
    assert FIRST_BYTES <= size < FIRST_BYTES + 1000
    pace.answered(mark, 0.0)  # a clock that stands still
    assert not pace.is_full


def test_who_says_little_keeps_the_window() -> None:
    """It was not full, so an answer that came soon says nothing about the way."""
    pace = Pace()
    for _ in range(50):
        mark = write(pace, 5000)
        assert mark is not None
        pace.answered(mark, 0.001)
    size, _ = fill(pace)
    assert FIRST_BYTES <= size < FIRST_BYTES + 1000


def test_the_window_never_shuts() -> None:
    pace = Pace()
    pace.answered(pace.mark(), 0.0)
    for _ in range(20):
        _, mark = fill(pace)
        pace.answered(mark, 1000.0)
    size, mark = fill(pace)
    assert LEAST_BYTES <= size <= LEAST_BYTES + 1000
    assert pace.is_full
    pace.answered(mark, 1000.0)
    assert not pace.is_full


def test_a_message_larger_than_the_window_is_under_way_alone() -> None:
    pace = Pace()
    mark = write(pace, 10 * FIRST_BYTES)
    assert mark is not None
    assert pace.is_full
    pace.answered(mark, 0.05)
    assert not pace.is_full


def test_who_owes_an_answer_is_asked_no_more() -> None:
    """What is written to a peer that only asks itself must not become questions without end."""
    pace = Pace()
    _, last = fill(pace)
    assert [write(pace, 5000) for _ in range(10)] == [None] * 10
    pace.answered(last, 0.05)
    assert not pace.is_full
    assert write(pace, 100) is not None
