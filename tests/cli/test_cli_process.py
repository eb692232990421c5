"""The program among others: pipes that are full, closed, missing or endless, and signals."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from cli.cli_kit import LIMIT, command, environment, run, serving
from websocketstream import WebSocketRequest

if sys.platform != "win32":
    import termios

both_backends = pytest.mark.parametrize("backend", ["asyncio", "trio"])
on_posix = pytest.mark.skipif(sys.platform == "win32", reason="descriptors and signals of POSIX")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving() as served:
        yield served.rstrip("/")


def test_what_comes_in_goes_out_byte_by_byte(url: str) -> None:
    data = os.urandom(900_000) + b"\0"
    done = run("-1", "-n1", f"{url}/echo", stdin=data)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == data


@both_backends
def test_lines_go_out_as_they_are_written_and_not_only_at_the_end(url: str, backend: str) -> None:
    with subprocess.Popen(
        command("--backend", backend, f"{url}/echo"),
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin
        assert process.stdout
        for line in (b"one\n", b"two\n"):
            process.stdin.write(line)
            process.stdin.flush()
            assert process.stdout.readline() == line
        process.stdin.close()
        assert process.stdout.read() == b""
        assert process.wait(LIMIT) == 0


@both_backends
def test_an_input_that_never_ends_does_not_hold_up_the_exit(url: str, backend: str) -> None:
    with subprocess.Popen(
        command("--backend", backend, f"{url}/feed"),
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.read() == b"one\ntwo\nthree\n"  # while its input is open
        assert process.wait(LIMIT) == 0
        assert process.stderr.read() == b""


@on_posix
@both_backends
def test_when_nobody_reads_any_more_it_ends_quietly(url: str, backend: str) -> None:
    with subprocess.Popen(
        command("--backend", backend, "-N", f"{url}/firehose"),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.read(10_000)
        process.stdout.close()
        assert process.wait(LIMIT) == 141
        assert process.stderr.read() == b""


@on_posix
@both_backends
def test_ctrl_c_ends_it_also_while_its_output_is_full_and_its_input_open(url: str, backend: str) -> None:
    with subprocess.Popen(
        command("--backend", backend, f"{url}/firehose"),
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.read(1)  # it is running, and nobody reads the rest
        process.send_signal(signal.SIGINT)
        assert process.stderr.read() == b"websocketstream: interrupted\n"
        assert process.wait(LIMIT) == 130


SIGNALLED_TWICE = """
import argparse, signal, sys
import anyio, anyio.lowlevel
from websocketstream._cli.main import run_until_interrupted

async def run(arguments):
    try:
        signal.raise_signal(signal.SIGINT)
        await anyio.sleep_forever()
    finally:
        signal.raise_signal(signal.SIGINT)
        with anyio.CancelScope(shield=True):
            for _ in range(50):
                await anyio.lowlevel.checkpoint()
        print("cleaned up", flush=True)

sys.exit(run_until_interrupted(argparse.Namespace(run=run), sys.argv[1]))
"""


@on_posix
@both_backends
def test_a_second_ctrl_c_does_not_disturb_the_end(backend: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SIGNALLED_TWICE, backend],
        env=environment(),
        capture_output=True,
        timeout=LIMIT,
        check=False,
    )
    assert (done.returncode, done.stdout) == (130, b"cleaned up\n")
    assert done.stderr == b"websocketstream: interrupted\n"


@on_posix
def test_sigterm_ends_it(url: str) -> None:
    with subprocess.Popen(
        command(f"{url}/echo"),
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stdin.write(b"x\n")
        process.stdin.flush()
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert process.stderr.read() == b"websocketstream: terminated\n"
        assert process.wait(LIMIT) == 143


def in_a_shell(line: str) -> subprocess.CompletedProcess[bytes]:
    """Run a line of the shell, in which $WSTREAM is the program."""
    quoted = " ".join(f"'{word}'" for word in command())
    return subprocess.run(
        ["/bin/sh", "-c", line.replace("$WSTREAM", quoted)],
        env=environment(),
        capture_output=True,
        timeout=LIMIT,
        check=False,
        stdin=subprocess.DEVNULL,
    )


@on_posix
@pytest.mark.parametrize("closed", ["2>&-", "<&- >&- 2>&-"])
def test_standard_streams_that_are_closed_are_not_mistaken_for_a_connection(url: str, closed: str) -> None:
    done = in_a_shell(f"$WSTREAM {url}/feed {closed}")
    assert done.returncode == 0
    assert done.stdout == (b"" if ">&-" in closed.replace("2>&-", "") else b"one\ntwo\nthree\n")
    assert done.stderr == b""


@on_posix
def test_help_into_a_pipe_that_is_closed_is_quiet() -> None:
    done = in_a_shell("$WSTREAM | true; $WSTREAM --help | true; echo done")
    assert (done.stdout, done.stderr) == (b"done\n", b"")


@on_posix
def test_a_full_disk_is_explained(url: str) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    done = in_a_shell(f"$WSTREAM -N {url}/feed > /dev/full")
    assert done.returncode == 1
    assert done.stderr == b"websocketstream: standard output cannot be written: No space left on device\n"


@on_posix
@pytest.mark.parametrize("words", ["--version", "completion bash"])
def test_a_disk_that_is_full_only_in_the_end_is_explained(words: str) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    done = in_a_shell(f"unset PYTHONUNBUFFERED; $WSTREAM {words} > /dev/full")
    assert done.returncode == 1
    assert done.stderr == b"websocketstream: standard output cannot be written: No space left on device\n"


@on_posix
def test_an_input_that_cannot_be_read_is_explained(url: str) -> None:
    if not Path("/proc/self/mem").exists():
        pytest.skip("this system has no file that can be opened and not be read")
    done = in_a_shell(f"$WSTREAM {url}/echo < /proc/self/mem")
    assert done.stderr == b"websocketstream: standard input cannot be read: Input/output error\n"
    assert done.returncode == 2


@on_posix
def test_a_pipe_that_somebody_has_made_non_blocking_works(url: str) -> None:
    mine, its = socket.socketpair()
    with mine, its:
        its.setblocking(False)  # of the socket itself, whoever has it
        with subprocess.Popen(
            command("-n", "3000", f"{url}/firehose"), env=environment(), stdin=its, stdout=its
        ) as process:
            its.close()
            mine.settimeout(LIMIT)
            received = 0
            while data := mine.recv(65536):
                received += len(data)
            assert process.wait(LIMIT) == 0
    assert received == 3000 * 1001


@pytest.fixture
def full_pipe() -> Iterator[int]:
    """The writing end of a pipe that has no room, and that nobody reads."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writing, bytes(2**16))
    with suppress(BlockingIOError):
        while True:
            os.write(writing, b"x")
    os.set_blocking(writing, True)
    yield writing
    os.close(reading)
    os.close(writing)


@on_posix
@both_backends
def test_a_meter_that_nobody_reads_holds_nothing_up(url: str, full_pipe: int, backend: str) -> None:
    done = subprocess.run(
        command("--backend", backend, "--meter", "-n", "3000", "-N", f"{url}/firehose"),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=full_pipe,
        timeout=LIMIT,
        check=False,
    )
    assert (done.returncode, len(done.stdout)) == (0, 3000 * 1001)


@on_posix
def test_notices_that_nobody_reads_hold_nothing_up(full_pipe: int) -> None:
    visits = 0

    async def unreliable(request: WebSocketRequest) -> None:
        nonlocal visits
        visits += 1
        async with request.accept() as conn:
            await conn.send(f"visit {visits}")
            conn.close(1012 if visits < 2 else 1008)

    with serving(peer=unreliable) as served:
        done = subprocess.run(
            command("--reconnect", "-N", served),
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=full_pipe,
            timeout=LIMIT,
            check=False,
        )
    assert (done.returncode, done.stdout) == (1, b"visit 1\nvisit 2\n")  # nor does what is said in the end


@on_posix
def test_a_meter_on_a_terminal_that_is_stopped_holds_nothing_up(url: str) -> None:
    pytest.importorskip("rich")
    master, slave = os.openpty()
    try:
        termios.tcflow(slave, termios.TCOOFF)  # as Ctrl-S does
        done = subprocess.run(
            command("--meter", "-n", "3000", "-N", f"{url}/firehose"),
            env=environment(TERM="xterm"),
            stdout=subprocess.PIPE,
            stderr=slave,
            timeout=LIMIT,
            check=False,
        )
        assert (done.returncode, len(done.stdout)) == (0, 3000 * 1001)
        termios.tcflow(slave, termios.TCOON)
    finally:
        os.close(slave)
        os.close(master)


def test_the_meter_says_how_much_has_passed_and_how_much_is_left(url: str, tmp_path: Path) -> None:
    file = tmp_path / "data"
    file.write_bytes(bytes(500_000))
    with file.open("rb") as source:
        done = subprocess.run(
            command("--meter", "-n2", f"{url}/sizes"),
            env=environment(),
            stdin=source,
            capture_output=True,
            timeout=LIMIT,
            check=False,
        )
    assert done.returncode == 0
    assert done.stdout.startswith(b"bytes ")
    last = done.stderr.decode().splitlines()[-1]
    assert last.startswith("100% of 488.3 KiB")
    assert "sent 2 (" in last
    assert "received 2 (" in last
    assert "round trip" in last
