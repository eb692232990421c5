"""Sending: backpressure, and messages that leave whole or not at all."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from streams.raw_peer import connection_and_peer
from waiting import in_virtual_time
from websocketstream import ConnectionBroken, ConnectionClosed
from websocketstream._streams import hot, writable
from websocketstream._streams.budget import CHECKPOINT_EVERY
from websocketstream._streams.writer import MAX_QUEUED_PONGS, WRITE_BYTES, coalesce

pytestmark = pytest.mark.anyio

BIG = b"x" * 200_000


async def test_send_returns_at_once_while_there_is_room() -> None:
    async with connection_and_peer(capacity=10, write_buffer=10_000) as (conn, _):
        for _ in range(9):
            await conn.send(b"x" * 1000)
        assert conn.statistics().writable.buffered_bytes >= 8000
        conn.writable.abort()


async def test_one_large_message_holds_send_until_most_of_it_has_left() -> None:
    async with connection_and_peer(capacity=1000, write_buffer=65536) as (conn, peer):
        async with anyio.create_task_group() as tasks:
            returned = anyio.Event()

            async def send() -> None:
                await conn.send(BIG)
                returned.set()

            tasks.start_soon(send)
            await anyio.wait_all_tasks_blocked()
            assert not returned.is_set()
            assert await peer.read_event() == BIG
            await returned.wait()


async def test_a_send_cancelled_before_its_first_byte_sends_nothing() -> None:
    async with connection_and_peer(capacity=1000) as (conn, peer):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(conn.send, BIG)
            await anyio.wait_all_tasks_blocked()
            with anyio.move_on_after(0) as scope:
                await conn.send(b"withdrawn")
            assert scope.cancelled_caught
            assert await peer.read_event() == BIG
        await conn.send("hello")
        assert await peer.read_event() == "hello"


async def test_a_send_cancelled_after_its_first_byte_is_completed() -> None:
    async with connection_and_peer(capacity=1000) as (conn, peer):
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(conn.send, BIG)
                await anyio.wait_all_tasks_blocked()
                scope.cancel()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(conn.send, "hello")
            assert await peer.read_event() == BIG
            assert await peer.read_event() == "hello"


async def test_concurrent_senders_do_not_interleave() -> None:
    async with connection_and_peer(capacity=100) as (conn, peer):
        payloads = [bytes([65 + number]) * 70_000 for number in range(5)]
        async with anyio.create_task_group() as tasks:
            for payload in payloads:
                tasks.start_soon(conn.send, payload)
            received = [await peer.read_event() for _ in payloads]
        assert sorted(received, key=str) == payloads


async def test_send_nowait_would_block_when_the_buffer_is_full() -> None:
    async with connection_and_peer(capacity=10, write_buffer=100) as (conn, peer):
        conn.writable.send_nowait(b"x" * 100)
        with pytest.raises(anyio.WouldBlock):
            conn.writable.send_nowait(b"y")
        assert await peer.read_event() == b"x" * 100
        conn.writable.send_nowait(b"z")
        assert await peer.read_event() == b"z"


async def test_held_senders_go_on_together_when_there_is_room_and_not_one_at_a_time() -> None:
    async with connection_and_peer(write_buffer=1) as (conn, peer):
        rounds = [0] * 10

        async def send(sender: int) -> None:
            for _ in range(20):
                await conn.send(bytes([sender]))
                rounds[sender] += 1
                # A message that has left is not held back by those that others have sent since.
                assert max(rounds) - min(rounds) <= 2

        async with anyio.create_task_group() as tasks:
            for sender in range(10):
                tasks.start_soon(send, sender)
            for _ in range(200):
                await peer.read_event()


@pytest.mark.parametrize("empty", ["", b""])
async def test_empty_messages_are_not_free(empty: str | bytes) -> None:
    async with connection_and_peer(capacity=10, write_buffer=1000, close_timeout=0) as (conn, _):
        await conn.send(b"x" * 500)
        with pytest.raises(anyio.WouldBlock):
            for _ in range(2000):
                conn.writable.send_nowait(empty)
        assert 400 < conn.statistics().writable.buffered_messages < 1000


@pytest.mark.parametrize("message", [None, 1, ["x"], object()])
async def test_a_wrong_type_sends_nothing_and_keeps_the_connection(message: object) -> None:
    async with connection_and_peer() as (conn, peer):
        with pytest.raises(TypeError, match=f"not {type(message).__name__}; nothing was sent"):
            await conn.send(message)  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            conn.writable.send_nowait(message)  # type: ignore[arg-type]
        await conn.send("fine")
        assert await peer.read_event() == "fine"


async def test_a_lone_surrogate_sends_nothing_and_keeps_the_connection() -> None:
    async with connection_and_peer() as (conn, peer):
        with pytest.raises(ValueError, match=r"index 2 is a lone surrogate \('\\ud800'\)"):
            await conn.send("ab\ud800")
        await conn.send("fine")
        assert await peer.read_event() == "fine"


async def test_a_buffer_changed_after_send_does_not_change_what_is_sent() -> None:
    async with connection_and_peer(capacity=10) as (conn, peer):
        buffer = bytearray(b"before")
        await conn.send(buffer)
        await conn.send(memoryview(buffer)[2:4])
        buffer[:] = b"after!"
        assert await peer.read_event() == b"before"
        assert await peer.read_event() == b"fo"


async def test_a_cancelled_scope_stops_a_tight_loop_of_sends_within_the_budget() -> None:
    async with connection_and_peer() as (conn, _):
        sent = 0
        with anyio.CancelScope() as scope:
            scope.cancel()
            while True:
                await conn.send("x")
                sent += 1
        assert sent <= CHECKPOINT_EVERY


async def test_what_may_change_is_copied_once_also_when_its_sender_has_to_yield_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    copied = []
    for module in (hot.writer, writable):
        prepare = module.prepare

        def counting(message: Any, compress: bool, prepare: Any = prepare) -> Any:
            copied.append(message)
            return prepare(message, compress)

        monkeypatch.setattr(module, "prepare", counting)
    messages = [bytearray(b"x") for _ in range(CHECKPOINT_EVERY + 2)]
    async with connection_and_peer(capacity=2**20) as (conn, _):
        for message in messages:
            await conn.send(message)
        conn.writable.abort()
    assert list(map(id, copied)) == list(map(id, messages))


async def test_sending_after_the_peers_close_says_both_closed_and_broken() -> None:
    async with connection_and_peer() as (conn, peer):
        await peer.close(4001, "enough")
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(ConnectionClosed) as caught:
            await conn.send("late")
        assert isinstance(caught.value, anyio.BrokenResourceError)
        assert caught.value.close_code == 4001
        with pytest.raises(ConnectionClosed) as again:
            conn.writable.send_nowait("late")
        assert again.value is caught.value


async def test_a_send_that_waits_when_the_peer_closes_makes_the_close_unclean() -> None:
    async with connection_and_peer(capacity=1000) as (conn, peer):
        async with anyio.create_task_group() as tasks:

            async def send() -> None:
                with pytest.raises(ConnectionBroken) as caught:
                    await conn.send(BIG)
                assert caught.value.close_code == 4567

            tasks.start_soon(send)
            await anyio.wait_all_tasks_blocked()
            await peer.close(4567)
        assert await peer.read_event() == BIG
        await peer.read_all()
        with pytest.raises(ConnectionBroken) as caught:
            await conn.closed
        assert caught.value.close_code == 4567
        assert conn.close_info is not None
        assert not conn.close_info.clean


async def test_what_was_accepted_before_the_peers_close_still_goes_out() -> None:
    async with connection_and_peer(capacity=10) as (conn, peer):
        await conn.send("accepted")
        await peer.close(1000)
        assert await peer.read_event() == "accepted"
        await peer.answer_close()
        assert (await conn.closed).code == 1000


async def test_a_send_that_waits_when_we_close_gets_a_closed_resource_error() -> None:
    async with connection_and_peer(capacity=1000) as (conn, peer):
        async with anyio.create_task_group() as tasks:

            async def send(message: bytes) -> None:
                with pytest.raises(anyio.ClosedResourceError):
                    await conn.send(message)

            tasks.start_soon(send, BIG)
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(send, b"never begun")
            await anyio.wait_all_tasks_blocked()
            conn.close()
        assert await peer.read_event() == BIG
        assert (await peer.answer_close()).code is None
        assert (await conn.closed).clean


async def test_abort_drops_what_is_queued_but_never_cuts_a_frame() -> None:
    async with connection_and_peer(capacity=1000, write_buffer=2**20) as (conn, peer):
        await conn.send(BIG)
        await anyio.wait_all_tasks_blocked()
        await conn.send("dropped")
        conn.writable.abort()
        assert await peer.read_event() == BIG
        await peer.answer_close()
        assert (await conn.closed).clean


async def test_ten_pings_get_ten_pongs_and_a_flood_gets_the_newest() -> None:
    async with connection_and_peer(capacity=200_000) as (_, peer):
        await peer.stream.send(b"".join(peer.codec.send_ping(b"%d" % number) for number in range(10)))
        events = [await peer.read_event() for _ in range(10)]
        assert [event.payload for event in events] == [b"%d" % number for number in range(10)]  # type: ignore[union-attr]
        flood = b"".join(peer.codec.send_ping(b"%d" % number) for number in range(100))
        await peer.stream.send(flood)
        await anyio.wait_all_tasks_blocked()
        events = []
        while not events or events[-1].payload != b"99":  # type: ignore[union-attr]
            events.append(await peer.read_event())
        assert len(events) <= 2 * MAX_QUEUED_PONGS


@pytest.mark.parametrize(
    "sizes",
    [
        [5],
        [3, 4, 5],
        [WRITE_BYTES * 2 + 1],
        [WRITE_BYTES * 7 // 4],
        [10, WRITE_BYTES, 10, 7],
        [WRITE_BYTES // 5] * 9,
    ],
)
def test_coalescing_changes_no_byte_and_bounds_every_write(sizes: list[int]) -> None:
    buffers: list[bytes | bytearray | memoryview] = [
        bytes([number]) * size for number, size in enumerate(sizes)
    ]
    chunks = list(coalesce(buffers, sum(sizes), WRITE_BYTES))
    assert b"".join(chunks) == b"".join(buffers)
    assert all(len(chunk) <= WRITE_BYTES * 5 / 4 for chunk in chunks)


@in_virtual_time()
async def test_statistics_tell_for_how_long_senders_were_held_back(anyio_backend: object) -> None:
    async with connection_and_peer(capacity=10, write_buffer=100) as (conn, peer):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(conn.send, b"x" * 200)
            await anyio.wait_all_tasks_blocked()
            before = conn.statistics().writable.paused_seconds
            await anyio.sleep(5)
            assert conn.statistics().writable.paused_seconds == before + 5
            assert await peer.read_event() == b"x" * 200
        total = conn.statistics().writable.paused_seconds
        await anyio.sleep(5)
        assert conn.statistics().writable.paused_seconds == total
