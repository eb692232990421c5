"""Large messages over sockets, plain and through TLS, are read straight into their memory, and nobody can tell."""

from __future__ import annotations

import random
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from network.transport_kit import some_passes, transport_and_peer
from protocol.codec_kit import BINARY, CLOSE, PING, TEXT, CompiledCodec, Kit
from waiting import at_rest, until
from websocketstream import CloseInfo, ConnectionBroken
from websocketstream.testing import over_stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from websocketstream import WebSocketStream

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.parametrize("kind", ["socket", "TLS", "TLS in TLS"]),
    pytest.mark.parametrize("server", [False, True], ids=["client", "server"]),
]

KIB = 2**10
MIB = 2**20


@asynccontextmanager
async def connection_and_peer(
    kind: str, *, server: bool, **options: Any
) -> AsyncIterator[tuple[WebSocketStream, Any, Kit]]:
    async with (
        transport_and_peer(kind) as (transport, peer),
        over_stream(  # type: ignore[arg-type]
            transport, server=server, **{"max_message_size": None, "close_timeout": 0.1, **options}
        ) as conn,
    ):
        yield conn, peer, Kit(CompiledCodec, not server)


def messages(kit: Kit) -> tuple[list[str | bytes], bytes]:
    """Make messages of many sizes, some of them in fragments and with pings between, and their frames."""
    choice = random.Random(7)
    sent: list[str | bytes] = []
    wire = b""
    for size in [MIB, MIB, 100, 3 * MIB, 700_000, 64 * KIB, 0, 512 * KIB, MIB - 1, 2 * MIB + 1, 5]:
        for text in (False, True):
            data = b"abcdefg" * (size // 7) + "€".encode() if text else choice.randbytes(size)
            cut = choice.choice([0, len(data) // 3, len(data)])
            parts = [data] if choice.random() < 0.5 else [data[:cut], data[cut:]]
            wire += kit.message(TEXT if text else BINARY, *parts, between=kit.frame(PING, b"?"))
            sent.append(data.decode() if text else data)
    return sent, wire


@pytest.mark.parametrize("read_buffer", [2**16, 2**20, 2**24])
async def test_messages_of_all_sizes_come_as_they_were_sent(
    kind: str, server: bool, read_buffer: int
) -> None:
    async with connection_and_peer(kind, server=server, read_buffer=read_buffer) as (conn, peer, kit):
        sent, wire = messages(kit)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(peer.send, wire)
            for message in sent:
                assert await conn.receive() == message


async def test_a_cancelled_receive_in_the_middle_of_a_message_loses_nothing(kind: str, server: bool) -> None:
    async with connection_and_peer(kind, server=server) as (conn, peer, kit):
        payload = random.Random(3).randbytes(4 * MIB)
        wire = kit.frame(BINARY, payload)
        await peer.send(wire[: 2 * MIB])
        with anyio.move_on_after(0):
            await conn.receive()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(peer.send, wire[2 * MIB :])
            assert await conn.receive() == payload


async def test_a_connection_is_closed_in_the_middle_of_a_message(kind: str, server: bool) -> None:
    async with connection_and_peer(kind, server=server, close_timeout=10) as (conn, peer, kit):
        wire = kit.frame(BINARY, bytes(4 * MIB))
        await peer.send(wire[: 2 * MIB])
        conn.close(1000)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(peer.send, wire[2 * MIB :] + kit.frame(CLOSE, b"\x03\xe8"))
            assert await conn.closed == CloseInfo(1000)


async def test_a_peer_that_goes_in_the_middle_of_a_message_has_broken_the_connection(
    kind: str, server: bool
) -> None:
    async with connection_and_peer(kind, server=server) as (conn, peer, kit):
        await peer.send(kit.frame(BINARY, bytes(4 * MIB))[: 2 * MIB])
        await peer.reset()
        with pytest.raises(ConnectionBroken):
            await conn.receive()


async def test_the_close_frame_behind_a_large_message_is_seen_behind_it(kind: str, server: bool) -> None:
    async with connection_and_peer(kind, server=server) as (conn, peer, kit):
        async with anyio.create_task_group() as tasks:
            wire = kit.frame(BINARY, bytes(2 * MIB)) * 2 + kit.frame(CLOSE, b"\x03\xe8bye")
            tasks.start_soon(peer.send, wire)
            assert [len(message) async for message in conn.readable] == [2 * MIB] * 2
        assert await conn.closed == CloseInfo(1000, "bye")


async def test_nothing_is_read_for_an_application_that_does_not_receive(kind: str, server: bool) -> None:
    async with connection_and_peer(kind, server=server, read_buffer=2**16) as (conn, peer, kit):
        wire = kit.frame(BINARY, bytes(MIB)) * 12
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(peer.send, wire)
            await until(lambda: conn.statistics().readable.buffered_messages)
            await at_rest(lambda: conn.statistics().readable.buffered_bytes)
            assert conn.statistics().readable.buffered_messages <= 2  # the second was in the same read
            for _ in range(12):
                assert len(await conn.receive()) == MIB
        await some_passes()


@pytest.mark.parametrize("size", [1, MIB - 100, MIB, MIB + 1, 5 * MIB])
async def test_a_message_that_has_left_is_not_kept(kind: str, server: bool, size: int) -> None:
    async with connection_and_peer(kind, server=server) as (conn, peer, _):
        message = bytes(size)

        def count() -> int:
            return sys.getrefcount(message)

        before = count()
        header = (2 if size < 126 else 10) + (0 if server else 4)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(conn.send, message)
            assert len(await peer.receive(header + size)) == header + size
        await until(lambda: count() == before)
