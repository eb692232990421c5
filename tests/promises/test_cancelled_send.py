"""A cancelled send either puts no byte on the wire or is completed: the connection stays usable."""

from __future__ import annotations

import anyio
import pytest

from promises.conftest import Serve
from waiting import Call, until
from websocketstream import open_websocket_stream
from wpt.server import Connection

pytestmark = pytest.mark.anyio
LARGE = bytes(range(256)) * 80_000  # 20 MB


def read_when_told(connection: Connection) -> None:
    connection.accept()
    connection.wait_for_test()
    while not connection.server.received or connection.server.received[-1] != "bye":
        connection.server.received.append(connection.read_message())
    connection.answer_close(connection.read_close())


@pytest.mark.wpt(
    "6.20.12",
    deviation="the connection is neither broken nor corrupt: the frame is completed in the background",
)
async def test_after_a_cancelled_send_the_next_message_arrives_exactly(serve: Serve) -> None:
    server = serve(read_when_told)
    async with open_websocket_stream(server.url("/")) as conn:
        with anyio.move_on_after(1) as scope:
            await conn.send(LARGE)
        assert scope.cancelled_caught
        server.gate.set()
        await conn.send("hello")
        await conn.send("bye")
    # Most of the large message was on its way already, so it is completed.
    assert server.received == [LARGE, "hello", "bye"]


async def test_a_send_cancelled_before_its_turn_leaves_nothing_on_the_wire(serve: Serve) -> None:
    server = serve(read_when_told)
    async with open_websocket_stream(server.url("/")) as conn, anyio.create_task_group() as group:
        first = Call.start(group, conn.send, LARGE)
        await first.stays_pending()
        waiting = [Call.start(group, conn.send, text) for text in ("second", "third")]
        await waiting[1].stays_pending()
        waiting[0].scope.cancel()
        await until(lambda: waiting[0].done)
        server.gate.set()
        await first.finished()
        await waiting[1].finished()
        await conn.send("bye")
    assert server.received == [LARGE, "third", "bye"]
