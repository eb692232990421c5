"""The two programs that run the cases: `kosoku`, and the original `wstest` where a CPython 2.7 is found."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

HERE = Path(__file__).parent
CACHE = HERE.parent.parent / ".nox" / "wstest"
AGENT = "websocketstream"


class Unavailable(Exception):
    """This runner cannot be used here; the message says why."""


class Runner(Protocol):
    """How to start one role of the testsuite: the command line, with the reports going to ``out``."""

    def fuzzing_client(self, url: str, cases: list[str], out: Path) -> list[str]: ...

    def fuzzing_server(self, port: int, cases: list[str], out: Path) -> list[str]: ...


@dataclass(frozen=True)
class Kosoku:
    """The everyday runner, a wheel from PyPI."""

    program: str

    @classmethod
    def find(cls) -> Kosoku:
        program = shutil.which("kosoku", path=str(Path(sys.executable).parent)) or shutil.which("kosoku")
        if program is None:
            raise Unavailable("kosoku is not installed (it is in the test dependency group)")
        return cls(program)

    def _command(self, mode: str, cases: list[str], out: Path) -> list[str]:
        include = [argument for case in cases for argument in ("-i", case)]
        return [self.program, "-m", mode, "-o", str(out), *include]

    def fuzzing_client(self, url: str, cases: list[str], out: Path) -> list[str]:
        return [*self._command("fuzzingclient", cases, out), "-p", "4", url]

    def fuzzing_server(self, port: int, cases: list[str], out: Path) -> list[str]:
        return [*self._command("fuzzingserver", cases, out), f"127.0.0.1:{port}"]


@dataclass(frozen=True)
class Wstest:
    """The original, in a virtual environment of its own that is made on first use."""

    python: Path

    @classmethod
    def find(cls) -> Wstest:
        python = CACHE / "env" / "bin" / "python"
        if not (CACHE / "complete").exists():
            cls._install(_find_python27(), python)
        return cls(python)

    @staticmethod
    def _install(python27: str, python: Path) -> None:
        shutil.rmtree(CACHE, ignore_errors=True)
        tool = CACHE / "tool"
        # virtualenv 20.21 is the last line that makes environments for 2.7.
        for command in (
            [sys.executable, "-m", "venv", str(tool)],
            [str(tool / "bin" / "pip"), "install", "-q", "virtualenv==20.21.1"],
            [
                str(tool / "bin" / "virtualenv"),
                "-q",
                "--no-download",
                "-p",
                python27,
                str(python.parent.parent),
            ],
            [str(python), "-m", "pip", "install", "-q", "-r", str(HERE / "requirements-wstest.txt")],
        ):
            if subprocess.run(command, check=False).returncode:
                raise Unavailable(f"the environment of wstest could not be made: {' '.join(command)} failed")
        (CACHE / "complete").touch()

    def _command(self, mode: str, spec: dict[str, object], out: Path) -> list[str]:
        out.mkdir(parents=True, exist_ok=True)
        path = out / f"{mode}.json"
        path.write_text(
            json.dumps({"outdir": str(out), "exclude-cases": [], "exclude-agent-cases": {}, **spec})
        )
        return [str(self.python), str(HERE / "wstest_loopback.py"), "-m", mode, "-s", str(path), "-u", "0"]

    def fuzzing_client(self, url: str, cases: list[str], out: Path) -> list[str]:
        return self._command(
            "fuzzingclient", {"servers": [{"agent": AGENT, "url": url}], "cases": cases}, out
        )

    def fuzzing_server(self, port: int, cases: list[str], out: Path) -> list[str]:
        return self._command("fuzzingserver", {"url": f"ws://127.0.0.1:{port}", "cases": cases}, out)


def _find_python27() -> str:
    candidates = [os.environ.get("PYTHON27"), shutil.which("python2.7")]
    if pyenv := shutil.which("pyenv"):
        root = subprocess.run([pyenv, "root"], capture_output=True, text=True, check=False).stdout.strip()
        candidates += map(str, sorted(Path(root, "versions").glob("2.7.*/bin/python2.7")))
    for candidate in filter(None, candidates):
        # A shim may be there without the interpreter behind it.
        if subprocess.run([candidate, "-c", ""], capture_output=True, check=False).returncode == 0:
            return candidate
    raise Unavailable("no CPython 2.7 was found (set PYTHON27 to its path)")


RUNNERS: dict[str, type[Kosoku | Wstest]] = {"kosoku": Kosoku, "wstest": Wstest}
