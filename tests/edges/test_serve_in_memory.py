"""A handler without a port: the handshake is the real one, and what the block raises comes out as it is."""

from __future__ import annotations

from typing import Any

import anyio
import anyio.lowlevel
import pytest

from edges.serving import echo
from websocketstream import HandshakeRejected, HandshakeTimeout, InvalidHandshake, WebSocketRequest
from websocketstream.testing import serve_in_memory

pytestmark = pytest.mark.anyio


async def test_messages_go_both_ways() -> None:
    async with serve_in_memory(echo) as connect, connect() as conn:
        await conn.send("hello")
        assert await conn.receive() == "hello"
        await conn.send(bytes(300_000))
        assert await conn.receive() == bytes(300_000)


async def test_the_handler_sees_the_request() -> None:
    seen: list[Any] = []

    async def handler(request: WebSocketRequest) -> None:
        seen.append((request.path, request.query_params["name"], request.cookies, request.headers["x-a"]))
        async with request.accept(headers={"X-B": "b"}) as conn:
            await conn.send(conn.protocol)

    async with serve_in_memory(handler, protocols=["chat"]) as connect:
        headers = {"X-A": "a", "Cookie": "session=1; theme=dark"}
        async with connect("/room?name=J%C3%BC", headers=headers, protocols=["chat"]) as conn:
            assert await conn.receive() == "chat"
            assert conn.response is not None
            assert conn.response.headers["x-b"] == "b"
    assert seen == [("/room", "Jü", {"session": "1", "theme": "dark"}, "a")]


async def test_refusals_are_as_over_the_network() -> None:
    async def handler(request: WebSocketRequest) -> None:
        await request.reject(404, body="no such room")

    async with serve_in_memory(handler) as connect:
        with pytest.raises(HandshakeRejected) as caught:
            async with connect("/nowhere"):
                pass
    assert (caught.value.status, caught.value.body) == (404, b"no such room")


async def test_origins_are_checked_when_they_are_given() -> None:
    async with serve_in_memory(echo, origins=["https://example.com"]) as connect:
        async with connect(origin="https://example.com") as conn:
            await conn.send("x")
        for origin in ("https://evil.example", None):
            with pytest.raises(HandshakeRejected) as caught:
                async with connect(origin=origin):
                    pass
            assert caught.value.status == 403


async def test_connections_are_many_and_each_has_its_handler() -> None:
    async with serve_in_memory(echo) as connect:
        async with connect("/1") as one, connect("/2") as other:
            for conn, message in ((one, "one"), (other, "other"), (one, "again")):
                await conn.send(message)
                assert await conn.receive() == message


async def test_a_handler_that_fails_ends_its_own_connection(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(request: WebSocketRequest) -> None:
        async with request.accept():
            raise RuntimeError("on purpose")

    async with serve_in_memory(handler) as connect:
        for _ in range(2):
            async with connect() as conn:
                assert (await conn.closed).code == 1011
    assert "on purpose" in caplog.text


async def test_what_the_block_raises_comes_out_as_it_is() -> None:
    error = ValueError("mine")
    with pytest.raises(ValueError, match="mine") as caught:
        async with serve_in_memory(echo) as connect, connect():
            raise error
    assert caught.value is error
    assert error.__cause__ is None


async def test_a_cancellation_of_the_block_stays_what_it_is() -> None:
    with anyio.CancelScope() as scope:
        async with serve_in_memory(echo) as connect, connect() as conn:
            scope.cancel()
            await conn.receive()
    assert scope.cancelled_caught


@pytest.mark.parametrize(
    ("options", "error"), [({"nonsense": 1}, TypeError), ({"max_connections": 0}, ValueError)]
)
async def test_wrong_options_are_said_plainly(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        async with serve_in_memory(echo, **options):
            pytest.fail("it must not come to this")


async def test_a_path_begins_with_a_slash() -> None:
    async with serve_in_memory(echo) as connect:
        with pytest.raises(ValueError, match="path must start with a slash"):
            connect("room")


async def test_who_connects_behind_the_block_is_told_so() -> None:
    async with serve_in_memory(echo) as connect:
        pass
    with pytest.raises(OSError, match="connection was lost"):
        async with connect():
            pass


async def test_a_handler_that_never_answers_is_timed_out_on_either_side() -> None:
    async def handler(_request: WebSocketRequest) -> None:
        await anyio.sleep_forever()

    async with serve_in_memory(handler) as connect:
        with pytest.raises(HandshakeTimeout):
            async with connect(open_timeout=0.01):
                pass


async def test_an_error_of_the_block_goes_before_a_cancellation() -> None:
    with pytest.raises(ValueError, match="mine"), anyio.CancelScope() as scope:
        async with serve_in_memory(echo):
            scope.cancel()
            raise ValueError("mine")


@pytest.mark.parametrize("steps", range(6))
async def test_who_connects_while_the_block_ends_does_not_wait(steps: int) -> None:
    async def connecting(connect: Any) -> None:
        try:
            async with connect(open_timeout=None) as conn:
                await conn.closed
        except (OSError, InvalidHandshake):
            pass

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks, serve_in_memory(echo, max_connections=1) as connect:
            for _ in range(3):
                tasks.start_soon(connecting, connect)
            for _ in range(steps):
                await anyio.lowlevel.checkpoint()
