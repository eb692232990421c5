"""Many messages in one call: what arrives, what leaves, and what a cancellation leaves behind, is as with single ones."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from promises.open_sockets import connections_with_sockets, in_passes
from streams.raw_peer import RawPeer, connection_and_peer, some_passes
from websocketstream import ConnectionBroken, ConnectionClosed
from websocketstream.testing import memory_byte_stream_pair, over_stream, websocket_stream_pair
from wire import Frame, Opcode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from websocketstream import WebSocketStream
    from websocketstream._streams.send_buffer import Sendable

pytestmark = pytest.mark.anyio

# --- receiving


async def test_a_batch_is_all_that_has_arrived_in_order() -> None:
    async with connection_and_peer() as (conn, peer):
        sent = ["one", b"two", "", "ロボット", *map(str, range(100))]
        await peer.send(*sent)
        await some_passes()
        assert await conn.readable.receive_batch() == sent
        async with anyio.create_task_group() as tasks:
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(peer.send, "later")
            assert await conn.readable.receive_batch() == ["later"]


async def test_batches_and_single_messages_can_be_received_in_turns() -> None:
    async with connections_with_sockets(1, read_buffer=2**20) as [(conn, theirs)]:
        received: list[Any] = []
        sent = 0
        for round_ in range(30):
            for size in (1, 30, 100):  # these are batches of their own
                theirs.sendall(
                    b"".join(Frame(Opcode.TEXT, b"%d" % n).encode() for n in range(sent, sent + size))
                )
                sent += size
                await some_passes(round_ % 3)
            for _ in range(round_):
                received.append(await conn.receive())
                if len(received) == sent:
                    break
            else:
                received += await conn.readable.receive_batch()
        while len(received) < sent:
            received += await conn.readable.receive_batch()
        assert received == [str(number) for number in range(sent)]
        assert conn.statistics().readable.buffered_messages == 0
        assert conn.statistics().readable.buffered_bytes == 0


async def test_a_batch_gives_all_its_room_back() -> None:
    async with connection_and_peer(read_buffer=1000, capacity=100) as (conn, peer):
        received: list[object] = []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(peer.send, *[b"x" * 50] * 200)
            while len(received) < 200:
                received += await conn.readable.receive_batch()
                assert conn.statistics().readable.buffered_bytes == 0
        assert received == [b"x" * 50] * 200


async def test_iteration_over_batches_ends_when_the_peer_closes() -> None:
    async with connection_and_peer() as (conn, peer):
        await peer.send("one", "two")
        await peer.close(4000, "robot")
        await some_passes()
        assert [batch async for batch in conn.readable.batches()] == [["one", "two"]]
        with pytest.raises(ConnectionClosed) as caught:
            await conn.readable.receive_batch()
        assert caught.value.close_code == 4000


async def test_iteration_over_batches_raises_at_an_unclean_end_behind_all_that_had_arrived() -> None:
    async with connection_and_peer() as (conn, peer):
        await peer.send("one", "two")
        await peer.stream.aclose()
        received: list[object] = []
        with pytest.raises(ConnectionBroken):
            async for batch in conn.readable.batches():
                received += batch
        assert received == ["one", "two"]


async def test_only_one_task_receives_whatever_it_receives() -> None:
    async with connection_and_peer() as (conn, peer), anyio.create_task_group() as tasks:
        tasks.start_soon(conn.receive)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(anyio.BusyResourceError):
            await conn.readable.receive_batch()
        await peer.send("x")


async def test_after_our_close_there_are_no_more_batches() -> None:
    async with connection_and_peer() as (conn, peer):
        await peer.send("x")
        await some_passes()
        conn.close()
        with pytest.raises(anyio.ClosedResourceError):
            await conn.readable.receive_batch()


async def test_a_cancelled_batch_loses_nothing() -> None:
    async with connections_with_sockets(1) as [(conn, theirs)]:
        received: list[object] = []
        sent = cancelled = 0
        for arrival in range(8):
            for patience in range(8):
                frames = [Frame(Opcode.TEXT, b"%d" % number).encode() for number in range(sent, sent + 20)]
                sent += 20
                data = b"".join(frames)
                in_passes(arrival, lambda data=data: theirs.sendall(data))
                attempts = 0
                while len(received) < sent:
                    with anyio.CancelScope() as scope:
                        in_passes(patience + attempts // 10, scope.cancel)
                        received += await conn.readable.receive_batch()
                    cancelled += scope.cancelled_caught
                    attempts += 1
        await some_passes()
        assert received == [str(number) for number in range(sent)]
        assert cancelled > 32


@asynccontextmanager
async def counted_turns() -> AsyncIterator[Callable[[], int]]:
    """Give what tells how many turns another task has had by then."""
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            await anyio.sleep(0)
            turns += 1

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(count_turns)
        yield lambda: turns
        tasks.cancel_scope.cancel()


async def test_whoever_takes_batches_without_waiting_lets_others_have_their_turn() -> None:
    async with connections_with_sockets(1) as [(conn, theirs)], counted_turns() as turns:
        frames = Frame(Opcode.TEXT, b"x").encode() * 20_000
        in_passes(3, lambda: theirs.sendall(frames))
        left = 20_000
        while left:
            left -= len(await conn.readable.receive_batch())
        assert turns() >= 3


# --- sending


async def test_a_batch_arrives_in_order_and_each_message_keeps_its_type() -> None:
    async with websocket_stream_pair() as (client, server):
        batches: list[list[Sendable]] = [
            ["text", b"binary", "", b"", "ロボット", bytearray(b"array"), memoryview(b"view")],
            [],
            [b"a", b"b", b""],
            ["a", "b", "é"],
            ["a", "b", "c"],
        ]
        for batch in batches:
            await client.writable.send_batch(iter(batch))
            for message in batch:
                expected = message if isinstance(message, str) else bytes(message)
                assert await server.receive() == expected
        assert client.statistics().writable.messages == sum(map(len, batches))


@pytest.mark.parametrize("size", [1, 50, 99, 100, 101, 1000])
@pytest.mark.parametrize("write_buffer", [1, 100, 101, 10_000])
async def test_a_batch_is_held_as_its_messages_would_be(size: int, write_buffer: int) -> None:
    messages = [b"%03d" % number + bytes(size) for number in range(40)]
    accepted = []
    for at_once in (True, False):
        async with connection_and_peer(capacity=64, write_buffer=write_buffer) as (conn, peer):

            async def send(conn: WebSocketStream = conn, at_once: bool = at_once) -> None:
                if at_once:
                    await conn.writable.send_batch(messages)
                else:
                    for message in messages:
                        await conn.send(message)

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(send)
                await anyio.wait_all_tasks_blocked()
                accepted.append(conn.statistics().writable.messages)
                assert [await peer.read_event() for _ in messages] == messages
    # The first of single ones leaves by itself, which makes a little room.
    assert abs(accepted[0] - accepted[1]) <= 2


async def test_a_cancelled_batch_sends_what_was_accepted_and_nothing_else() -> None:
    for taken in range(30):
        async with connection_and_peer(capacity=50, write_buffer=100) as (conn, peer):
            messages = [b"%03d" % number + bytes(60) for number in range(10)]
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(conn.writable.send_batch, messages)
                    for _ in range(taken):
                        await anyio.wait_all_tasks_blocked()
                        if not peer.events and taken > 20:
                            break
                        with anyio.move_on_after(0):
                            peer.events += peer.codec.receive_data(await peer.stream.receive(10))
                    await anyio.wait_all_tasks_blocked()
                    scope.cancel()
            accepted = conn.statistics().writable.messages
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(conn.send, b"the next")
                received = [await peer.read_event() for _ in range(accepted + 1)]
            assert received == [*messages[:accepted], b"the next"]


async def test_a_batch_with_something_that_cannot_be_sent_sends_nothing() -> None:
    async with connection_and_peer() as (conn, peer):
        for batch, error, said in [
            (["fine", 5], TypeError, "a message must be str, bytes.* not int; nothing was sent"),
            (["fine", "\ud800"], ValueError, "lone surrogate"),
            ("a text", TypeError, "several messages are wanted, not one str"),
            (b"bytes", TypeError, "several messages are wanted, not one bytes"),
            (7, TypeError, "not iterable"),
        ]:
            with pytest.raises(error, match=said):
                await conn.writable.send_batch(batch)  # type: ignore[arg-type]
        await conn.send("the first")
        assert await peer.read_event() == "the first"


async def test_a_batch_after_the_end_and_one_that_the_end_cuts_off_raise_what_a_message_would() -> None:
    async with connection_and_peer() as (conn, peer):
        await peer.close(4000)
        await some_passes()
        with pytest.raises(ConnectionClosed):
            await conn.writable.send_batch(["x"])
    ours, theirs = memory_byte_stream_pair(50)
    async with over_stream(ours, server=False, write_buffer=100) as conn:
        peer = RawPeer(theirs, client=False)
        async with anyio.create_task_group() as tasks:

            async def send() -> None:
                with pytest.raises(ConnectionBroken):
                    await conn.writable.send_batch([b"x" * 60] * 10)

            tasks.start_soon(send)
            await anyio.wait_all_tasks_blocked()
            peer.stream.reset()


async def test_a_batch_of_a_peer_that_reads_arrives_whatever_its_size() -> None:
    async with websocket_stream_pair(capacity=1000) as (client, server):
        messages = [str(number) for number in range(20_000)]
        received: list[object] = []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.writable.send_batch, messages)
            while len(received) < len(messages):
                received += await server.readable.receive_batch()
        assert received == messages


async def test_a_large_batch_lets_others_have_their_turn() -> None:
    async with connections_with_sockets(1, write_buffer=2**30) as [(conn, _)], counted_turns() as turns:
        await conn.writable.send_batch([b"x"] * 200_000)
        assert turns() >= 4
        conn.writable.abort()


async def test_several_tasks_send_batches_and_each_keeps_its_order() -> None:
    async with connection_and_peer(capacity=200, write_buffer=300) as (conn, peer):
        async with anyio.create_task_group() as tasks:
            for sender in range(5):
                tasks.start_soon(conn.writable.send_batch, [b"%d %03d" % (sender, n) for n in range(100)])
            received = [await peer.read_event() for _ in range(500)]
        for sender in range(5):
            own = [message for message in received if message[:1] == b"%d" % sender]  # type: ignore[index]
            assert own == [b"%d %03d" % (sender, number) for number in range(100)]
