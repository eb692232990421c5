"""`websockets/stream/tentative/abort.any.js`: a cancel scope is the AbortSignal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import anyio
import pytest

from waiting import Call, until
from websocketstream import open_websocket_stream

if TYPE_CHECKING:
    from wpt.conftest import Open
    from wpt.server import Server

pytestmark = pytest.mark.anyio


@pytest.mark.wpt("wA1")
async def test_a_scope_cancelled_beforehand_prevents_the_connection(server: Server, connect: Open) -> None:
    with anyio.CancelScope() as signal:
        signal.cancel()
        async with connect("/echo"):
            pytest.fail("the body must not run")
    assert signal.cancelled_caught
    # The next connection is the first that the server hears of.
    async with connect("/echo?second"):
        assert [request.target for request in server.requests] == ["/echo?second"]


@pytest.mark.wpt("wA1")
async def test_a_bad_url_is_reported_even_when_the_scope_is_already_cancelled() -> None:
    with anyio.CancelScope() as signal:
        signal.cancel()
        with pytest.raises(ValueError):
            open_websocket_stream("invalid:")


@pytest.mark.wpt("wA2", "6.20.11")
async def test_cancelling_during_the_handshake_aborts_it(server: Server, connect: Open) -> None:
    with anyio.CancelScope() as signal:
        async with anyio.create_task_group() as group:
            opening = Call.start(group, connect("/handshake_held").__aenter__)
            await until(server.reached.is_set)
            await opening.stays_pending()
            signal.cancel()
    assert signal.cancelled_caught
    assert opening.error is None


@pytest.mark.wpt(
    "wA3",
    deviation="a scope stays around the body, so the signal is disarmed (its deadline lifted) once the stream is open; "
    "cancelling the body's scope is structured exit and closes the connection",
)
async def test_a_signal_that_only_guards_the_opening_does_nothing_afterwards(connect: Open) -> None:
    with anyio.move_on_after(0.5) as signal:
        async with connect("/echo") as conn:
            deadline, signal.deadline = signal.deadline, math.inf
            await anyio.sleep_until(deadline + 0.05)
            await conn.send("connected")
            assert await conn.receive() == "connected"
    assert not signal.cancelled_caught


@pytest.mark.wpt("6.20.11")
async def test_cancelling_the_body_says_going_away(server: Server, connect: Open) -> None:
    with anyio.CancelScope() as signal:
        async with connect("/echo") as conn:
            await conn.send("x")
            signal.cancel()
            await anyio.sleep_forever()
    assert signal.cancelled_caught
    await until(lambda: server.closes)
    assert server.closes == [(1001, "")]
