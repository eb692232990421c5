"""The same application under the servers that people run, each in a process of its own."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from ports import free_port
from websocketstream import CloseInfo, HandshakeRejected, WebSocketStream, open_websocket_stream

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]

TESTS = Path(__file__).parent.parent
START = 20.0  # seconds until a server listens
SERVERS = {
    "uvicorn with websockets' sans-IO half": "uvicorn --ws websockets-sansio --port {port}",
    "uvicorn with websockets": "uvicorn --ws websockets --port {port}",
    "uvicorn with wsproto": "uvicorn --ws wsproto --port {port}",
    "uvicorn with ours": "uvicorn --ws websocketstream.uvicorn:Protocol --port {port}",
    "hypercorn on asyncio": "hypercorn -k asyncio -b 127.0.0.1:{port}",
    "hypercorn on uvloop": "hypercorn -k uvloop -b 127.0.0.1:{port}",
    "hypercorn on trio": "hypercorn -k trio -b 127.0.0.1:{port}",
    "granian": "granian --interface asgi --port {port}",
}


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


class Server:
    """A server in a process of its own."""

    def __init__(self, name: str, port: int) -> None:
        self.name = name
        self.url = f"ws://127.0.0.1:{port}"

    async def report(self, path: str) -> Any:
        """Return how the application's last connection at a path has ended, once it has."""
        with anyio.fail_after(10):
            while True:
                async with open_websocket_stream(f"{self.url}/report") as conn:
                    await conn.send(path)
                    report = json.loads(await conn.receive())
                    if report is not None:
                        return report


@pytest.fixture(scope="module", params=SERVERS.items(), ids=SERVERS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    name, command = request.param
    module = command.partition(" ")[0]
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")
    port = free_port()
    arguments = [sys.executable, "-m", *command.format(port=port).split(), "asgi_servers.application:app"]
    path = os.pathsep.join([str(TESTS.parent / "src"), str(TESTS)])
    process = subprocess.Popen(
        arguments,
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        give_up_at = time.monotonic() + START
        while not listens(port):
            assert process.poll() is None, f"{name} has ended"
            assert time.monotonic() < give_up_at, f"{name} does not listen"
            time.sleep(0.05)
        yield Server(name, port)
    finally:
        process.terminate()
        process.wait(20)


@asynccontextmanager
async def connected(server: Server, path: str, **options: Any) -> AsyncIterator[WebSocketStream]:
    with anyio.fail_after(10):
        async with open_websocket_stream(server.url + path, **options) as conn:
            yield conn


async def test_messages_of_every_length_go_both_ways(server: Server) -> None:
    async with connected(server, "/echo") as conn:
        for length in (0, 1, 125, 126, 65535, 65536, 400_000):
            for message in ("ä" * length, b"\xff" * length):
                await conn.send(message)
                assert await conn.receive() == message


async def test_the_client_closes_and_the_application_learns_why(server: Server) -> None:
    async with connected(server, "/listen") as conn:
        await conn.send("x")
        await conn.receive()
        conn.close(4000, "bye")
        assert (await conn.closed).clean
    report = await server.report("/listen")
    # Hypercorn says 1006 whatever the client's code was.
    assert report["code"] == (1006 if "hypercorn" in server.name else 4000)
    assert report["seconds"] < 5


async def test_the_application_closes_behind_what_it_has_sent(server: Server) -> None:
    async with connected(server, "/close") as conn:
        assert [message async for message in conn] == ["last"]
        assert await conn.closed == CloseInfo(4000, "bye")
    report = await server.report("/close")
    assert report["clean"]
    assert report["seconds"] < 5, "it did not wait for close_timeout"


async def test_the_application_fails(server: Server) -> None:
    async with connected(server, "/fail") as conn:
        assert await conn.closed == CloseInfo(1011)
    assert (await server.report("/fail"))["seconds"] < 5


async def test_all_that_is_sent_before_the_end_of_the_block_arrives(server: Server) -> None:
    async with connected(server, "/burst", read_buffer=1) as conn:
        assert [len(message) async for message in conn] == [10_000] * 100
        assert (await conn.closed).clean


async def test_the_application_knows_the_request(server: Server) -> None:
    options = {"protocols": ["one", "chat"], "headers": {"X-B": "b"}}
    async with connected(server, "/say%20it?x=y", **options) as conn:
        assert conn.protocol == "chat"
        message = await conn.receive()
        assert isinstance(message, str)
        assert json.loads(message) == {
            "target": "/say%20it?x=y",
            "protocols": ["one", "chat"],
            "x-b": "b",
        }
        if server.name != "granian":  # which leaves them out
            assert conn.response is not None
            assert conn.response.headers["x-a"] == "a"


async def test_a_refusal_has_status_header_fields_and_body(server: Server) -> None:
    with pytest.raises(HandshakeRejected) as caught:
        async with connected(server, "/reject"):
            pass
    assert (caught.value.status, caught.value.body) == (404, b"no such room")
    assert caught.value.headers["x-a"] == "a"
