"""TLS in TLS, as through a proxy that is spoken to by TLS: both layers decrypt in one call, into one buffer."""

from __future__ import annotations

import random
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio
import pytest
from test_tls_by_hand import Peer, client_and_peer
from transport_kit import Recorder, some_passes, tls_contexts

from websocketstream._network.tls import TLSTransport, wrap_tls

pytestmark = pytest.mark.anyio


class InnerPeer:
    """The server behind the proxy, whose records the test hands to the proxy."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)

    def shake_hands(self, proxy: Peer) -> bool:
        proxy.read()
        self._incoming.write(bytes(proxy.received))
        proxy.received.clear()
        with suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
            return proxy.write(self._outgoing.read())
        proxy.write(self._outgoing.read())
        return False

    def encrypted(self, data: bytes, size: int) -> bytes:
        """Return records that have so many bytes of plain text each."""
        for start in range(0, len(data), size):
            self.tls.write(data[start : start + size])
        return self._outgoing.read()


@asynccontextmanager
async def tls_in_tls() -> AsyncIterator[tuple[TLSTransport, TLSTransport, Peer, InnerPeer]]:
    client, server = tls_contexts(ssl.TLSVersion.TLSv1_3)
    server.num_tickets = 0  # which would arrive by the socket after what the tests hand over
    async with client_and_peer() as (outer, proxy):
        peer = InnerPeer(server)

        async def answer() -> None:
            while not peer.shake_hands(proxy):
                await some_passes(1)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(answer)
            inner = await wrap_tls(outer, client, server_side=False, hostname="localhost")
        yield outer, inner, proxy, peer
        inner.release()
        await inner.wait_released()


@pytest.mark.parametrize("size", [1000, 10000, 16384])
@pytest.mark.parametrize("begun", [0, 1, 10000 + 21, 2**16])
async def test_much_at_once_behind_a_part_of_a_record_is_decrypted_as_it_was(begun: int, size: int) -> None:
    message = random.Random(begun).randbytes(500_000)
    async with tls_in_tls() as (outer, inner, proxy, peer):
        inner.attach(receiver := Recorder())
        records = peer.encrypted(message, size)
        # As the socket's reads hand them over.
        for part in (records[:begun], records[begun:]):
            outer.data_received(proxy.encrypted(part))
        assert receiver.data == message


async def test_what_waited_while_nobody_read_is_decrypted_as_it_was() -> None:
    message = random.Random(1).randbytes(200_000)
    async with tls_in_tls() as (outer, inner, proxy, peer):
        records = peer.encrypted(message, 10000)
        outer.pause()
        for part in (records[:10021], records[10021:]):
            outer.data_received(proxy.encrypted(part))
        inner.attach(receiver := Recorder())
        with anyio.fail_after(5):
            while len(receiver.data) < len(message):
                await some_passes(1)
        assert receiver.data == message
