"""The programs in examples/: run as their users do, copied out of the repository, or imported, to play with their parts."""

from __future__ import annotations

import importlib.util
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from interop.programs import Running, running
from waiting import PATIENCE

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
ON_TRIO = Path(__file__).with_name("on_trio.py")
ENVIRONMENT = {"PYTHONPATH": str(ROOT / "src"), "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}

both_backends = pytest.mark.parametrize("backend", ["asyncio", "trio"])


def part(name: str) -> Any:
    """Import an example, anew each time: some keep what they know in the module."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def copied(directory: Path, name: str) -> Path:
    """Copy an example to where nothing else of the project is."""
    return Path(shutil.copy(EXAMPLES / f"{name}.py", directory))


@contextmanager
def example(directory: Path, name: str, *arguments: object, backend: str = "asyncio") -> Iterator[Running]:
    """Run an example for the length of a block."""
    path = copied(directory, name)
    wrapper: Sequence[str | Path] = [ON_TRIO] if backend == "trio" else []
    command = [sys.executable, "-W", "error", *wrapper, path, *map(str, arguments)]
    with running(command, directory, ENVIRONMENT) as program:
        yield program


@contextmanager
def asgi_example(directory: Path, name: str) -> Iterator[str]:
    """Run an ASGI application as its first lines say; give the port on which it listens."""
    copied(directory, name)
    uvicorn = [sys.executable, "-m", "uvicorn", "--ws", "websocketstream.uvicorn:Protocol", "--port", "0"]
    with running([*uvicorn, f"{name}:app"], directory, ENVIRONMENT) as program:
        yield program.says(r"running on http://127\.0\.0\.1:(\d+)")


def url_of(server: Running) -> str:
    """Wait until a server says where it listens."""
    return f"ws://127.0.0.1:{server.says(r'listening on (?:ws://)?127.0.0.1:([0-9]+)')}"


def ended(program: Running, *, code: int = 0) -> str:
    """Wait for the end of a program and return what it has said."""
    assert program.process.wait(PATIENCE) == code, program.output[-3000:]
    return program.output


def stopped(program: Running, number: signal.Signals = signal.SIGINT) -> str:
    """End a program by a signal, Ctrl-C by default; it must not complain."""
    program.process.send_signal(number)
    output = ended(program)
    assert "Traceback" not in output
    return output
