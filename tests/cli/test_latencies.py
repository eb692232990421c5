"""Durations in buckets: any number of them in little memory, and less than one percent off."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given, strategies as st

from websocketstream._cli.latencies import Latencies

durations = st.lists(st.floats(1e-9, 1e4), min_size=1, max_size=200)


def counted(seconds: list[float]) -> Latencies:
    latencies = Latencies()
    for each in seconds:
        latencies.add(each)
    return latencies


@given(durations, st.sampled_from([50.0, 90.0, 99.0, 99.9, 100.0]))
def test_a_percentile_is_that_of_the_sorted_durations(seconds: list[float], percent: float) -> None:
    exact = sorted(seconds)[math.ceil(len(seconds) * percent / 100) - 1]
    assert counted(seconds).percentile(percent) == pytest.approx(exact, rel=0.01)


@given(durations)
def test_the_extremes_and_the_mean_are_exact(seconds: list[float]) -> None:
    latencies = counted(seconds)
    assert (latencies.least, latencies.most) == (min(seconds), max(seconds))
    assert latencies.percentile(100) == max(seconds)
    assert latencies.mean == pytest.approx(sum(seconds) / len(seconds))


@given(durations, st.integers(1, 20))
def test_the_bars_count_everything_once_and_join(seconds: list[float], rows: int) -> None:
    bars = counted(seconds).bars(rows)
    assert len(bars) <= rows
    assert sum(count for _, _, count in bars) == len(seconds)
    assert all(until == start for (_, until, _), (start, _, _) in pairwise(bars))
    assert bars[0][0] <= min(seconds) * 1.01
    assert bars[-1][1] >= max(seconds) * 0.99


def test_many_durations_take_no_more_room_than_there_are_buckets() -> None:
    latencies = counted([0.001 + number * 1e-9 for number in range(100_000)])
    assert latencies.count == 100_000
    assert len(latencies._buckets) < 20


def test_without_durations_everything_is_zero() -> None:
    latencies = Latencies()
    assert (latencies.mean, latencies.percentile(50), latencies.percentile(100)) == (0, 0, 0)
    assert latencies.bars(5) == []


def test_a_clock_that_stands_still_is_no_failure() -> None:
    assert counted([0.0, -1.0]).most == 1e-9
