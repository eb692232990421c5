"""`websockets/stream/tentative/close.any.js`: every way to close from our side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

from waiting import Call, until
from websocketstream import CloseInfo, ConnectionBroken, WebSocketError, WebSocketStream

if TYPE_CHECKING:
    from collections.abc import Callable

    from wpt.conftest import Open
    from wpt.server import Server

pytestmark = pytest.mark.anyio
wpt = pytest.mark.wpt


class LookAlike(Exception):
    """An error with the attributes of a WebSocketError that is none."""

    close_code = 3333
    closeCode = 3333
    reason = "ignored"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param({"code": 3456, "reason": "pizza"}, CloseInfo(3456, "pizza"), marks=wpt("wC1"), id="wC1"),
        pytest.param({}, CloseInfo(1005, ""), marks=wpt("wC2"), id="wC2"),
        pytest.param({"code": None}, CloseInfo(1005, ""), marks=wpt("wC3"), id="wC3"),
        pytest.param({"reason": ""}, CloseInfo(1005, ""), marks=wpt("wC4"), id="wC4"),
        pytest.param({"reason": "non-empty"}, CloseInfo(1000, "non-empty"), marks=wpt("wC5"), id="wC5"),
    ],
)
async def test_what_close_is_given_is_sent_and_comes_back(
    arguments: dict[str, Any], expected: CloseInfo, server: Server, connect: Open
) -> None:
    async with connect("/echo") as conn:
        conn.close(**arguments)
        assert await conn.closed == expected
    code = None if expected.code == 1005 else expected.code
    assert server.closes == [(code, expected.reason)]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        pytest.param({"code": True}, TypeError, marks=wpt("wC6"), id="wC6"),
        pytest.param({"reason": "x" * 124}, ValueError, marks=wpt("wC7"), id="wC7"),
        pytest.param({"code": 999}, ValueError, marks=wpt("wC9"), id="wC9-999"),
        pytest.param({"code": 1001}, ValueError, marks=wpt("wC10"), id="wC10-1001"),
        pytest.param({"code": 2999}, ValueError, marks=wpt("wC11"), id="wC11-2999"),
        pytest.param({"code": 5000}, ValueError, marks=wpt("wC12"), id="wC12-5000"),
        pytest.param({"code": "1000"}, TypeError, marks=wpt("wC6"), id="wC6-text"),
    ],
)
async def test_a_close_that_must_not_be_sent_raises_and_changes_nothing(
    arguments: dict[str, Any], error: type[Exception], connect: Open
) -> None:
    async with connect("/echo") as conn:
        with pytest.raises(error):
            conn.close(**arguments)
        with pytest.raises(error):
            await conn.aclose(**arguments)
        await conn.send("still here")
        assert await conn.receive() == "still here"
        conn.close()
        # Rule V5: the arguments are checked before the state is.
        with pytest.raises(error):
            conn.close(**arguments)
        assert (await conn.closed).clean


@wpt(
    "wC8",
    deviation="there is no object to call close() on before the stream is open: the scope around the opening is "
    "cancelled instead, and the opening ends as cancelled rather than with a WebSocketError",
)
async def test_an_opening_that_is_given_up_leaves_without_a_word(server: Server, connect: Open) -> None:
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:
            Call.start(group, connect("/handshake_held").__aenter__)
            await until(server.reached.is_set)
            scope.cancel()
    server.gate.set()
    assert server.closes == []


@wpt("wC13")
async def test_closing_the_writable_closes_cleanly(server: Server, connect: Open) -> None:
    async with connect("/echo") as conn:
        await conn.writable.aclose()
        assert conn.close_info == CloseInfo(1005, "")
        assert await conn.closed == CloseInfo(1005, "")
    assert server.closes == [(None, "")]


@wpt("wC14")
async def test_closing_the_writable_waits_for_the_closing_handshake(server: Server, connect: Open) -> None:
    async with connect("/delayed-passive-close") as conn, anyio.create_task_group() as group:
        closing = Call.start(group, conn.writable.aclose)
        await until(server.reached.is_set)
        await closing.stays_pending()
        server.gate.set()
        await closing.finished()
        assert await conn.closed == CloseInfo(1005, "")


@wpt("wC15")
async def test_an_incomplete_closing_handshake_is_unclean(connect: Open) -> None:
    async with connect("/passive-close-abort") as conn:
        conn.close(4000, "because")
        with pytest.raises(ConnectionBroken) as caught:
            await conn.closed
        assert caught.value.close_code == 1006
        assert caught.value.reason == ""


def abort_writable(conn: WebSocketStream, error: Any) -> None:
    conn.writable.abort(error)


def cancel_readable(conn: WebSocketStream, error: Any) -> None:
    conn.readable.cancel(error)


def both(first: str, second: str, *values: Any) -> list[Any]:
    """Return the same case for aborting the writable and for cancelling the readable."""
    return [
        pytest.param(abort_writable, *values, marks=wpt(first), id=first),
        pytest.param(cancel_readable, *values, marks=wpt(second), id=second),
    ]


@pytest.mark.parametrize(
    ("operation", "error", "expected"),
    [
        *both("wC16", "wC22", None, CloseInfo(1005, "")),
        *both("wC17", "wC23", LookAlike(), CloseInfo(1005, "")),
        *both("wC18", "wC24", WebSocketError(close_code=3333), CloseInfo(3333, "")),
        *both("wC19", "wC25", WebSocketError(close_code=3456, reason="set"), CloseInfo(3456, "set")),
        *both("wC20", "wC26", WebSocketError(reason="specified"), CloseInfo(1000, "specified")),
        *both("wC21", "wC27", OSError(3333, "ignored"), CloseInfo(1005, "")),
    ],
)
async def test_aborting_or_cancelling_closes_with_what_a_websocket_error_says(
    operation: Callable[[WebSocketStream, Any], None], error: Any, expected: CloseInfo, connect: Open
) -> None:
    async with connect("/echo") as conn:
        operation(conn, error)
        assert await conn.closed == expected


@pytest.mark.parametrize("operation", [abort_writable, cancel_readable])
async def test_a_code_that_only_a_server_may_send_falls_back_to_an_empty_close(
    operation: Callable[[WebSocketStream, Any], None], connect: Open
) -> None:
    error = WebSocketError("from a server")
    error.close_code = 1001
    async with connect("/echo") as conn:
        operation(conn, error)
        assert await conn.closed == CloseInfo(1005, "")
