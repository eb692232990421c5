"""`read.any.js` and `write.any.js`."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from waiting import Call, settled, until
from websocketstream import ConnectionBroken
from wpt.server import MIB

if TYPE_CHECKING:
    from wpt.conftest import Open
    from wpt.server import Server

pytestmark = pytest.mark.anyio


@pytest.mark.wpt("wR1")
async def test_a_binary_message_is_bytes(connect: Open) -> None:
    async with connect("/echo") as conn:
        await conn.send(bytes(range(16)))
        message = await conn.receive()
        assert type(message) is bytes
        assert message == bytes(range(16))


@pytest.mark.wpt("wW1", "wW2")
@pytest.mark.parametrize("collect", [False, True], ids=["wW1", "wW2"])
async def test_a_write_that_was_incomplete_at_close_time_raises(
    server: Server, connect: Open, collect: bool
) -> None:
    async with connect("/echo_exit") as conn, anyio.create_task_group() as group:
        await conn.send("Goodbye")
        await until(server.reached.is_set)
        writing = Call.start(group, conn.send, bytes(8 * MIB))
        await writing.stays_pending()
        server.gate.set()
        if collect:
            gc.collect()
        error = await settled(conn.closed)
        assert isinstance(error, ConnectionBroken)
        assert error.close_code == 1000
        assert await settled(writing.finished()) is error
        assert await settled(conn.send("later")) is error


@pytest.mark.wpt(
    "wW3",
    deviation="nothing is converted to text: a message that is neither text nor bytes raises TypeError, nothing is "
    "sent and the connection stays usable",
)
@pytest.mark.parametrize("message", [object, 3, None, 1.5, ["a"], {"a": 1}, True], ids=repr)
async def test_anything_but_text_and_bytes_is_a_type_error(message: Any, connect: Open) -> None:
    async with connect("/echo") as conn:
        with pytest.raises(TypeError):
            await conn.send(message)
        with pytest.raises(TypeError):
            conn.writable.send_nowait(message)
        await conn.send("next")
        assert await conn.receive() == "next"


@pytest.mark.wpt(
    "wW4",
    deviation="Python has no resizable ArrayBuffer: a bytearray is copied at the call, and what happens to it later "
    "does not change what is sent",
)
async def test_a_bytearray_is_copied_when_it_is_sent(connect: Open) -> None:
    async with connect("/echo") as conn:
        message = bytearray(b"before")
        await conn.send(message)
        message[:] = b"after that, longer"
        assert await conn.receive() == b"before"


@pytest.mark.wpt(
    "wW5", deviation="Python has no SharedArrayBuffer: a view is copied at the call, like a bytearray"
)
async def test_a_view_is_copied_while_its_send_is_still_waiting(server: Server, connect: Open) -> None:
    memory = bytearray(b"x" * 8 * MIB)
    async with connect("/receive-backpressure") as conn, anyio.create_task_group() as group:
        await until(server.reached.is_set)
        sending = Call.start(group, conn.send, memoryview(memory))
        await sending.stays_pending()
        memory[:] = b"y" * 8 * MIB
        server.gate.set()
        await sending.finished()
    assert server.received == [b"x" * 8 * MIB]


@pytest.mark.wpt(
    "wW6",
    deviation="a program cannot drop a stream that it is inside of: the sends are cancelled and the block is left",
)
async def test_sends_that_nobody_waits_for_leave_nothing_behind(server: Server, connect: Open) -> None:
    async with connect("/receive-backpressure", close_timeout=0.2) as conn:
        await until(server.reached.is_set)
        async with anyio.create_task_group() as group:
            sends = [Call.start(group, conn.send, bytes(100_000)) for _ in range(20)]
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
        assert not all(send.value for send in sends)
    del conn, sends
    gc.collect()
