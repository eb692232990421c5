"""How messages are written: exactly into a pipe, harmlessly on a terminal."""

from __future__ import annotations

import json

import pytest

from websocketstream._cli.rendering import Rendering, for_terminal, hex_dump


@pytest.mark.parametrize(
    ("kind", "written"),
    [
        ("auto", b"a\x1b\n\xff\0"),
        ("lines", b"a\x1b\n\xff\0"),
        ("text", b"a\x1b\xff\0"),
        ("binary", b"a\x1b\xff\0"),
    ],
)
def test_a_pipe_gets_the_payload_and_nothing_else(kind: str, written: bytes) -> None:
    assert Rendering(kind, terminal=False).messages(["a\x1b", b"\xff\0"]) == written


def test_json_is_one_line_per_message_in_a_pipe() -> None:
    rendering = Rendering("json", terminal=False)
    assert rendering.messages(['{\n "a": 1\n}', "no json"]) == b'{"a":1}\nno json\n'


@pytest.mark.parametrize(
    "written",
    ['"\\ud800"', "1e400", "0.12345678901234567890123", '{"a":1,"a":2}', '["\\u00fc \\" :"]', "1" * 5000],
)
def test_json_says_in_a_pipe_what_it_said_before(written: str) -> None:
    rendering = Rendering("json", terminal=False)
    assert rendering.messages([f" {written}\r\n"]) == written.encode() + b"\n"


def test_json_is_not_indented_where_that_would_fill_the_memory() -> None:
    bomb = "[" * 200 + "1," * 100_000 + "1" + "]" * 200
    assert for_terminal(bomb) == bomb
    assert len(for_terminal("[" * 20 + "1," * 100 + "1" + "]" * 20).splitlines()) == 141


def test_json_is_not_indented_where_that_would_take_long() -> None:
    long = f"[{'1,' * 2**20}1]"
    assert for_terminal(long) == long


@pytest.mark.parametrize("kind", ["auto", "lines", "text", "binary", "json"])
def test_a_terminal_gets_no_control_character_whatever_the_option(kind: str) -> None:
    rendering = Rendering(kind, terminal=True)
    written = rendering.messages(["\x1b]0;pwned\x07", "\x9b2J", bytes(range(256))])
    written += rendering.chunk("\x1b[2J") + rendering.chunk(b"\x1b") + rendering.end(text=True)
    assert not {*written.decode()} & {*map(chr, [*range(10), *range(11, 32), *range(127, 160)])}
    assert r"\e]0;pwned\x07" in written.decode()


def test_chunks_of_a_message_are_written_as_they_come() -> None:
    rendering = Rendering("auto", terminal=False)
    assert rendering.chunk("ü") + rendering.chunk("b") + rendering.end(text=True) == "üb\n".encode()
    assert rendering.chunk(b"\xff") + rendering.end(text=False) == b"\xff"
    assert Rendering("text", terminal=False).end(text=True) == b""


def test_json_is_indented_on_a_terminal() -> None:
    assert for_terminal('{"a":[1],"b":"\\u001b"}') == '{\n  "a": [\n    1\n  ],\n  "b": "\\u001b"\n}'
    assert for_terminal("17") == "17"
    assert for_terminal("{no json}") == "{no json}"
    assert for_terminal("[" * 200_000).startswith("[[[")


@pytest.mark.parametrize(
    "written",
    [
        "1.10",
        "12345678901234567890.12",
        "1e400",
        "-0.0",
        "1E+2",
        "7" * 5000,
        "null",
        '"ü \\" [,] \\\\"',
        "[]",
        "{}",
    ],
)
def test_json_has_on_a_terminal_the_values_that_were_written(written: str) -> None:
    assert for_terminal(f'[{written},\n {{"a" :{written}, "a":1}}]') == (
        f'[\n  {written},\n  {{\n    "a": {written},\n    "a": 1\n  }}\n]'
    )


def test_letters_that_json_writes_as_escapes_are_letters_on_a_terminal() -> None:
    assert (
        for_terminal('["\\u00fc", "\\ud83d\\ude00", "\\u202e"]')
        == '[\n  "ü",\n  "\U0001f600",\n  "\\u202e"\n]'
    )


def test_long_text_is_cut_where_asked_for() -> None:
    assert for_terminal("x" * 100, 10) == "x" * 10 + "\n... and 90 characters more"
    assert len(for_terminal(json.dumps({"a": "x" * 100}), 1000)) < 200


def test_a_dump_says_where_what_and_how_much_more() -> None:
    assert list(hex_dump(b"\x00ABC\x7f" + bytes(14), limit=18)) == [
        "00000000  00 41 42 43 7f 00 00 00  00 00 00 00 00 00 00 00  |.ABC............|",
        "00000010  00 00                                             |..|",
        "... and 1 bytes more",
    ]
    assert for_terminal(b"") == "0 bytes"
