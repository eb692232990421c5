"""A program's bytes become messages, wherever they are cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, strategies as st

from websocketstream._cli.serve_framing import Binary, Framing, Lines, LineTooLong, Text

SOME_TEXT = "one\nzwei Ü\n\n\U0001f600 drei\r\nlast"


def framed(framing: Framing, pieces: list[bytes]) -> list[str | bytes]:
    messages: list[str | bytes] = []
    for piece in pieces:
        messages += framing.messages(piece)
    return messages + framing.rest()


def cut(data: bytes, places: set[int]) -> list[bytes]:
    edges = [0, *sorted(place % len(data) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(edges) if start < end]


@given(st.sets(st.integers(0, 1000)))
def test_lines_are_the_same_wherever_the_output_is_cut(places: set[int]) -> None:
    pieces = cut(SOME_TEXT.encode(), places)
    assert framed(Lines(100), pieces) == ["one", "zwei Ü", "", "\U0001f600 drei", "last"]


@given(st.sets(st.integers(0, 1000)))
def test_text_comes_in_whole_characters_wherever_the_output_is_cut(places: set[int]) -> None:
    messages = framed(Text(), cut(SOME_TEXT.encode(), places))
    assert "".join(map(str, messages)) == SOME_TEXT
    assert "" not in messages


def test_binary_is_passed_on_as_it_is() -> None:
    assert framed(Binary(), [b"a\n", b"\xff"]) == [b"a\n", b"\xff"]


def test_what_is_no_utf8_is_replaced() -> None:
    assert framed(Text(), [b"a\xffb", b"\xe2\x82"]) == ["a\ufffdb", "\ufffd"]
    assert framed(Lines(9), [b"a\xffb\n", b"\xe2\x82"]) == ["a\ufffdb", "\ufffd"]


def test_a_last_line_without_an_end_is_a_message_and_an_end_without_a_line_is_none() -> None:
    assert framed(Lines(9), [b"a\nb"]) == ["a", "b"]
    assert framed(Lines(9), [b"a\nb\n"]) == ["a", "b"]
    assert framed(Lines(9), []) == []


@pytest.mark.parametrize("pieces", [[b"12345"], [b"12345\n"], [b"123", b"45"], [b"1\n", b"12345\n2\n"]])
def test_a_line_that_is_too_long_is_refused_whether_or_not_it_is_complete(pieces: list[bytes]) -> None:
    with pytest.raises(LineTooLong, match="more than 4 bytes"):
        framed(Lines(4), pieces)
    assert framed(Lines(5), pieces)


def test_the_lines_before_one_that_is_too_long_are_not_lost() -> None:
    with pytest.raises(LineTooLong) as caught:
        Lines(4).messages(b"one\ntwo\n12345\nlast")
    assert caught.value.before == ["one", "two"]
