"""Passes of the event loop, and what each of many readers may have of one."""

from __future__ import annotations

import pytest

from websocketstream._network.turns import MIN_SHARE, PASS_SECONDS, ReadTurns, Turns


def test_who_comes_again_has_seen_a_pass() -> None:
    turns = Turns()
    one, two = turns.enter(-1, 10.0), turns.enter(-1, 10.001)
    assert one == two
    assert turns.until == 10.0 + PASS_SECONDS
    one = turns.enter(one, 10.002)
    assert one == two + 1
    assert turns.until == 10.002 + PASS_SECONDS
    assert turns.enter(two, 10.003) == one


def test_after_a_pause_a_new_pass_begins_for_whoever_comes() -> None:
    turns = Turns()
    turns.enter(-1, 10.0)
    turns.enter(-1, 20.0)
    assert turns.until == 20.0 + PASS_SECONDS


@pytest.mark.parametrize("readers", [2, 20, 200, 2000])
def test_readers_settle_to_equal_shares_of_a_pass_and_get_them_back(readers: int) -> None:
    turns = ReadTurns()
    seen = [-1] * readers
    now = 100.0
    whole = 0.001  # seconds that a whole read takes
    for number in range(40):
        start = now
        shares = []
        for reader in range(readers):
            seen[reader] = turns.enter(seen[reader], now)
            shares.append(turns.share_at(now))
            now += whole * shares[-1]
        took = now - start
        least = readers * whole * MIN_SHARE
        assert took <= PASS_SECONDS + whole + least
        if number > 20:
            assert max(shares) <= max(2 * min(shares), MIN_SHARE) or took <= PASS_SECONDS + whole
    for _ in range(10):
        seen[0] = turns.enter(seen[0], now)
        now += whole
    assert turns.share == 1
