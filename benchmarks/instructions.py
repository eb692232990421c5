"""Instructions instead of time: what a message costs, counted by Valgrind, the same on a busy machine as on a quiet one.

It sees neither caches nor waiting nor the kernel's work, so it does not replace a measurement; it decides where the
difference is smaller than the noise. The work is counted twice, with few and with many messages, and the difference is
what the messages cost without the start. The start itself takes several times as many instructions as the work, so it is
made once, and every count is that of a process which was forked from there (counted.py).
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .child import Child, Failed
from .compare import Line, lines
from .process import two_cores
from .rows import INSTRUCTIONS, Row
from .run import Plan, Results
from .states import State

BACKENDS = ("asyncio", "trio")
START_SECONDS = 120.0  # fifty times slower than otherwise
TIMEOUT = 300  # of one count, in seconds
CONDITIONS = {
    # Where an object lies in a set depends on its hash, and on that how long it is looked for.
    "PYTHONHASHSEED": "0",
    # What glibc does for large messages depends on how its memory lies: the same code took 1.3 to 1.7 million instructions
    # to receive 1 MiB. From this size on, memory comes from the system, always at the beginning of a page.
    "MALLOC_MMAP_THRESHOLD_": "65536",
}


@dataclass(frozen=True)
class Count:
    """How many messages are counted beyond those at the start, and in portions of how many they are sent."""

    messages: int
    portion: int = 1
    start: int = 1  # portions that are not counted: until all code is warm and the buffers have grown


# Not those of receive-1m: of a large message some is read straight to where it stays and the rest is copied, byte by byte as
# far as Valgrind is concerned, and how much depends on the other end's pace.
COUNTS = {
    "receive-64": Count(40_000, start=4_000),
    "send-64": Count(20_000, portion=1000, start=4),
    "echo-64": Count(1_500, start=300),
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
    with contextlib.ExitStack() as stack:
        counters = {state.name: stack.enter_context(counter(state, plan.backends)) for state in states}
        for row in plan.rows:
            if row.name not in COUNTS:
                results.skipped[row.name] = "its instructions are not counted"
                continue
            for backend in plan.backends:
                for number in range(plan.rounds):
                    pair = {}
                    for name, each in counters.items():
                        progress(f"{row.name} ({backend})  {name}, round {number + 1} of {plan.rounds}")
                        try:
                            pair[name] = {INSTRUCTIONS.name: each.per_message(row, backend)}
                        except Failed as exc:
                            results.failures.append(f"{row.name}: {name} ({backend}): {exc}")
                    if len(pair) == len(states):
                        for name, figures in pair.items():
                            results.add(row.name, backend, name, figures)
                yield from lines(results, row.name, backend)


@dataclass(frozen=True)
class Counter:
    """A process that has started under Valgrind, from which each count is forked."""

    process: Child
    log: Path

    def per_message(self, row: Row, backend: str) -> float:
        count = COUNTS[row.name]
        few = self._instructions(row, backend, count.start)
        many = self._instructions(row, backend, count.start + count.messages // count.portion)
        return (many - few) / count.messages

    def _instructions(self, row: Row, backend: str, portions: int) -> int:
        """Return how many instructions a process has needed that connects and does so much, the start included."""
        other_core = two_cores()[1]
        mode = "in-turn" if row.kind == "connect" else "at-once"
        with Child("peer", "" if other_core is None else str(other_core), mode, "") as peer:
            job = {
                "row": row.name,
                "backend": backend,
                "port": peer.hear("port"),
                "portion": COUNTS[row.name].portion,
                "portions": portions,
                "timeout": TIMEOUT,
            }
            self.process.tell(json.dumps(job))
            said = self.process.hear_all(TIMEOUT + START_SECONDS)
        if said["status"]:
            raise Failed(self.process.last_words())
        found = re.search(rf"=={said['process']}== I +refs: +([\d,]+)", self.log.read_text())
        if not found:
            raise Failed("valgrind did not say how many instructions there were")
        return int(found[1].replace(",", ""))


@contextlib.contextmanager
def counter(state: State, backends: Sequence[str]) -> Iterator[Counter]:
    """Start a process that imports this state of the library."""
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory, "log")
        valgrind = [
            "valgrind",
            "--tool=cachegrind",
            "--cache-sim=no",
            "--cachegrind-out-file=/dev/null",
            f"--log-file={log}",
        ]
        environment = state.environment() | CONDITIONS
        job = json.dumps({"core": two_cores()[0], "backends": backends})
        with Child("counted", job, environment=environment, prefix=valgrind) as process:
            process.hear("ready", START_SECONDS)
            yield Counter(process, log)
