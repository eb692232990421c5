"""A file through ``serve --echo`` and back by the command line, intact, beside the same way through ``nc``.

``python -m benchmarks.file_through_cli --gib 4`` needs twice as much room on the disk of ``--directory``, and Debian's
netcat-openbsd for the comparison. It fails when the file comes back changed, when memory grows with the size of the file, or when
it takes more than twice as long as ``nc``.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

MIB = 2**20
WARM_UP = 64  # MiB: a file that is large enough for all buffers to be full
GROWTH = 32  # MiB that a process may have more with the large file than with that
BAR = 0.5  # of what nc moves
QUICK = 4  # MiB
CLI = [sys.executable, "-m", "websocketstream"]


@dataclass(frozen=True)
class Passage:
    """One file's way there and back: seconds, and the most memory (MiB) that each process has had.

    What a process has had counts from before its program began, so it says nothing of programs smaller than this one.
    """

    seconds: float
    client_peak: float = 0.0
    server_peak: float = 0.0


def make_file(path: Path, mib: int) -> None:
    """Write a file that nothing compresses and whose parts all differ."""
    block = bytearray(os.urandom(MIB))
    with path.open("wb") as file:
        for number in range(mib):
            block[:8] = number.to_bytes(8, "big")
            file.write(block)


def digest(path: Path) -> str:
    """Return a file's SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def free_port() -> int:
    """Return a port that was free just now."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def ended(process: subprocess.Popen[bytes]) -> tuple[int, float]:
    """Wait for a process; return its exit code and its peak memory in MiB."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, usage.ru_maxrss / 1024


def through(client: list[str], source: Path, target: Path) -> tuple[float, float]:
    """Run a client from file to file; return how many seconds it took, and its peak memory."""
    with source.open("rb") as stdin, target.open("wb") as stdout:
        began = time.perf_counter()
        code, peak = ended(subprocess.Popen(client, stdin=stdin, stdout=stdout))
        seconds = time.perf_counter() - began
    if code:
        raise SystemExit(f"{client} failed with exit code {code}")
    return seconds, peak


# --- ours


@contextmanager
def echo_server(options: list[str]) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Run ``serve --echo``; give its process and its URL."""
    process = subprocess.Popen([*CLI, "serve", "--echo", "--port", "0", *options], stderr=subprocess.PIPE)
    assert process.stderr is not None
    try:
        with process.stderr:
            yield process, process.stderr.readline().decode().split()[-1]
    finally:
        if process.returncode is None:
            process.kill()
            process.wait()


def through_ours(source: Path, target: Path, options: list[str] | None = None) -> Passage:
    """Send a file as one message to an echo server, and write the message that comes back."""
    with echo_server(options or []) as (server, url):
        client = [*CLI, "--binary", "--one-message", "--count", "1", *(options or []), url]
        seconds, client_peak = through(client, source, target)
        server.send_signal(signal.SIGTERM)
        code, server_peak = ended(server)
    if code:
        raise SystemExit(f"the server ended with exit code {code}")
    return Passage(seconds, client_peak, server_peak)


# --- theirs


def why_no_nc() -> str:
    """Say why there is no comparison, "" if there is one."""
    if shutil.which("nc") is None:
        return "nc is not installed (Debian: netcat-openbsd)"
    shown = subprocess.run(["nc", "-h"], capture_output=True, text=True, check=False)
    return "" if "OpenBSD" in shown.stdout + shown.stderr else "nc is not OpenBSD's (Debian: netcat-openbsd)"


def through_nc(source: Path, target: Path) -> Passage:
    """Send a file to an ``nc`` whose output is its input, and write what comes back.

    Such an ``nc`` never sees the end of its input, so it is over when all bytes have come back. It may end with its peer, and lose
    what is still in its pipe: then the last 64 KiB are missing.
    """
    port = free_port()
    output, into = os.pipe()
    for end in (output, into):
        os.set_blocking(end, False)  # or nc would wait for itself when the pipe is full
    server = subprocess.Popen(["nc", "-N", "-l", "127.0.0.1", str(port)], stdin=output, stdout=into)
    os.close(output)
    os.close(into)
    processes = [server]
    try:
        wait_until_listening(port)
        with source.open("rb") as stdin, target.open("wb") as stdout:
            began = time.perf_counter()
            client = subprocess.Popen(["nc", "-N", "127.0.0.1", str(port)], stdin=stdin, stdout=stdout)
            processes.append(client)
            wait_for_size(target, source.stat().st_size, client)
            seconds = time.perf_counter() - began
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return Passage(seconds)


def wait_for_size(path: Path, size: int, writer: subprocess.Popen[bytes]) -> None:
    """Wait until a file is as large, or its writer has ended."""
    while path.stat().st_size < size and writer.poll() is None:
        time.sleep(0.002)


def wait_until_listening(port: int) -> None:
    """Wait until somebody listens, without connecting: nc takes one connection only."""
    wanted = f"0100007F:{port:04X}"
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        lines = [line.split() for line in Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]]
        if any(fields[1] == wanted and fields[3] == "0A" for fields in lines):
            return
        time.sleep(0.01)
    raise SystemExit(f"nothing listens on port {port}")


# --- both


def check(source: Path, target: Path) -> None:
    """Fail unless both files are the same."""
    if source.stat().st_size != target.stat().st_size or digest(source) != digest(target):
        raise SystemExit(f"{target} is not what {source} is: {target.stat().st_size:,} bytes came back")


def check_nearly(source: Path, target: Path) -> None:
    """Fail if more is missing than the end that ``nc`` may lose."""
    if target.stat().st_size < source.stat().st_size - MIB:
        raise SystemExit(f"nc has returned {target.stat().st_size:,} bytes only")


def best(
    way: Callable[[Path, Path], Passage],
    source: Path,
    target: Path,
    rounds: int,
    check: Callable[[Path, Path], None] = check,
) -> Passage:
    """Return the fastest passage of several, each of them checked."""
    passages = []
    for _ in range(rounds):
        passages.append(way(source, target))
        check(source, target)
    return min(passages, key=lambda passage: passage.seconds)


def show(name: str, mib: int, passage: Passage) -> None:
    """Print one way."""
    line = f"{name:<16} {mib:>6} MiB  {passage.seconds:7.2f} s  {mib / passage.seconds:7.0f} MiB/s each way"
    if passage.client_peak:
        line += f"  peak memory: client {passage.client_peak:.0f} MiB, server {passage.server_peak:.0f} MiB"
    print(line, flush=True)


def main() -> int:
    """Measure, and return 1 when a bar is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gib", type=float, default=4.0, help="size of the file (default: 4)")
    parser.add_argument("--quick", action="store_true", help="a few MiB and no bars: does it run here?")
    parser.add_argument("--rounds", type=int, default=1, help="how often; the fastest counts (default: 1)")
    parser.add_argument("--backend", choices=("asyncio", "trio"), default="asyncio")
    parser.add_argument("--directory", help="where the files are (default: the temporary directory)")
    arguments = parser.parse_args()
    mib = QUICK if arguments.quick else max(1, round(arguments.gib * 1024))

    def ours(source: Path, target: Path) -> Passage:
        return through_ours(source, target, ["--backend", arguments.backend])

    warm_up = min(WARM_UP, mib)
    with TemporaryDirectory(dir=arguments.directory) as directory:
        small, large, target = (Path(directory) / name for name in ("small", "large", "back"))
        make_file(small, warm_up)
        make_file(large, mib)
        warm = best(ours, small, target, 1)
        show("websocketstream", warm_up, warm)
        passage = best(ours, large, target, arguments.rounds)
        show("websocketstream", mib, passage)
        missed = []
        for who in ("client", "server"):
            grown = getattr(passage, f"{who}_peak") - getattr(warm, f"{who}_peak")
            if grown > GROWTH:
                missed.append(f"the {who} has grown by {grown:.0f} MiB with the file: {GROWTH} are allowed")
        if reason := why_no_nc():
            print(f"no comparison: {reason}")
        else:
            theirs = best(through_nc, large, target, arguments.rounds, check_nearly)
            show("nc", mib, theirs)
            ratio = theirs.seconds / passage.seconds
            print(f"{ratio:.2f} of what nc moves; the bar is {BAR}")
            if ratio < BAR:
                missed.append(f"{ratio:.2f} of what nc moves: the bar is {BAR}")
    if arguments.quick:
        return 0
    for complaint in missed:
        print(complaint)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
