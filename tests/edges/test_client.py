"""The client's way to a byte stream: addresses, TLS, deadlines."""

from __future__ import annotations

import ssl
from functools import partial
from typing import Any

import anyio
import pytest
from anyio.streams.tls import TLSAttribute

from edges.serving import serving
from websocketstream import (
    ConnectFailed,
    HandshakeTimeout,
    WebSocketRequest,
    as_byte_stream,
    open_websocket_stream,
    relay,
)
from websocketstream.testing import memory_byte_stream_pair

pytestmark = pytest.mark.anyio


async def test_the_deadline_says_what_it_was_waiting_for() -> None:
    client_end, _server_end = memory_byte_stream_pair()
    with pytest.raises(
        HandshakeTimeout, match=r"open_timeout=0.01 s: timed out while waiting for the server's answer"
    ):
        async with open_websocket_stream("ws://localhost/", stream=client_end, open_timeout=0.01):
            pass
    client_end, _server_end = memory_byte_stream_pair()
    with pytest.raises(HandshakeTimeout, match="doing the TLS handshake with localhost"):
        async with open_websocket_stream("wss://localhost/", stream=client_end, open_timeout=0.01):
            pass


async def test_the_users_own_deadline_stays_the_users_own() -> None:
    client_end, _server_end = memory_byte_stream_pair()
    with pytest.raises(TimeoutError) as caught:
        with anyio.fail_after(0.01):
            async with open_websocket_stream("ws://localhost/", stream=client_end):
                pass
    assert not isinstance(caught.value, HandshakeTimeout)


async def test_a_server_that_chooses_another_protocol_by_alpn_is_refused(
    server_ssl: ssl.SSLContext, client_ssl: ssl.SSLContext, certificate_authority: Any
) -> None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate_authority.issue_cert("127.0.0.1").configure_cert(server)
    server.set_alpn_protocols(["h2"])
    client = ssl.create_default_context()
    certificate_authority.configure_trust(client)
    client.set_alpn_protocols(["h2", "http/1.1"])
    async with serving(ssl_context=server) as listener:
        with pytest.raises(ConnectFailed, match="chose the protocol 'h2'"):
            async with open_websocket_stream(listener.url, ssl_context=client):
                pass


async def test_a_tls_stream_that_is_given_is_used_as_it_is(
    server_ssl: ssl.SSLContext, client_ssl: ssl.SSLContext
) -> None:
    async with serving(ssl_context=server_ssl) as listener:
        stream = await anyio.connect_tcp(
            "127.0.0.1", listener.port, ssl_context=client_ssl, tls_standard_compatible=False
        )
        async with open_websocket_stream(listener.url, stream=stream) as conn:
            await conn.send("hello")
            assert await conn.receive() == "hello"


async def test_tls_with_the_server_is_another_one_than_that_of_a_tunnel(
    server_ssl: ssl.SSLContext, client_ssl: ssl.SSLContext
) -> None:
    async def tunnel(request: WebSocketRequest) -> None:
        async with request.accept() as conn, await anyio.connect_tcp("127.0.0.1", server.port) as tcp:
            await relay(conn, tcp)

    async with serving(ssl_context=server_ssl) as server, serving(tunnel, ssl_context=server_ssl) as entrance:
        async with open_websocket_stream(entrance.url, ssl_context=client_ssl) as outer:
            stream = as_byte_stream(outer)
            async with open_websocket_stream(server.url, stream=stream, ssl_context=client_ssl) as conn:
                assert conn.extra(TLSAttribute.ssl_object) is not outer.extra(TLSAttribute.ssl_object)
                await conn.send("hello")
                assert await conn.receive() == "hello"


@pytest.mark.parametrize("scheme", ["ws", "wss"])
async def test_a_stream_that_was_closed_before_it_is_given_is_a_failed_connection(scheme: str) -> None:
    async with serving() as listener:
        stream = await anyio.connect_tcp("127.0.0.1", listener.port)
        await stream.aclose()
        with pytest.raises(ConnectFailed):
            async with open_websocket_stream(f"{scheme}://localhost/", stream=stream):
                pass


async def test_a_block_can_be_prepared_before_it_is_entered() -> None:
    async with serving() as listener:
        block = partial(open_websocket_stream, listener.url)()
        async with block as conn:
            await conn.send("hello")
            assert await conn.receive() == "hello"
