"""The general web-platform tests about the handshake, messages and closing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

from waiting import Call, settled, until
from websocketstream import (
    CloseInfo,
    ConnectionBroken,
    HandshakeRejected,
    HandshakeTimeout,
    InvalidHandshake,
    WebSocketError,
)
from wire import Frame, Opcode, close_payload

if TYPE_CHECKING:
    from wpt.conftest import Open
    from wpt.server import Server

pytestmark = pytest.mark.anyio
wpt = pytest.mark.wpt
FAILING = ["/invalid", "/wrong_accept_key", "/handshake_protocol"]


@wpt("2.3 opening-handshake/001", "2.3 security/001", "2.3 constructor/010")
@pytest.mark.parametrize("path", FAILING)
async def test_an_answer_that_is_no_handshake_fails_the_opening(
    path: str, server: Server, connect: Open
) -> None:
    with pytest.raises(InvalidHandshake) as caught:
        async with connect(path):
            pytest.fail("the body must not run")
    assert caught.value.close_code == 1006
    assert server.closes == []


@wpt("2.3 constructor/011", "2.3 constructor/012")
@pytest.mark.parametrize("path", ["/handshake_protocol", "/handshake_no_protocol"])
async def test_a_protocol_that_does_not_answer_the_offer_fails_the_opening(path: str, connect: Open) -> None:
    with pytest.raises(InvalidHandshake, match="protocol"):
        async with connect(path, protocols=["FooBar"]):
            pytest.fail("the body must not run")


@wpt("2.3 opening-handshake/002", "2.3 opening-handshake/006", "6.20.4")
async def test_failed_openings_do_not_spoil_the_next_one(connect: Open) -> None:
    for path in [*FAILING, "/404"]:
        with pytest.raises(WebSocketError):
            async with connect(path):
                pytest.fail("the body must not run")
    async with connect("/echo") as conn:
        await conn.send("works")
        assert await conn.receive() == "works"


@wpt("2.3 opening-handshake/005")
async def test_a_close_in_the_packet_of_the_handshake_comes_after_the_opening(
    server: Server, connect: Open
) -> None:
    async with connect("/simple_handshake") as conn:
        conn.close()
        assert await conn.closed == CloseInfo(1001, "PASS")
    assert len(server.closes) == 1


@wpt("6.20.7")
async def test_messages_in_the_packet_of_the_handshake_are_not_lost(connect: Open) -> None:
    async with connect("/greeting") as conn:
        assert [message async for message in conn.readable] == ["hello", b"\0\1\2"]
        assert await conn.closed == CloseInfo(1000, "")


@wpt("2.3 received-301-code")
async def test_a_redirect_is_an_error_and_not_followed(server: Server, connect: Open) -> None:
    with pytest.raises(HandshakeRejected) as caught:
        async with connect("/redirect"):
            pytest.fail("the body must not run")
    assert caught.value.status == 301
    assert caught.value.headers["location"] == "/echo"
    assert len(server.requests) == 1


@wpt("2.3 close/close-connecting")
async def test_junk_without_an_end_is_stopped_by_the_timeout_of_the_opening(connect: Open) -> None:
    with pytest.raises((HandshakeTimeout, InvalidHandshake)):
        async with connect("/junk_before_handshake", open_timeout=0.3):
            pytest.fail("the body must not run")


@wpt(
    "6.20.15",
    "2.3 Send-0byte-data",
    "2.3 Send-65K-data",
    "2.3 Send-unicode-data",
    "2.3 Send-paired-surrogates",
    "2.3 send/009",
    "2.3 send/011",
    "2.3 extended-payload-length",
    "2.3 binary/004",
    "2.3 binary/005",
)
@pytest.mark.parametrize(
    "messages",
    [
        ["", b"", "\0", "\ufeffBOM", "\ufffe\uffff"],
        ["¥¥¥¥¥¥", "\U0001d11e" * 3, "e\u0301\u0323 \U0001f469\u200d\U0001f680"],
        ["x" * size for size in (125, 126, 0xFFFF, 0x10000)],
        [bytes([size % 251]) * size for size in (1, 125, 126, 0xFFFF, 0x10000, 2**20)],
    ],
    ids=["empty-and-odd", "unicode", "text-lengths", "binary-lengths"],
)
async def test_messages_come_back_as_they_were_sent(messages: list[str | bytes], connect: Open) -> None:
    async with connect("/echo") as conn:
        for message in messages:
            await conn.send(message)
            assert await conn.receive() == message


@wpt("2.3 Send-binary-arraybufferview")
async def test_only_the_viewed_bytes_are_sent(connect: Open) -> None:
    memory = memoryview(bytes(range(32)))
    async with connect("/echo") as conn:
        for view in (memory[4:20], memory[8:16].cast("H"), memory[:16].cast("d"), memory[::2]):
            await conn.send(view)
            assert await conn.receive() == view.tobytes()


@wpt(
    "2.3 Send-unpaired-surrogates",
    "2.3 send/004",
    "2.3 send/006",
    deviation="a lone surrogate is a ValueError instead of U+FFFD: what is sent is never something else than what was "
    "given; nothing is sent and the connection stays usable",
)
@pytest.mark.parametrize("text", ["\ud800", "a\udc00b"], ids=ascii)
async def test_a_lone_surrogate_never_reaches_the_wire(text: str, connect: Open) -> None:
    async with connect("/echo") as conn:
        with pytest.raises(ValueError, match="surrogate"):
            await conn.send(text)
        await conn.send("next")
        assert await conn.receive() == "next"


@wpt(
    "2.3 send/007",
    "2.3 send/008",
    "6.4",
    deviation="a send after one's own close raises instead of doing nothing",
)
async def test_after_our_close_nothing_can_be_sent_or_received(connect: Open) -> None:
    async with connect("/echo") as conn:
        await conn.send("unread")
        conn.close()
        for call in (conn.send("late"), conn.receive()):
            with pytest.raises(anyio.ClosedResourceError):
                await call
        assert await conn.closed == CloseInfo(1005, "")


@wpt("2.3 keeping-connection-open/001", "6.20.3")
async def test_pings_never_end_or_break_a_receive(server: Server, connect: Open) -> None:
    pings = b"".join(Frame(Opcode.PING, bytes([number])).encode() for number in range(10))

    def ping(connection) -> None:
        connection.accept()
        connection.write(pings)
        connection.wait_for_test()
        connection.write(pings)
        connection.send_message("after")
        connection.write(pings)
        connection.answer_close(connection.read_close())

    server.handlers["/pings"] = ping
    async with connect("/pings") as conn, anyio.create_task_group() as group:
        receiving = Call.start(group, conn.receive)
        await until(server.reached.is_set)
        await receiving.stays_pending()
        server.gate.set()
        assert await receiving.finished() == "after"
        assert await conn.ping() >= 0


@wpt(
    "2.3 Close-1000",
    "2.3 Close-1000-reason",
    "2.3 Close-1000-verify-code",
    "2.3 Close-3000-reason",
    "2.3 Close-3000-verify-code",
    "2.3 Close-4999-reason",
)
@pytest.mark.parametrize(
    ("code", "reason"), [(1000, ""), (1000, "Clean Close"), (3000, "x"), (3000, ""), (4999, "Clean")]
)
async def test_every_code_of_an_application_is_echoed(code: int, reason: str, connect: Open) -> None:
    async with connect("/echo") as conn:
        await conn.aclose(code, reason)
        assert conn.close_info == CloseInfo(code, reason)


@wpt(
    "2.3 Close-1005",
    "2.3 Close-2999-reason",
    "2.3 close-invalid",
    "2.3 Close-onlyReason",
    "2.3 Close-Reason-124Bytes",
)
@pytest.mark.parametrize(
    "arguments",
    [
        (0,),
        (500,),
        (1005,),
        (2999, "x"),
        (float("nan"),),
        ("string",),
        (2**16 + 1000,),
        (1000, "x" * 124),
        (-1,),
        (1000, b"x"),
    ],
    ids=repr,
)
async def test_a_code_or_reason_that_is_not_for_applications_raises(
    arguments: tuple[object, ...], connect: Open
) -> None:
    async with connect("/echo") as conn:
        with pytest.raises((ValueError, TypeError)):
            conn.close(*arguments)


@wpt("2.3 Close-reason-unpaired-surrogates")
async def test_a_lone_surrogate_in_a_reason_is_replaced(connect: Open) -> None:
    async with connect("/echo") as conn:
        conn.close(1000, "\ud807")
        assert await conn.closed == CloseInfo(1000, "\ufffd")


@wpt("2.3 Close-delayed", "2.3 close/close-return")
async def test_close_returns_at_once_and_closed_settles_later(server: Server, connect: Open) -> None:
    async with connect("/delayed-passive-close") as conn, anyio.create_task_group() as group:
        assert conn.close(1000) is None

        async def closed() -> CloseInfo:
            return await conn.closed

        waiting = Call.start(group, closed)
        await until(server.reached.is_set)
        await waiting.stays_pending()
        assert conn.close_info is None
        server.gate.set()
        assert await waiting.finished() == CloseInfo(1000, "")


@wpt(
    "2.3 Close-1005-verify-code",
    "2.3 Close-undefined",
    "2.3 closing-handshake/003",
    "2.3 CloseEvent/clean-close",
)
async def test_leaving_the_block_closes_without_a_code(server: Server, connect: Open) -> None:
    async with connect("/echo") as conn:
        pass
    assert conn.close_info == CloseInfo(1005, "")
    assert server.closes == [(None, "")]


@wpt("2.3 Close-server-initiated-close", "2.3 closing-handshake/002")
async def test_the_servers_close_is_answered(server: Server, connect: Open) -> None:
    async with connect("/echo") as conn:
        await conn.send("Goodbye")
        assert [message async for message in conn.readable] == ["Goodbye"]
        assert await conn.closed == CloseInfo(1000, "")
    assert server.closes == [(1000, "")]


@wpt("2.3 closing-handshake/004")
async def test_data_after_the_closing_handshake_is_dropped(connect: Open) -> None:
    async with connect("/data-after-close") as conn:
        conn.close(1000)
        assert await conn.closed == CloseInfo(1000, "")


@wpt("2.3 close/close-multiple", "2.3 close/close-nested", "6.20.6")
async def test_closing_again_in_any_way_changes_nothing(server: Server, connect: Open) -> None:
    async with connect("/echo") as conn:
        conn.close(4000, "first")
        conn.close(4001, "second")
        conn.writable.abort(WebSocketError(close_code=4002))
        conn.readable.cancel(WebSocketError(close_code=4003))
        await conn.writable.aclose()
        await conn.readable.aclose()
        await conn.aclose(4004)
        assert await conn.closed == CloseInfo(4000, "first")
        conn.close(4005)
        await conn.aclose()
    assert server.closes == [(4000, "first")]


@wpt("6.20.6")
async def test_cancelling_the_readable_and_then_closing_keeps_the_first_word(
    server: Server, connect: Open
) -> None:
    async with connect("/echo") as conn:
        conn.readable.cancel(WebSocketError(close_code=4003, reason="enough"))
        conn.close(4000)
        assert await conn.closed == CloseInfo(4003, "enough")
    assert server.closes == [(4003, "enough")]


@wpt("6.20.2")
async def test_closing_while_a_write_is_blocked_ends_by_the_deadline(server: Server, connect: Open) -> None:
    async with (
        connect("/receive-backpressure", close_timeout=0.3) as conn,
        anyio.create_task_group() as group,
    ):
        await until(server.reached.is_set)
        sending = Call.start(group, conn.send, bytes(20 * 2**20))
        await sending.stays_pending()
        started = anyio.current_time()
        await conn.aclose()
        assert anyio.current_time() - started < 2
        assert conn.close_info is not None
        assert not conn.close_info.clean
        error = await settled(sending.finished())
        assert isinstance(error, anyio.ClosedResourceError | anyio.BrokenResourceError)


@wpt("6.20.9")
@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"\x03", 1002),
        (close_payload(1005), 1002),
        (close_payload(1006), 1002),
        (close_payload(1015), 1002),
        (close_payload(999), 1002),
        (close_payload(5000), 1002),
        (close_payload(1000, b"\xff"), 1007),
    ],
    ids=["one-byte", "1005", "1006", "1015", "999", "5000", "not-utf-8"],
)
async def test_a_malformed_close_fails_the_connection(
    payload: bytes, code: int, server: Server, connect: Open
) -> None:
    async with connect("/echo_raw") as conn:
        await conn.send(Frame(Opcode.CLOSE, payload).encode())
        error = await settled(conn.closed)
        assert isinstance(error, ConnectionBroken)
        assert error.close_code == 1006
    await until(lambda: server.closes)
    assert server.closes[0][0] == code


@wpt("6.6", deviation="what was completely received before an unclean close is still delivered")
async def test_messages_that_arrived_before_the_connection_broke_are_delivered(
    server: Server, connect: Open
) -> None:
    def talk_and_drop(connection) -> None:
        connection.accept()
        for number in range(5):
            connection.send_message(str(number))

    server.handlers["/talk-and-drop"] = talk_and_drop
    async with connect("/talk-and-drop") as conn:
        error = await settled(conn.closed)
        assert [await conn.receive() for _ in range(5)] == ["0", "1", "2", "3", "4"]
        assert await settled(conn.receive()) is error
