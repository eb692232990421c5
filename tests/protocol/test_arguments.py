"""Checks of numbers that users give."""

from __future__ import annotations

import pytest

from websocketstream._protocol.arguments import check_fingerprint, check_seconds, check_size
from websocketstream._protocol.http import HandshakeLimits, check_limits


@pytest.mark.parametrize("value", [1, 2**40])
def test_a_size_is_a_positive_int(value: int) -> None:
    check_size("read_buffer", value)


def test_zero_is_a_size_only_where_that_makes_sense() -> None:
    check_size("field_count", 0, zero=True)
    with pytest.raises(ValueError, match="read_buffer must be at least 1, not 0"):
        check_size("read_buffer", 0)
    with pytest.raises(ValueError, match="field_count must be at least 0, not -1"):
        check_size("field_count", -1, zero=True)


@pytest.mark.parametrize("value", [True, 1.0, "1", None])
def test_anything_else_is_no_size(value: object) -> None:
    with pytest.raises(TypeError, match=f"read_buffer must be an int, not {type(value).__name__}"):
        check_size("read_buffer", value)


@pytest.mark.parametrize("value", [0, 0.5, 10])
def test_seconds_are_a_finite_number(value: float) -> None:
    check_seconds("close_timeout", value)


@pytest.mark.parametrize("value", [-1, float("inf"), float("nan"), 10**400])
def test_other_numbers_are_no_seconds(value: float) -> None:
    with pytest.raises(ValueError, match="close_timeout must be a finite number of seconds, 0 or more, not "):
        check_seconds("close_timeout", value)


def test_no_seconds_at_all_are_an_error_where_that_makes_no_sense() -> None:
    with pytest.raises(ValueError, match="ping_interval must be a finite number of seconds, above 0, not 0"):
        check_seconds("ping_interval", 0, zero=False)


@pytest.mark.parametrize("value", [True, "1", None])
def test_anything_else_is_no_number_of_seconds(value: object) -> None:
    with pytest.raises(TypeError, match=f"must be a number of seconds, not {type(value).__name__}"):
        check_seconds("close_timeout", value)


def test_limits_of_the_handshake_are_of_one_type_only() -> None:
    check_limits(HandshakeLimits())
    with pytest.raises(
        TypeError, match=r"not dict: write handshake_limits=HandshakeLimits\(head_size=32768\)"
    ):
        check_limits({"head_size": 32768})


def test_a_fingerprint_has_colons_between_all_bytes_or_between_none() -> None:
    assert (
        check_fingerprint("0aFf" * 16) == check_fingerprint(":".join(["0A", "fF"] * 16)) == b"\x0a\xff" * 16
    )


@pytest.mark.parametrize(
    "value", ["", "aa" * 20, "aa" * 33, "gg" * 32, "aa:" + "aa" * 31, ":".join(["aa"] * 32) + ":"]
)
def test_anything_else_is_no_fingerprint(value: str) -> None:
    with pytest.raises(ValueError, match="fingerprint must be a SHA-256 in 64 hexadecimal digits"):
        check_fingerprint(value)


def test_a_fingerprint_is_a_str() -> None:
    with pytest.raises(TypeError, match="fingerprint must be a str or None, not bytes"):
        check_fingerprint(b"\0" * 32)
