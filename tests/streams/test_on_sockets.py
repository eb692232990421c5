"""Connections over sockets: what leaves at once, and whose part the end of the transport is (RFC 6455 section 7.1.1)."""

from __future__ import annotations

import socket

import anyio
import pytest

from network.transport_kit import drained, read_to_the_end, some_passes, stream_and_socket
from websocketstream import CloseInfo
from websocketstream.testing import over_stream

pytestmark = pytest.mark.anyio

MASKED_CLOSE = b"\x88\x82\0\0\0\0\x03\xe8"  # 1000
CLOSE = b"\x88\x02\x03\xe8"
EMPTY_CLOSE = b"\x88\0"


async def test_a_server_ends_the_transport_as_soon_as_both_close_frames_are_there() -> None:
    """The client never ends its side, and need not; nobody leaves a block either."""
    async with (
        stream_and_socket() as (stream, client),
        over_stream(stream, server=True, close_timeout=30) as conn,
    ):
        client.sendall(MASKED_CLOSE)
        assert await conn.closed == CloseInfo(1000)
        assert await read_to_the_end(client) == CLOSE


async def test_so_it_does_when_it_has_begun_itself() -> None:
    async with (
        stream_and_socket() as (stream, client),
        over_stream(stream, server=True, close_timeout=30) as conn,
    ):
        conn.close(1000)
        client.sendall(MASKED_CLOSE)
        assert await conn.closed == CloseInfo(1000)
        assert await read_to_the_end(client) == CLOSE


async def test_so_it_does_when_its_block_is_left() -> None:
    async with stream_and_socket() as (stream, client):
        async with over_stream(stream, server=True, close_timeout=30) as conn:
            client.sendall(MASKED_CLOSE)
        assert conn.close_info == CloseInfo(1000)
        assert await read_to_the_end(client) in (CLOSE, EMPTY_CLOSE)


async def test_a_client_leaves_the_end_of_the_transport_to_the_server() -> None:
    async with (
        stream_and_socket() as (stream, server),
        over_stream(stream, server=False, close_timeout=30) as conn,
    ):
        server.sendall(CLOSE)
        assert await conn.closed == CloseInfo(1000)
        await some_passes()
        server.setblocking(False)
        assert len(server.recv(4096)) == 8  # its Close frame
        with pytest.raises(BlockingIOError):
            server.recv(4096)
        server.shutdown(socket.SHUT_WR)
        server.setblocking(True)
        assert await read_to_the_end(server) == b""


async def test_a_message_behind_the_close_frame_harms_nobody() -> None:
    async with stream_and_socket() as (stream, client), over_stream(stream, server=True) as conn:
        client.sendall(MASKED_CLOSE + b"\x81\x81\0\0\0\0x")
        assert await conn.closed == CloseInfo(1000)
        assert await read_to_the_end(client) == CLOSE


@pytest.mark.parametrize("server", [True, False])
async def test_a_cancelled_aclose_drops_the_connection_at_once(server: bool) -> None:
    async with (
        stream_and_socket() as (stream, other),
        over_stream(stream, server=server, close_timeout=3600) as conn,
    ):
        with anyio.CancelScope() as scope:
            scope.cancel()
            await conn.aclose()
        assert conn.close_info == CloseInfo(1006, "", False)
        frame = await read_to_the_end(other)
        assert frame == EMPTY_CLOSE if server else (frame[:2], len(frame)) == (b"\x88\x80", 6)


@pytest.mark.parametrize("size", [1, 65535, 65536, 100_000])
async def test_messages_that_the_system_takes_leave_without_a_pass_of_the_event_loop(size: int) -> None:
    async with stream_and_socket() as (stream, other), over_stream(stream, server=True) as conn:
        for _ in range(2):
            with pytest.raises(StopIteration):  # the coroutine is done with its first step
                conn.send(bytes(size)).send(None)
            if size >= 65536:
                assert not conn.statistics().writable.buffered_bytes
        await drained(other, 2 * size)
        other.sendall(MASKED_CLOSE)
