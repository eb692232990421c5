"""What a reader leaves unread: bounded in memory, and no obstacle to a quick and clean close."""

from __future__ import annotations

import time
import tracemalloc
from typing import TYPE_CHECKING

import pytest

from waiting import at_rest, until
from websocketstream import CloseInfo, open_websocket_stream
from websocketstream._network.loop import current_event_loop
from wire import Frame, Opcode
from wpt.server import MIB

if TYPE_CHECKING:
    from promises.conftest import Serve
    from wpt.server import Connection

pytestmark = pytest.mark.anyio


@pytest.mark.wpt("6.20.1")
@pytest.mark.parametrize("message", [b"x" * MIB, b"y" * 1024], ids=["large", "small"])
async def test_an_unread_backlog_is_no_obstacle_to_a_quick_and_clean_close(
    message: bytes, serve: Serve
) -> None:
    answered: list[float] = []

    def send_and_close(connection: Connection) -> None:
        connection.accept()
        burst = Frame(Opcode.BINARY, message).encode() * (MIB // len(message))
        for _ in range(64):
            connection.write(burst)
            connection.server.progress += 1
        close = connection.read_close()
        answered.append(time.monotonic())
        connection.answer_close(close)

    server = serve(send_and_close)
    async with open_websocket_stream(server.url("/")) as conn:
        await at_rest(lambda: server.progress)
        assert server.progress < 64
    assert time.monotonic() - answered[0] < 0.5
    assert conn.close_info == CloseInfo(1005, "")


@pytest.mark.wpt("6.20.5")
@pytest.mark.parametrize("read_buffer", [MIB, 64 * 1024])
async def test_an_unread_flood_costs_no_more_memory_than_the_read_buffer(
    read_buffer: int, serve: Serve, request: pytest.FixtureRequest
) -> None:
    count, size = 200_000, 1024
    message = Frame(Opcode.BINARY, bytes(size)).encode()

    def flood(connection: Connection) -> None:
        connection.accept()
        while connection.server.progress < count and not connection.server.gate.is_set():
            connection.sock.sendall(message)
            connection.server.progress += 1
        connection.answer_close(connection.read_close())

    server = serve(flood)
    current_event_loop()  # what sockets are read into is the loop's, one for all its connections
    tracemalloc.start()  # before anything arrives: reading begins with the connection
    request.addfinalizer(tracemalloc.stop)
    async with open_websocket_stream(server.url("/"), read_buffer=read_buffer, max_message_size=size) as conn:
        await until(lambda: server.progress)
        await at_rest(lambda: server.progress)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert server.progress < count
        assert peak < bound(read_buffer, size, 2**16)
        assert conn.statistics().readable.buffered_bytes <= peak
        # What was held back is not lost.
        for _ in range(2000):
            assert await conn.receive() == bytes(size)
        server.gate.set()  # it has made its point


def bound(read_buffer: int, max_message_size: int, write_buffer: int) -> int:
    """Return the formula of docs/reference/options.md, for binary messages and nothing to send."""
    return int(read_buffer + 2.125 * max_message_size + write_buffer + 0.7 * MIB)
