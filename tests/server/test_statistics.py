"""What a server knows of all its connections together."""

from __future__ import annotations

from contextlib import AsyncExitStack, suppress

import anyio
import pytest

from edges.serving import ask, echo, request_bytes, say, serving
from waiting import until
from websocketstream import (
    ConnectionBroken,
    DirectionStatistics,
    HandshakeRejected,
    ServerStatistics,
    WebSocketRequest,
    open_websocket_stream,
)

pytestmark = pytest.mark.anyio

NOTHING = DirectionStatistics(0, 0, 0, 0.0)


async def test_a_server_that_nobody_has_visited_has_nothing_to_tell() -> None:
    async with serving() as listener:
        assert listener.statistics() == ServerStatistics(0, 0, 0, 0, 0, 0, 0, NOTHING, NOTHING)


async def test_connections_are_counted_while_they_are_open_and_afterwards() -> None:
    async with serving() as listener, AsyncExitStack() as stack:
        for number in range(3):
            conn = await stack.enter_async_context(open_websocket_stream(listener.url))
            for _ in range(number):
                await conn.send("hello")
                assert await conn.receive() == "hello"
        now = listener.statistics()
        assert (now.connections, now.handshakes, now.opened) == (3, 0, 3)
        # A frame of five bytes has a head of two, and four more for a client's mask.
        assert (now.bytes_received, now.bytes_sent) == (3 * 11, 3 * 7)
        assert (now.readable.messages, now.writable.messages) == (3, 3)
        await stack.aclose()
        await until(lambda: listener.statistics().connections == 0)
        then = listener.statistics()
        assert (then.connections, then.opened, then.refused, then.lost) == (0, 3, 0, 0)
        # And an empty Close frame each.
        assert (then.bytes_received, then.bytes_sent) == (3 * 11 + 3 * 6, 3 * 7 + 3 * 2)
        assert (then.readable.messages, then.writable.messages) == (3, 3)


async def test_bytes_that_came_together_with_the_request_are_counted() -> None:
    masked = b"\x82\x81" + bytes(4) + b"!"
    async with serving() as listener, await say(listener, request_bytes(listener) + masked) as client:
        await until(lambda: listener.statistics().writable.messages == 1)
        assert listener.statistics().bytes_received == len(masked)
        await client.aclose()


async def test_those_without_a_connection_are_counted_by_what_became_of_them() -> None:
    async def handler(request: WebSocketRequest) -> None:
        if request.path == "/reject":
            await request.reject(404)
        elif request.path == "/fail":
            raise RuntimeError("on purpose")
        elif request.path == "/wait":
            await anyio.sleep_forever()

    async with serving(handler, origins=["https://example.com"], open_timeout=None) as listener:
        for path in ("/reject", "/fail", "/nothing"):
            with pytest.raises(HandshakeRejected):
                async with open_websocket_stream(listener.url + path, origin="https://example.com"):
                    pass
        await ask(listener, request_bytes(listener, origin="https://evil.example"))
        await ask(listener, b"GET / HTTP/1.0\r\n\r\n")
        await until(lambda: listener.statistics().refused == 5)
        async with await say(listener, b"GET / HT"):
            await until(lambda: listener.statistics().handshakes == 1)
        await until(lambda: listener.statistics().lost == 1)
        async with await say(listener, request_bytes(listener, "/wait", origin="https://example.com")):
            await until(lambda: listener.statistics().handshakes == 1)
            now = listener.statistics()
    assert (now.connections, now.opened, now.refused, now.lost) == (0, 0, 5, 1)
    assert (now.bytes_received, now.bytes_sent) == (0, 0)


async def test_what_is_buffered_and_held_back_is_told_while_it_is() -> None:
    go_on = anyio.Event()

    async def handler(request: WebSocketRequest) -> None:
        async with request.accept() as conn:
            await go_on.wait()
            with suppress(ConnectionBroken):
                async for _ in conn:
                    pass

    async with serving(handler, read_buffer=1000) as listener:
        async with open_websocket_stream(listener.url) as conn:
            for _ in range(3):
                await conn.send(b"x" * 1000)
            await until(lambda: listener.statistics().readable.messages >= 1)
            held = listener.statistics().readable
            assert held.buffered_messages >= 1
            assert held.buffered_bytes >= 1000
            await until(lambda: listener.statistics().readable.paused_seconds > 0)
            go_on.set()
            await until(lambda: listener.statistics().readable.buffered_bytes == 0)
        await until(lambda: listener.statistics().connections == 0)
        then = listener.statistics()
        assert then.readable.messages == 3
        assert then.readable.buffered_bytes == then.writable.buffered_bytes == 0
        assert then.readable.paused_seconds > 0


async def test_the_figures_are_there_after_the_end() -> None:
    async with serving(echo) as listener:
        async with open_websocket_stream(listener.url) as conn:
            await conn.send("hello")
            await conn.receive()
        await listener.aclose()
        assert listener.statistics().opened == 1
        assert listener.statistics().connections == 0
