"""Two states of the library, each built in a folder of its own: you can go on editing while they are measured."""

from __future__ import annotations

import compileall
import contextlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .child import CHECKOUT

BEFORE, AFTER = "before", "after"
LOOK = """
import websocketstream
try:
    from websocketstream._protocol.engine import ENGINE
except ImportError:
    ENGINE = "unknown"
print(ENGINE, websocketstream.__file__)
"""


@dataclass(frozen=True)
class State:
    """One of the two: ``folder`` is where its source and its build are."""

    name: str
    about: str
    folder: Path

    def environment(self) -> dict[str, str]:
        """Return the environment of a process that imports this state, whatever else is installed."""
        given = os.environ.get("PYTHONPATH")
        path = [str(self.folder / "src"), *([given] if given else [])]
        return os.environ | {"PYTHONPATH": os.pathsep.join(path), "PYTHONDONTWRITEBYTECODE": ""}

    def build(self) -> None:
        """Compile what can be compiled here."""
        command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{self.about} cannot be built: {done.stderr.strip()[-2000:]}")
        compile_bytecode(self.folder / "src")

    def engine(self) -> str:
        """Name the engine, having looked that it is really this state that is imported."""
        command = [sys.executable, "-c", LOOK]
        done = subprocess.run(
            command, cwd=CHECKOUT, env=self.environment(), capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"{self.about} cannot be imported: {done.stderr.strip()[-2000:]}")
        engine, _, file = done.stdout.strip().partition(" ")
        if not Path(file).is_relative_to(self.folder):
            raise SystemExit(f"instead of {self.about}, {file} is imported")
        return engine


def compile_bytecode(folder: Path) -> None:
    """Compile the modules now, so that not the first process that is measured does it."""
    compileall.compile_dir(folder, quiet=2)


@contextlib.contextmanager
def two_states(commit: str) -> Iterator[tuple[State, State]]:
    """Give the state of a commit and that of the working tree as it is now, both freshly built."""
    with tempfile.TemporaryDirectory(prefix="websocketstream-compare-") as directory:
        # Not below a link: the module's file has to be found in its folder.
        home = Path(directory).resolve()
        before = State(BEFORE, _describe(commit), home / BEFORE)
        after = State(AFTER, "the working tree", home / AFTER)
        _check_out(commit, before.folder)
        _copy_working_tree(after.folder)
        compile_bytecode(CHECKOUT / "benchmarks")
        for state in (before, after):
            state.build()
        engines = {state.about: state.engine() for state in (before, after)}
        if len(set(engines.values())) > 1:
            raise SystemExit(f"the engines differ, so there is nothing to compare: {engines}")
        yield before, after


def base_commit() -> str | None:
    """Return the commit that a change is compared with: where it has left ``origin/main``, or the commit before it.

    There is none in a clone that has only the last commit.
    """
    head = _git("rev-parse", "HEAD").strip()
    try:
        base = _git("merge-base", "HEAD", "origin/main").strip()
    except SystemExit:
        base = head  # nobody has a branch of that name here
    if base == head and not _git("--no-optional-locks", "status", "--porcelain").strip():
        try:
            base = _git("rev-parse", "--verify", "HEAD~1").strip()
        except SystemExit:
            return None
    return base.decode()


def _git(*arguments: str) -> bytes:
    done = subprocess.run(["git", *arguments], cwd=CHECKOUT, capture_output=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr.decode(errors="replace").strip())
    return done.stdout


def _describe(commit: str) -> str:
    return _git("log", "-1", "--format=%h %s", "--end-of-options", commit, "--").decode().strip()


def _check_out(commit: str, folder: Path) -> None:
    folder.mkdir()
    archive = _git("archive", "--format=tar", commit)
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(folder, filter="data")


def _copy_working_tree(folder: Path) -> None:
    """Copy what git knows or would take; so what was compiled here before is compiled anew."""
    listed = _git("ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate").decode()
    for name in filter(None, listed.split("\0")):
        source, target = CHECKOUT / name, folder / name
        if source.is_file():  # and not deleted, but still listed
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
