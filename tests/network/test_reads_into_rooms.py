"""What arrives goes where the receiver has room for it, and what is behind comes with it: nothing is lost, doubled or swapped."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

import anyio
import pytest
from transport_kit import Recorder, some_passes, transport_and_peer

from waiting import until
from websocketstream._network.transport import LARGE_READ_BYTES, READ_BYTES

pytestmark = pytest.mark.anyio

KIB = 2**10
MIB = 2**20
MOST = LARGE_READ_BYTES + 2**15  # with a record of TLS that came in part before
# Those that can, and others.
KINDS = [
    "socket",
    "TLS",
    "TLS in memory",
    "TLS in TLS",
    "socket without watching",
    "socket without epoll",
    "memory",
]
kinds = pytest.mark.parametrize("kind", KINDS)


class Host(Recorder):
    """A receiver that has room of certain sizes, one after the other; where it is None there is none that time."""

    def __init__(self, sizes: Iterable[int | None], **reactions: Callable[[], object]) -> None:
        super().__init__(**reactions)
        self._sizes: Iterator[int | None] = iter(sizes)
        self._target = memoryview(b"")
        self.in_rooms = 0  # bytes that were put there
        self.parts: list[int] = []
        self.most = 0  # bytes that it was asked for room for

    def room(self, most: int) -> memoryview | None:
        assert 0 < most <= MOST
        self.most = max(self.most, most)
        size = next(self._sizes, None)
        if size is None:
            return None
        self._target = memoryview(bytearray(min(size, most)))
        return self._target

    def room_filled(self, size: int, data: Any) -> None:
        target, self._target = self._target, memoryview(b"")
        assert size + len(data) <= MOST
        self.data += target[:size]
        self.data += data
        self.in_rooms += size
        self.parts.append(size)
        self._note("room_filled")


async def send_what_fits(peer: Any) -> None:
    with suppress(OSError, anyio.BrokenResourceError):
        await peer.send(bytes(MIB))


@kinds
@pytest.mark.parametrize("large", [True, False])
@pytest.mark.parametrize("seed", range(4))
async def test_what_arrives_is_the_same_wherever_there_is_room(kind: str, large: bool, seed: int) -> None:
    choice = random.Random(seed)
    sizes = [choice.choice([None, 1, 100, 16384, 16385, 70_000, 300_000, MIB, 2 * MIB]) for _ in range(500)]
    data = choice.randbytes(6 * MIB)
    async with transport_and_peer(kind) as (transport, peer):
        transport.attach(host := Host(sizes))
        transport.large_reads = large
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(peer.send, data)
            await until(lambda: len(host.data) >= len(data))
        assert host.data == data
        if kind in {"socket", "TLS"}:
            assert host.in_rooms > MIB


async def test_large_reads_are_not_for_tls_whose_copies_would_not_stay_in_a_cache() -> None:
    async with transport_and_peer("TLS") as (transport, peer):
        transport.attach(host := Host([MIB] * 500))
        transport.large_reads = True
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(peer.send, bytes(12 * MIB))
            await until(lambda: len(host.data) >= 12 * MIB)
    assert 0 < host.most <= READ_BYTES


@kinds
async def test_who_pauses_in_the_middle_is_called_no_more_behind_that_read(kind: str) -> None:
    data = random.Random(9).randbytes(3 * MIB)
    async with transport_and_peer(kind) as (transport, peer):
        host = Host([100_000] * 1000, room_filled=transport.pause)
        transport.attach(host)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(peer.send, data)
            while len(host.data) < len(data):
                await some_passes()
                is_paused, before = host.calls[-1:] == ["room_filled"], len(host.data)
                await some_passes()
                assert not is_paused or len(host.data) == before
                transport.resume()
        assert host.data == data


@kinds
async def test_who_releases_in_the_middle_is_never_called_again(kind: str) -> None:
    async with transport_and_peer(kind) as (transport, peer):
        host = Host([100_000] * 1000, room_filled=transport.release)
        transport.attach(host)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send_what_fits, peer)
            await until(lambda: "room_filled" in host or len(host.data) >= MIB)
            tasks.cancel_scope.cancel()
        await some_passes()
        assert host.calls.count("room_filled") <= 1


@kinds
async def test_an_end_comes_behind_what_was_put_into_a_room(kind: str) -> None:
    data = random.Random(8).randbytes(MIB)
    async with transport_and_peer(kind) as (transport, peer):
        transport.attach(host := Host([300_000] * 1000))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(peer.send, data)
            await until(lambda: len(host.data) >= len(data))
        await peer.end()
        await host.was_told("eof_received")
        assert host.data == data
        assert host.calls[-1] == "eof_received"


@kinds
async def test_a_failure_while_there_is_room_is_told_once(kind: str) -> None:
    async with transport_and_peer(kind) as (transport, peer):
        transport.attach(host := Host([300_000] * 1000))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(peer.send, bytes(200_000))
            await until(lambda: len(host.data) >= 200_000)
        await peer.reset()
        await host.was_told("failed")
        assert host.data == bytes(200_000)
