"""Relays whose ends come in each order: nothing said is lost, nobody waits for who is gone, errors stay errors."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import ByteStream
from anyio.streams.tls import TLSStream

from streams.raw_peer import RawPeer, connection_and_peer
from waiting import Call, in_virtual_time
from websocketstream import ConnectionBroken, as_byte_stream, relay
from websocketstream._protocol.codec import Close
from websocketstream.testing import memory_byte_stream_pair, websocket_stream_pair

pytestmark = pytest.mark.anyio


async def at_end(stream: ByteStream) -> bytes:
    """Return what comes up to the end of a direction."""
    received = b""
    try:
        while True:
            received += await stream.receive()
    except anyio.EndOfStream:
        return received


# --- the end of a connection, and that of one direction


async def test_a_connection_that_is_closed_ends_both_also_where_half_closes_were_agreed() -> None:
    here, near = memory_byte_stream_pair()
    async with connection_and_peer() as (conn, peer), anyio.create_task_group() as tasks:
        call = Call.start(tasks, relay, near, as_byte_stream(conn, eof="empty"))
        await peer.send(b"last words")
        await peer.close(1000)
        await call.finished()  # although the other side says nothing
    assert await at_end(here) == b"last words"


async def say_close(peer: RawPeer) -> None:
    await peer.close(1000)


async def say_error(peer: RawPeer) -> None:
    await peer.close(1011)


async def vanish(peer: RawPeer) -> None:
    peer.stream.reset()


@pytest.mark.parametrize("end", [say_close, say_error, vanish])
async def test_the_end_of_a_connection_is_seen_behind_that_of_its_direction(
    end: Callable[[RawPeer], Any],
) -> None:
    here, near = memory_byte_stream_pair()
    async with connection_and_peer() as (conn, peer), anyio.create_task_group() as tasks:
        call = Call.start(tasks, relay, as_byte_stream(conn, eof="empty"), near)
        await peer.send(b"all of it", b"")
        assert await at_end(here) == b"all of it"
        await call.stays_pending()
        await peer.send(b"too late")
        await end(peer)
        if end is say_close:
            await call.finished()
        else:
            with pytest.raises(anyio.BrokenResourceError):
                await call.finished()


async def test_a_relay_ends_with_its_directions_and_leaves_the_streams_open() -> None:
    here, near = memory_byte_stream_pair()
    async with websocket_stream_pair() as (client, server), anyio.create_task_group() as tasks:
        call = Call.start(tasks, relay, near, as_byte_stream(client, eof="empty"))
        far = as_byte_stream(server, eof="empty")
        await far.send(b"answer")
        await far.send_eof()
        assert await at_end(here) == b"answer"
        await here.send(b"question")
        await call.stays_pending()
        await here.send_eof()
        assert await at_end(far) == b"question"
        await call.finished()
        await client.send("still open")
        assert await server.receive() == "still open"


@in_virtual_time()
async def test_what_a_peer_has_said_before_it_closed_arrives_although_nobody_takes_its_bytes_any_more() -> (
    None
):
    said = [bytes([number]) * 2000 for number in range(5)]
    async with (
        connection_and_peer(capacity=1000, write_buffer=1) as (left, slow),
        connection_and_peer() as (right, other),
        anyio.create_task_group() as tasks,
    ):
        call = Call.start(tasks, relay, left, right)
        await other.send(*said)
        await other.close(1000)
        await anyio.sleep(2)  # until the Close frame counts, whether or not all before it was taken
        await slow.send(b"who wants this?")
        await call.stays_pending()
        events = [await slow.read_event() for _ in range(6)]
        await call.finished()
    assert events[:5] == said
    assert isinstance(events[5], Close)


@in_virtual_time()
async def test_bytes_that_are_cut_off_by_a_good_end_are_no_error() -> None:
    here, near = memory_byte_stream_pair()
    async with (
        connection_and_peer(capacity=1000, write_buffer=1, close_timeout=1) as (conn, peer),
        anyio.create_task_group() as tasks,
    ):
        call = Call.start(tasks, relay, near, conn)
        await here.send(bytes(10_000))
        await call.stays_pending()
        await peer.send(b"enough")
        await peer.close(1000)
        assert await at_end(here) == b"enough"
        await call.finished()
        with pytest.raises(ConnectionBroken, match="before a message was sent completely"):
            await conn.closed


async def test_a_text_message_is_told_to_who_sent_it() -> None:
    _, near = memory_byte_stream_pair()
    async with connection_and_peer(server=True) as (conn, peer):
        await peer.send("text")
        with pytest.raises(ConnectionBroken, match="text message") as caught:
            await relay(near, conn)
        assert isinstance(close := await peer.read_event(), Close)
        assert close.code == 1003
    assert caught.value.sent_code == 1003


# --- TLS


async def tls_pair(server_ssl: ssl.SSLContext, client_ssl: ssl.SSLContext) -> tuple[TLSStream, TLSStream]:
    one, other = memory_byte_stream_pair()
    async with anyio.create_task_group() as tasks:
        wrap = partial(TLSStream.wrap, other, server_side=True, ssl_context=server_ssl)
        far = Call.start(tasks, wrap)
        near = await TLSStream.wrap(one, hostname="localhost", ssl_context=client_ssl)
        return near, await far.finished()


async def test_tls_learns_of_the_end_of_a_connection_by_its_own_goodbye(
    server_ssl: ssl.SSLContext, client_ssl: ssl.SSLContext
) -> None:
    near, far = await tls_pair(server_ssl, client_ssl)
    async with connection_and_peer() as (conn, peer), anyio.create_task_group() as tasks:

        async def backend() -> None:
            async with far:
                assert await at_end(far) == b"last words"  # which would be an error, were it cut off

        tasks.start_soon(backend)
        await peer.send(b"last words")
        await peer.close(1000)
        async with near:
            await relay(conn, near)


@in_virtual_time()
@pytest.mark.parametrize("eof", ["empty", None])
async def test_tls_that_is_not_told_of_an_end_may_answer_and_is_not_waited_for_in_silence(
    server_ssl: ssl.SSLContext, client_ssl: ssl.SSLContext, eof: Any
) -> None:
    near, far = await tls_pair(server_ssl, client_ssl)
    here, bytes_below = memory_byte_stream_pair()
    async with websocket_stream_pair() as (client, server), anyio.create_task_group() as tasks:
        asks: ByteStream = here if eof is None else as_byte_stream(client, eof=eof)
        call = Call.start(tasks, relay, bytes_below if eof is None else as_byte_stream(server, eof=eof), near)
        await asks.send(b"question")
        await asks.send_eof()
        assert await far.receive() == b"question"
        for _ in range(3):
            await anyio.sleep(9)
            await far.send(b"answer")
            assert await asks.receive() == b"answer"
        began = anyio.current_time()
        await call.finished()
        assert anyio.current_time() - began == pytest.approx(10, abs=0.1)
        await anyio.aclose_forcefully(near)


async def test_the_end_of_tls_is_handed_on(server_ssl: ssl.SSLContext, client_ssl: ssl.SSLContext) -> None:
    near, far = await tls_pair(server_ssl, client_ssl)
    async with connection_and_peer() as (conn, peer), anyio.create_task_group() as tasks, near:
        call = Call.start(tasks, relay, near, conn)
        await far.send(b"last words")
        tasks.start_soon(far.aclose)
        assert await peer.read_event() == b"last words"
        assert isinstance(await peer.read_event(), Close)
        await peer.close()
        await call.finished()


# --- TCP


async def test_an_end_that_cannot_be_handed_on_any_more_is_a_broken_stream_at_the_most() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        near = await anyio.connect_tcp("127.0.0.1", listening.getsockname()[1])
        accepted, _ = listening.accept()
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        accepted.close()  # a reset
    async with near, connection_and_peer() as (conn, peer):
        with pytest.raises(anyio.BrokenResourceError):
            while True:
                await near.send(b"x")
        await peer.close(1000)
        with suppress(anyio.BrokenResourceError):  # not everywhere
            await relay(conn, near)


# --- failures and cancellation


class Failing(ByteStream):
    """Does nothing, until it fails."""

    def __init__(self, error: BaseException, **how: Any) -> None:
        self.error = error
        self.how = how

    async def receive(self, max_bytes: int = 65536) -> bytes:
        return await self._do("receive")

    async def send(self, item: bytes) -> None:
        await self._do("send")

    async def send_eof(self) -> None:
        await self._do("send_eof")

    async def aclose(self) -> None:
        raise AssertionError("it is not the relay's to close")

    async def _do(self, what: str) -> Any:
        how = self.how.get(what)
        if how is None:
            await anyio.sleep_forever()
        await anyio.lowlevel.checkpoint()
        if how == "fail":
            raise self.error
        return how


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt(), SystemExit(3)])
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"receive": "fail"}, {"receive": "fail"}),
        ({"receive": "fail"}, {"receive": b"x", "send": b""}),
        ({"receive": b"x"}, {"send": "fail"}),
        ({"receive": b""}, {"send_eof": "fail"}),
        ({"receive": b"x", "send": "fail"}, {"receive": b"x", "send": "fail"}),
    ],
)
async def test_one_error_comes_out_and_no_group(error: BaseException, one: Any, other: Any) -> None:
    with pytest.raises(type(error)) as caught, anyio.fail_after(10):
        await relay(Failing(error, **one), Failing(error, **other))
    assert caught.value is error


@pytest.mark.parametrize("passes", range(0, 30, 5))
@pytest.mark.parametrize("eof", ["close", "empty"])
async def test_a_relay_that_is_cancelled_anywhere_leaves_both_streams_usable(passes: int, eof: Any) -> None:
    here, near = memory_byte_stream_pair(100)
    async with websocket_stream_pair(capacity=100, write_buffer=100) as (client, server):
        middle, far = as_byte_stream(client, eof=eof), as_byte_stream(server, eof=eof)
        async with anyio.create_task_group() as tasks:
            call = Call.start(tasks, relay, near, middle)
            for end in (here, far):
                tasks.start_soon(end.send, bytes(70_000))
            for _ in range(passes):
                await anyio.lowlevel.checkpoint()
            call.scope.cancel()
            await call.finished()
            tasks.cancel_scope.cancel()
        async with anyio.create_task_group() as tasks:
            again = Call.start(tasks, relay, near, middle)
            tasks.start_soon(far.send, b"after")
            received = b""
            while not received.endswith(b"after"):
                received += await here.receive()
            again.scope.cancel()
