"""Running: a fresh pair of processes for every contender, row and round, contenders one after the other."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Self

from .child import CHECKOUT, START_SECONDS, Child, Failed
from .contenders import ASYNCIO, ENTRIES, OURS, Entry
from .process import third_core, two_cores
from .rows import Row

SETTLE_SECONDS = 0.5  # after the last connection was opened, before memory is read

Figures = dict[str, float]


@dataclass
class Plan:
    """What to run."""

    rows: Sequence[Row]
    contenders: Sequence[Entry]
    backends: Sequence[str]
    rounds: int
    seconds: float

    def jobs(self, row: Row) -> Iterator[tuple[str, Entry]]:
        for backend in self.backends:
            for entry in self.contenders:
                if (
                    backend in entry.backends
                    and row.needs.isdisjoint(entry.cannot)
                    and (entry.name == OURS or not row.batch)
                    and (backend in ASYNCIO or not row.asgi)
                ):
                    yield backend, entry


@dataclass
class Results:
    """What came out: the figures of every round by row, backend and contender."""

    environment: dict[str, Any]
    skipped: dict[str, str] = field(default_factory=dict)
    figures: dict[str, dict[str, dict[str, list[Figures]]]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def add(self, row: str, backend: str, contender: str, figures: Figures) -> None:
        backends = self.figures.setdefault(row, {})
        backends.setdefault(backend, {}).setdefault(contender, []).append(figures)

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(vars(self), indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> Self:
        return cls(**json.loads(path.read_text()))


def run(plan: Plan, results: Results, progress: Callable[[str], None]) -> None:
    """Run all rounds; a contender that fails is noted and does not stop the others."""
    with certificates() as (certificate, authority):
        for number in range(plan.rounds):
            for row in plan.rows:
                if row.tls and not certificate:
                    results.skipped[row.name] = "needs trustme for its certificates"
                    continue
                for backend, entry in plan.jobs(row):
                    progress(f"round {number + 1} of {plan.rounds}  {row.name}  {entry.name} ({backend})")
                    job = Job(row, backend, entry.name, plan.seconds, certificate, authority)
                    try:
                        results.add(row.name, backend, entry.name, job.run())
                    except Failed as exc:
                        results.failures.append(f"{row.name}: {entry.name} ({backend}): {exc}")


@contextlib.contextmanager
def certificates() -> Iterator[tuple[str, str]]:
    """Give the files of a server's certificate with its key, and of the authority; empty without trustme."""
    try:
        import trustme
    except ImportError:
        yield "", ""
        return
    with tempfile.TemporaryDirectory() as directory:
        certificate, authority = Path(directory, "server.pem"), Path(directory, "authority.pem")
        ca = trustme.CA()
        ca.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(certificate))
        ca.cert_pem.write_to_path(str(authority))
        yield str(certificate), str(authority)


@dataclass(frozen=True)
class Job:
    """One contender, one row, once."""

    row: Row
    backend: str
    contender: str
    seconds: float
    certificate: str
    authority: str
    environment: Mapping[str, str] | None = None  # of the contender's process alone

    def run(self) -> Figures:
        return self._as_server(*two_cores()) if self.row.by_server else self._as_client(*two_cores())

    def _worker(self, core: int | None, port: int = 0) -> Child:
        job = {
            "row": self.row.name,
            "backend": self.backend,
            "contender": self.contender,
            "core": core,
            "port": port,
            "seconds": self.seconds,
            "authority": self.authority,
            "certificate": self.certificate,
        }
        return Child("worker", json.dumps(job), environment=self.environment)

    def _as_client(self, core: int | None, other_core: int | None) -> Figures:
        mode = "in-turn" if self.row.kind == "connect" else "at-once"
        certificate = self.certificate if self.row.tls else ""
        if self.row.kind == "echo":
            # To wake a core takes longer than a contender does, and who is slow to go to sleep need not be woken.
            other_core = core
        with (
            Child("peer", "" if other_core is None else str(other_core), mode, certificate) as peer,
            self._worker(core, peer.hear("port")) as worker,
        ):
            return worker.hear("figures", START_SECONDS + 10 * self.seconds)  # type: ignore[no-any-return]

    def _as_server(self, core: int | None, other_core: int | None) -> Figures:
        measure = {
            "memory": self._memory,
            "accept": self._accept,
            "many": self._many,
            "broadcast": self._many,
        }[self.row.kind]
        with contextlib.ExitStack() as stack:
            workers = [stack.enter_context(self._worker(core))]
            port = workers[0].hear("port")
            if self.row.processes > 1:
                workers.append(stack.enter_context(self._worker(other_core, port)))
                workers[1].hear("port")
                other_core = third_core()
            job = {"row": self.row.name, "core": other_core, "port": port, "seconds": self.seconds}
            load = stack.enter_context(Child("load", json.dumps(job)))
            load.hear("ready", 2 * START_SECONDS + 2 * self.seconds)
            return measure(workers, load)

    def _memory(self, workers: Sequence[Child], load: Child) -> Figures:
        (worker,) = workers
        before = worker.ask("pss", "pss")
        count = load.ask("go", "connections", 3 * START_SECONDS)
        time.sleep(SETTLE_SECONDS)
        return {"memory": (worker.ask("pss", "pss") - before) / count / 1024}

    def _accept(self, workers: Sequence[Child], load: Child) -> Figures:
        count, seconds, cpu = self._go(workers, load)
        return {"rate": count / seconds, "rate_per_cpu": count / cpu}

    def _many(self, workers: Sequence[Child], load: Child) -> Figures:
        count, seconds, cpu = self._go(workers, load)
        return {"wall": seconds / count * 1e6, "cpu": cpu / count * 1e6, "rate": count / seconds}

    def _go(self, workers: Sequence[Child], load: Child) -> tuple[int, float, float]:
        """Return how much was done, in how many seconds, with how many of CPU time in all the processes."""
        before = sum(worker.ask("cpu", "cpu") for worker in workers)
        load.tell("go")
        said = load.hear_all(START_SECONDS + 2 * self.seconds)
        cpu = sum(worker.ask("cpu", "cpu") for worker in workers) - before
        return said["count"], said["seconds"], cpu


def describe_environment(plan: Plan) -> dict[str, Any]:
    """Return what somebody needs to know who wants to believe or to repeat the figures."""
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "pinned": two_cores()[0] is not None,
        "load": list(os.getloadavg()) if hasattr(os, "getloadavg") else [],
        "date": time.strftime("%Y-%m-%d"),
        "commit": _commit(),
        "engine": _engine(),
        "rounds": plan.rounds,
        "seconds": plan.seconds,
        "versions": _versions(plan),
    }


def _versions(plan: Plan) -> dict[str, str]:
    versions = {entry.name: entry.version() for entry in plan.contenders if entry.distribution}
    for library in ("anyio", "trio", "uvloop", "wsproto"):
        with contextlib.suppress(PackageNotFoundError):
            versions[library] = version(library)
    return versions


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def _commit() -> str:
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        command = ["git", "describe", "--always", "--dirty"]
        return subprocess.run(
            command, cwd=CHECKOUT, capture_output=True, text=True, check=True
        ).stdout.strip()
    return ""


def _engine() -> str:
    with contextlib.suppress(ImportError):
        from websocketstream._protocol.engine import ENGINE

        return ENGINE
    return ""


def available(names: Sequence[str], results: Results) -> list[Entry]:
    """Return the contenders that can run; note why the others cannot."""
    entries = []
    for name in names:
        if why := ENTRIES[name].missing():
            results.skipped[name] = why
        else:
            entries.append(ENTRIES[name])
    return entries
