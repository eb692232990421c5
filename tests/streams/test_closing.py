"""The closing handshake from both sides, and every way in which it can fail to be one."""

from __future__ import annotations

import time

import anyio
import pytest
from anyio.abc import ByteStream

from streams.raw_peer import RawPeer, connection_and_peer, some_passes
from websocketstream import CloseInfo, ConnectionBroken, ConnectionClosed, WebSocketError
from websocketstream._protocol.codec import Close
from websocketstream._protocol.life import PARTING_SECONDS
from websocketstream.testing import memory_byte_stream_pair, over_stream, websocket_stream_pair

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[False, True], ids=["client", "server"])
def server(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


async def test_our_close_is_answered_and_closed_gives_the_peers_words(server: bool) -> None:
    async with connection_and_peer(server=server) as (conn, peer):
        conn.close(3456, "pizza")
        assert await peer.read_event() == Close(3456, "pizza")
        await peer.close(4222, "remote")
        await peer.stream.aclose()
        assert await conn.closed == CloseInfo(4222, "remote")
        assert conn.close_info == await conn.closed


async def test_closing_twice_and_in_every_way_sends_one_close_frame(server: bool) -> None:
    async with connection_and_peer(server=server) as (conn, peer):
        conn.close(3000, "first")
        conn.close(4000, "second")
        conn.readable.cancel(WebSocketError("third", close_code=4001))
        conn.writable.abort()
        await conn.send_eof()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(conn.aclose)
            tasks.start_soon(conn.writable.aclose)
            tasks.start_soon(conn.readable.aclose)
            assert await peer.answer_close() == Close(3000, "first")
        assert (await conn.closed).code == 3000
        conn.close()
        await conn.aclose()


async def test_a_wrong_code_is_an_error_even_after_the_close() -> None:
    async with connection_and_peer() as (conn, peer):
        with pytest.raises(ValueError, match="close code 999"):
            conn.close(999)
        conn.close()
        await peer.answer_close()
        await conn.closed
        with pytest.raises(ValueError, match="close code 1001"):
            conn.close(1001)
        with pytest.raises(ValueError, match="124 bytes"):
            await conn.aclose(1000, "x" * 124)


async def test_a_server_may_say_what_a_client_may_not() -> None:
    async with connection_and_peer(server=True) as (conn, peer):
        conn.close(1012, "restart")
        assert await peer.answer_close() == Close(1012, "restart")


@pytest.mark.parametrize(("code", "reason"), [(None, ""), (4000, "robot"), (1001, "")])
async def test_the_answer_to_a_close_keeps_code_and_reason_and_empty_stays_empty(
    server: bool, code: int | None, reason: str
) -> None:
    async with connection_and_peer(server=server) as (conn, peer):
        await peer.close(code, reason)
        assert await peer.read_event() == Close(code, reason)
        await peer.stream.aclose()
        assert await conn.closed == CloseInfo(code or 1005, reason)


async def test_the_server_ends_the_transport_and_the_client_waits_for_that(server: bool) -> None:
    async with connection_and_peer(server=server) as (conn, peer):
        conn.close()
        assert await peer.read_event() == Close()
        await peer.close()
        if server:
            assert await peer.read_event() is None
        else:
            with anyio.move_on_after(0.05) as scope:
                await peer.read_event()
            assert scope.cancelled_caught
        await conn.closed


async def test_simultaneous_closes_are_clean_and_each_sees_the_others_code() -> None:
    async with websocket_stream_pair() as (client, server):
        client.close(4001, "from the client")
        server.close(4002, "from the server")
        assert await client.closed == CloseInfo(4002, "from the server")
        assert await server.closed == CloseInfo(4001, "from the client")


async def test_a_transport_that_ends_without_a_close_frame_is_unclean(server: bool) -> None:
    async with connection_and_peer(server=server) as (conn, peer):
        await peer.ping()
        await peer.stream.aclose()
        errors = []
        for operation in (conn.receive(), conn.send("x"), conn.ping(), _wait(conn.closed)):
            with pytest.raises(ConnectionBroken) as caught:
                await operation
            errors.append(caught.value)
        assert all(error is errors[0] for error in errors)
        assert (errors[0].close_code, errors[0].reason, errors[0].sent_code) == (1006, "", None)
        assert conn.close_info == CloseInfo(1006, "", clean=False)


async def test_a_transport_that_ends_after_our_close_is_unclean(server: bool) -> None:
    async with connection_and_peer(server=server) as (conn, peer):
        conn.close(4000, "because")
        assert await peer.read_event() == Close(4000, "because")
        await peer.stream.aclose()
        with pytest.raises(ConnectionBroken) as caught:
            await conn.closed
        assert caught.value.close_code == 1006


async def test_a_reset_is_unclean_and_its_cause_is_kept(server: bool) -> None:
    async with connection_and_peer(server=server) as (conn, peer):
        peer.stream.reset()
        with pytest.raises(ConnectionBroken) as caught:
            await conn.receive()
        assert isinstance(caught.value.__cause__, anyio.BrokenResourceError)


async def test_a_reset_after_both_close_frames_is_clean(server: bool) -> None:
    async with connection_and_peer(server=server) as (conn, peer):
        conn.close()
        await peer.read_event()
        await peer.close(1000)
        await some_passes()
        peer.stream.reset()
        assert await conn.closed == CloseInfo(1000)


async def test_a_peer_that_sends_close_and_ends_at_once_is_clean() -> None:
    async with connection_and_peer() as (conn, peer):
        await peer.close(1000)
        await peer.stream.send_eof()
        assert await conn.closed == CloseInfo(1000)
        assert await peer.read_event() == Close(1000)


async def test_a_reset_right_after_the_peers_close_keeps_its_code() -> None:
    async with connection_and_peer(capacity=100) as (conn, peer):
        await conn.send(b"x" * 1000)
        await peer.close(4321)
        await anyio.wait_all_tasks_blocked()
        peer.stream.reset()
        with pytest.raises(ConnectionBroken) as caught:
            await conn.closed
        assert caught.value.close_code == 4321


async def test_data_and_pings_after_our_close_are_ignored(server: bool) -> None:
    async with connection_and_peer(server=server) as (conn, peer):
        conn.close()
        await peer.read_event()
        await peer.send("too late", b"x" * 10_000)
        await peer.ping()
        await peer.close()
        await peer.stream.aclose()
        assert await conn.closed == CloseInfo(1005)
        with pytest.raises(anyio.ClosedResourceError):
            await conn.receive()


async def test_after_our_close_both_directions_say_closed_here() -> None:
    async with connection_and_peer() as (conn, peer):
        await peer.send("unread")
        await anyio.wait_all_tasks_blocked()
        conn.close()
        with pytest.raises(anyio.ClosedResourceError):
            conn.readable.receive_nowait()
        with pytest.raises(anyio.ClosedResourceError):
            await conn.send("x")
        with pytest.raises(anyio.ClosedResourceError):
            await conn.ping()


async def test_a_receiver_that_waits_when_we_close_is_woken() -> None:
    async with connection_and_peer() as (conn, _), anyio.create_task_group() as tasks:

        async def receive() -> None:
            with pytest.raises(anyio.ClosedResourceError):
                await conn.receive()

        tasks.start_soon(receive)
        await anyio.wait_all_tasks_blocked()
        conn.close()


async def test_accepted_messages_go_out_before_the_close_frame() -> None:
    async with connection_and_peer(capacity=50) as (conn, peer):
        for number in range(50):
            await conn.send(str(number))
        conn.close(3000)
        assert [await peer.read_event() for _ in range(50)] == [str(number) for number in range(50)]
        assert await peer.answer_close() == Close(3000)
        assert (await conn.closed).clean


async def test_an_unread_backlog_never_blocks_the_peers_close() -> None:
    async with connection_and_peer(read_buffer=1000, capacity=1000) as (conn, peer):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(peer.send, *[b"x" * 900] * 1000)
            await anyio.wait_all_tasks_blocked()
            conn.close()
            assert await peer.read_event() == Close()
        await peer.close(1000)
        await peer.stream.aclose()
        assert await conn.closed == CloseInfo(1000)


async def test_the_peers_close_behind_unread_messages_waits_for_the_reader() -> None:
    async with connection_and_peer(read_buffer=1000, capacity=1000) as (conn, peer):

        async def send_and_close() -> None:
            await peer.send(*[b"x" * 900] * 10)
            await peer.close(1000)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send_and_close)
            await anyio.wait_all_tasks_blocked()
            assert conn.close_info is None
            assert [message async for message in conn] == [b"x" * 900] * 10
        await peer.answer_close()
        assert (await conn.closed).clean


@pytest.mark.parametrize("end", ["close", "protocol error"])
async def test_what_arrived_together_with_the_peers_last_word_can_still_be_answered(end: str) -> None:
    """All in one read: the answers must not depend on how the network cut the bytes."""
    async with connection_and_peer(server=True) as (conn, peer):
        glued, glue = memory_byte_stream_pair()
        real, peer.stream = peer.stream, glued
        await peer.send("one", "two")
        if end == "close":
            await peer.close(1000)
        await glued.send_eof()
        await real.send(await glue.receive() + (b"" if end == "close" else b"\xff\xff"))
        peer.stream = real
        with pytest.raises(anyio.BrokenResourceError if end != "close" else ConnectionClosed):
            while True:
                await conn.send("re: " + str(await conn.receive()))
        assert [await peer.read_event() for _ in range(2)] == ["re: one", "re: two"]
        last = await peer.read_event()
        assert isinstance(last, Close)
        assert last.code == (1000 if end == "close" else 1002)


@pytest.mark.parametrize("how", ["leave", "close", "send_eof", "cancel", "receive"])
async def test_whoever_ends_it_behind_unread_messages_sees_the_peer_end_the_transport_at_once(
    server: bool, how: str
) -> None:
    started = time.monotonic()
    ours, theirs = memory_byte_stream_pair()
    peer = RawPeer(theirs, client=server)
    async with over_stream(ours, server=server) as conn:
        await peer.send("unread")
        await peer.close(1000)
        await theirs.send_eof()
        await anyio.wait_all_tasks_blocked()
        if how == "close":
            conn.close()
        elif how == "send_eof":
            await conn.send_eof()
        elif how == "cancel":
            conn.readable.cancel()
        elif how == "receive":
            assert await conn.receive() == "unread"
    assert conn.close_info == CloseInfo(1000)
    assert time.monotonic() - started < PARTING_SECONDS / 2


async def test_send_eof_stops_sending_and_goes_on_receiving() -> None:
    async with connection_and_peer() as (conn, peer):
        await conn.send("last words")
        await conn.send_eof()
        await conn.send_eof()
        with pytest.raises(anyio.ClosedResourceError):
            await conn.send("x")
        assert await peer.read_event() == "last words"
        assert await peer.read_event() == Close()
        await peer.send("answer", "more")
        await peer.close(1000)
        await peer.stream.aclose()
        assert [message async for message in conn] == ["answer", "more"]
        with pytest.raises(ConnectionClosed):
            await conn.receive()
        assert await conn.closed == CloseInfo(1000)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (None, Close()),
        (WebSocketError(close_code=3333), Close(3333)),
        (WebSocketError(close_code=3456, reason="set"), Close(3456, "set")),
        (WebSocketError(reason="specified"), Close(1000, "specified")),
        (WebSocketError("no code"), Close()),
        (ConnectionClosed(CloseInfo(1006)), Close()),
        (ConnectionClosed(CloseInfo(1001, "copied")), Close()),
        (ValueError("close_code=3333"), Close()),
    ],
    ids=repr,
)
@pytest.mark.parametrize("side", ["readable", "writable"])
async def test_only_a_real_websocket_error_chooses_the_close_frame(
    side: str, error: Exception | None, said: Close
) -> None:
    async with connection_and_peer() as (conn, peer):
        if side == "readable":
            conn.readable.cancel(error)
        else:
            conn.writable.abort(error)
        assert await peer.answer_close() == said


async def test_closed_can_be_awaited_by_many_and_before_and_after_the_end() -> None:
    async with connection_and_peer() as (conn, peer):
        results = []

        async def wait() -> None:
            results.append(await conn.closed)

        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            conn.close(3000)
            await peer.answer_close()
        await wait()
        assert results == [CloseInfo(3000)] * 4


async def test_a_protocol_error_is_told_to_the_peer_and_to_the_user(server: bool) -> None:
    async with connection_and_peer(server=server) as (conn, peer):
        await peer.send("before")
        await peer.stream.send(b"\xf0\x80\x00\x00\x00\x00" if server else b"\xf0\x00")
        assert await conn.receive() == "before"
        with pytest.raises(ConnectionBroken) as caught:
            await conn.receive()
        assert (caught.value.sent_code, caught.value.close_code) == (1002, 1006)
        event = await peer.read_event()
        assert isinstance(event, Close)
        assert event.code == 1002
        assert await peer.read_event() is None


async def test_a_message_over_the_limit_is_refused_with_1009_and_the_option_is_named() -> None:
    async with connection_and_peer(max_message_size=1000) as (conn, peer):
        await peer.send(b"x" * 1001)
        with pytest.raises(ConnectionBroken, match="max_message_size") as caught:
            await conn.receive()
        assert caught.value.sent_code == 1009


async def test_the_close_frame_of_a_failure_survives_a_peer_that_is_still_sending() -> None:
    """Closing with unread bytes would reset the connection under our own Close frame."""
    async with connection_and_peer(max_message_size=1000, capacity=1000) as (_, peer):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(peer.send, *[b"x" * 1001] * 20)
            event = await peer.read_event()
            assert isinstance(event, Close)
            assert event.code == 1009
        await peer.stream.aclose()


class BrokenStream(ByteStream):
    """A transport with a bug: an exception that no transport should raise."""

    async def receive(self, max_bytes: int = 65536) -> bytes:
        raise KeyError("bug")

    async def send(self, item: bytes) -> None:
        pass

    async def send_eof(self) -> None:
        pass

    async def aclose(self) -> None:
        raise RuntimeError("another bug")


async def test_a_bug_in_the_background_is_an_error_of_the_connection_not_of_the_block() -> None:
    async with over_stream(BrokenStream(), server=False) as conn:
        with pytest.raises(ConnectionBroken) as caught:
            await conn.receive()
        assert isinstance(caught.value.__cause__, KeyError)


async def test_ping_measures_the_round_trip_and_a_late_pong_answers_earlier_pings_too() -> None:
    async with connection_and_peer() as (conn, peer), anyio.create_task_group() as tasks:
        assert conn.latency is None
        latencies = []

        async def ping() -> None:
            latencies.append(await conn.ping())

        tasks.start_soon(ping)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(ping)
        await peer.read_event()
        second = await peer.read_event()
        await peer.stream.send(peer.codec.send_pong(b"unsolicited"))
        await peer.stream.send(peer.codec.send_pong(second.payload))  # type: ignore[union-attr]
        await anyio.wait_all_tasks_blocked()
        assert len(latencies) == 2
        assert conn.latency in latencies


async def test_a_cancelled_ping_and_its_late_pong_do_no_harm() -> None:
    async with connection_and_peer() as (conn, peer):
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(conn.ping)
                event = await peer.read_event()
                scope.cancel()
        await peer.stream.send(peer.codec.send_pong(event.payload))  # type: ignore[union-attr]
        await conn.send("fine")
        assert await peer.read_event() == "fine"


async def test_a_ping_that_waits_when_the_connection_ends_raises_its_error() -> None:
    async with connection_and_peer() as (conn, peer), anyio.create_task_group() as tasks:

        async def ping(error: type[Exception]) -> None:
            with pytest.raises(error):
                await conn.ping()

        tasks.start_soon(ping, ConnectionBroken)
        await anyio.wait_all_tasks_blocked()
        await peer.stream.aclose()


async def test_the_transport_may_be_any_byte_stream_even_without_half_close() -> None:
    ours, theirs = memory_byte_stream_pair()
    async with over_stream(ours, server=False) as client, over_stream(theirs, server=True) as server:
        await client.send("hello")
        assert await server.receive() == "hello"


async def _wait(awaitable: object) -> object:
    return await awaitable  # type: ignore[misc]
