"""The demo, run as its users run it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest

from websocketstream.__main__ import main
from websocketstream._cli import demo_display
from websocketstream._cli.demo_run import Snapshot
from websocketstream._streams.statistics import DirectionStatistics

SOURCE = Path(__file__).parent.parent / "src"
LIMIT = 30  # seconds; the demo takes one or two

both_backends = pytest.mark.parametrize("backend", ["asyncio", "trio"])


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-W", "error", "-m", "websocketstream", *arguments]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(SOURCE), "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), env=environment(), capture_output=True, text=True, timeout=LIMIT, check=False
    )


def number(pattern: str, text: str) -> float:
    match = re.search(pattern, text)
    assert match, f"no {pattern!r} in:\n{text}"
    return float(match[1].replace(",", ""))


@both_backends
def test_the_demo_shows_a_sender_held_back_and_loses_nothing(backend: str) -> None:
    done = run("demo", "--seconds", "1", "--backend", backend)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    sent = number(r"sent +([\d,]+) messages of", done.stdout)
    assert sent > 100
    assert number(r"read +([\d,]+) messages, none lost", done.stdout) == sent
    assert number(r"the sender waited ([\d.]+) s of 1.0 s", done.stdout) >= 0.5
    assert "closed     clean, code 1000, reason 'the demo is over'" in done.stdout


@both_backends
def test_the_demo_stays_within_the_buffer_limits(backend: str) -> None:
    done = run("demo", "--seconds", "1", "--plain", "--backend", backend)
    match = re.search(
        r"at most (\S+) KiB ahead of the network, (\S+) (MiB|KiB) ahead of the reader", done.stdout
    )
    assert match, done.stdout
    # write_buffer and one message; read_buffer and what one read from the network can hold
    assert float(match[1]) <= 64 + 4
    assert float(match[2]) * (1024 if match[3] == "MiB" else 1) <= 1024 + 256


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
@both_backends
def test_ctrl_c_ends_the_demo_without_a_traceback(backend: str) -> None:
    with subprocess.Popen(
        command("demo", "--seconds", "20", "--plain", "--backend", backend),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()  # it is running
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=LIMIT)
    assert (process.returncode, errors) == (130, "websocketstream: interrupted\n")


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "soon", ""])
def test_a_duration_that_makes_no_sense_is_explained(
    seconds: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main(["demo", f"--seconds={seconds}"])
    assert exit_info.value.code == 2
    assert "is not a positive number of seconds" in capsys.readouterr().err


def test_the_live_table_is_drawn(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("rich")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    out = DirectionStatistics(buffered_messages=3, buffered_bytes=65536, messages=10, paused_seconds=1.5)
    ahead = DirectionStatistics(buffered_messages=2, buffered_bytes=2**20, messages=6, paused_seconds=0.5)
    with demo_display.choose_display(plain=False) as show:
        show(Snapshot(2.0, 10, 4, out, ahead, memory=None))
    shown = capsys.readouterr().out
    for text in ("64.0 KiB", "1.0 MiB", "in transit", "1.5 s", "process memory unknown"):
        assert text in shown


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_the_page_is_served_until_ctrl_c() -> None:
    with subprocess.Popen(
        command("demo", "--browser", "--no-open"),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            said = process.stdout.readline()
            match = re.fullmatch(r"The demo is at (http://127\.0\.0\.1:\d+/) until Ctrl-C\.\n", said)
            assert match, said
            with urlopen(match[1], timeout=LIMIT) as page:
                assert b"WebSocketStream" in page.read()
        finally:
            process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=LIMIT)
    assert (process.returncode, errors) == (130, "websocketstream: interrupted\n")


def test_a_port_that_is_taken_is_explained() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run("demo", "--browser", "--no-open", "--port", str(taken.getsockname()[1]))
    assert done.returncode != 0
    assert re.search(r"cannot listen on 127\.0\.0\.1 port \d+: .*in use", done.stderr, re.IGNORECASE)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("port", ["-1", "65536", "http", ""])
def test_a_port_that_makes_no_sense_is_explained(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main(["demo", "--browser", f"--port={port}"])
    assert exit_info.value.code == 2
    assert "is not a port" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--no-open", "--port=8000"])
def test_what_is_for_the_browser_needs_the_browser(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", option]) == 2
    assert "are for --browser" in capsys.readouterr().err
