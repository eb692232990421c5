"""The processes of a measurement, as their parent sees them."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Timer
from typing import Any, Self

CHECKOUT = Path(__file__).parent.parent
START_SECONDS = 20.0  # beyond the measurement's own time, until a process counts as stuck


class Failed(Exception):
    """A process ended without its figure."""


class Child:
    """A process of this suite that talks in lines of JSON."""

    def __init__(
        self,
        module: str,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
    ) -> None:
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  (closed when this block is left)
        self._process = subprocess.Popen(
            [*prefix, sys.executable, "-m", f"benchmarks.{module}", *arguments],
            cwd=CHECKOUT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def tell(self, words: str) -> None:
        self._process.stdin.write(words + "\n")  # type: ignore[union-attr]
        self._process.stdin.flush()  # type: ignore[union-attr]

    def ask(self, question: str, key: str, timeout: float = START_SECONDS) -> Any:
        self.tell(question)
        return self.hear(key, timeout)

    def hear(self, key: str, timeout: float = START_SECONDS) -> Any:
        """Return one value of the next line."""
        return self.hear_all(timeout)[key]

    def hear_all(self, timeout: float = START_SECONDS) -> dict[str, Any]:
        line = _read_line(self._process, timeout)
        if not line:
            self._process.kill()
            self._process.wait()
            raise Failed(self.last_words())
        return json.loads(line)  # type: ignore[no-any-return]

    def last_words(self) -> str:
        """Return the last line of what it has written to its standard error."""
        self._errors.seek(0)
        lines = [line.strip() for line in self._errors.read().splitlines() if line.strip(" |+-")]
        return lines[-1] if lines else "stuck, or ended without a word"


def _read_line(process: subprocess.Popen[str], timeout: float) -> str:
    """Read one line, or "" when the process has ended or is stuck."""
    timer = Timer(timeout, process.kill)
    timer.start()
    try:
        return process.stdout.readline()  # type: ignore[union-attr]
    finally:
        timer.cancel()
