"""`remote-close.any.js`: the server closes."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

import anyio
import pytest

from waiting import Call, settled, until
from websocketstream import CloseInfo, ConnectionBroken, ConnectionClosed, WebSocketError
from wpt.server import MIB

if TYPE_CHECKING:
    from wpt.conftest import Open
    from wpt.server import Server

pytestmark = pytest.mark.anyio


@pytest.mark.wpt("wD1")
async def test_a_clean_close_ends_reading_and_refuses_writing(connect: Open) -> None:
    async with connect("/remote-close?code=1000") as conn:
        assert await conn.closed == CloseInfo(1000, "")
        assert [message async for message in conn.readable] == []
        with pytest.raises(anyio.EndOfStream) as ended:
            await conn.receive()
        assert isinstance(ended.value, ConnectionClosed)
        with pytest.raises(ConnectionClosed) as refused:
            await conn.send("too late")
        assert isinstance(refused.value, anyio.BrokenResourceError)


@pytest.mark.wpt("wD2")
async def test_a_close_frame_without_a_body_is_1005(server: Server, connect: Open) -> None:
    async with connect("/remote-close") as conn:
        assert await conn.closed == CloseInfo(1005, "")
    assert server.closes == [(None, "")]


@pytest.mark.wpt("wD3", "6.20.8")
async def test_the_reason_is_passed_through_and_echoed(server: Server, connect: Open) -> None:
    async with connect("/remote-close?code=4000&reason=robot") as conn:
        assert await conn.closed == CloseInfo(4000, "robot")
    assert server.closes == [(4000, "robot")]


@pytest.mark.wpt("wD4")
async def test_a_reason_may_be_any_text(connect: Open) -> None:
    async with connect(f"/remote-close?code=4000&reason={quote('ロボット')}") as conn:
        assert await conn.closed == CloseInfo(4000, "ロボット")


@pytest.mark.wpt("wD5")
async def test_a_close_that_cuts_off_a_write_is_not_clean(server: Server, connect: Open) -> None:
    async with connect("/remote-close?code=4567&hold&unread") as conn, anyio.create_task_group() as group:
        writing = Call.start(group, conn.send, bytes(20 * MIB))
        await until(server.reached.is_set)
        await writing.stays_pending()
        server.gate.set()
        error = await settled(conn.closed)
        assert isinstance(error, ConnectionBroken)
        assert isinstance(error, WebSocketError)
        assert error.close_code == 4567
        assert await settled(writing.finished()) is error
        assert conn.close_info == CloseInfo(4567, "", clean=False)


@pytest.mark.wpt("wD6")
@pytest.mark.parametrize("path", ["/close-with-another-code", "/remote-close?hold&code=4222&reason=remote"])
async def test_the_servers_code_and_reason_are_the_ones_to_see(
    path: str, server: Server, connect: Open
) -> None:
    async with connect(path) as conn:
        conn.close(4111, "local")
        server.gate.set()
        assert await conn.closed == CloseInfo(4222, "remote")
    assert server.closes == [(4111, "local")]


@pytest.mark.wpt("wD7", "6.20.14")
async def test_an_abrupt_close_is_one_error_everywhere(connect: Open) -> None:
    async with connect("/remote-close?abrupt") as conn:
        error = await settled(conn.closed)
        assert isinstance(error, ConnectionBroken)
        assert error.close_code == 1006
        assert await settled(conn.closed) is error
        assert await settled(conn.receive()) is error
        assert await settled(conn.send("x")) is error
        assert conn.close_info == CloseInfo(1006, "", clean=False)


@pytest.mark.wpt("6.20.14")
async def test_a_receive_and_a_send_in_flight_get_the_same_error(server: Server, connect: Open) -> None:
    async with connect("/remote-close?hold&abrupt") as conn, anyio.create_task_group() as group:
        receiving = Call.start(group, conn.receive)
        sending = Call.start(group, conn.send, bytes(20 * MIB))
        await until(server.reached.is_set)
        await sending.stays_pending()
        server.gate.set()
        error = await settled(receiving.finished())
        assert isinstance(error, ConnectionBroken)
        assert await settled(sending.finished()) is error
        assert await settled(conn.closed) is error
