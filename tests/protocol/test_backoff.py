"""When to try again: delays, rows of attempts, and what a server asks for."""

from __future__ import annotations

import math
import time
from typing import Any

import pytest

from websocketstream import Backoff, Headers
from websocketstream._protocol.backoff import (
    Row,
    check_limits_of_row,
    is_transient_end,
    is_transient_status,
    seconds_asked_for,
)

EXACT = Backoff(initial=1, factor=2, maximum=5, jitter=0, healthy_after=10, max_retry_after=100)
NOW = 784111777.0  # the moment of the dates below


def row(backoff: Backoff = EXACT, **options: Any) -> Row:
    return Row(backoff, **{"max_attempts": None, "give_up_after": None, "now": 0.0, **options})


def test_delays_grow_up_to_the_maximum() -> None:
    attempts = row()
    assert [attempts.next_delay() for _ in range(5)] == [1, 2, 4, 5, 5]


def test_delays_do_not_overflow() -> None:
    attempts = row(Backoff(factor=1e300, jitter=0))
    assert [attempts.next_delay() for _ in range(2000)][-1] == 60


def test_the_first_delay_is_not_longer_than_the_maximum() -> None:
    assert row(Backoff(initial=9, maximum=5, jitter=0)).next_delay() == 5


@pytest.mark.parametrize(("jitter", "least"), [(0, 1), (0.25, 0.75), (1, 0)])
def test_jitter_is_the_share_that_is_up_to_chance(jitter: float, least: float) -> None:
    assert row(Backoff(jitter=jitter), random=lambda: 1.0).next_delay() == least
    assert row(Backoff(jitter=jitter), random=lambda: 0.0).next_delay() == 1
    assert least <= row(Backoff(jitter=jitter)).next_delay() <= 1


def test_a_healthy_connection_begins_a_new_row() -> None:
    attempts = row()
    attempts.attempts = 3
    assert [attempts.next_delay(), attempts.next_delay()] == [1, 2]
    attempts.connection_ended(19.9, opened=10.0)
    assert attempts.next_delay() == 4
    assert attempts.attempts == 3
    attempts.connection_ended(20.0, opened=10.0)
    assert attempts.next_delay() == 1
    assert attempts.attempts == 0


def test_what_the_server_asks_for_comes_on_top_and_is_bounded() -> None:
    attempts = row()
    assert attempts.next_delay(30.0) == 31
    assert attempts.next_delay(math.inf) == 102
    assert attempts.next_delay(0.0) == 4


def test_a_row_has_as_many_attempts_as_allowed() -> None:
    attempts = row(max_attempts=2)
    attempts.attempts = 1
    assert attempts.allows_attempt_at(1e9)
    attempts.attempts = 2
    assert not attempts.allows_attempt_at(0)


def test_a_row_is_as_long_as_allowed() -> None:
    attempts = row(give_up_after=30, now=100.0)
    assert attempts.allows_attempt_at(130.0)
    assert not attempts.allows_attempt_at(130.1)
    attempts.begin(200.0)
    assert attempts.allows_attempt_at(230.0)


@pytest.mark.parametrize(("count", "words"), [(1, "1 attempt"), (12, "12 attempts")])
def test_a_row_says_how_much_was_tried(count: int, words: str) -> None:
    attempts = row(now=100.0)
    attempts.attempts = count
    assert attempts.describe(102.26) == f"gave up after {words} in 2.3 s"


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ([], None),
        ([("Retry-After", "120")], 120),
        ([("Retry-After", " 0 ")], 0),
        ([("Retry-After", "9" * 5000)], math.inf),
        ([("Retry-After", "5"), ("Retry-After", "7")], 5),
        ([("Retry-After", "Sun, 06 Nov 1994 08:50:37 GMT")], 60),
        ([("Retry-After", "Sunday, 06-Nov-94 08:50:37 GMT")], 60),
        ([("Retry-After", "Sun Nov  6 08:50:37 1994")], 60),
        ([("Retry-After", "Sun, 06 Nov 1994 08:48:37 GMT")], 0),
        ([("Retry-After", "Sun, 06 Nov 1994 08:50:37 GMT"), ("Date", "Sun, 06 Nov 1994 08:50:07 GMT")], 30),
        ([("Retry-After", "Sun, 06 Nov 1994 08:50:37 GMT"), ("Date", "yesterday")], 60),
        ([("Retry-After", "")], None),
        ([("Retry-After", "-5")], None),
        ([("Retry-After", "1.5")], None),
        ([("Retry-After", "٣")], None),
        ([("Retry-After", "soon")], None),
        ([("Retry-After", "Sun, 99 Nov 1994 08:49:37 GMT")], None),
        ([("Retry-After", "Sun, 06 Nov 99999999999 08:49:37 GMT")], None),
    ],
)
def test_retry_after_is_seconds_or_a_date(fields: list[tuple[str, str]], seconds: float | None) -> None:
    raw = [(name.encode(), value.encode()) for name, value in fields]
    assert seconds_asked_for(Headers(raw), NOW) == seconds


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the zone cannot be changed")
def test_dates_are_those_of_greenwich_wherever_we_are(monkeypatch: pytest.MonkeyPatch) -> None:
    for zone in ("UTC", "Asia/Tokyo", "JST-9"):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        try:
            assert seconds_asked_for(Headers([(b"Retry-After", b"Sun Nov  6 08:50:37 1994")]), NOW) == 60
        finally:
            monkeypatch.undo()
            time.tzset()


@pytest.mark.parametrize(
    ("status", "transient"),
    [
        (200, False),
        (301, False),
        (400, False),
        (401, False),
        (403, False),
        (404, False),
        (408, True),
        (425, True),
        (426, False),
        (429, True),
        (499, False),
        (500, True),
        (501, False),
        (502, True),
        (503, True),
        (504, True),
        (505, False),
        (530, True),
    ],
)
def test_some_refusals_speak_of_now(status: int, transient: bool) -> None:
    assert is_transient_status(status) is transient


@pytest.mark.parametrize("code", range(1000, 1016))
def test_some_close_codes_speak_of_now(code: int) -> None:
    assert is_transient_end(code) is (code in {1001, 1006, 1011, 1012, 1013, 1014})
    assert not is_transient_end(code + 3000)


@pytest.mark.parametrize("code", [1002, 1003, 1007, 1009, 1010])
def test_whom_we_have_hung_up_on_is_not_called_again(code: int) -> None:
    assert not is_transient_end(1006, code)
    assert is_transient_end(1006, 1011)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"initial": -1}, ValueError),
        ({"initial": "1"}, TypeError),
        ({"factor": 0.5}, ValueError),
        ({"factor": math.inf}, ValueError),
        ({"factor": math.nan}, ValueError),
        ({"factor": True}, TypeError),
        ({"maximum": math.inf}, ValueError),
        ({"jitter": 1.1}, ValueError),
        ({"jitter": -0.1}, ValueError),
        ({"jitter": None}, TypeError),
        ({"healthy_after": math.nan}, ValueError),
        ({"max_retry_after": -1}, ValueError),
    ],
)
def test_a_backoff_that_makes_no_sense_is_refused(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=next(iter(options))):
        Backoff(**options)


@pytest.mark.parametrize(
    ("limits", "error", "name"),
    [
        ((0, None), ValueError, "max_attempts must"),
        ((1.5, None), TypeError, "max_attempts must"),
        ((None, 0), ValueError, "give_up_after must"),
        ((None, "x"), TypeError, "give_up_after must"),
    ],
)
def test_limits_that_make_no_sense_are_refused(limits: Any, error: type[Exception], name: str) -> None:
    with pytest.raises(error, match=name):
        check_limits_of_row(*limits)


def test_what_is_documented_is_what_is_done_by_default() -> None:
    assert Backoff() == Backoff(
        initial=1, factor=2, maximum=60, jitter=1, healthy_after=60, max_retry_after=600
    )
    assert Backoff(factor=1, initial=0, maximum=0).factor == 1


def test_no_limits_and_positive_ones_are_fine() -> None:
    check_limits_of_row(None, None)
    check_limits_of_row(1, 0.5)
