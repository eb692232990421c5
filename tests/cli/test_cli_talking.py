"""Talking to a server in a terminal: what is typed, what is shown, and how it ends."""

from __future__ import annotations

import os
import re
import signal
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import anyio
import anyio.lowlevel
import pytest

from cli.cli_kit import LIMIT, serving
from cli.screens import Screen
from websocketstream import WebSocketRequest, WebSocketStream
from websocketstream._cli.interactive import Talk
from websocketstream._cli.talk_commands import Close, Ping, Quit, Say, Tell, read_line
from websocketstream._cli.traffic import Traffic
from websocketstream.testing import websocket_stream_pair

if sys.platform != "win32":
    import termios

on_posix = pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")


# --- what is typed


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("hello", Say("hello")),
        ("", Say("")),
        ("//who", Say("/who")),
        ("/text", Say("")),
        ("/text  a ", Say(" a ")),
        ("/binary 00 ff1e", Say(b"\x00\xff\x1e")),
        ("/binary", Say(b"")),
        ("/ping", Ping()),
        ("/close", Close(None, "")),
        ("/close 4000", Close(4000, "")),
        ("/close 4000 bye bye", Close(4000, "bye bye")),
        ("/quit", Quit()),
    ],
)
def test_what_is_typed_is_understood(line: str, meant: object) -> None:
    assert read_line(line) == meant


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("/binary 0", "hexadecimal digits"),
        ("/binary xy", "hexadecimal digits"),
        ("/close now", "takes a number"),
        ("/close 99", "not for an application"),
        ("/close 1001", "not for an application"),
        ("/close 4000 " + "x" * 200, "123"),
        ("/what", "there is no command /what; /help lists them, //what sends"),
        ("/help", "/close 4000 bye"),
    ],
)
def test_what_is_typed_wrong_is_explained(line: str, says: str) -> None:
    told = read_line(line)
    assert isinstance(told, Tell)
    assert says in told.text


# --- in a pseudo-terminal


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    if sys.platform == "win32":
        pytest.skip("there are no pseudo-terminals")
    with serving() as served:
        yield served.rstrip("/")


PLAIN = pytest.param("asyncio", "prompt_toolkit", id="plain")
each_kind = pytest.mark.parametrize(
    ("backend", "missing"),
    [pytest.param("asyncio", "", id="asyncio"), pytest.param("trio", "", id="trio"), PLAIN],
)


@on_posix
@each_kind
def test_what_is_typed_is_sent_and_what_arrives_is_shown(
    url: str, backend: str, missing: str, tmp_path: Path
) -> None:
    with Screen("--backend", backend, f"{url}/echo", home=tmp_path, missing=missing) as screen:
        screen.until("/help lists the commands")
        screen.type("hello\r")
        screen.until("< hello")
        screen.type('{"a":1}\r')
        screen.until('  "a": 1')
        screen.type("/binary 00 41\r")
        screen.until("00000000  00 41")
        screen.type("/ping\r")
        screen.until("pong after")
        screen.type("/close 4000 bye\r")
        screen.until('closed; the server answered: 4000, "bye"')
        assert screen.code() == 0


@on_posix
def test_without_prompt_toolkit_it_says_what_is_missing(url: str, tmp_path: Path) -> None:
    with Screen(f"{url}/echo?token=secret", home=tmp_path, missing="prompt_toolkit") as screen:
        screen.until("pip install 'websocketstream[cli]'")
        screen.until("connected to ws://127.0.0.1:")
        screen.until("/echo?...;")
        screen.type("\x04")
        screen.until("closed; the server answered")
        assert screen.code() == 0


@on_posix
def test_ctrl_d_leaves_and_what_was_typed_before_is_sent(url: str, tmp_path: Path) -> None:
    with Screen(f"{url}/sizes", home=tmp_path) as screen:
        screen.until("/help lists the commands")
        screen.type("hello\r")
        screen.until("< str 5")
        screen.until_prompt()
        screen.type("\x04")
        screen.until("closed; the server answered")
        assert screen.code() == 0


@on_posix
@each_kind
def test_ctrl_c_leaves_and_the_terminal_is_as_it_was(
    url: str, backend: str, missing: str, tmp_path: Path
) -> None:
    with Screen("--backend", backend, f"{url}/echo", home=tmp_path, missing=missing) as screen:
        screen.until("/help lists the commands")
        if missing:
            # What the terminal does if the program is in its foreground.
            screen.process.send_signal(signal.SIGINT)
        else:
            screen.until_prompt()
            screen.type("\x03")
        screen.until("websocketstream: interrupted")
        assert screen.process.wait(LIMIT) == 130
        assert termios.tcgetattr(screen.master) == screen.modes


@on_posix
@pytest.mark.parametrize("missing", ["", "prompt_toolkit"])
def test_it_ends_with_its_terminal_even_if_no_signal_says_so(url: str, missing: str, tmp_path: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # which programs inherit, as from nohup
    try:
        screen = Screen(f"{url}/echo", home=tmp_path, missing=missing)
    finally:
        signal.signal(signal.SIGHUP, before)
    try:
        screen.until("/help lists the commands")
        if not missing:
            screen.until_prompt()
        os.close(screen.master)
        assert screen.process.wait(LIMIT) in {0, 1, 2}
    finally:
        screen.process.kill()
        screen.process.wait()


@on_posix
def test_what_a_hostile_server_sends_commands_no_terminal(url: str, tmp_path: Path) -> None:
    with Screen(f"{url}/hostile", home=tmp_path, missing="prompt_toolkit") as screen:
        assert screen.code() == 0
        shown = screen.shown.decode()
    assert r"\e]0;pwned\x07 and \u202eback" in shown
    assert r'the server closed the connection: 1000 (all is done), "bye\e[2J"' in shown
    assert not {*shown} & {*map(chr, [*range(9), 11, 12, *range(14, 32), 127])}


@on_posix
def test_an_end_with_an_error_code_is_said_behind_the_prompt(url: str, tmp_path: Path) -> None:
    with Screen(f"{url}/breakdown", home=tmp_path) as screen:
        screen.until("< half an answer")
        screen.until("websocketstream: the server closed the connection: 1011")
        assert screen.code() == 1


@on_posix
def test_history_is_for_nobody_else_and_comes_back(url: str, tmp_path: Path) -> None:
    pytest.importorskip("prompt_toolkit")
    with Screen(f"{url}/sizes", home=tmp_path) as screen:
        screen.until("/help lists the commands")
        screen.type("remember\r")
        screen.until("< str 8")
        screen.until_prompt()
        screen.type("\x04")
        assert screen.code() == 0
    kept = tmp_path / "websocketstream" / "history"
    assert "remember" in kept.read_text()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    with Screen(f"{url}/sizes", home=tmp_path) as screen:
        screen.until("/help lists the commands")
        screen.type("\x1b[A\r")  # up
        screen.until("< str 8")
        screen.until_prompt()
        screen.type("/qu\t")
        screen.until("it")
        screen.type("\r")
        screen.until("closed; the server answered")
        assert screen.code() == 0


@on_posix
def test_where_no_history_can_be_kept_it_works_without(url: str, tmp_path: Path) -> None:
    pytest.importorskip("prompt_toolkit")
    nowhere = tmp_path / "file"
    nowhere.touch()
    with Screen(f"{url}/echo", home=nowhere) as screen:
        screen.until("/help lists the commands")
        screen.type("hello\r")
        screen.until("< hello")
        screen.until_prompt()
        screen.type("\x04")
        assert screen.code() == 0


@on_posix
def test_a_connection_that_is_lost_is_made_again_below_the_same_prompt(tmp_path: Path) -> None:
    pytest.importorskip("prompt_toolkit")
    visits = 0

    async def restarts(request: WebSocketRequest) -> None:
        nonlocal visits
        visits += 1
        async with request.accept() as conn:
            await conn.send(f"{await conn.receive()}, visit {visits}")
            conn.close(1012 if visits == 1 else 1000)

    with serving(peer=restarts) as served, Screen("--reconnect", served, home=tmp_path) as screen:
        screen.until("/help lists the commands")
        screen.type("one\r")
        screen.until("< one, visit 1")
        screen.until("1012 (it restarts); trying again in")
        screen.until("connected to")
        screen.type("two\r")
        screen.until("< two, visit 2")
        screen.until("the server closed the connection: 1000")
        assert screen.code() == 0


@on_posix
def test_what_is_piped_in_is_shown_on_a_terminal_without_its_controls(url: str, tmp_path: Path) -> None:
    with Screen("-N", f"{url}/hostile", home=tmp_path) as screen:
        assert screen.code() == 0
        shown = screen.shown.decode()
    assert r"\e]0;pwned\x07 and \u202eback" in shown
    assert "20 bytes\r\n00000000  00 01 02" in shown


@on_posix
@pytest.mark.parametrize("columns", ["30", "100"])
def test_the_meter_is_drawn_live_on_a_terminal_of_any_width(url: str, columns: str, tmp_path: Path) -> None:
    pytest.importorskip("rich")
    with Screen("--meter", "-N", f"{url}/feed", home=tmp_path, COLUMNS=columns, NO_COLOR="1") as screen:
        assert screen.code() == 0
        shown = screen.shown.decode()
    assert "received" in shown
    assert "round trip" in shown
    assert ("buffered" in shown) == (columns == "100")
    assert "\x1b[3" not in shown  # no colour


# --- without a terminal


class Typist:
    """A terminal in memory."""

    def __init__(self, *lines: str) -> None:
        self.lines = list(lines)
        self.shown: list[str] = []
        self.leaves = anyio.Event()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def receive(self) -> str | None:
        await anyio.wait_all_tasks_blocked()
        if not self.lines:
            await self.leaves.wait()
            return None
        return self.lines.pop(0)

    async def show(self, text: str) -> None:
        await anyio.lowlevel.checkpoint()
        self.shown.append(text)

    def tell(self, text: str) -> None:
        self.shown.append(text)


def talk_of(typist: Typist) -> Talk:
    talk = Talk(Traffic(), meter=False)
    talk._terminal = typist
    return talk


@pytest.mark.anyio
async def test_a_server_that_does_not_read_does_not_hold_up_who_types(anyio_backend: Any) -> None:
    typist = Typist(*["x" * 1000] * 8, "/help", "/quit")
    options = {"read_buffer": 1000, "write_buffer": 1000, "capacity": 1000, "close_timeout": 0.1}
    async with websocket_stream_pair(**options) as (client, _server), talk_of(typist) as talk:
        assert await talk.run(client) == 0
    assert "the server does not read: what you send waits; /quit leaves all the same" in typist.shown
    assert any("/close 4000 bye" in text for text in typist.shown)
    assert re.search(r"closed; .*; \d messages were not sent", typist.shown[-1])


@pytest.mark.anyio
async def test_what_waits_is_sent_in_order_when_the_server_reads_again(anyio_backend: Any) -> None:
    lines = [f"{number} {'x' * 1000}" for number in range(8)]
    typist = Typist(*lines, "/text last")
    received = []

    async def read(server: WebSocketStream) -> None:
        while typist.lines:
            await anyio.wait_all_tasks_blocked()
        for _ in range(9):
            received.append(await server.receive())  # noqa: PERF401  (also what came before a failure)
        typist.leaves.set()

    options = {"read_buffer": 1000, "write_buffer": 1000, "capacity": 1000}
    async with websocket_stream_pair(**options) as (client, server), talk_of(typist) as talk:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read, server)
            await talk.run(client)
    assert received == [*lines, "last"]
    assert "does not read" in " ".join(typist.shown)
