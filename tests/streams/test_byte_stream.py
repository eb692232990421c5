"""A WebSocket as a stream of bytes, and relays between streams: backpressure, ends, and errors that stay errors."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from streams.raw_peer import connection_and_peer
from websocketstream import WebSocketStream, as_byte_stream, relay
from websocketstream.testing import memory_byte_stream_pair, websocket_stream_pair

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from anyio.abc import ByteStream

pytestmark = pytest.mark.anyio

MIB = 2**20


async def read_all(stream: ByteStream, max_bytes: int = 65536) -> bytes:
    parts = []
    with pytest.raises(anyio.EndOfStream):
        while True:
            parts.append(await stream.receive(max_bytes))
            assert 0 < len(parts[-1]) <= max_bytes
    return b"".join(parts)


@asynccontextmanager
async def byte_streams(**options: Any) -> AsyncIterator[tuple[ByteStream, ByteStream]]:
    async with websocket_stream_pair() as (client, server):
        yield as_byte_stream(client, **options), as_byte_stream(server, **options)


@pytest.mark.parametrize("eof", ["close", "empty"])
@pytest.mark.parametrize("max_bytes", [1000, 65536, MIB])
async def test_bytes_arrive_in_order_whatever_their_portions(eof: str, max_bytes: int) -> None:
    sent = [bytes([number]) * size for number, size in enumerate([1, 0, 65535, 65536, 65537, 3 * 65536 + 5])]
    async with byte_streams(eof=eof) as (one, other), anyio.create_task_group() as tasks:

        async def send() -> None:
            for item in sent:
                await one.send(item)
            await one.send_eof()
            await one.send_eof()

        tasks.start_soon(send)
        assert await read_all(other, max_bytes) == b"".join(sent)
        with pytest.raises(anyio.EndOfStream):
            await other.receive()


async def test_with_an_agreed_empty_message_the_other_direction_goes_on() -> None:
    async with byte_streams(eof="empty") as (one, other):
        await one.send(b"question")
        await one.send_eof()
        assert await read_all(other) == b"question"
        with pytest.raises(anyio.ClosedResourceError):
            await one.send(b"more")
        await other.send(b"answer")
        await other.send_eof()
        assert await read_all(one) == b"answer"


async def test_by_the_close_frame_what_was_sent_before_arrives_and_the_peer_ends_too() -> None:
    async with byte_streams() as (one, other):
        await one.send(b"all")
        await one.send_eof()
        assert await read_all(other) == b"all"
        assert await read_all(one) == b""
        with pytest.raises(anyio.BrokenResourceError):
            await other.send(b"too late")


async def test_an_end_that_was_an_error_is_no_end_of_the_stream() -> None:
    async with connection_and_peer() as (conn, peer):
        stream = as_byte_stream(conn)
        await peer.send(b"half")
        await peer.close(1011, "sorry")
        assert await stream.receive() == b"half"
        with pytest.raises(anyio.BrokenResourceError, match="code 1011 and reason 'sorry'"):
            await stream.receive()
    async with connection_and_peer() as (conn, peer):
        stream = as_byte_stream(conn)
        await peer.stream.aclose()
        with pytest.raises(anyio.BrokenResourceError):
            await stream.receive()


async def test_text_has_no_place_there() -> None:
    async with connection_and_peer() as (conn, peer):
        stream = as_byte_stream(conn)
        await peer.send("text")
        for _ in range(2):
            with pytest.raises(anyio.BrokenResourceError, match="text message"):
                await stream.receive()
        with pytest.raises(anyio.BrokenResourceError):
            await stream.send(b"x")


async def test_a_cancelled_receive_loses_nothing() -> None:
    async with byte_streams() as (one, other):
        await one.send(b"abcdef")
        assert await other.receive(2) == b"ab"
        with anyio.CancelScope() as scope:
            scope.cancel()
            await other.receive(2)
        assert scope.cancelled_caught
        assert await other.receive(100) == b"cdef"


async def test_an_end_whose_sender_was_cancelled_can_be_said_again() -> None:
    async with (
        connection_and_peer(capacity=1, write_buffer=1) as (conn, peer),
        anyio.create_task_group() as tasks,
    ):
        stream = as_byte_stream(conn, eof="empty")
        conn.writable.send_nowait(b"on its way")
        async with anyio.create_task_group() as others:
            others.start_soon(stream.send_eof)
            await anyio.wait_all_tasks_blocked()
            others.cancel_scope.cancel()
        tasks.start_soon(stream.send_eof)
        assert [await peer.read_event() for _ in range(2)] == [b"on its way", b""]


async def test_two_tasks_do_not_mix_their_bytes() -> None:
    async with websocket_stream_pair(capacity=1000, read_buffer=1000, write_buffer=1000) as (client, server):
        one, other = as_byte_stream(client), as_byte_stream(server)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(one.send, bytes(MIB))
            tasks.start_soon(one.receive)
            await anyio.wait_all_tasks_blocked()
            for use in (one.send(b"x"), one.send_eof(), one.receive()):
                with pytest.raises(anyio.BusyResourceError):
                    await use
            tasks.cancel_scope.cancel()
        assert await other.receive(10) == bytes(10)


async def test_its_own_end_is_said_plainly() -> None:
    async with byte_streams() as (one, other):
        await one.aclose()
        for use in (one.receive(), one.send(b"x")):
            with pytest.raises(anyio.ClosedResourceError):
                await use
        assert await read_all(other) == b""


@pytest.mark.parametrize("eof", ["", "fin", None])
async def test_an_unknown_half_close_is_refused(eof: Any) -> None:
    async with websocket_stream_pair() as (client, _):
        with pytest.raises(ValueError, match="eof must be 'close' or 'empty'"):
            as_byte_stream(client, eof=eof)
        with pytest.raises(ValueError, match="max_bytes must be at least 1"):
            await as_byte_stream(client).receive(0)


# --- relays


@asynccontextmanager
async def tunnel(
    **options: Any,
) -> AsyncIterator[tuple[ByteStream, ByteStream, tuple[WebSocketStream, WebSocketStream], anyio.CancelScope]]:
    """Relay between a byte stream, a WebSocket, and another byte stream; give the outer ends and the connections."""
    here, near = memory_byte_stream_pair(1000)
    far, there = memory_byte_stream_pair(1000)
    async with websocket_stream_pair(capacity=1000, read_buffer=1000, write_buffer=1000) as (client, server):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(relay, near, as_byte_stream(client, **options))
            tasks.start_soon(relay, as_byte_stream(server, **options), far)
            yield here, there, (client, server), tasks.cancel_scope


async def test_both_directions_go_through_and_each_ends_by_itself() -> None:
    async with tunnel(eof="empty") as (here, there, _, _):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(here.send, bytes(100_000))
            assert await there.receive(1) == b"\0"
            left = 99_999
            while left:
                left -= len(await there.receive())
        await here.send_eof()
        with pytest.raises(anyio.EndOfStream):
            await there.receive()
        await there.send(b"answer")
        assert await here.receive() == b"answer"
        await there.send_eof()
        with pytest.raises(anyio.EndOfStream):
            await here.receive()


async def test_the_close_frame_ends_both() -> None:
    async with tunnel() as (here, there, _, _):
        await here.send(b"last words")
        await here.send_eof()
        assert await there.receive() == b"last words"
        for end in (there, here):
            with pytest.raises(anyio.EndOfStream):
                await end.receive()


async def test_a_reader_that_is_slow_slows_the_sender_through_all_of_it() -> None:
    async with (
        tunnel(eof="empty") as (here, there, (client, server), relays),
        anyio.create_task_group() as tasks,
    ):
        sent = 0

        async def flood() -> None:
            nonlocal sent
            while True:
                await here.send(bytes(1000))
                sent += 1000

        tasks.start_soon(flood)
        await anyio.wait_all_tasks_blocked()
        assert sent < 300_000
        assert client.statistics().writable.buffered_bytes < 70_000
        assert server.statistics().readable.buffered_bytes < 70_000
        await there.receive()
        tasks.cancel_scope.cancel()
        relays.cancel()


async def test_what_fails_is_raised_as_it_is_and_the_other_direction_given_up() -> None:
    here, near = memory_byte_stream_pair()
    async with websocket_stream_pair() as (client, server):
        server.close(1011)
        with pytest.raises(anyio.BrokenResourceError, match="code 1011"):
            await relay(near, client)
        here.reset()
        with pytest.raises(anyio.BrokenResourceError):
            await relay(client, near)


async def test_who_has_closed_well_wants_no_more_and_that_is_no_error() -> None:
    here, near = memory_byte_stream_pair()
    await here.send(b"nobody wants this")
    async with connection_and_peer() as (conn, peer):
        await peer.close(1000)
        await anyio.wait_all_tasks_blocked()
        await relay(near, conn)
    with pytest.raises(anyio.EndOfStream):
        await here.receive()


async def test_two_connections_are_relayed_as_they_are() -> None:
    async with websocket_stream_pair() as (here, near), websocket_stream_pair() as (far, there):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(relay, near, far)
            await here.send(b"hello")
            assert await there.receive() == b"hello"
            await there.send(b"hello too")
            assert await here.receive() == b"hello too"
            here.close()
        assert (await there.closed).code == 1005
