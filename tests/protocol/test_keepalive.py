"""When to ping and when to give up, on a clock of the test's own."""

from __future__ import annotations

import math

import pytest

from websocketstream._protocol.keepalive import Action, Keepalive


@pytest.fixture
def keepalive() -> Keepalive:
    return Keepalive(20, 20, now=100)


def test_a_silent_peer_is_given_up_after_exactly_interval_plus_timeout(keepalive: Keepalive) -> None:
    assert keepalive.deadline == 120
    assert keepalive.expired(119.9) is Action.WAIT
    assert keepalive.expired(120) is Action.PING
    keepalive.wrote(120, ping=True)
    assert keepalive.deadline == 140
    assert keepalive.expired(140) is Action.GIVE_UP


def test_any_inbound_byte_counts_as_life_not_only_a_pong(keepalive: Keepalive) -> None:
    keepalive.expired(120)
    keepalive.wrote(120, ping=True)
    keepalive.heard(139.9)
    assert keepalive.deadline == pytest.approx(159.9)
    assert keepalive.expired(140) is Action.WAIT
    assert keepalive.expired(160) is Action.PING


def test_the_clock_stands_still_while_we_do_not_read(keepalive: Keepalive) -> None:
    keepalive.expired(120)
    keepalive.wrote(120, ping=True)
    keepalive.pause(130)
    assert keepalive.paused
    assert keepalive.expired(10_000) is Action.WAIT
    keepalive.resume(10_000)
    assert not keepalive.paused
    assert keepalive.deadline == 10_010
    assert keepalive.expired(10_010) is Action.GIVE_UP


def test_the_ping_is_due_later_by_the_time_we_did_not_read(keepalive: Keepalive) -> None:
    keepalive.pause(110)
    keepalive.resume(210)
    assert keepalive.deadline == 220


def test_resuming_without_a_pause_changes_nothing(keepalive: Keepalive) -> None:
    keepalive.resume(110)
    assert keepalive.deadline == 120


def test_a_ping_behind_our_own_data_waits_as_long_as_that_data_moves(keepalive: Keepalive) -> None:
    keepalive.expired(120)
    keepalive.wrote(135, ping=False)
    assert keepalive.deadline == 155
    keepalive.wrote(150, ping=True)
    assert keepalive.deadline == 170
    keepalive.wrote(165, ping=False)
    assert keepalive.deadline == 170


def test_writing_without_a_ping_under_way_changes_nothing(keepalive: Keepalive) -> None:
    keepalive.wrote(110, ping=False)
    assert keepalive.deadline == 120


def test_a_program_that_stood_still_looks_twice_before_it_gives_up(keepalive: Keepalive) -> None:
    keepalive.expired(120)
    keepalive.wrote(120, ping=True)
    assert keepalive.expired(200) is Action.WAIT
    assert keepalive.deadline == 201
    assert keepalive.expired(201) is Action.GIVE_UP


def test_what_is_heard_at_the_second_look_counts(keepalive: Keepalive) -> None:
    keepalive.expired(120)
    keepalive.expired(200)
    keepalive.heard(200.1)
    assert keepalive.deadline == pytest.approx(220.1)


def test_a_clock_that_jumps_by_an_hour_leads_to_one_ping_and_one_decision(keepalive: Keepalive) -> None:
    assert keepalive.expired(3700) is Action.PING
    assert keepalive.expired(3700) is Action.WAIT
    keepalive.wrote(3700, ping=True)
    assert keepalive.expired(3720) is Action.GIVE_UP


def test_without_a_timeout_the_peer_is_never_given_up() -> None:
    keepalive = Keepalive(20, None, now=0)
    assert keepalive.expired(20) is Action.PING
    assert keepalive.deadline == math.inf
