"""Words for people: what a terminal may be shown, sizes and durations."""

from __future__ import annotations

import argparse
import math
import sys
import unicodedata

import pytest

from websocketstream._cli.escape import escape
from websocketstream._cli.units import (
    byte_rate,
    duration,
    parse_limit,
    parse_size,
    positive_int,
    positive_seconds,
    rate,
    seconds_or_forever,
    size,
)


def test_no_control_character_is_left() -> None:
    everything = "".join(map(chr, range(sys.maxunicode + 1)))
    left = {
        character
        for character in escape(everything)
        if unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"}
    }
    assert left == {"\n", "\t"}
    assert not any(unicodedata.bidirectional(each) in {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
                   for each in escape(everything))  # fmt: skip


def test_what_is_escaped_can_be_read() -> None:
    assert escape("\x1b]0;title\x07") == r"\e]0;title\x07"
    assert escape("\x9b31m\u202e\ud800\r") == r"\x9b31m\u202e\ud800\r"


def test_text_in_any_script_stays_as_it_is() -> None:
    text = "Grüße, שלום, 你好, 👍🏽, a\tb\nc"
    assert escape(text) == text


def test_one_line_is_made_where_one_is_wanted() -> None:
    assert escape("a\n\tb", keep="") == r"a\n\tb"


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536 * 1024, "1.5 MiB"),
        (1024**2 - 1, "1.0 MiB"),
        (4 * 1024**3, "4.0 GiB"),
        (5000 * 1024**4, "5000.0 TiB"),
    ],
)
def test_sizes_are_shown_in_units(number: int, shown: str) -> None:
    assert size(number) == shown


@pytest.mark.parametrize(
    ("text", "number"),
    [("0", 0), ("65536", 65536), ("64KiB", 65536), ("64k", 65536), ("64kB", 64000), ("1.5 MiB", 1572864), ("7b", 7), ("2G", 2**31)],
)  # fmt: skip
def test_sizes_are_read(text: str, number: int) -> None:
    assert parse_size(text) == number


@pytest.mark.parametrize("text", ["", "x", "-1", "1 XiB", "MiB", "1e6", "0x10"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is not a size"):
        parse_size(text)


def test_a_limit_may_be_none_but_not_nothing() -> None:
    assert parse_limit("none") is None
    assert parse_limit("1k") == 1024
    with pytest.raises(argparse.ArgumentTypeError, match="allows nothing"):
        parse_limit("0")


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "soon", ""])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="not a positive number of seconds"):
        positive_seconds(text)


def test_a_duration_may_be_nothing_or_for_ever_where_that_makes_sense() -> None:
    assert [seconds_or_forever(text) for text in ("0", "1.5", "forever")] == [0, 1.5, math.inf]
    for text in ("inf", "-1", "nan", "never"):
        with pytest.raises(argparse.ArgumentTypeError, match="the word forever"):
            seconds_or_forever(text)


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "x", "", "²"])
def test_what_is_no_number_of_things_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="not a whole number above zero"):
        positive_int(text)


def test_rates_and_durations_are_short() -> None:
    assert [rate(number) for number in (0, 0.42, 12345.6)] == ["0/s", "0.4/s", "12,346/s"]
    assert byte_rate(2**20) == "1.0 MiB/s"
    assert [duration(seconds) for seconds in (0.00085, 0.0123, 4.2, 59.99, 185, 7385)] == [
        "850 µs",
        "12.3 ms",
        "4.2 s",
        "60.0 s",
        "3:05",
        "2:03:05",
    ]
