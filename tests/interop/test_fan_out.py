"""examples/fan_out.py as it is meant: several workers behind nginx, Redis behind them, and a worker that dies."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import trustme

from interop.programs import HERE, Running, end, program, running
from interop.proxies import KINDS
from waiting import until
from websocketstream import Backoff, HandshakeRejected, open_websocket_stream, reconnecting

# uvicorn, Redis and nginx are what matters here: once is enough.
pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]

ROOT = HERE.parent.parent
CLIENTS = 6
MESSAGES = 300
NGINX = next(kind for kind in KINDS if kind.name == "nginx")


def order_of(entry: str) -> tuple[int, ...]:
    return tuple(map(int, entry.split("-")))


class Redis:
    """A Redis that runs, spoken to in its own protocol."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, text: str) -> None:
        """Put an entry into the feed."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(self.path))
            sock.sendall(f"XADD feed * text {text}\r\n".encode())
            assert sock.recv(100).startswith(b"$")


@pytest.fixture(autouse=True)
def _is_installed() -> None:
    program("nginx")  # before any task group is open, which would wrap the skip


@pytest.fixture
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("r")  # short: a path of a unix socket has room for a hundred characters


@pytest.fixture
def redis(directory: Path) -> Iterator[Redis]:
    pytest.importorskip("redis")
    path = directory / "redis.sock"
    arguments = [program("redis-server"), "--port", "0", "--save", "", "--unixsocket", path]
    with running(arguments, directory) as process:
        process.listens(str(path))
        yield Redis(path)


@pytest.fixture
def workers(redis: Redis, directory: Path) -> Iterator[dict[Path, Running]]:
    """Two of them, each on a socket of its own."""
    environment = {
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT / "examples")]),
        "REDIS_URL": f"unix://{redis.path}",
    }
    uvicorn = [sys.executable, "-m", "uvicorn", "--ws", "websocketstream.uvicorn:Protocol", "fan_out:app"]
    with ExitStack() as stack:
        found = {}
        for path in (directory / "one.sock", directory / "two.sock"):
            found[path] = stack.enter_context(running([*uvicorn, "--uds", path], directory, environment))
        for path, process in found.items():
            process.listens(str(path))
        yield found


class Client:
    """One that comes back, and says where it was."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._last = "0-0"
        self.connections = 0
        self.texts: list[str] = []

    def _open(self) -> Any:
        self.connections += 1
        return open_websocket_stream(f"{self._url}?after={self._last}", ping_interval=0.3)

    async def run(self) -> None:
        async with reconnecting(self._open, backoff=Backoff(initial=0.05, maximum=0.2)) as connections:
            async for conn in connections:
                async with connections.retrying():
                    async for message in conn.messages():
                        self._take(str(message))

    def _take(self, message: str) -> None:
        entry, _, text = message.partition(" ")
        if order_of(entry) > order_of(
            self._last
        ):  # a worker that is behind sends again what another one has sent
            self._last = entry
            self.texts.append(text)


async def test_the_clients_of_a_worker_that_dies_come_back_elsewhere_and_miss_nothing(
    redis: Redis, workers: dict[Path, Running], certificate_authority: trustme.CA, directory: Path
) -> None:
    one, two = workers
    with NGINX.in_front_of(one, certificate_authority, directory, two) as nginx:
        clients = [Client(nginx.url()) for _ in range(CLIENTS)]
        async with anyio.create_task_group() as tasks:
            for client in clients:
                tasks.start_soon(client.run)
            for number in range(MESSAGES):
                redis.add(str(number))
                await anyio.lowlevel.checkpoint()
                if number == MESSAGES // 3:
                    await until(lambda: all(client.texts for client in clients))
                    end(workers[one].process)
            await until(lambda: all(len(client.texts) >= MESSAGES for client in clients))
            tasks.cancel_scope.cancel()
    assert all(client.texts == [str(number) for number in range(MESSAGES)] for client in clients)
    came_back = [client for client in clients if client.connections > 1]
    assert came_back, "the dead worker had clients"
    assert len(came_back) < CLIENTS, "and so had the other one"


async def test_a_place_that_is_no_place_is_refused(
    redis: Redis, workers: dict[Path, Running], certificate_authority: trustme.CA, directory: Path
) -> None:
    one, two = workers
    with NGINX.in_front_of(one, certificate_authority, directory, two) as nginx:
        for after in ("x", "1", "-", "1-2-3", "9" * 40 + "-0"):
            with pytest.raises(HandshakeRejected) as caught:
                async with open_websocket_stream(f"{nginx.url()}?after={after}"):
                    pass
            assert caught.value.status == 400
