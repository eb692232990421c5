"""When a missing pong means that the host is gone: the rules, one by one. tests/liveness replays what was measured."""

from __future__ import annotations

import pytest

from websocketstream._protocol.keepalive import TcpReport, patience_left, seconds_between_questions

INTERVAL, TIMEOUT = 20, 20


def left(*, waiting: bool, unanswered: bool, silent_for: float) -> float:
    return patience_left(TcpReport(waiting, unanswered, silent_for), INTERVAL, TIMEOUT)


def test_a_missing_pong_decides_when_the_host_has_had_the_ping_for_the_whole_timeout() -> None:
    assert left(waiting=False, unanswered=False, silent_for=20) == 0


def test_the_patience_for_a_pong_begins_when_the_host_has_acknowledged_the_ping() -> None:
    assert left(waiting=False, unanswered=False, silent_for=5) == 15


def test_a_missing_pong_proves_nothing_while_bytes_of_ours_wait_and_acknowledgements_arrive() -> None:
    assert left(waiting=True, unanswered=False, silent_for=0) == 40
    assert left(waiting=True, unanswered=True, silent_for=39) == 1


def test_a_host_that_has_not_acknowledged_for_the_interval_and_the_timeout_is_gone() -> None:
    assert left(waiting=True, unanswered=True, silent_for=40) == 0


def test_silence_proves_nothing_before_tcp_has_asked() -> None:
    assert left(waiting=True, unanswered=False, silent_for=119) == 1
    assert patience_left(TcpReport(waiting=True, unanswered=False, silent_for=119), 1, 2) == 0.5


def test_the_next_question_is_never_so_soon_that_the_timer_spins() -> None:
    assert left(waiting=True, unanswered=True, silent_for=40 - 1e-9) == 0.01
    assert patience_left(TcpReport(waiting=True, unanswered=False, silent_for=1), 1e-6, 1e-6) == 0.01


@pytest.mark.parametrize(
    ("interval", "timeout", "seconds"), [(20, 20, 5), (1, 2, 1), (0.1, 0.1, 1), (30, 10, 5), (3600, 60, 120)]
)
def test_tcp_asks_eight_times_in_the_interval_and_the_timeout_as_far_as_the_system_lets_it(
    interval: float, timeout: float, seconds: float
) -> None:
    assert seconds_between_questions(interval, timeout) == seconds
