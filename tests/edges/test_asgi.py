"""The stream inside an ASGI application: every promise holds over a server's events."""

from __future__ import annotations

from typing import Any

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import SocketAttribute

from edges.asgi_kit import Server
from waiting import Call, in_virtual_time
from websocketstream import CloseInfo, ConnectionBroken, ConnectionClosed
from websocketstream.asgi import accept, reject

pytestmark = pytest.mark.anyio

LENGTHS = (0, 1, 125, 126, 127, 65535, 65536, 300_000)


@pytest.fixture
def server() -> Server:
    return Server()


# --- the handshake


async def test_the_answer_has_the_protocol_and_the_header_fields(server: Server) -> None:
    async with accept(*server.asgi, protocol="chat", headers={"X-A": "a", "Set-Cookie": "b=c"}) as conn:
        assert conn.protocol == "chat"
    assert server.said[0] == {
        "type": "websocket.accept",
        "subprotocol": "chat",
        "headers": [(b"x-a", b"a"), (b"set-cookie", b"b=c")],
    }


async def test_the_stream_knows_the_request(server: Server) -> None:
    async with accept(*server.asgi) as conn:
        assert conn.request is not None
        assert conn.request.target == "/r%C3%B6om?name=Ada"
        assert conn.request.headers["host"] == "example.com"
        assert conn.request.protocols == ("chat", "superchat")
        assert conn.request.origin == "https://example.com"
        assert conn.url == "ws://example.com/r%C3%B6om?name=Ada"
        assert conn.extra(SocketAttribute.remote_address) == ("192.0.2.1", 1234)
        assert conn.extra(SocketAttribute.local_address) == ("192.0.2.2", 80)


async def test_a_scope_may_lack_what_is_optional() -> None:
    server = Server(headers=[])
    for name in ("raw_path", "query_string", "client", "server", "subprotocols", "extensions", "scheme"):
        del server.scope[name]
    async with accept(*server.asgi) as conn:
        assert conn.url == "ws://localhost/r%C3%B6om"
        assert conn.extra(SocketAttribute.remote_address, None) is None


async def test_the_url_is_made_of_what_the_server_knows() -> None:
    server = Server(raw_path=b"/r%c3%b6om", headers=[], server=["192.0.2.2", 80], scheme="wss")
    async with accept(*server.asgi) as conn:
        assert conn.url == "wss://192.0.2.2/r%c3%b6om?name=Ada"


async def test_a_client_that_leaves_before_the_answer_breaks_the_connection() -> None:
    server = Server()
    await server.receive()
    server.disconnect(1006)
    with pytest.raises(ConnectionBroken, match="went away before"):
        async with accept(*server.asgi):
            pytest.fail("it must not come to this")
    assert not server.said


async def test_an_answer_that_nobody_takes_breaks_the_connection(server: Server) -> None:
    async def refuse(_event: Any) -> None:
        raise OSError("gone")

    server.obstacle = refuse
    with pytest.raises(ConnectionBroken, match="went away before"):
        async with accept(*server.asgi):
            pytest.fail("it must not come to this")


async def test_a_connect_that_somebody_has_taken_is_said_plainly(server: Server) -> None:
    await server.receive()
    server.message("x")
    with pytest.raises(RuntimeError, match=r"websocket\.connect was to come"):
        async with accept(*server.asgi):
            pytest.fail("it must not come to this")


async def test_wrong_arguments_are_said_before_anything_happens(server: Server) -> None:
    for arguments, options, error in (
        (server.asgi, {"protocol": "other"}, ValueError),
        (server.asgi, {"headers": {"Upgrade": "x"}}, ValueError),
        (server.asgi, {"read_buffer": -1}, ValueError),
        ((server.scope,), {}, TypeError),
        (Server(type="http").asgi, {}, ValueError),
    ):
        with pytest.raises(error):
            accept(*arguments, **options)
    assert server.taken == 0


# --- messages


async def test_messages_of_every_length_go_both_ways(server: Server) -> None:
    async with accept(*server.asgi) as conn:
        for length in LENGTHS:
            for message in (b"\x00" * length, "ä" * length):
                server.message(message)
                assert await conn.receive() == message
                await conn.send(message)
        sent = [kind for length in LENGTHS for kind in (b"\x00" * length, "ä" * length)]
        conn.close()
        await conn.closed
    assert server.messages == sent


async def test_a_huge_message_goes_both_ways(server: Server) -> None:
    message = bytes(20_000_000)  # more than a codec decodes in one call
    async with accept(*server.asgi, max_message_size=None) as conn:
        server.message(message)
        assert await conn.receive() == message
        await conn.send(message)
    assert server.messages == [message]


async def test_servers_may_fill_both_fields(server: Server) -> None:
    async with accept(*server.asgi) as conn:
        server.happens({"type": "websocket.receive", "text": None, "bytes": b"x"})
        server.happens({"type": "websocket.receive", "text": "x", "bytes": None})
        assert [await conn.receive(), await conn.receive()] == [b"x", "x"]


@pytest.mark.parametrize(
    "event",
    [
        {"type": "websocket.receive"},
        {"type": "websocket.receive", "text": None, "bytes": None},
        {"type": "websocket.receive", "text": "\ud800"},
        {"type": "http.disconnect"},
        {},
    ],
)
async def test_a_server_that_talks_nonsense_breaks_the_connection(server: Server, event: Any) -> None:
    async with accept(*server.asgi) as conn:
        server.message("before")
        server.happens(event)
        assert await conn.receive() == "before"
        with pytest.raises(ConnectionBroken):
            await conn.receive()


async def test_a_cancelled_receive_loses_no_message(server: Server) -> None:
    async with anyio.create_task_group() as group, accept(*server.asgi) as conn:
        for number in range(20):
            call = Call.start(group, conn.receive)
            await anyio.lowlevel.checkpoint()
            server.message(str(number))
            for _ in range(number % 7):
                await anyio.lowlevel.checkpoint()
            call.scope.cancel()
            await call.finished()
            assert (call.value or await conn.receive()) == str(number)


async def test_messages_above_the_limit_close_the_connection(server: Server) -> None:
    async with accept(*server.asgi, max_message_size=10) as conn:
        server.message("x" * 10)
        server.message("x" * 11)
        assert await conn.receive() == "x" * 10
        with pytest.raises(ConnectionBroken, match="max_message_size"):
            await conn.receive()
    assert server.said[-1]["type"] == "websocket.close"
    assert server.said[-1]["code"] == 1009


async def test_an_event_that_is_none_of_a_websockets_is_named(server: Server) -> None:
    async with accept(*server.asgi) as conn:
        server.happens({"type": "http.disconnect"})
        with pytest.raises(ConnectionBroken) as caught:
            await conn.receive()
    assert "http.disconnect" in str(caught.value.__cause__)


async def test_many_messages_in_one_write_are_as_many_events(server: Server) -> None:
    messages = [str(number % 10) for number in range(40_000)]
    async with accept(*server.asgi, write_buffer=2**20) as conn:
        await conn.writable.send_batch(messages)
    assert server.messages == messages


# --- backpressure


async def test_a_server_that_takes_nothing_holds_send(server: Server) -> None:
    gate = anyio.Event()

    async def wait(event: Any) -> None:
        if event["type"] == "websocket.send":
            await gate.wait()

    server.obstacle = wait
    async with anyio.create_task_group() as group, accept(*server.asgi, write_buffer=1500) as conn:
        await conn.send(b"x" * 999)
        call = Call.start(group, conn.send, b"y" * 999)
        await call.stays_pending()
        gate.set()
        await call.finished()
        conn.close()
        await conn.closed
    assert [message[:1] for message in server.messages] == [b"x", b"y"]


async def test_an_application_that_does_not_read_takes_no_more_events(server: Server) -> None:
    async with accept(*server.asgi, read_buffer=1000) as conn:
        for _ in range(100):
            server.message(b"x" * 500)
        for _ in range(300):
            await anyio.lowlevel.checkpoint()
        assert server.taken < 10
        for _ in range(100):
            assert await conn.receive() == b"x" * 500


async def test_a_cancelled_send_goes_whole_or_not_at_all(server: Server) -> None:
    gate = anyio.Event()

    async def wait(event: Any) -> None:
        if event["type"] == "websocket.send":
            await gate.wait()

    server.obstacle = wait
    async with accept(*server.asgi, write_buffer=10) as conn:
        await conn.writable.send(b"1")
        with anyio.move_on_after(0.01):
            await conn.send(b"2" * 100)
            await conn.send(b"3" * 100)
        gate.set()
        await conn.send(b"4")
        conn.close()
        await conn.closed
    assert set(server.messages) <= {b"1", b"2" * 100, b"3" * 100, b"4"}
    assert server.messages[-1] == b"4"


# --- the end


@pytest.mark.parametrize(
    ("said", "info"),
    [
        ({"code": 1000, "reason": "bye"}, CloseInfo(1000, "bye")),
        ({"code": 1005}, CloseInfo(1005)),
        ({"code": 4321, "reason": None}, CloseInfo(4321)),
        ({"code": 1012, "reason": "ä" * 100}, CloseInfo(1012, "ä" * 61)),
    ],
)
async def test_the_client_closes_with_its_code_and_reason(server: Server, said: Any, info: CloseInfo) -> None:
    async with accept(*server.asgi) as conn:
        server.message("last")
        server.disconnect(**said)
        assert [message async for message in conn] == ["last"]
        with pytest.raises(ConnectionClosed):
            await conn.receive()
        assert await conn.closed == info
    assert conn.close_info == info
    assert server.kinds == ["accept"], "the server has answered the client's Close frame"


@pytest.mark.parametrize("code", [1006, None, 1015, 0, 999, 5000, 1004, "1000"])
async def test_an_end_without_a_close_frame_is_a_broken_connection(server: Server, code: Any) -> None:
    async with accept(*server.asgi) as conn:
        server.message("last")
        server.disconnect(code)
        assert await conn.receive() == "last"
        with pytest.raises(ConnectionBroken):
            await conn.receive()
    assert conn.close_info == CloseInfo(1006, "", clean=False)


async def test_closing_says_code_and_reason_behind_the_messages(server: Server) -> None:
    async with accept(*server.asgi) as conn:
        for number in range(100):
            await conn.send(str(number))
        conn.close(4000, "bye")
        assert await conn.closed == CloseInfo(4000)
    assert server.messages == [*map(str, range(100))]
    assert server.said[-1] == {"type": "websocket.close", "code": 4000, "reason": "bye"}


async def test_leaving_the_block_closes_the_connection(server: Server) -> None:
    async with accept(*server.asgi) as conn:
        pass
    assert server.said[-1] == {"type": "websocket.close", "code": 1000, "reason": ""}
    assert conn.close_info == CloseInfo(1000)


async def test_an_error_of_the_body_closes_with_1011_and_comes_out(server: Server) -> None:
    error = ValueError("mine")
    with pytest.raises(ValueError, match="mine") as caught:
        async with accept(*server.asgi):
            raise error
    assert caught.value is error
    assert server.said[-1]["code"] == 1011


async def test_a_cancelled_body_closes_with_1001(server: Server) -> None:
    with anyio.CancelScope() as scope:
        async with accept(*server.asgi) as conn:
            scope.cancel()
            await conn.receive()
    assert scope.cancelled_caught
    assert server.said[-1]["code"] == 1001


@pytest.mark.parametrize("steps", range(12))
@pytest.mark.parametrize("answers", [True, False])
async def test_a_cancellation_at_any_point_lets_go_of_everything(
    server: Server, steps: int, answers: bool
) -> None:
    server.says_goodbye = answers
    server.message("x" * 70_000)

    async def app() -> None:
        async with accept(*server.asgi, close_timeout=0.1) as conn:
            async for message in conn:
                await conn.send(message)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            call = Call.start(group, app)
            for _ in range(steps):
                await anyio.lowlevel.checkpoint()
            call.scope.cancel()
            await call.finished()
    assert server.kinds.count("close") <= 1
    assert "close" not in server.kinds[:-1], "it is the last word"


@in_virtual_time()
async def test_a_server_that_never_says_goodbye_is_left_in_close_timeout(server: Server) -> None:
    server.says_goodbye = False
    start = anyio.current_time()
    async with accept(*server.asgi, close_timeout=3) as conn:
        server.message("unread")
    assert anyio.current_time() - start == pytest.approx(3, abs=0.1)
    assert conn.close_info == CloseInfo(1006, "", clean=False)


@in_virtual_time()
@pytest.mark.parametrize("cancelled", [False, True])
async def test_a_server_that_takes_nothing_more_does_not_hold_the_exit(
    server: Server, cancelled: bool
) -> None:
    async def wait(event: Any) -> None:
        if event["type"] != "websocket.accept":
            await anyio.sleep_forever()

    server.obstacle = wait
    start = anyio.current_time()
    with anyio.CancelScope() as scope:
        async with accept(*server.asgi, close_timeout=3) as conn:
            await conn.send("x")
            if cancelled:
                scope.cancel()
    assert anyio.current_time() - start == pytest.approx(0.5 if cancelled else 3, abs=0.1)


async def test_a_send_that_the_server_refuses_ends_the_connection_with_the_clients_word(
    server: Server,
) -> None:
    async def refuse(event: Any) -> None:
        if event["type"] == "websocket.send":
            raise OSError("disconnected")

    server.obstacle = refuse
    async with accept(*server.asgi) as conn:
        await conn.send("x")
        server.disconnect(4001, reason="enough")
        with pytest.raises((ConnectionBroken, ConnectionClosed)):
            while True:
                await conn.receive()
        with pytest.raises(ConnectionBroken):
            await conn.closed
    assert conn.close_info == CloseInfo(4001, "enough", clean=False)


async def test_pings_are_the_servers(server: Server) -> None:
    async with accept(*server.asgi) as conn:
        with pytest.raises(NotImplementedError, match="the ASGI server sends the pings"):
            await conn.ping()
        server.message("still there")
        assert await conn.receive() == "still there"


@in_virtual_time()
async def test_an_idle_connection_lives_as_long_as_the_server_lets_it(server: Server) -> None:
    async with accept(*server.asgi) as conn:
        await anyio.sleep(1000)
        server.message("x")
        assert await conn.receive() == "x"
    assert server.kinds == ["accept", "close"]


# --- refusals


async def test_a_refusal_has_status_header_fields_and_body(server: Server) -> None:
    await reject(*server.asgi, status=404, headers={"X-A": "a"}, body="no such room")
    assert server.said == [
        {
            "type": "websocket.http.response.start",
            "status": 404,
            "headers": [
                (b"x-a", b"a"),
                (b"content-type", b"text/plain; charset=utf-8"),
                (b"content-length", b"12"),
            ],
        },
        {"type": "websocket.http.response.body", "body": b"no such room"},
    ]


async def test_a_server_without_the_extension_refuses_in_its_own_way() -> None:
    server = Server(extensions=None)
    await reject(*server.asgi, status=404)
    assert server.said == [{"type": "websocket.close"}]


async def test_refusing_a_client_that_is_gone_is_no_error(server: Server) -> None:
    async def refuse(_event: Any) -> None:
        raise OSError("gone")

    server.obstacle = refuse
    await reject(*server.asgi)
    other = Server()
    await other.receive()
    other.disconnect(1006)
    await reject(*other.asgi)
    assert not other.said


async def test_a_refusal_that_cannot_be_is_said_before_anything_happens(server: Server) -> None:
    for wrong in ({"status": 101}, {"headers": {"Content-Length": "1"}}, {"status": 204, "body": "x"}):
        with pytest.raises(ValueError):
            await reject(*server.asgi, **wrong)  # type: ignore[arg-type]
    assert server.taken == 0


# --- Starlette


async def test_an_endpoint_of_starlette_passes_its_websocket(server: Server) -> None:
    websockets = pytest.importorskip("starlette.websockets")
    websocket = websockets.WebSocket(*server.asgi)
    async with accept(websocket, protocol="chat") as conn:
        server.message("x")
        await conn.send(await conn.receive())
        with pytest.raises(RuntimeError, match="in use already"):
            accept(websocket)
    assert server.kinds == ["accept", "send", "close"]
    assert websocket.application_state is websockets.WebSocketState.DISCONNECTED


async def test_an_endpoint_of_starlette_refuses_with_its_websocket(server: Server) -> None:
    websockets = pytest.importorskip("starlette.websockets")
    websocket = websockets.WebSocket(*server.asgi)
    await reject(websocket, status=401)
    assert server.said[0]["status"] == 401
    assert websocket.application_state is websockets.WebSocketState.DISCONNECTED


async def test_an_endpoint_of_starlette_that_has_accepted_is_told_so(server: Server) -> None:
    websockets = pytest.importorskip("starlette.websockets")
    websocket = websockets.WebSocket(*server.asgi)
    await websocket.accept()
    with pytest.raises(RuntimeError, match="in use already"):
        accept(websocket)
    with pytest.raises(RuntimeError, match="in use already"):
        await reject(websocket)
