"""`backpressure-receive.any.js`, `backpressure-send.any.js` and the general test with many large messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

from waiting import Call, at_rest, until
from wpt.server import MIB

if TYPE_CHECKING:
    from wpt.conftest import Open
    from wpt.server import Server

pytestmark = pytest.mark.anyio


@pytest.mark.wpt("wB1")
async def test_a_reader_that_does_not_read_holds_back_the_sender(server: Server, connect: Open) -> None:
    async with connect("/send-backpressure") as conn:
        await at_rest(lambda: server.progress)
        assert server.progress < 17
        assert await conn.receive() == b""
        for _ in range(16):
            assert await conn.receive() == bytes(MIB)
        assert await conn.receive() == "done"
        assert server.progress == 17


@pytest.mark.wpt("wB2")
async def test_one_message_larger_than_all_buffers_keeps_send_waiting(server: Server, connect: Open) -> None:
    message = bytes(8 * MIB)
    async with connect("/receive-backpressure") as conn, anyio.create_task_group() as group:
        await until(server.reached.is_set)
        sending = Call.start(group, conn.send, message)
        await sending.stays_pending()
        server.gate.set()
        await sending.finished()
    assert server.received == [message]


@pytest.mark.wpt("2.3 send-many-64K-messages-with-backpressure")
async def test_fifty_messages_to_a_slow_server_are_all_acknowledged(server: Server, connect: Open) -> None:
    async with connect("/receive-many-with-backpressure") as conn, anyio.create_task_group() as group:

        async def send_all() -> None:
            for _ in range(50):
                await conn.send(bytes(65536))

        sending = Call.start(group, send_all)
        await until(server.reached.is_set)
        server.gate.set()
        for _ in range(50):
            assert await conn.receive() == "65536"
        await sending.finished()
        await conn.aclose()
        assert (await conn.closed).clean
