"""What a living peer may not have read yet, and what TCP says while we do not read: the decision on a clock of its own."""

from __future__ import annotations

from websocketstream._protocol.keepalive import (
    MOST_UNREAD,
    SLOWEST_READER,
    Action,
    Keepalive,
    TcpReport,
)

ALIVE = TcpReport(waiting=True, unanswered=False, silent_for=1)
GONE = TcpReport(waiting=True, unanswered=True, silent_for=40)
BURST = SLOWEST_READER * 100  # bytes that may take a hundred seconds to read


def given_up_at(keepalive: Keepalive, *, written: int = 0, until: float = 10_000) -> float:
    """Look whenever that is due, at a host that acknowledges our ping at once and says nothing more."""
    acknowledged = 0.0
    while (now := keepalive.deadline) < until:
        report = TcpReport(waiting=False, unanswered=False, silent_for=now - acknowledged)
        action = keepalive.expired(now, written=written, tcp=lambda report=report: report)
        if action is Action.PING:
            acknowledged = now
        elif action is Action.GIVE_UP:
            return now
    return until


def test_a_peer_that_says_something_in_front_of_a_backlog_still_has_the_time_to_read_it() -> None:
    keepalive = Keepalive(20, 20, now=0)
    keepalive.heard_at = 1  # the burst was written before
    assert given_up_at(keepalive, written=BURST) == 21 + 20 + 100


def test_on_a_quiet_connection_a_missing_pong_decides_after_the_interval_and_the_timeout() -> None:
    keepalive = Keepalive(20, 20, now=0)
    assert given_up_at(keepalive) == 40


def test_a_pong_says_that_all_in_front_of_the_ping_was_read() -> None:
    keepalive = Keepalive(20, 20, now=0)
    assert keepalive.expired(20, written=BURST) is Action.PING
    keepalive.heard_at = 21
    keepalive.answered()
    assert given_up_at(keepalive, written=BURST) == 21 + 40


def test_a_pong_says_nothing_about_what_was_written_behind_the_ping() -> None:
    keepalive = Keepalive(20, 20, now=0)
    assert keepalive.expired(20, written=0) is Action.PING
    keepalive.heard_at = 21
    keepalive.answered()
    assert given_up_at(keepalive, written=BURST) == 41 + 20 + 100


def test_in_time_the_slowest_reader_has_read_everything() -> None:
    keepalive = Keepalive(20, 20, now=0)
    now = 0.0
    while now < 200:
        assert keepalive.expired(keepalive.deadline, written=BURST) is not Action.GIVE_UP
        now += 10
        keepalive.heard_at = now
    assert given_up_at(keepalive, written=BURST) == 240


def test_no_more_is_unread_than_a_system_takes() -> None:
    keepalive = Keepalive(20, 20, now=0)
    assert given_up_at(keepalive, written=10**12) == 40 + MOST_UNREAD / SLOWEST_READER


def test_a_host_that_vanished_with_bytes_of_ours_is_found_although_we_do_not_read() -> None:
    keepalive = Keepalive(20, 20, now=0)
    keepalive.pause(10)
    assert keepalive.expired(30, tcp=lambda: ALIVE) is Action.WAIT
    assert keepalive.deadline == 30 + 39
    assert keepalive.expired(69, tcp=lambda: GONE) is Action.GIVE_UP
    assert "host is gone" in keepalive.verdict


def test_our_own_unsent_bytes_wait_for_the_host_as_well_while_we_do_not_read() -> None:
    keepalive = Keepalive(20, 20, now=0)
    keepalive.pause(10)
    silent = TcpReport(waiting=False, unanswered=True, silent_for=40)
    assert keepalive.expired(30, unsent=True, tcp=lambda: silent) is Action.GIVE_UP


def test_while_we_do_not_read_and_nothing_of_ours_waits_the_clock_stands_still() -> None:
    keepalive = Keepalive(20, 20, now=0)
    keepalive.pause(10)
    assert given_up_at(keepalive) == 10_000


def test_while_we_do_not_read_and_there_is_nobody_to_ask_the_clock_stands_still() -> None:
    keepalive = Keepalive(20, 20, now=0)
    keepalive.pause(10)
    while keepalive.deadline < 1000:
        assert keepalive.expired(keepalive.deadline, unsent=True) is Action.WAIT


def test_without_a_timeout_nobody_is_asked_while_we_do_not_read() -> None:
    keepalive = Keepalive(20, None, now=0)
    keepalive.pause(10)
    assert keepalive.deadline == float("inf")
