"""Seeing what happens: trace hooks and the log, on both sides, and what must never be in either."""

from __future__ import annotations

import base64
import logging
from contextlib import suppress
from typing import Any

import anyio
import pytest

from edges.serving import serving
from websocketstream import (
    CloseInfo,
    ConnectionBroken,
    ConnectionEnded,
    ConnectionOpened,
    FrameReceived,
    FrameSent,
    HandshakeRejected,
    TraceEvent,
    WebSocketRequest,
    open_websocket_stream,
    serve_websocket_streams,
)
from websocketstream.testing import memory_byte_stream_pair, over_stream, serve_in_memory

pytestmark = pytest.mark.anyio

SERVER, CLIENT = "websocketstream.server", "websocketstream.client"
SECRET = "SESAME"


async def echo_until_bye(request: WebSocketRequest) -> None:
    if request.path == "/refused":
        await request.reject(404)
        return
    async with request.accept() as conn:
        async for message in conn:
            await conn.send(message)
            if message == "bye":
                await conn.aclose(1000, SECRET)
                return


async def test_both_sides_tell_the_same_story() -> None:
    ours: list[TraceEvent] = []
    theirs: list[TraceEvent] = []
    async with serve_in_memory(echo_until_bye, trace=theirs.append, protocols=["chat"]) as connect:
        async with connect(f"/room?token={SECRET}", trace=ours.append, protocols=["chat"]) as conn:
            await conn.ping()
            await conn.send(b"12345")
            await conn.send("bye")
            async for _ in conn:
                pass
            id_ = conn.id
            await conn.closed
        with anyio.fail_after(5):
            while not isinstance(theirs[-1], ConnectionEnded):
                await anyio.lowlevel.checkpoint()
    size = 2 + len(SECRET)
    assert ours[0] == ConnectionOpened(id_, False, "ws://localhost/room", "chat", "")
    assert [event for event in ours if isinstance(event, FrameSent)] == [
        FrameSent(id_, "ping", 8),
        FrameSent(id_, "binary", 5),
        FrameSent(id_, "text", 3),
        FrameSent(id_, "close", size, 1000),
    ]
    assert [event for event in ours if isinstance(event, FrameReceived)] == [
        FrameReceived(id_, "pong", 8),
        FrameReceived(id_, "binary", 5),
        FrameReceived(id_, "text", 3),
        FrameReceived(id_, "close", size, 1000),
    ]
    end = ours[-1]
    assert isinstance(end, ConnectionEnded)
    assert (end.close_info, end.error) == (CloseInfo(1000, SECRET), None)
    assert 0 <= end.seconds < 20
    kinds = [(event.kind, event.size) for event in theirs if isinstance(event, FrameReceived)]
    assert kinds == [(event.kind, event.size) for event in ours if isinstance(event, FrameSent)]
    assert isinstance(theirs[0], ConnectionOpened)
    assert theirs[0].server
    assert theirs[0].url == "ws://localhost/room"
    assert len({event.id for event in ours}) == len({event.id for event in theirs}) == 1


@pytest.mark.parametrize("compression", [False, True])
async def test_sizes_are_those_of_the_messages_whatever_their_way(compression: bool) -> None:
    events: list[TraceEvent] = []
    message = "ü" * 3_000_000
    options: dict[str, Any] = {"compression": compression, "max_message_size": None}
    async with serve_in_memory(echo_until_bye, **options) as connect:
        async with connect(trace=events.append, **options) as conn:
            await conn.send(message)
            assert await conn.receive() == message
            await conn.writable.send_batch([b"x"] * 100)
            for _ in range(100):
                assert await conn.receive() == b"x"
    for kind in (FrameSent, FrameReceived):
        sizes = [event.size for event in events if type(event) is kind and event.kind in ("text", "binary")]
        assert sizes == [6_000_000] + [1] * 100


async def test_an_end_that_was_none_is_told_with_its_reason() -> None:
    events: list[TraceEvent] = []

    async def vanish(request: WebSocketRequest) -> None:
        async with request.accept() as conn:
            conn._connection.drop()

    async with serving(vanish) as listener:
        async with open_websocket_stream(listener.url, trace=events.append) as conn:
            with suppress(ConnectionBroken):
                await conn.receive()
    end = events[-1]
    assert isinstance(end, ConnectionEnded)
    assert (end.close_info.code, end.close_info.clean) == (1006, False)
    assert end.error


async def test_a_hook_that_fails_disturbs_no_connection(caplog: pytest.LogCaptureFixture) -> None:
    def fail(event: TraceEvent) -> None:
        raise ValueError("mine")

    async with serve_in_memory(echo_until_bye, trace=fail) as connect, connect(trace=fail) as conn:
        await conn.send("hello")
        assert await conn.receive() == "hello"
    assert "a trace hook failed" in caplog.text


async def test_a_server_writes_one_line_for_each_connection(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, SERVER)
    async with serving(echo_until_bye) as listener:
        async with open_websocket_stream(f"{listener.url}/room?token={SECRET}") as conn:
            await conn.send("one")
            await conn.send("bye")
            assert [message async for message in conn] == ["one", "bye"]
        with pytest.raises(HandshakeRejected):
            async with open_websocket_stream(f"{listener.url}/refused"):
                pass
        async with await anyio.connect_tcp("127.0.0.1", listener.port):
            pass  # as those do who look whether somebody listens
    opened, refused = caplog.messages
    assert opened.split(" ", 1)[1].startswith("127.0.0.1 '/room': closed with 1000 after 0.")
    assert opened.endswith(" s, 2 messages in, 2 out")
    assert refused.split(" ", 1)[1].startswith("127.0.0.1 '/refused': 404 after 0.")
    assert {record.name for record in caplog.records} == {SERVER}


async def test_no_line_has_a_payload_a_query_or_a_credential(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "websocketstream")

    async def fail(request: WebSocketRequest) -> None:
        async with request.accept() as conn:
            assert await conn.receive() == SECRET
            raise RuntimeError("on purpose")

    encoded = base64.b64encode(f"user:{SECRET}".encode()).decode()
    async with serving(fail, protocols=["chat"]) as listener:
        url = listener.url.replace("ws://", f"ws://user:{SECRET}@") + f"/room?token={SECRET}"
        async with open_websocket_stream(
            url, headers={"Cookie": f"session={SECRET}"}, protocols=["chat", f"token.{SECRET}"]
        ) as conn:
            await conn.send(SECRET)
            await conn.closed
    text = "\n".join(record.getMessage() for record in caplog.records)
    assert "sent text, 6 bytes" in text
    assert "handler of" in text
    assert SECRET not in text
    assert encoded not in text


async def test_every_line_of_a_connection_has_its_id(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "websocketstream")
    ids = {}

    async def handler(request: WebSocketRequest) -> None:
        ids["request"] = request.id
        async with request.accept() as conn:
            ids["server"] = conn.id
            async for message in conn:
                await conn.send(message)
            raise RuntimeError("on purpose")

    async with serving(handler) as listener:
        async with open_websocket_stream(listener.url) as conn:
            ids["client"] = conn.id
            await conn.send("hello")
            await conn.receive()
    assert ids["request"] == ids["server"]
    for name, id_ in ((SERVER, ids["server"]), (CLIENT, ids["client"])):
        lines = [record.getMessage() for record in caplog.records if record.name == name]
        assert len(lines) >= 6
        assert {line.split()[0] for line in lines} == {id_}


async def test_connections_without_an_opening_handshake_have_ids_too() -> None:
    one, other = memory_byte_stream_pair()
    async with over_stream(one, server=False) as client, over_stream(other, server=True) as server:
        assert client.id[0] == "c"
        assert server.id[0] == "s"


async def test_a_hook_is_a_function() -> None:
    with pytest.raises(TypeError, match="trace must be a function"):
        open_websocket_stream("ws://x", trace="yes")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="trace must be a function"):
        await serve_websocket_streams(echo_until_bye, origins=None, trace="yes")  # type: ignore[arg-type]
