"""Receiving: what the peer sent, in order and bounded, up to the end of the connection."""

from __future__ import annotations

import anyio
import pytest

from streams.raw_peer import connection_and_peer, some_passes
from waiting import in_virtual_time
from websocketstream import ConnectionBroken, ConnectionClosed
from websocketstream.testing import websocket_stream_pair

pytestmark = pytest.mark.anyio


async def test_messages_arrive_in_order_and_keep_their_type() -> None:
    async with websocket_stream_pair() as (client, server):
        sent = ["text", b"binary", "", b"", "ロボット"]
        for message in sent:
            await client.send(message)
        assert [await server.receive() for _ in sent] == sent


async def test_iteration_ends_when_the_peer_closes_whatever_the_code() -> None:
    async with connection_and_peer() as (conn, peer):
        await peer.send("one", "two")
        await peer.close(4000, "robot")
        assert [message async for message in conn.readable] == ["one", "two"]
        with pytest.raises(ConnectionClosed) as caught:
            await conn.receive()
        assert (caught.value.close_code, caught.value.reason) == (4000, "robot")


async def test_messages_that_arrived_before_an_unclean_end_are_still_delivered() -> None:
    async with connection_and_peer() as (conn, peer):
        await peer.send("one", "two")
        await peer.stream.aclose()
        received = []
        with pytest.raises(ConnectionBroken):
            async for message in conn:
                received.append(message)  # noqa: PERF401  (the loop ends by an error)
        assert received == ["one", "two"]


async def test_receive_nowait_takes_what_is_there_and_waits_for_nothing() -> None:
    async with connection_and_peer() as (conn, peer):
        with pytest.raises(anyio.WouldBlock):
            conn.readable.receive_nowait()
        await peer.send("one")
        await anyio.wait_all_tasks_blocked()
        assert conn.readable.receive_nowait() == "one"
        await peer.close()
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(ConnectionClosed):
            conn.readable.receive_nowait()


async def test_two_receivers_at_once_are_busy() -> None:
    async with connection_and_peer() as (conn, _), anyio.create_task_group() as tasks:
        tasks.start_soon(conn.receive)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(anyio.BusyResourceError):
            await conn.receive()
        with pytest.raises(anyio.BusyResourceError):
            conn.readable.receive_nowait()
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("passes", range(8))
async def test_a_receive_cancelled_by_a_scope_loses_nothing(passes: int) -> None:
    """The cancellation lands a few passes of the loop after the frame: before, with and after the arrival."""
    async with connection_and_peer() as (conn, peer), anyio.create_task_group() as tasks:
        received = []

        async def receive() -> None:
            with scope:
                received.append(await conn.receive())

        for number in range(10):
            scope = anyio.CancelScope()
            tasks.start_soon(receive)
            await anyio.wait_all_tasks_blocked()
            await peer.send(str(number))
            await some_passes(passes)
            scope.cancel()
            await anyio.wait_all_tasks_blocked()
        while len(received) < 10:
            received.append(await conn.receive())
        assert received == [str(number) for number in range(10)]


async def test_a_slow_reader_stops_the_network_reads_at_the_high_water_mark() -> None:
    async with connection_and_peer(read_buffer=10_000, capacity=1000) as (conn, peer):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(peer.send, *["x" * 900] * 100)
            await anyio.wait_all_tasks_blocked()
            statistics = conn.statistics().readable
            assert 10_000 <= statistics.buffered_bytes < 12_000
            assert [await conn.receive() for _ in range(100)] == ["x" * 900] * 100
        assert conn.statistics().readable.buffered_bytes == 0
        assert conn.statistics().readable.messages == 100


async def test_reading_goes_on_when_the_reader_has_caught_up_to_half() -> None:
    async with connection_and_peer(read_buffer=10_000, capacity=1000) as (conn, peer):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(peer.send, *["x" * 900] * 100)
            await anyio.wait_all_tasks_blocked()
            full = conn.statistics().readable.buffered_messages
            await conn.receive()
            await anyio.wait_all_tasks_blocked()
            assert conn.statistics().readable.buffered_messages == full - 1
            for _ in range(full // 2):
                await conn.receive()
            await anyio.wait_all_tasks_blocked()
            assert conn.statistics().readable.buffered_messages >= full
            conn.readable.cancel()
            tasks.cancel_scope.cancel()


async def test_tiny_messages_are_charged_for_their_objects() -> None:
    """A flood of one-byte messages must not cost a hundred times the buffer's size."""
    async with connection_and_peer(read_buffer=10_000) as (conn, peer):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(peer.send, *["é"] * 1000)
            await anyio.wait_all_tasks_blocked()
            assert conn.statistics().readable.buffered_messages < 500
            conn.readable.cancel()


async def test_a_message_larger_than_the_read_buffer_is_delivered() -> None:
    async with connection_and_peer(read_buffer=100, capacity=1000) as (conn, peer):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(peer.send, b"x" * 5000, b"y" * 5000)
            assert await conn.receive() == b"x" * 5000
            assert await conn.receive() == b"y" * 5000


@in_virtual_time()
async def test_statistics_tell_for_how_long_the_peer_was_held_back(anyio_backend: object) -> None:
    async with connection_and_peer(read_buffer=100) as (conn, peer):
        assert conn.statistics().readable.paused_seconds == 0
        await peer.send("x" * 200)
        await anyio.wait_all_tasks_blocked()
        before = conn.statistics().readable.paused_seconds
        await anyio.sleep(5)
        assert conn.statistics().readable.paused_seconds == before + 5
        await conn.receive()
        await anyio.wait_all_tasks_blocked()
        total = conn.statistics().readable.paused_seconds
        await anyio.sleep(5)
        assert conn.statistics().readable.paused_seconds == total
