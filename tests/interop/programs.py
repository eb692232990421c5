"""Programs of others, started for a test and ended for sure, and what every peer's client is asked to do."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from websocketstream import ConnectionBroken, WebSocketRequest, WebSocketStream

HERE = Path(__file__).parent
# Where tests/interop/install puts what is no Debian package.
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "websocketstream-interop"
START = 15.0  # seconds until a program listens
END = 40.0  # seconds that a client's whole program may take

DONE = [4000, "done"]
GO = [4001, "go"]


def program(name: str) -> str:
    """Return the path of a program, or skip the test."""
    path = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    if path is None:
        pytest.skip(f"{name} is not installed (tests/interop/install)")
    return path


def node_module(name: str) -> dict[str, str]:
    """Return the environment in which node finds a module, or skip the test."""
    modules = CACHE / "node_modules"
    if not (modules / name).is_dir():
        pytest.skip(f"npm's {name} is not installed (tests/interop/install)")
    return {"NODE_PATH": str(modules), "NODE_NO_WARNINGS": "1"}


class Running:
    """A program that runs, and what it has said."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self._log = log

    @property
    def output(self) -> str:
        return self._log.read_text("utf-8", "replace")

    def says(self, pattern: str) -> str:
        """Wait until its output matches; return the first group."""
        give_up_at = time.monotonic() + START
        while (match := re.search(pattern, self.output)) is None:
            self._check(give_up_at, f"did not say {pattern}")
        return match[1] if match.groups() else match[0]

    def listens(self, address: tuple[str, int] | str) -> None:
        """Wait until somebody listens on a port or on a unix socket."""
        give_up_at = time.monotonic() + START
        while not _connects(address):
            self._check(give_up_at, f"does not listen on {address}")

    def _check(self, give_up_at: float, what: str) -> None:
        assert self.process.poll() is None, f"has ended: {self.output[-2000:]}"
        assert time.monotonic() < give_up_at, f"{what}: {self.output[-2000:]}"
        time.sleep(0.02)


def _connects(address: tuple[str, int] | str) -> bool:
    with socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET) as sock:
        return sock.connect_ex(address) == 0


@contextmanager
def running(
    arguments: Sequence[str | Path], directory: Path, environment: Mapping[str, str] | None = None
) -> Iterator[Running]:
    """Run a program with all its children for the length of a block."""
    number = sum(1 for _ in directory.glob("output-*"))
    log = directory / f"output-{number}"
    with log.open("wb") as output:
        process = subprocess.Popen(
            arguments,
            cwd=directory,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that its children can be ended with it
        )
    try:
        yield Running(process, log)
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a program and its children, and take its exit code."""
    with contextlib.suppress(ProcessLookupError):  # ended, and waited for
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)


async def report_of(running: Running) -> Any:
    """Wait for the end of a client and return the last line of what it says, which is JSON."""
    with anyio.fail_after(END):
        while running.process.poll() is None:
            await anyio.sleep(0.01)
    assert running.process.returncode == 0, running.output[-2000:]
    return json.loads(running.output.splitlines()[-1])


class Contract:
    """Our side of what every peer's client does; it notes how its connections have ended."""

    def __init__(self) -> None:
        self.ends: list[list[object]] = []
        self.resume = anyio.Event()
        self.received = 0

    async def __call__(self, request: WebSocketRequest) -> None:
        async with request.accept() as conn:
            with contextlib.suppress(ConnectionBroken):
                await self._serve(conn, request.path)
                await conn.closed
            info = conn.close_info
            assert info is not None
            self.ends.append([info.code, info.reason])

    async def _serve(self, conn: WebSocketStream, path: str) -> None:
        match path:
            case "/echo":
                async for message in conn:
                    await conn.send(message)
            case "/chunks":
                async for chunks in conn.readable.chunked():
                    await conn.writable.send_chunks(chunks, text=chunks.text)
            case "/close":
                await conn.aclose(4001, "go")
            case "/slow":
                await self.resume.wait()
                async for message in conn:
                    self.received += len(message)
