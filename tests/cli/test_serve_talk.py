"""``serve --talk``: a person, or a pipe, for one client after the other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cli.cli_kit import LIMIT, command, environment
from cli.screens import Screen
from websocketstream import ConnectionClosed
from websocketstream.blocking import BlockingWebSocketStream, open_websocket_stream as open_blocking

on_posix = pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
both_backends = pytest.mark.parametrize("backend", ["asyncio", "trio"])


# --- in a terminal


def where(screen: Screen) -> str:
    screen.until("serving ")
    screen.until("ws://")
    while b"\r" not in screen.shown:
        screen.shown += os.read(screen.master, 1)
    return "ws://" + screen.shown.partition(b"\r")[0].decode()


@on_posix
@pytest.mark.parametrize(
    ("backend", "missing"), [("asyncio", ""), ("trio", ""), ("asyncio", "prompt_toolkit")]
)
def test_who_sits_there_talks_to_one_client_after_the_other(
    backend: str, missing: str, tmp_path: Path
) -> None:
    words = ["serve", "--talk", "--port", "0", "--backend", backend]
    with Screen(*words, home=tmp_path, missing=missing) as screen:
        url = where(screen)
        screen.type("too early\r")
        screen.until("nobody is connected")
        with open_blocking(url) as first:
            screen.until("127.0.0.1 has connected; /help")
            first.send("hello\x1b")
            screen.until("< hello\\e")
            screen.type("welcome\r")
            assert first.receive(timeout=LIMIT) == "welcome"
            screen.type("/close 4000 next\r")
            with pytest.raises(ConnectionClosed, match="4000"):
                first.receive(timeout=LIMIT)
            screen.until('closed; the client answered: 4000, "next"')
        with open_blocking(url) as second:
            screen.until("has connected")
            second.close(4001, "bye")
            screen.until('the client closed the connection: 4001, "bye"')
        with open_blocking(url) as third:
            screen.until("has connected")
            screen.type("/quit\r")
            with pytest.raises(ConnectionClosed, match="1000"):
                third.receive(timeout=LIMIT)
        assert screen.code() == 0


@on_posix
@pytest.mark.parametrize("missing", ["", "prompt_toolkit"])
def test_it_can_be_left_while_nobody_is_connected(missing: str, tmp_path: Path) -> None:
    with Screen("serve", "--talk", "--port", "0", home=tmp_path, missing=missing) as screen:
        where(screen)
        screen.type("/help\r")
        screen.until("/close 4000 bye")
        if not missing:
            screen.until_prompt()
        screen.type("\x04")
        assert screen.code() == 0


@on_posix
def test_ctrl_c_closes_with_1001(tmp_path: Path) -> None:
    with Screen("serve", "--talk", "--port", "0", home=tmp_path) as screen:
        with open_blocking(where(screen)) as conn:
            screen.until("has connected")
            screen.process.send_signal(signal.SIGINT)
            with pytest.raises(ConnectionClosed, match="1001"):
                conn.receive(timeout=LIMIT)
        assert screen.code() == 130


# --- as a pipe


@contextmanager
def piped(*words: str, backend: str = "asyncio") -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    with subprocess.Popen(
        command("serve", "--talk", "--port", "0", "--backend", backend, *words),
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            assert process.stderr
            yield process, process.stderr.readline().decode().removeprefix("serving ").strip()
        finally:
            process.kill()


def closing_code(conn: BlockingWebSocketStream) -> int | None:
    with pytest.raises(ConnectionClosed) as caught:
        conn.receive(timeout=LIMIT)
    return caught.value.close_code


@both_backends
def test_a_pipe_serves_one_client_after_the_other_until_its_input_has_ended(backend: str) -> None:
    with piped("--wait", "0", backend=backend) as (process, url):
        assert process.stdin
        assert process.stdout
        for name in (b"one", b"two"):
            with open_blocking(url) as conn:
                conn.send("hello")
                assert process.stdout.readline() == b"hello\n"
                process.stdin.write(name + b"\n")
                process.stdin.flush()
                assert conn.receive(timeout=LIMIT) == name.decode()
        with open_blocking(url) as conn:
            process.stdin.write(b"the end")
            process.stdin.close()
            assert conn.receive(timeout=LIMIT) == "the end"
            assert closing_code(conn) == 1005  # no code
        assert process.wait(LIMIT) == 0


@both_backends
def test_a_file_goes_to_a_client_as_one_message(backend: str) -> None:
    data = os.urandom(300_000)
    with piped("--one-message", "--binary", "--wait", "0", backend=backend) as (process, url):
        with open_blocking(url) as conn:
            conn.send(b"thanks")
            assert process.stdin
            process.stdin.write(data)
            process.stdin.close()
            assert conn.receive(timeout=LIMIT) == data
            assert closing_code(conn) == 1005
        assert process.stdout
        assert process.stdout.read() == b"thanks"
        assert process.wait(LIMIT) == 0


def test_a_client_that_leaves_in_the_middle_of_the_only_message_is_the_last() -> None:
    with piped("--one-message") as (process, url):
        assert process.stdin
        process.stdin.write(b"beginning")
        process.stdin.flush()
        with open_blocking(url) as conn:
            conn.ping()
        assert process.wait(LIMIT) == 0


def test_an_input_that_cannot_be_sent_ends_it_and_the_client_learns_of_it() -> None:
    with piped("--lines") as (process, url):
        with open_blocking(url) as conn:
            assert process.stdin
            process.stdin.write(b"\xff\n")
            process.stdin.flush()
            assert closing_code(conn) == 1011
        assert process.stderr
        assert process.stderr.read() == (
            b"websocketstream: line 1 of the input is not UTF-8, which text has to be: send it with --binary\n"
        )
        assert process.wait(LIMIT) == 2


@on_posix
def test_when_nobody_reads_its_output_it_ends_quietly() -> None:
    with piped() as (process, url):
        assert process.stdout
        process.stdout.close()
        with open_blocking(url) as conn:
            conn.send("hello")
            assert closing_code(conn) == 1000
        assert process.stderr
        assert process.stderr.read() == b""
        assert process.wait(LIMIT) == 141


def test_how_a_client_left_is_said_and_the_next_is_welcome() -> None:
    with piped() as (process, url):
        assert process.stderr
        with open_blocking(url) as conn:
            conn.close(4000, "\x1b[2J")
        assert process.stderr.readline() == b'the client closed the connection: 4000, "\\e[2J"\n'
        with open_blocking(url) as conn:
            conn.send("hello")
            assert process.stdout
            assert process.stdout.readline() == b"hello\n"
