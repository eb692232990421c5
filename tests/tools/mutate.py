"""Do the tests notice when the code is wrong? Changes a module in many small ways, one by one, and runs tests each time.

    python tests/tools/mutate.py src/websocketstream/_protocol/life.py tests/protocol/test_life.py

The tests run up to the first that fails. A change that none of them notices has survived: either a test is missing, or
the change makes no difference. Every change gets a process of its own, forked from one that has everything imported but
the package, so nothing on the disk is changed. Tests that start processes of their own test the unchanged module there.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import io
import json
import os
import select
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import pytest
from mutations import Mutant, mutants, mutated

ROOT = Path(__file__).parent.parent.parent
SOURCE = ROOT / "src"
SLOWER = 3.0  # a change may make the tests so many times slower
GRACE = 5.0  # and take so many seconds more, before its process is ended
MEMORY = 2 * 2**30  # bytes that a change may want


class Loader(importlib.machinery.SourceFileLoader):
    """Loads other code than the file has."""

    def __init__(self, name: str, path: Path, tree: ast.Module) -> None:
        super().__init__(name, str(path))
        self._code = compile(tree, str(path), "exec")

    def get_code(self, fullname: str) -> CodeType:
        return self._code


@dataclass
class Finder(importlib.abc.MetaPathFinder):
    """Finds the changed module instead of the file's."""

    name: str
    path: Path
    tree: ast.Module

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self.name:
            return None
        loader = Loader(fullname, self.path, self.tree)
        return importlib.util.spec_from_file_location(fullname, self.path, loader=loader)


@dataclass
class Watcher:
    """A plugin of pytest: tries first what has noticed changes before, then what is quick; remembers which test fails."""

    first: Sequence[str]
    failed: str = ""
    seconds: Counter[str] = field(default_factory=Counter)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        order = {name: place for place, name in enumerate(self.first)}
        items.sort(key=lambda item: order.get(item.nodeid, len(order)))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] += report.duration
        if report.failed:
            self.failed = report.nodeid


@dataclass
class Run:
    """How the tests went in a process: ``status`` is pytest's, None when it took too long or died."""

    status: int | None
    seconds: float
    said: dict[str, Any]


@dataclass
class Mutation:
    """One module, and the tests that should notice what is changed in it."""

    path: Path
    tests: Sequence[str]
    name: str = ""
    source: str = ""
    lines: frozenset[int] = frozenset()
    limit: float = 600.0  # seconds
    killers: Counter[str] = field(default_factory=Counter)
    quick: Sequence[str] = ()  # the tests, the quickest first

    def __post_init__(self) -> None:
        self.path = self.path.resolve()
        self.name = ".".join(self.path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
        self.source = self.path.read_text("utf-8")

    def prepare(self) -> None:
        """Run the tests on the unchanged module: they have to pass; and import what they have imported."""
        run = self.run(None)
        if run.status != 0:
            raise SystemExit(f"the tests do not pass without any change:\n{run.said.get('output', '')}")
        self.lines = frozenset(run.said["lines"])
        self.quick = run.said["quick"]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for name in run.said["modules"]:
                with contextlib.suppress(Exception):
                    importlib.import_module(name)
        again = self.run(None)
        if again.status != 0:
            raise SystemExit(
                f"the tests do not pass in a process that was forked:\n{again.said.get('output')}"
            )
        self.limit = max(run.seconds, again.seconds) * SLOWER + GRACE

    def run(self, mutant: Mutant | None) -> Run:
        """Run the tests in a process of their own, with a change or without."""
        reading, writing = os.pipe()
        start = time.monotonic()
        sys.stdout.flush()
        child = os.fork()
        if not child:
            os.close(reading)
            self._work(mutant, writing)
        os.close(writing)
        with os.fdopen(reading, "rb", buffering=0) as pipe:
            said = _read_all(pipe, self.limit)
        if said is None:
            # Also what the tests have started.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
        seconds = time.monotonic() - start
        if not said:
            return Run(None, seconds, {})
        values = json.loads(said)
        return Run(values["status"], seconds, values)

    def _work(self, mutant: Mutant | None, pipe: int) -> None:
        """Be the process."""
        output = io.StringIO()
        try:
            os.setpgid(0, 0)
            nothing = os.open(os.devnull, os.O_RDWR)
            for descriptor in range(3):
                os.dup2(nothing, descriptor)
            with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
                said = self._test(mutant)
        except BaseException:
            said = {"status": -1, "killer": ""}
            traceback.print_exc(file=output)
        said["output"] = output.getvalue()[-20000:] if mutant is None else ""
        _write_all(pipe, json.dumps(said).encode())
        os._exit(0)

    def _test(self, mutant: Mutant | None) -> dict[str, Any]:
        killers = dict(self.killers.most_common())
        watcher = Watcher([*killers, *(name for name in self.quick if name not in killers)])
        arguments = ["-x", "-q", "--no-header", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml")]
        # Plugins are imported already in a forked process, which says nothing about the tests.
        arguments += ["-W", "ignore::pytest.PytestAssertRewriteWarning", *self.tests]
        _be_repeatable()
        if mutant is not None:
            _limit_memory()
            sys.meta_path.insert(0, Finder(self.name, self.path, mutated(self.source, mutant)))
            return {"status": int(pytest.main(arguments, plugins=[watcher])), "killer": watcher.failed}
        import coverage

        measured = coverage.Coverage(data_file=None, include=[str(self.path)], config_file=False)
        measured.start()
        status = int(pytest.main(arguments, plugins=[watcher]))
        measured.stop()
        lines = measured.get_data().lines(str(self.path)) or []
        quick = sorted(watcher.seconds, key=watcher.seconds.__getitem__)
        return {"status": status, "lines": lines, "quick": quick, "modules": _foreign_modules()}


def _read_all(pipe: io.FileIO, limit: float) -> bytes | None:
    """Read up to the end, None when that takes too long."""
    said, end = b"", time.monotonic() + limit
    while select.select([pipe], [], [], max(0, end - time.monotonic()))[0]:
        data = pipe.read(2**16)
        if not data:
            return said
        said += data
    return None


def _write_all(pipe: int, data: bytes) -> None:
    while data:
        data = data[os.write(pipe, data) :]


def _be_repeatable() -> None:
    """Let tests that choose examples choose the same ones each time."""
    with contextlib.suppress(ImportError):
        from hypothesis import settings

        settings.register_profile("mutants", derandomize=True, database=None, deadline=None)
        settings.load_profile("mutants")


def _limit_memory() -> None:
    import resource

    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))


def _foreign_modules() -> list[str]:
    """Name the imported modules that are not this project's."""
    names = []
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        spec = getattr(module, "__spec__", None)
        ours = file and any(Path(file).is_relative_to(folder) for folder in (SOURCE, ROOT / "tests"))
        if file and spec and spec.name == name and not ours:
            names.append(name)
    return names


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="mutate.py", description=__doc__.partition("\n")[0])  # type: ignore[union-attr]
    parser.add_argument("module", type=Path)
    parser.add_argument("tests", nargs="+", help="files, folders or ids of tests, as pytest takes them")
    parser.add_argument("--lines", help="change only these, such as 40-80")
    parser.add_argument("--every", type=int, default=1, help="make only every n-th change")
    parser.add_argument("--at-least", type=float, default=0.0, help="fail when fewer per cent are noticed")
    options = parser.parse_args(arguments)
    os.chdir(ROOT)
    # What the first process compiles, the others load; nothing is left behind.
    with tempfile.TemporaryDirectory() as sys.pycache_prefix:
        sys.dont_write_bytecode = False
        return _mutate(options)


def _mutate(options: argparse.Namespace) -> int:
    sys.modules["websocketstream._fast"] = None  # type: ignore[assignment]  # it would not see what is changed
    mutation = Mutation(options.module, options.tests)
    chosen = mutants(mutation.source)
    if options.lines:
        first, _, last = options.lines.partition("-")
        chosen = [mutant for mutant in chosen if int(first) <= mutant.line <= int(last or first)]
    mutation.prepare()
    score = _score(mutation, chosen[:: options.every])
    return int(score < options.at_least)


def _score(mutation: Mutation, chosen: Sequence[Mutant]) -> float:
    """Make the changes, print those that survive, and return how many per cent do not."""
    text, counts, start = mutation.source.splitlines(), Counter[str](), time.monotonic()
    path = mutation.path.relative_to(ROOT)
    for number, mutant in enumerate(chosen, 1):
        verdict = _judge(mutation, mutant)
        counts[verdict] += 1
        if verdict in ("survived", "never run"):
            print(
                f"{path}:{mutant.line}: {verdict}: {mutant.words}\n    {text[mutant.line - 1].strip()}",
                flush=True,
            )
        elif sys.stderr.isatty():
            print(f"\r\x1b[K{number} of {len(chosen)}\r", end="", file=sys.stderr, flush=True)
    score = 100 * (counts["noticed"] + counts["took too long"]) / max(1, len(chosen))
    parts = ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())
    print(
        f"{path}: {score:.1f} % of {len(chosen)} changes noticed ({parts}) in {time.monotonic() - start:.0f} s"
    )
    return score


def _judge(mutation: Mutation, mutant: Mutant) -> str:
    if not mutation.lines & {mutant.line, mutant.statement}:
        return "never run"
    run = mutation.run(mutant)
    if run.status == 0:
        return "survived"
    if run.status is None:
        return "took too long"
    if killer := run.said["killer"]:
        mutation.killers[killer] += 1
    return "noticed"


if __name__ == "__main__":
    sys.exit(main())
