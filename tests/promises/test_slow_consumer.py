"""Backpressure never looks like death: an application that is slow to read loses neither messages nor connection."""

from __future__ import annotations

from contextlib import ExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed as PeerConnectionClosed

from peers.loop_thread import LoopThread
from websocketstream import open_websocket_stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from websockets.asyncio.server import ServerConnection

pytestmark = pytest.mark.anyio
SLEEP = 4  # seconds; several times what our pings and theirs have patience for
PATIENCE = {"ping_interval": 1, "ping_timeout": 1}
NO_PINGS: dict[str, Any] = {"ping_interval": None}


@asynccontextmanager
async def flood(count: int, **options: Any) -> AsyncIterator[int]:
    """Send numbered messages of 2 kB as soon as a client is there; give the port."""

    async def send_all(connection: ServerConnection) -> None:
        try:
            for number in range(count):
                await connection.send(f"{number:08}" * 250)
            await connection.wait_closed()
        except PeerConnectionClosed:
            pass

    async with serve(send_all, "127.0.0.1", 0, compression=None, **options) as server:
        yield server.sockets[0].getsockname()[1]


# name -> messages, the server's options, our client's options
CASES: dict[str, tuple[int, dict[str, Any], dict[str, Any]]] = {
    "only we ping": (200, NO_PINGS, PATIENCE),
    "the server pings, too": (200, PATIENCE, PATIENCE),
    "a backlog far larger than the read buffer": (10_000, NO_PINGS, PATIENCE),
    "a tiny read buffer": (2_000, NO_PINGS, {"read_buffer": 10_000, **PATIENCE}),
}


async def sleep_and_read(port: int, count: int, options: dict[str, Any]) -> list[int]:
    async with open_websocket_stream(f"ws://127.0.0.1:{port}/", **options) as conn:
        await anyio.sleep(SLEEP)
        assert conn.close_info is None
        return [int(str(await conn.receive())[:8]) for _ in range(count)]


async def test_an_application_that_sleeps_before_it_reads_gets_every_message() -> None:
    received: dict[str, list[int]] = {}

    async def run(name: str, port: int, count: int, options: dict[str, Any]) -> None:
        received[name] = await sleep_and_read(port, count, options)

    # All cases wait at the same time.
    with LoopThread() as peer, ExitStack() as stack:
        async with anyio.create_task_group() as group:
            for name, (count, server_options, options) in CASES.items():
                port = stack.enter_context(peer.hold(flood(count, **server_options)))
                group.start_soon(run, name, port, count, options)
    assert received == {name: list(range(count)) for name, (count, _, _) in CASES.items()}
