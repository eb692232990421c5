"""Instructions instead of time: what a message costs, counted by Valgrind, the same on a busy machine as on a quiet one.

It sees neither caches nor waiting nor the kernel's work, so it does not replace a measurement; it decides where the
difference is smaller than the noise. A process is counted twice, with few and with many messages, and the difference is
what the messages cost without the start.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import os
import re
import select
import selectors
import shutil
import socket
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .child import Child, Failed
from .compare import Line, lines
from .contenders import ENTRIES, OURS
from .measure import Measurement, sending
from .process import end, pin, say, two_cores
from .rows import BY_NAME, INSTRUCTIONS, Row
from .run import Plan, Results
from .states import State
from .worker import RUNNERS

BACKENDS = ("asyncio", "trio")
SETTLE_SECONDS = 0.003
RECEIVE_BUFFER = 2**17  # bytes; less than systems allow
TIMEOUT = 300.0  # of one process, in seconds: it runs fifty times slower than otherwise


@dataclass(frozen=True)
class Count:
    """How many messages are counted beyond those at the start, and in portions of how many they are sent."""

    messages: int
    portion: int = 1
    start: int = 1  # portions that are not counted: until all code is warm and the buffers have grown


COUNTS = {
    "receive-64": Count(40_000, start=4_000),
    "send-64": Count(20_000, portion=1000, start=4),
    "echo-64": Count(1_500, start=300),
    "receive-1m": Count(80, start=20),
    "receive-deflate": Count(4_000, start=400),
    "send-1m": Count(80, portion=10, start=4),
    "connect": Count(40, start=20),
}


def why_not() -> str:
    """Say why instructions cannot be counted here; "" when they can."""
    if shutil.which("valgrind") is None:
        return "valgrind is not installed (Debian's package is called valgrind)"
    return ""


def run(
    plan: Plan, states: tuple[State, State], results: Results, progress: Callable[[str], None]
) -> Iterator[Line]:
    """Count all rows that have a number of messages, and yield a line for each; what fails is noted."""
    for row in plan.rows:
        if row.name not in COUNTS:
            results.skipped[row.name] = "its instructions are not counted"
            continue
        for backend in plan.backends:
            for number in range(plan.rounds):
                pair = {}
                for state in states:
                    progress(f"{row.name} ({backend})  {state.name}, round {number + 1} of {plan.rounds}")
                    try:
                        pair[state.name] = {INSTRUCTIONS.name: per_message(row, backend, state)}
                    except Failed as exc:
                        results.failures.append(f"{row.name}: {state.name} ({backend}): {exc}")
                if len(pair) == len(states):
                    for name, figures in pair.items():
                        results.add(row.name, backend, name, figures)
            yield from lines(results, row.name, backend)


def per_message(row: Row, backend: str, state: State) -> float:
    count = COUNTS[row.name]
    few = _instructions(row, backend, state, count.start)
    many = _instructions(row, backend, state, count.start + count.messages // count.portion)
    return (many - few) / count.messages


def _instructions(row: Row, backend: str, state: State, portions: int) -> int:
    """Return how many instructions a process needs that starts, connects and does so much."""
    self_core, other_core = two_cores()
    mode = "in-turn" if row.kind == "connect" else "at-once"
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory, "log")
        valgrind = [
            "valgrind",
            "--tool=cachegrind",
            "--cache-sim=no",
            "--cachegrind-out-file=/dev/null",
            f"--log-file={log}",
        ]
        # Where an object lies in a set depends on its hash, and on that how long it is looked for.
        environment = state.environment() | {"PYTHONHASHSEED": "0"}
        with Child("peer", "" if other_core is None else str(other_core), mode, "") as peer:
            job = {
                "row": row.name,
                "backend": backend,
                "core": self_core,
                "port": peer.hear("port"),
                "portions": portions,
            }
            counted = Child("instructions", json.dumps(job), environment=environment, prefix=valgrind)
            with counted:
                counted.hear("done", TIMEOUT)
                counted.wait(TIMEOUT)  # for the log
        found = re.search(r"I +refs: +([\d,]+)", log.read_text())
    if not found:
        raise Failed("valgrind did not say how many instructions there were")
    return int(found[1].replace(",", ""))


async def work(measurement: Measurement, portions: int) -> None:
    """Do a fixed number of portions."""
    row = measurement.row
    portion = COUNTS[row.name].portion
    if row.kind == "receive":
        link = await measurement.open("flood")
        await link.receive_n(portions)
    elif row.kind == "deflate":
        link = await measurement.open("flood", deflate=1)
        await link.receive_n(portions)
    elif row.kind == "send":
        link = await measurement.open("sink", ack=portion)
        await sending(link, portion, measurement.message)(portions)
    elif row.kind == "echo":
        link = await measurement.open("echo")
        await link.echo_n(portions, measurement.message)
    else:
        for _ in range(portions):
            async with measurement.connect("close"):
                pass


def let_time_pass_by_looking() -> None:
    """Replace the clocks by one that goes on by a microsecond whenever somebody looks at it.

    What takes a checkpoint every so many microseconds would take it after every message, fifty times slower, and not
    always after the same one.
    """
    ticks = itertools.count(time.monotonic(), 1e-6)
    time.monotonic = time.perf_counter = ticks.__next__


class PatientPoll:
    """An epoll that waits until no more bytes come: how many a read brings then depends on nobody's pace."""

    epoll = select.epoll

    def __init__(self, *arguments: Any) -> None:
        self._poll = self.epoll(*arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._poll, name)

    def register(self, fd: Any, *events: int) -> None:
        self._poll.register(fd, *events)
        number = fd if isinstance(fd, int) else fd.fileno()
        # The system makes the buffer larger as it thinks fit, and reads bring more then; not if somebody has set it.
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(number)) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)

    def poll(self, *arguments: Any) -> list[tuple[int, int]]:
        events = self._poll.poll(*arguments)
        for fd, event in events:
            if event & select.EPOLLIN:
                self._settle(fd)
        return events

    def _settle(self, fd: int) -> None:
        steady, last = 0, b""
        with contextlib.suppress(OSError):  # it is no socket
            while steady < 2:
                time.sleep(SETTLE_SECONDS)
                now = fcntl.ioctl(fd, termios.FIONREAD, bytes(4))
                steady, last = (steady + 1 if now == last else 0), now


def main() -> None:
    let_time_pass_by_looking()  # before anybody has imported a clock
    job = json.loads(sys.argv[1])
    pin(job["core"])
    if BY_NAME[job["row"]].kind == "receive":
        select.epoll = selectors.EpollSelector._selector_cls = PatientPoll  # type: ignore[assignment,attr-defined,misc] # noqa: SLF001
    measurement = Measurement(ENTRIES[OURS].load(), BY_NAME[job["row"]], job["port"], seconds=0)

    if job["backend"] == "trio":
        from trio._core import _run

        _run._r.seed(0)  # noqa: SLF001  (trio tosses a coin for who is first among the tasks that can run)

    async def counted() -> None:
        await work(measurement, job["portions"])
        say(done=True)
        end()

    RUNNERS[job["backend"]](counted)


if __name__ == "__main__":
    main()
