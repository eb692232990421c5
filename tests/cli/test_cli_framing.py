"""How the bytes of standard input become messages, however they are cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, strategies as st

from websocketstream._cli.failures import CommandFailed
from websocketstream._cli.framing import Framer, looks_like_text, make_framer, make_whole_framer


def all_of(framer: Framer, *pieces: bytes) -> list[str | bytes]:
    found: list[str | bytes] = []
    for piece in pieces:
        found += framer.feed(piece)
    return found + framer.finish()


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in pairwise(edges)]


@given(
    st.lists(st.text(st.characters(exclude_characters="\n\r", exclude_categories=["Cs"]))),
    st.lists(st.integers(0, 200)),
)
def test_lines_are_messages_however_they_are_cut(lines: list[str], places: list[int]) -> None:
    data = "".join(f"{line}\n" for line in lines).encode()
    assert all_of(make_framer("lines", None), *cut(data, places)) == lines


@given(st.text(st.characters(exclude_categories=["Cs"])), st.lists(st.integers(0, 200)))
def test_pieces_of_text_are_text_however_they_are_cut(text: str, places: list[int]) -> None:
    found = all_of(make_framer("text", None), *cut(text.encode(), places))
    assert "".join(map(str, found)) == text
    assert "" not in found


def test_a_line_without_an_end_and_windows_line_ends_and_empty_lines_are_lines() -> None:
    assert all_of(make_framer("lines", None), b"a\r\n\nb") == ["a", "", "b"]


def test_binary_pieces_stay_as_they_are() -> None:
    assert all_of(make_framer("binary", None), b"\xff\n", b"a") == [b"\xff\n", b"a"]


@pytest.mark.parametrize(
    ("first", "rest", "messages"),
    [
        (b"one\ntwo", b"\n", ["one", "two"]),
        ("Grüße\n".encode()[:3], "Grüße\n".encode()[3:], ["Grüße"]),
        (b"\xff\xfe\n", b"text\n", [b"\xff\xfe\n", b"text\n"]),
        (b"G\0\0\n", b"x", [b"G\0\0\n", b"x"]),
    ],
)
def test_the_first_bytes_tell_text_from_binary(
    first: bytes, rest: bytes, messages: list[str | bytes]
) -> None:
    assert all_of(make_framer("auto", None), first, rest) == messages


def test_nothing_at_all_is_no_message() -> None:
    for kind in ("auto", "lines", "text", "binary", "json"):
        assert all_of(make_framer(kind, None)) == []


def test_a_character_that_is_cut_is_text_and_a_wrong_one_is_not() -> None:
    assert looks_like_text("ü".encode()[:1])
    assert not looks_like_text(b"\xff")
    assert not looks_like_text(b"a\0")


def test_what_is_no_utf_8_is_explained() -> None:
    with pytest.raises(CommandFailed, match=r"line 2 of the input is not UTF-8.*--binary"):
        all_of(make_framer("lines", None), b"fine\n\xff\n")
    with pytest.raises(CommandFailed, match=r"the input is not UTF-8.*--binary"):
        all_of(make_framer("text", None), b"fine\xc3")


def test_a_line_that_does_not_end_is_held_only_so_far() -> None:
    framer = make_framer("lines", 10)
    assert framer.feed(b"0123456789\nabcde") == ["0123456789"]
    with pytest.raises(
        CommandFailed, match=r"line 2 of the input is longer than 10 B.*--one-message.*--max-size"
    ):
        framer.feed(b"fghijk")


def test_json_is_checked_and_made_compact() -> None:
    assert all_of(make_framer("json", None), b'{"a": [1, 2],\t"b": "\xc3\xbc"}\n\n  \nnull') == [
        '{"a":[1,2],"b":"ü"}',
        "null",
    ]
    with pytest.raises(CommandFailed, match="line 2 of the input is not JSON"):
        all_of(make_framer("json", None), b"1\n{'a'}\n")


@pytest.mark.parametrize(
    "line", ['"\\ud800"', "1e400", "0.12345678901234567890123", '{"a":1,"a":2}', "9" * 5000]
)
def test_json_is_sent_with_the_values_that_it_has(line: str) -> None:
    assert all_of(make_framer("json", None), line.encode() + b" \n") == [line]


def test_what_only_python_takes_for_json_is_not_sent() -> None:
    with pytest.raises(CommandFailed, match=r"line 1 of the input is not JSON \(NaN is no value of JSON"):
        all_of(make_framer("json", None), b"[NaN]\n")


def test_json_that_is_nested_too_deeply_is_explained() -> None:
    with pytest.raises(CommandFailed, match="line 1 of the input is not JSON"):
        all_of(make_framer("json", None), b"[" * 200_000 + b"\n")


def test_one_message_is_text_in_whole_characters_or_bytes() -> None:
    assert all_of(make_whole_framer("auto"), b"a\n", "ü".encode()[:1], "ü".encode()[1:]) == ["a\n", "ü"]
    assert all_of(make_whole_framer("binary"), b"\xff") == [b"\xff"]
