"""What waits can be dropped, both ways, and the connection goes on: for whoever is interrupted."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from promises.open_sockets import connections_with_sockets
from streams.raw_peer import RawPeer, connection_and_peer, some_passes
from websocketstream import ConnectionClosed, Discarded, WebSocketError
from websocketstream._protocol.codec import Close, Ping
from websocketstream.testing import memory_byte_stream_pair, over_stream, websocket_stream_pair
from wire import Wire

if TYPE_CHECKING:
    from websocketstream import WebSocketStream

pytestmark = pytest.mark.anyio


# --- what is to be sent


async def test_what_has_not_left_is_dropped_and_counted() -> None:
    async with connection_and_peer(capacity=10) as (conn, peer), anyio.create_task_group() as tasks:
        conn.writable.send_nowait("one, and more than fits")
        conn.writable.send_nowait("two")
        conn.writable.send_nowait(b"three")
        await some_passes()  # "one" is on its way
        conn.writable.send_nowait("stale")
        conn.writable.send_nowait("")
        before = conn.statistics().writable
        dropped = conn.writable.discard()
        after = conn.statistics().writable
        assert dropped == Discarded(messages=4, bytes=3 + 5 + 5 + 1)
        assert before.messages - after.messages == dropped.messages
        assert before.buffered_bytes - after.buffered_bytes == dropped.bytes
        assert conn.writable.discard() == Discarded(0, 0)
        tasks.start_soon(conn.send, "fresh")
        assert [await peer.read_event() for _ in range(2)] == ["one, and more than fits", "fresh"]


async def test_senders_that_wait_go_on() -> None:
    async with connection_and_peer(capacity=1, write_buffer=10) as (conn, peer):
        done: list[int] = []

        async def send(number: int) -> None:
            await conn.send(str(number) * 10)
            done.append(number)

        async with anyio.create_task_group() as tasks:
            for number in range(300):  # more than are woken at once
                tasks.start_soon(send, number)
            await anyio.wait_all_tasks_blocked()
            held = 300 - len(done)
            assert held > 200
            dropped = conn.writable.discard()
            await anyio.wait_all_tasks_blocked()
            begun = 300 - len(done)
            assert begun <= 1, "only the one that has begun to leave may wait"
            assert dropped.messages >= held - 1
            while len(done) < 300:
                await peer.read_event()
                await some_passes()
        assert conn.statistics().writable.messages == 300 - dropped.messages
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(conn.send, "fresh")
            while await peer.read_event() != "fresh":
                pass


async def test_a_cancelled_sender_whose_message_was_dropped_changes_nothing() -> None:
    async with connection_and_peer(capacity=1, write_buffer=1) as (conn, peer):
        for _ in range(3):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(conn.send, "begun")
                await anyio.wait_all_tasks_blocked()
                for _ in range(5):
                    tasks.start_soon(conn.send, "stale")
                await anyio.wait_all_tasks_blocked()
                assert conn.writable.discard().messages == 5
                tasks.cancel_scope.cancel()
            assert await peer.read_event() == "begun"
        assert conn.statistics().writable.messages == 3
        assert conn.statistics().writable.buffered_bytes == 0


async def test_a_message_in_chunks_that_has_begun_stays() -> None:
    async with connection_and_peer(capacity=1) as (conn, peer), anyio.create_task_group() as tasks:
        conn.writable.send_nowait("on its way")
        await some_passes()
        conn.writable.send_nowait("stale")
        async with conn.writable.message(text=True) as part:
            await part.send("a")
            await part.send("b")
            tasks.start_soon(conn.send, "waits for its turn")
            await some_passes()
            assert conn.writable.discard() == Discarded(1, 5)
            await part.send("c")
        assert [await peer.read_event() for _ in range(3)] == ["on its way", "abc", "waits for its turn"]


async def test_a_large_message_that_is_still_being_encoded_is_dropped_too() -> None:
    async with websocket_stream_pair(compression=True, write_buffer=2**22) as (client, server):
        large = bytes(range(256)) * 4096
        client.writable.send_nowait(large)
        client.writable.send_nowait("stale")
        dropped = client.writable.discard()
        assert dropped == Discarded(2, len(large) + 5)
        await client.send("fresh")
        assert await server.receive() == "fresh"
        await client.send("in the same context" * 1000)
        assert await server.receive() == "in the same context" * 1000


async def test_a_queue_of_what_was_dropped_does_not_grow() -> None:
    async with connection_and_peer(capacity=1) as (conn, peer):
        conn.writable.send_nowait("on its way")
        await some_passes()
        for _ in range(1000):
            conn.writable.send_nowait("stale")
            assert conn.writable.discard() == Discarded(1, 5)
        assert len(conn._connection.outbox.queue) == 0
        conn.writable.send_nowait("fresh")
        assert conn.statistics().writable.messages == 2
        assert [await peer.read_event() for _ in range(2)] == ["on its way", "fresh"]


async def test_after_the_end_there_is_nothing_to_drop() -> None:
    async with websocket_stream_pair() as (client, _):
        await client.aclose()
        assert client.writable.discard() == Discarded(0, 0)
        assert client.readable.discard() == Discarded(0, 0)


# --- what has arrived


async def test_what_nobody_has_received_is_dropped_and_counted() -> None:
    async with connection_and_peer() as (conn, peer):
        assert conn.readable.discard() == Discarded(0, 0)
        await peer.send(*map(str, range(30)))
        await some_passes()
        assert [await conn.receive() for _ in range(4)] == ["0", "1", "2", "3"]
        before = conn.statistics().readable
        dropped = conn.readable.discard()
        assert dropped == Discarded(before.buffered_messages, before.buffered_bytes)
        assert dropped.messages == 26
        assert conn.statistics().readable.buffered_bytes == 0
        await peer.send("fresh")
        assert await conn.receive() == "fresh"


async def test_a_full_buffer_reads_on() -> None:
    async with connections_with_sockets(1, read_buffer=2**16) as [(conn, theirs)]:
        wire = Wire(theirs)
        theirs.setblocking(False)
        with suppress(BlockingIOError):
            for _ in range(1000):
                wire.send_message(b"x" * 1000)
                await some_passes(1)
        await some_passes()
        assert conn.statistics().readable.buffered_bytes >= 2**16
        dropped = 0
        while (now := conn.readable.discard().messages) or conn.statistics().readable.messages == 0:
            dropped += now
            await anyio.wait_all_tasks_blocked()
            await some_passes()
        assert dropped > 100


async def test_who_receives_goes_on_waiting() -> None:
    async with connection_and_peer() as (conn, peer):
        received: list[Any] = []

        async def receive() -> None:
            received.append(await conn.receive())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(receive)
            await anyio.wait_all_tasks_blocked()
            conn.readable.discard()
            await peer.send("fresh")
        assert received == ["fresh"]


async def test_the_end_behind_what_was_dropped_is_met() -> None:
    async with connection_and_peer() as (conn, peer):
        await peer.send("stale")
        await peer.close(4000, "bye")
        await some_passes()
        assert conn.readable.discard().messages == 1
        with pytest.raises(ConnectionClosed) as caught:
            await conn.receive()
        assert caught.value.close_code == 4000


# --- the option


async def test_little_is_in_between_where_latency_counts() -> None:
    """Neither in our buffers nor in the system's: what cannot be taken back is a fraction of what it is without."""
    for low_latency, most in ((False, 2**16), (True, 2**14)):
        async with connections_with_sockets(1, low_latency=low_latency) as [(conn, _)]:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(send_without_end, conn)
                await anyio.wait_all_tasks_blocked()
                await some_passes(200)
                buffered = conn.statistics().writable.buffered_bytes
                assert most <= buffered < most + 4096
                kept = buffered - conn.writable.discard().bytes
                assert kept <= (4096 if low_latency else 2**16) * 9 // 8 + 400
                tasks.cancel_scope.cancel()
    ours, _ = memory_byte_stream_pair()
    with pytest.raises(TypeError, match="low_latency"):
        over_stream(ours, server=False, low_latency=1)


async def send_without_end(conn: WebSocketStream) -> None:
    while True:
        await conn.send(b"x" * 320)


async def test_no_more_is_under_way_than_the_peer_keeps_up_with() -> None:
    """However large the buffers in between are: it answers a ping when it has read what was before."""
    async with connection_and_peer(capacity=2**24, low_latency=True) as (conn, peer):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send_without_end, conn)
            await anyio.wait_all_tasks_blocked()
            arrived, pings = await everything(peer)
            assert 8000 < arrived < 24_000
            assert len(pings) in range(3, 7)
            assert await everything(peer) == (0, []), "and that was all"
            await peer.stream.send(peer.codec.send_pong(pings[-1]))
            await anyio.wait_all_tasks_blocked()
            arrived, more = await everything(peer)
            assert arrived > 8000
            assert more
            tasks.cancel_scope.cancel()
        assert conn.writable.discard().messages > 10
        await conn.send("fresh")
        await some_passes()
        assert await everything(peer) == (0, [])
        await peer.stream.send(peer.codec.send_pong(more[-1]))
        assert await peer.read_event() == "fresh"


async def test_the_close_frame_waits_behind_what_is_held_back_without_work() -> None:
    async with connection_and_peer(capacity=2**24, low_latency=True) as (conn, peer):
        with suppress(anyio.WouldBlock):
            while True:
                conn.writable.send_nowait(b"x" * 320)
                await some_passes(1)
        await conn.send_eof()
        await some_passes()
        assert not conn._connection.writer.has_work, (
            "it would come for nothing with each pass of the event loop"
        )
        _, pings = await everything(peer)
        conn.writable.discard()
        assert await peer.read_event() == Close()
        assert pings


@pytest.mark.parametrize("unread", [0, 1])
async def test_a_peer_that_has_said_its_last_word_is_not_waited_for(unread: int) -> None:
    """It answers no ping any more, so a pace that is kept by its answers would hold back our Close frame for ever."""
    async with connection_and_peer(capacity=2**24, low_latency=True) as (conn, peer):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(suppressing, send_without_end, conn)
            await anyio.wait_all_tasks_blocked()
            await everything(peer)
            await peer.send(*["before it"] * unread)
            await peer.close(1000, "enough")
            if unread:  # then the last word does not count yet, and senders go on
                arrived = 0
                while arrived < 2**16:
                    event = await peer.read_event()
                    arrived += len(event) if isinstance(event, bytes) else 0
                assert await conn.receive() == "before it"
            while not isinstance(event := await peer.read_event(), Close):
                assert isinstance(event, str | bytes | Ping)
            assert event == Close(1000, "enough")


async def test_who_fails_the_connection_says_so_at_once() -> None:
    async with connection_and_peer(capacity=2**24, low_latency=True) as (conn, peer):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(suppressing, send_without_end, conn)
            await anyio.wait_all_tasks_blocked()
            await everything(peer)
            await peer.stream.send(b"\xff\xff")
            while not isinstance(event := await peer.read_event(), Close):
                assert isinstance(event, str | bytes | Ping)
            assert event.code == 1002
            tasks.cancel_scope.cancel()


async def suppressing(function: Any, conn: WebSocketStream) -> None:
    with suppress(WebSocketError):
        await function(conn)


async def test_a_peer_that_only_asks_costs_no_memory() -> None:
    async with connection_and_peer(capacity=2**24, server=True, low_latency=True) as (conn, peer):
        for _ in range(100):
            await peer.stream.send(peer.codec.send_ping(b"x" * 125) * 16)
            await some_passes(3)
        _, pings = await everything(peer)
        assert len(pings) in range(3, 7)
        await peer.stream.send(peer.codec.send_pong(pings[-1]))
        await conn.send("goes on")
        await some_passes()
        assert conn.statistics().writable.buffered_bytes == 0


async def test_who_does_not_read_is_not_held_back() -> None:
    """It would not see the answers, either; and perhaps it reads only when it has said everything."""
    pair = websocket_stream_pair(low_latency=True, close_timeout=0.1)
    async with pair as (client, server), anyio.create_task_group() as tasks:
        tasks.start_soon(send_without_end, server)
        tasks.start_soon(all_of, server)
        with anyio.fail_after(20):
            while client.statistics().readable.buffered_bytes < 2**16:
                await some_passes()
            for _ in range(1000):
                await client.send(b"x" * 1000)
        tasks.cancel_scope.cancel()


async def all_of(conn: WebSocketStream) -> None:
    async for _ in conn.readable:
        pass


async def everything(peer: RawPeer) -> tuple[int, list[bytes]]:
    """Read all that is there; return how many bytes of messages that is, and the pings between them."""
    events: list[Any] = []

    async def read() -> None:
        while True:
            events.append(await peer.read_event())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    pings = [event.payload for event in events if isinstance(event, Ping)]
    return sum(len(event) for event in events if isinstance(event, (str, bytes))), pings
