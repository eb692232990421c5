"""When to ping and when to give up, on a clock of the test's own; and which pong answers what."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from websocketstream._protocol.keepalive import (
    Action,
    Keepalive,
    Pings,
    TcpReport,
)

SLOWEST_READER = 16384  # bytes per second, as the docs say


@pytest.fixture
def keepalive() -> Keepalive:
    return Keepalive(20, 20, now=100)


def tcp(*, waiting: bool = False, unanswered: bool = False, silent_for: float) -> Callable[[], TcpReport]:
    return lambda: TcpReport(waiting, unanswered, silent_for)


def no_question() -> TcpReport:
    raise AssertionError("a system call that nobody needs")


def test_a_silent_peer_is_given_up_after_exactly_interval_plus_timeout(keepalive: Keepalive) -> None:
    assert keepalive.deadline == 120
    assert keepalive.expired(119.9) is Action.WAIT
    assert keepalive.expired(120) is Action.PING
    assert keepalive.deadline == 140
    assert keepalive.expired(139.9) is Action.WAIT
    assert keepalive.deadline == 140
    assert keepalive.expired(140) is Action.GIVE_UP
    assert keepalive.verdict == "the peer did not answer a ping within ping_timeout=20 s"


def test_being_asked_before_the_deadline_changes_nothing(keepalive: Keepalive) -> None:
    keepalive.expired(119)
    assert keepalive.deadline == 120
    assert keepalive.expired(120) is Action.PING


def test_any_inbound_byte_counts_as_life_not_only_a_pong(keepalive: Keepalive) -> None:
    keepalive.heard_at = 110
    assert keepalive.deadline == 130
    keepalive.expired(130)
    keepalive.heard_at = 149.9
    assert keepalive.deadline == pytest.approx(169.9)
    assert keepalive.expired(150) is Action.WAIT
    assert keepalive.expired(170) is Action.PING


def test_the_clock_stands_still_while_we_do_not_read(keepalive: Keepalive) -> None:
    keepalive.expired(120)
    keepalive.pause(130)
    keepalive.pause(139)
    for now in (150, 170, 190, 10_000):  # only TCP could be asked
        assert keepalive.deadline <= now
        assert keepalive.expired(now) is Action.WAIT
        assert keepalive.deadline == now + 20
    keepalive.resume(10_000)
    assert keepalive.deadline == 10_010
    assert keepalive.expired(10_010) is Action.GIVE_UP


def test_while_we_do_not_read_tcp_is_asked_after_each_interval_and_not_sooner(keepalive: Keepalive) -> None:
    keepalive.pause(110)
    assert keepalive.deadline == 130
    assert keepalive.expired(129.9, tcp=no_question) is Action.WAIT
    assert (
        keepalive.expired(130, tcp=tcp(unanswered=True, silent_for=1000)) is Action.WAIT
    )  # nothing waits for it
    assert keepalive.deadline == 150
    assert keepalive.expired(150, unsent=True) is Action.WAIT  # it cannot be asked
    assert keepalive.deadline == 170


def test_a_host_that_vanishes_while_we_do_not_read_is_given_up_when_bytes_wait_for_it(
    keepalive: Keepalive,
) -> None:
    keepalive.pause(110)
    assert keepalive.expired(130, tcp=tcp(waiting=True, unanswered=True, silent_for=15)) is Action.WAIT
    assert keepalive.deadline == 155
    assert keepalive.expired(155, tcp=tcp(waiting=True, silent_for=40)) is Action.WAIT
    assert keepalive.deadline == 156  # silence proves nothing before TCP has asked
    assert keepalive.expired(156, tcp=tcp(waiting=True, unanswered=True, silent_for=41)) is Action.GIVE_UP
    assert "host is gone: it has acknowledged nothing for 41.0 s" in keepalive.verdict


def test_what_waits_in_our_own_buffers_while_we_do_not_read_waits_for_the_host(keepalive: Keepalive) -> None:
    keepalive.pause(110)
    assert keepalive.expired(130, unsent=True, tcp=tcp(unanswered=True, silent_for=40)) is Action.GIVE_UP


def test_without_a_timeout_nobody_is_asked_while_we_do_not_read() -> None:
    keepalive = Keepalive(20, None, now=0)
    keepalive.pause(10)
    assert keepalive.deadline == math.inf
    assert keepalive.expired(10_000, tcp=no_question) is Action.WAIT
    keepalive.resume(10_000)
    assert keepalive.deadline == 10_010


def test_the_ping_is_due_later_by_the_time_we_did_not_read(keepalive: Keepalive) -> None:
    keepalive.pause(110)
    keepalive.resume(210)
    assert keepalive.deadline == 220
    keepalive.resume(215)
    assert keepalive.deadline == 220


def test_resuming_without_a_pause_changes_nothing(keepalive: Keepalive) -> None:
    keepalive.resume(110)
    assert keepalive.deadline == 120


def test_after_a_pause_nobody_is_asked_later_than_after_an_interval() -> None:
    keepalive = Keepalive(5, 60, now=0)
    keepalive.expired(5)
    keepalive.pause(6)
    keepalive.resume(106)
    assert keepalive.deadline == 111  # and not 165, when the time is up
    assert keepalive.expired(111) is Action.WAIT
    assert keepalive.expired(164) is Action.WAIT
    assert keepalive.deadline == 165
    assert keepalive.expired(165) is Action.GIVE_UP


def test_a_timeout_longer_than_the_interval_is_waited_for_with_a_look_at_each_interval() -> None:
    """A pong makes the next ping due before this one's time is up."""
    keepalive = Keepalive(20, 50, now=0)
    assert keepalive.expired(20) is Action.PING
    for due in (40, 60):
        assert keepalive.deadline == due
        assert keepalive.expired(due) is Action.WAIT
    assert keepalive.deadline == 70
    assert keepalive.expired(70) is Action.GIVE_UP


def test_a_timeout_shorter_than_the_interval_is_looked_at_when_it_is_up() -> None:
    keepalive = Keepalive(20, 5, now=0)
    assert keepalive.expired(20) is Action.PING
    assert keepalive.deadline == 25
    assert keepalive.expired(25) is Action.GIVE_UP


def test_a_program_that_stood_still_looks_twice_before_it_gives_up(keepalive: Keepalive) -> None:
    keepalive.expired(120)
    assert keepalive.expired(200) is Action.WAIT
    assert keepalive.deadline == 201
    assert keepalive.expired(203) is Action.GIVE_UP  # late again, but that is no excuse any more


@pytest.mark.parametrize(("late", "action"), [(0.5, Action.GIVE_UP), (0.51, Action.WAIT)])
def test_to_be_a_little_late_is_no_standstill(keepalive: Keepalive, late: float, action: Action) -> None:
    keepalive.expired(120)
    assert keepalive.expired(140 + late) is action


def test_what_is_heard_at_the_second_look_counts_and_so_does_the_next_standstill(
    keepalive: Keepalive,
) -> None:
    keepalive.expired(120)
    keepalive.expired(200)
    keepalive.heard_at = 200.1
    assert keepalive.deadline == pytest.approx(220.1)
    assert keepalive.expired(220.1) is Action.PING
    assert keepalive.expired(300) is Action.WAIT
    assert keepalive.expired(301) is Action.GIVE_UP


def test_a_clock_that_jumps_by_an_hour_leads_to_one_ping_and_one_decision(keepalive: Keepalive) -> None:
    assert keepalive.expired(3700) is Action.PING
    assert keepalive.expired(3700) is Action.WAIT
    assert keepalive.expired(3720) is Action.GIVE_UP


def test_without_a_timeout_the_peer_is_never_given_up() -> None:
    keepalive = Keepalive(20, None, now=0)
    assert keepalive.expired(20) is Action.PING
    for now in range(40, 10_000, 20):
        assert keepalive.deadline == now
        assert keepalive.expired(now, tcp=tcp(silent_for=10_000)) is Action.WAIT


def test_while_bytes_of_ours_wait_in_our_own_buffers_and_nobody_can_be_asked_nothing_is_concluded(
    keepalive: Keepalive,
) -> None:
    keepalive.expired(120)
    assert keepalive.expired(140, unsent=True) is Action.WAIT
    assert keepalive.deadline == 160
    assert keepalive.expired(160, unsent=True) is Action.WAIT
    assert keepalive.deadline == 180  # the patience with the peer begins when nothing waits any more
    assert keepalive.expired(180) is Action.GIVE_UP


def test_what_may_lie_unread_in_front_of_the_ping_is_given_the_time_of_a_slow_reader(
    keepalive: Keepalive,
) -> None:
    """What was written after it is not in front of it."""
    assert keepalive.expired(120, written=5 * SLOWEST_READER) is Action.PING
    assert keepalive.expired(140, written=50 * SLOWEST_READER) is Action.WAIT
    assert keepalive.deadline == 145
    assert keepalive.expired(145, written=50 * SLOWEST_READER) is Action.GIVE_UP


def test_what_a_slow_reader_has_had_the_time_for_is_read(keepalive: Keepalive) -> None:
    written = 12 * SLOWEST_READER
    keepalive.expired(101, written=written - 1 * SLOWEST_READER)
    keepalive.expired(110, written=written)
    keepalive.expired(117, written=written + 1)
    assert keepalive.expired(120, written=written + SLOWEST_READER) is Action.PING
    assert keepalive.expired(140, written=written + SLOWEST_READER) is Action.WAIT
    assert keepalive.deadline == pytest.approx(141, abs=0.001)


def test_nobody_has_more_unread_than_a_system_takes(keepalive: Keepalive) -> None:
    assert keepalive.expired(120, written=2**30) is Action.PING
    assert keepalive.expired(140, written=2**30) is Action.WAIT
    assert keepalive.deadline == 140 + 2**23 / SLOWEST_READER


@pytest.mark.parametrize(("answered", "left"), [(False, 99), (True, 9)])
def test_only_a_pong_says_that_what_lay_in_front_of_its_ping_is_read(
    keepalive: Keepalive, answered: bool, left: int
) -> None:
    """A peer that talks may be slow at reading all the same."""
    assert keepalive.expired(120, written=100 * SLOWEST_READER) is Action.PING
    assert keepalive.expired(130, written=130 * SLOWEST_READER) is Action.WAIT
    keepalive.heard_at = 131
    if answered:
        keepalive.answered()
    assert keepalive.expired(151, written=130 * SLOWEST_READER) is Action.PING
    assert keepalive.expired(171, written=130 * SLOWEST_READER) is Action.WAIT
    assert keepalive.deadline == 171 + left


def test_a_slow_readers_time_begins_when_nothing_waits_any_more(keepalive: Keepalive) -> None:
    keepalive.expired(120, written=5 * SLOWEST_READER)
    keepalive.expired(140, unsent=True)
    assert keepalive.expired(160) is Action.WAIT
    assert keepalive.deadline == 165
    assert keepalive.expired(165) is Action.GIVE_UP


def test_a_slow_readers_time_is_given_where_tcp_can_be_asked_as_well(keepalive: Keepalive) -> None:
    keepalive.expired(120, written=5 * SLOWEST_READER)
    assert keepalive.expired(140, tcp=tcp(silent_for=20)) is Action.WAIT
    assert keepalive.deadline == 145
    assert keepalive.expired(145, tcp=tcp(silent_for=25)) is Action.GIVE_UP
    assert keepalive.verdict == "the peer did not answer a ping within ping_timeout=20 s"


def test_a_host_that_acknowledges_is_not_gone_while_bytes_wait_for_it(keepalive: Keepalive) -> None:
    keepalive.expired(120)
    assert keepalive.expired(140, tcp=tcp(waiting=True, unanswered=True, silent_for=3)) is Action.WAIT
    assert keepalive.deadline == 177
    assert keepalive.expired(177, tcp=tcp(waiting=True, unanswered=True, silent_for=40)) is Action.GIVE_UP
    assert keepalive.verdict == (
        "the peer's host is gone: it has acknowledged nothing for 40.0 s (ping_interval=20 s, ping_timeout=20 s)"
    )


def test_what_waits_in_our_own_buffers_counts_as_waiting_in_the_systems(keepalive: Keepalive) -> None:
    keepalive.expired(120)
    assert keepalive.expired(140, unsent=True, tcp=tcp(unanswered=True, silent_for=30)) is Action.WAIT
    assert keepalive.deadline == 150
    assert keepalive.expired(150, unsent=True, tcp=tcp(unanswered=True, silent_for=41)) is Action.GIVE_UP
    assert "acknowledged nothing for 41.0 s" in keepalive.verdict


def test_where_bytes_wait_and_tcp_has_nothing_to_ask_for_another_ping_asks(keepalive: Keepalive) -> None:
    """A peer that we hold back for does not read: it lives as long as its TCP answers, and TCP must have a question."""
    keepalive.expired(120)
    for now in (140, 160, 180):
        assert keepalive.deadline == now
        assert keepalive.expired(now, written=now, unsent=True, tcp=tcp(silent_for=20)) is Action.PING
    gone = tcp(waiting=True, unanswered=True, silent_for=40)
    assert keepalive.expired(200, unsent=True, tcp=gone) is Action.GIVE_UP
    assert "acknowledged nothing for 40.0 s" in keepalive.verdict


def test_tcp_is_asked_only_when_it_has_a_say(keepalive: Keepalive) -> None:
    keepalive.expired(110, tcp=no_question)
    keepalive.expired(120, tcp=no_question)
    keepalive.expired(130, tcp=no_question)
    keepalive.expired(200, tcp=no_question)


class Waker:
    """Counts how often it is called."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> None:
        self.calls += 1


def test_a_pong_tells_the_round_trip_time_of_its_ping() -> None:
    pings = Pings()
    assert pings.latency is None
    ping = pings.start(10.0, woken := Waker())
    assert ping.latency is None
    pings.pong(ping.payload, 10.25)
    assert (ping.latency, pings.latency, woken.calls) == (0.25, 0.25, 1)


def test_a_pong_answers_every_earlier_ping_and_no_later_one() -> None:
    pings = Pings()
    early, answered, late = (pings.start(now, Waker()) for now in (1.0, 2.0, 3.0))
    pings.pong(answered.payload, 5.0)
    assert (early.latency, answered.latency, late.latency, pings.latency) == (4.0, 3.0, None, 3.0)
    pings.pong(early.payload, 9.0)  # for which nobody waits any more
    assert (early.latency, pings.latency) == (4.0, 3.0)
    pings.pong(late.payload, 9.0)
    assert late.latency == 6.0
    assert [ping.wake.calls for ping in (early, answered, late)] == [1, 1, 1]  # type: ignore[union-attr]


def test_a_pong_for_no_ping_or_for_one_that_was_forgotten_changes_nothing() -> None:
    pings = Pings()
    ping = pings.start(1.0, woken := Waker())
    pings.pong(b"unsolicited", 2.0)
    pings.forget(ping)
    pings.forget(ping)
    pings.pong(ping.payload, 2.0)
    assert (ping.latency, pings.latency, woken.calls) == (None, None, 0)


def test_a_ping_of_the_keepalive_wakes_nobody() -> None:
    pings = Pings()
    ping = pings.start(1.0)
    pings.pong(ping.payload, 1.5)
    assert pings.latency == 0.5
    pings.start(2.0)
    pings.give_up()


def test_when_there_will_be_no_more_pongs_everybody_is_woken_without_one() -> None:
    pings = Pings()
    waiting = [pings.start(1.0, Waker()) for _ in range(3)]
    pings.give_up()
    pings.give_up()
    assert [ping.wake.calls for ping in waiting] == [1, 1, 1]  # type: ignore[union-attr]
    assert [ping.latency for ping in waiting] == [None] * 3


def test_the_payloads_of_pings_cannot_be_guessed() -> None:
    payloads = {Pings().start(0.0).payload for _ in range(100)}
    assert len(payloads) == 100
    assert {len(payload) for payload in payloads} == {8}
