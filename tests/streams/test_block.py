"""The ``async with`` block: what comes out of it, and how long leaving it takes."""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest
from trio.lowlevel import currently_ki_protected

import websocketstream
from streams.raw_peer import connection_and_peer
from waiting import in_virtual_time
from websocketstream import CloseInfo, ConnectionBroken
from websocketstream._network.loop import current_event_loop
from websocketstream._protocol.codec import Close
from websocketstream.testing import memory_byte_stream_pair, over_stream, websocket_stream_pair

if TYPE_CHECKING:
    from types import FrameType

pytestmark = pytest.mark.anyio

on_asyncio = pytest.mark.parametrize("anyio_backend", ["asyncio", ("asyncio", {"use_uvloop": True})])


@pytest.mark.parametrize(
    "error",
    [ValueError("mine"), ExceptionGroup("mine", [ValueError("a"), KeyError("b")]), anyio.EndOfStream()],
    ids=lambda error: type(error).__name__,
)
async def test_what_the_body_raises_comes_out_as_the_same_object(error: Exception) -> None:
    with pytest.raises(type(error)) as caught:
        async with websocket_stream_pair() as (_, server):
            try:
                raise LookupError("context")
            except LookupError:
                raise error  # noqa: B904  (the context is what is looked at)
    assert caught.value is error
    assert isinstance(error.__context__, LookupError)
    assert error.__cause__ is None
    assert server.close_info == CloseInfo(1011)


async def test_a_keyboard_interrupt_comes_out_as_the_same_object() -> None:
    """Caught inside the test: no test runner lets one pass."""
    interrupt = KeyboardInterrupt()
    caught: BaseException | None = None
    try:
        async with websocket_stream_pair() as (_, server):
            raise interrupt
    except KeyboardInterrupt as exc:
        caught = exc
    assert caught is interrupt
    assert server.close_info == CloseInfo(1001)


async def test_the_error_of_the_connection_comes_out_plain() -> None:
    with pytest.raises(ConnectionBroken):
        async with connection_and_peer() as (conn, peer):
            await peer.stream.aclose()
            await conn.receive()


async def test_leaving_the_block_says_goodbye_and_waits_for_the_answer() -> None:
    ours, theirs = memory_byte_stream_pair()
    async with over_stream(theirs, server=True) as server:
        async with over_stream(ours, server=False) as client:
            await client.send("last")
        assert client.close_info == CloseInfo(1005)
        assert await server.receive() == "last"
        assert [message async for message in server] == []


async def test_a_cancelled_body_says_1001_within_the_grace() -> None:
    async with connection_and_peer(server=True) as (_, peer):
        ours, theirs = memory_byte_stream_pair()
        peer.stream = theirs
        with anyio.CancelScope() as scope:
            async with over_stream(ours, server=True):
                scope.cancel()
                await anyio.sleep_forever()
        assert scope.cancelled_caught
        assert await peer.read_event() == Close(1001)
        assert await peer.read_event() is None


@on_asyncio
async def test_a_natively_cancelled_body_says_1001_and_stays_cancelled(anyio_backend: object) -> None:
    async with connection_and_peer(server=True) as (_, peer):
        ours, theirs = memory_byte_stream_pair()
        peer.stream = theirs

        async def body() -> None:
            async with over_stream(ours, server=True):
                await anyio.sleep_forever()

        task = asyncio.ensure_future(body())
        await anyio.wait_all_tasks_blocked()
        task.cancel("native")
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await peer.read_event() == Close(1001)


@on_asyncio
async def test_asyncio_timeout_around_the_block_works(anyio_backend: object) -> None:
    async with websocket_stream_pair() as (_, server):
        ours, theirs = memory_byte_stream_pair()
        async with over_stream(theirs, server=False):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01), over_stream(ours, server=True):
                    await anyio.sleep_forever()
        assert server.close_info is None


async def test_a_block_is_entered_once() -> None:
    ours, theirs = memory_byte_stream_pair()
    block = over_stream(ours, server=False)
    async with over_stream(theirs, server=True):
        async with block:
            pass
        with pytest.raises(RuntimeError, match="entered before"):
            await block.__aenter__()


async def test_an_opening_that_fails_leaves_no_task_group() -> None:
    from websocketstream._streams.block import StreamBlock

    async def fail() -> None:
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        async with StreamBlock(fail):  # type: ignore[arg-type]
            pass


async def test_cancelling_aclose_drops_the_connection_and_stays_cancelled() -> None:
    async with connection_and_peer() as (conn, peer):
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(conn.aclose)
                await anyio.wait_all_tasks_blocked()
                scope.cancel()
        assert conn.close_info == CloseInfo(1006, clean=False)
        assert await peer.read_event() == Close()
        assert await peer.read_event() is None


async def test_cancelling_the_goodbye_drops_the_connection_and_stays_cancelled() -> None:
    ours, _theirs = memory_byte_stream_pair()
    left = False
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:

            async def body() -> None:
                nonlocal left
                async with over_stream(ours, server=False) as conn:
                    pass
                left = conn is not None

            tasks.start_soon(body)
            await anyio.wait_all_tasks_blocked()
            scope.cancel()
    assert scope.cancelled_caught
    assert not left


@in_virtual_time()
class TestWithAClockOfItsOwn:
    """Deadlines in virtual time: exact, and without waiting."""

    async def test_a_peer_that_never_answers_holds_the_block_for_close_timeout(self) -> None:
        ours, _theirs = memory_byte_stream_pair()
        async with over_stream(ours, server=False, close_timeout=7) as conn:
            start = anyio.current_time()
        assert anyio.current_time() - start == pytest.approx(7)
        assert conn.close_info == CloseInfo(1006, clean=False)

    async def test_a_peer_that_does_not_read_holds_the_block_for_close_timeout(self) -> None:
        ours, _theirs = memory_byte_stream_pair(capacity=10)
        async with over_stream(ours, server=False, close_timeout=7) as conn:
            await conn.send(b"x" * 1000)
            start = anyio.current_time()
        assert anyio.current_time() - start == pytest.approx(7)

    async def test_a_peer_that_drips_data_holds_the_block_for_close_timeout(self) -> None:
        async with connection_and_peer() as (_, peer):
            ours, theirs = memory_byte_stream_pair()
            peer.stream = theirs

            async def drip() -> None:
                while True:
                    await peer.send("x")
                    await anyio.sleep(3)

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(drip)
                async with over_stream(ours, server=False, close_timeout=7):
                    start = anyio.current_time()
                assert anyio.current_time() - start == pytest.approx(7)
                tasks.cancel_scope.cancel()

    async def test_a_client_gives_the_server_a_second_to_end_the_transport(self) -> None:
        async with connection_and_peer() as (_, peer):
            ours, theirs = memory_byte_stream_pair()
            peer.stream = theirs
            await peer.close(1000)
            async with over_stream(ours, server=False) as conn:
                await conn.closed
                start = anyio.current_time()
            assert anyio.current_time() - start == pytest.approx(1)
            assert conn.close_info == CloseInfo(1000)

    async def test_an_application_that_does_not_read_delays_the_answer_to_a_close_by_a_second_only(
        self,
    ) -> None:
        async with connection_and_peer() as (conn, peer):
            await peer.send("unread")
            await peer.close(1000)
            start = anyio.current_time()
            assert await peer.read_event() == Close(1000)
            assert anyio.current_time() - start == pytest.approx(1)
            assert await conn.receive() == "unread"

    async def test_a_cancelled_block_takes_no_longer_than_the_grace(self) -> None:
        ours, _theirs = memory_byte_stream_pair(capacity=10)
        start = anyio.current_time()
        with anyio.move_on_after(5):
            async with over_stream(ours, server=False) as conn:
                await conn.send(b"x" * 1_000_000)
        assert anyio.current_time() - start == pytest.approx(5.5)

    async def test_a_close_has_its_deadline_even_when_nobody_waits_for_it(self) -> None:
        ours, _theirs = memory_byte_stream_pair(capacity=10)
        async with over_stream(ours, server=False, close_timeout=7) as conn:
            await conn.send(b"x" * 1000)
            start = anyio.current_time()
            conn.close()
            with pytest.raises(ConnectionBroken):
                await conn.closed
            assert anyio.current_time() - start == pytest.approx(7)

    async def test_a_silent_peer_is_given_up_with_1011_after_forty_seconds(self) -> None:
        async with connection_and_peer() as (conn, peer):
            start = anyio.current_time()
            with pytest.raises(ConnectionBroken, match="ping_timeout=20") as caught:
                await conn.receive()
            assert anyio.current_time() - start == pytest.approx(40)
            assert caught.value.sent_code == 1011
            events = await peer.read_all()
            assert events[-1] == Close(1011, "ping timeout")

    async def test_any_inbound_byte_keeps_a_connection_alive_without_pongs(self) -> None:
        async with connection_and_peer() as (conn, peer):
            for _ in range(20):
                await anyio.sleep(35)
                await peer.stream.send(peer.codec.send_pong(b"not an answer"))
            assert conn.close_info is None

    async def test_a_slow_application_never_looks_like_a_dead_peer(self) -> None:
        async with connection_and_peer(read_buffer=100, capacity=100) as (conn, peer):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(peer.send, *["x" * 90] * 50)
                for _ in range(50):
                    await anyio.sleep(3600)
                    assert await conn.receive() == "x" * 90
            assert conn.close_info is None

    async def test_a_dead_peer_is_noticed_after_the_application_reads_on(self) -> None:
        async with connection_and_peer(read_buffer=100) as (conn, peer):
            await peer.send("x" * 200)
            await anyio.sleep(3600)
            await conn.receive()
            start = anyio.current_time()
            with pytest.raises(ConnectionBroken):
                await conn.receive()
            assert anyio.current_time() - start <= 41

    async def test_keepalive_pings_measure_the_latency(self) -> None:
        async with websocket_stream_pair() as (client, server):
            await anyio.sleep(21)
            assert client.latency is not None
            assert server.latency is not None

    async def test_without_an_interval_nothing_is_pinged(self) -> None:
        async with connection_and_peer(ping_interval=None) as (conn, peer):
            with anyio.move_on_after(10_000) as scope:
                await peer.read_event()
            assert scope.cancelled_caught
            assert conn.close_info is None

    async def test_a_slow_link_that_moves_is_not_a_dead_peer(self) -> None:
        """A ping behind a large message waits as long as the message moves."""
        async with connection_and_peer(capacity=1000) as (conn, peer):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(conn.send, b"x" * 3_000_000)
                taken = 0
                while taken < 3_000_000:
                    await anyio.sleep(0.05)
                    taken += len(await peer.stream.receive())
            assert conn.close_info is None


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_ctrl_c_finds_no_half_entered_and_no_half_left_block(anyio_backend: str) -> None:
    """trio raises KeyboardInterrupt in whatever runs, but not where we could not make up for it."""
    current_event_loop()
    here = str(Path(websocketstream.__file__).parent)
    interruptible: list[str] = []

    def note(frame: FrameType, event: str, _: object) -> None:
        inside = event in ("call", "return") and frame.f_code.co_filename.startswith(here)
        if inside and not currently_ki_protected():
            interruptible.append(frame.f_code.co_qualname)

    async with AsyncExitStack() as stack:
        ours, theirs = memory_byte_stream_pair()
        block = over_stream(ours, server=False)
        await theirs.send(b"\x82\x01x\x88\0")
        await theirs.aclose()
        sys.setprofile(note)
        stack.callback(sys.setprofile, None)
        conn = await block.__aenter__()
        sys.setprofile(None)
        await conn.send(b"x")
        sys.setprofile(note)
        await block.__aexit__(None, None, None)
    assert not interruptible
