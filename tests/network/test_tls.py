"""TLS as a layer over any transport: what it tells whom, and what goes wrong below it."""

from __future__ import annotations

import ssl
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio.abc import ByteStream

from edges.serving import serving
from websocketstream import ConnectFailed, ConnectionBroken, open_websocket_stream
from websocketstream._network.tls import NotTLS, wrap_tls
from websocketstream.testing import memory_byte_stream_pair

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio


class Observed(ByteStream):
    """A byte stream that sees how it is used, and that cannot send when told so."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._sending = 0
        self.most_senders = 0
        self.closed = 0
        self.mute = False

    async def receive(self, max_bytes: int = 65536) -> bytes:
        return await self._stream.receive(max_bytes)

    async def send(self, item: bytes) -> None:
        if self.mute:
            raise anyio.BrokenResourceError("mute")
        self._sending += 1
        self.most_senders = max(self.most_senders, self._sending)
        await self._stream.send(item)
        self._sending -= 1

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def aclose(self) -> None:
        self.closed += 1
        await self._stream.aclose()


@asynccontextmanager
async def tls_pair(
    server_ssl: ssl.SSLContext, client_ssl: ssl.SSLContext, capacity: int = 65536
) -> AsyncIterator[tuple[Observed, Any, Any]]:
    """Do the handshake in memory; return what is below the client, the client's end and the server's."""
    below, server_end = memory_byte_stream_pair(capacity)
    observed = Observed(below)
    ends: dict[str, Any] = {}

    async def shake_hands(name: str, stream: ByteStream, context: ssl.SSLContext) -> None:
        server = name == "server"
        ends[name] = await wrap_tls(
            stream, context, server_side=server, hostname=None if server else "localhost"
        )

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(shake_hands, "server", server_end, server_ssl)
        tasks.start_soon(shake_hands, "client", observed, client_ssl)
    try:
        yield observed, ends["client"], ends["server"]
    finally:
        await ends["client"].aclose()
        await ends["server"].aclose()


async def test_only_one_task_sends_at_a_time_below_tls(
    server_ssl: ssl.SSLContext, client_ssl: ssl.SSLContext
) -> None:
    async with tls_pair(server_ssl, client_ssl, capacity=1000) as (observed, client, server):
        received = b""
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(client.send, b"x" * 10_000)
            await anyio.wait_all_tasks_blocked()
            while len(received) < 30_000:
                received += await server.receive()
        assert received == b"x" * 30_000
        assert observed.most_senders == 1


async def test_what_has_arrived_can_be_read_also_when_nothing_can_be_sent(
    server_ssl: ssl.SSLContext, client_ssl: ssl.SSLContext
) -> None:
    async with tls_pair(server_ssl, client_ssl) as (observed, client, server):
        await server.send(b"last words")
        observed.mute = True
        for _ in range(2):
            with pytest.raises(anyio.BrokenResourceError) as caught:
                await client.send(b"lost")
            assert str(caught.value.__cause__) == "mute"
        assert await client.receive() == b"last words"
        await server.aclose()
        with pytest.raises(anyio.EndOfStream):
            await client.receive()


async def test_a_server_reports_a_failed_send_at_once(
    server_ssl: ssl.SSLContext, client_ssl: ssl.SSLContext
) -> None:
    async with tls_pair(server_ssl, client_ssl) as (_, client, server):
        await client.aclose()
        with pytest.raises(anyio.BrokenResourceError):
            await server.send(b"lost")


@pytest.mark.parametrize("server_side", [False, True], ids=["client", "server"])
async def test_what_is_no_tls_is_shown(
    server_side: bool, server_ssl: ssl.SSLContext, client_ssl: ssl.SSLContext
) -> None:
    stream, peer = memory_byte_stream_pair()
    await peer.send(b"GET / HTTP/1.1\r\n\x1b[2J")
    with pytest.raises(NotTLS) as caught:
        await wrap_tls(
            stream,
            server_ssl if server_side else client_ssl,
            server_side=server_side,
            hostname=None if server_side else "localhost",
        )
    assert str(caught.value) == r'the peer does not speak TLS but says "GET / HTTP/1.1\r\n\x1b[2J"'


async def test_a_tls_failure_that_is_none_of_the_peers_language_keeps_the_words_of_openssl(
    server_ssl: ssl.SSLContext, client_ssl: ssl.SSLContext
) -> None:
    stream, peer = memory_byte_stream_pair()
    await peer.send(b"\x15\x03\x03\x00\x02\x02\x28")
    with pytest.raises(ssl.SSLError, match=r"(?i)handshake.failure") as caught:
        await wrap_tls(stream, client_ssl, server_side=False, hostname="localhost")
    assert not isinstance(caught.value, NotTLS)


async def test_a_stream_whose_tls_is_not_for_websockets_is_closed_once(certificate_authority: Any) -> None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate_authority.issue_cert("localhost").configure_cert(server)
    server.set_alpn_protocols(["h2"])
    client = ssl.create_default_context()
    certificate_authority.configure_trust(client)
    client.set_alpn_protocols(["h2", "http/1.1"])
    stream, peer = memory_byte_stream_pair()
    observed = Observed(stream)

    async def open_stream() -> None:
        with pytest.raises(ConnectFailed, match="'h2'"):
            async with open_websocket_stream("wss://localhost/", stream=observed, ssl_context=client):
                pytest.fail("the body must not run")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(open_stream)
        with suppress(anyio.BrokenResourceError):  # the client has gone by then
            await wrap_tls(peer, server, server_side=True)
    assert observed.closed == 1


async def test_an_open_connection_through_tls_breaks_when_it_cannot_send(
    server_ssl: ssl.SSLContext, client_ssl: ssl.SSLContext
) -> None:
    async with serving(ssl_context=server_ssl) as listener:
        observed = Observed(await anyio.connect_tcp("127.0.0.1", listener.port))
        async with open_websocket_stream(listener.url, stream=observed, ssl_context=client_ssl) as conn:
            observed.mute = True
            with anyio.fail_after(5):
                with suppress(ConnectionBroken):
                    await conn.send("lost")
                with pytest.raises(ConnectionBroken):
                    await conn.closed


async def test_the_peer_learns_by_an_alert_why_tls_failed(server_ssl: ssl.SSLContext) -> None:
    stream, peer = memory_byte_stream_pair()

    async def distrust() -> None:
        with pytest.raises(ssl.SSLCertVerificationError):
            await wrap_tls(stream, ssl.create_default_context(), server_side=False, hostname="localhost")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(distrust)
        with pytest.raises(ssl.SSLError) as caught:
            tls = await wrap_tls(peer, server_ssl, server_side=True)
            await tls.receive()
    assert "unknown ca" in str(caught.value)
