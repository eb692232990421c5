"""The client's way to a byte stream: addresses, proxies, TLS, deadlines."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream

from edges.serving import read_head, serving
from websocketstream import ConnectFailed, HandshakeTimeout, open_websocket_stream
from websocketstream._network.dial import dial
from websocketstream.testing import memory_byte_stream_pair

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def proxying(
    answer: bytes = b"HTTP/1.1 200 Connection established\r\n\r\n",
) -> AsyncIterator[tuple[str, list[bytes]]]:
    """An HTTP proxy that gives one answer to CONNECT, and its URL and the heads it was sent."""
    heads: list[bytes] = []

    async def pass_on(source: SocketStream, sink: SocketStream) -> None:
        try:
            async for data in source:
                await sink.send(data)
            await sink.send_eof()
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass

    async def handle(client: SocketStream) -> None:
        async with client:
            heads.append(await read_head(client))
            await client.send(answer)
            if b" 200 " not in answer:
                return
            host, _, port = heads[-1].split()[1].decode().rpartition(":")
            async with (
                await anyio.connect_tcp(host.strip("[]"), int(port)) as server,
                anyio.create_task_group() as both,
            ):
                both.start_soon(pass_on, client, server)
                both.start_soon(pass_on, server, client)

    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, handle)
        yield f"http://user:secret@127.0.0.1:{listener.extra(SocketAttribute.local_port)}", heads
        tasks.cancel_scope.cancel()


async def test_through_a_proxy_whose_credentials_the_server_never_sees_M2() -> None:
    async with proxying() as (proxy, heads), serving() as listener:
        async with open_websocket_stream(listener.url, proxy=proxy, headers={"X-Secret": "origin"}) as conn:
            await conn.send("hello")
            assert await conn.receive() == "hello"
    assert heads[0].startswith(f"CONNECT 127.0.0.1:{listener.port} HTTP/1.1\r\n".encode())
    assert b"roxy-" in heads[0]
    assert b"X-Secret" not in heads[0]


async def test_tls_through_a_proxy(server_ssl: ssl.SSLContext, client_ssl: ssl.SSLContext) -> None:
    async with proxying() as (proxy, _), serving(ssl_context=server_ssl) as listener:
        async with open_websocket_stream(listener.url, proxy=proxy, ssl_context=client_ssl) as conn:
            await conn.send("hello")
            assert await conn.receive() == "hello"


async def test_a_proxy_that_refuses_is_a_failed_connection_that_says_so_M1() -> None:
    async with proxying(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n") as (proxy, _):
        with pytest.raises(ConnectFailed, match=r"through the proxy: 407") as caught:
            async with open_websocket_stream("ws://localhost:1/", proxy=proxy):
                pass
    assert "secret" not in str(caught.value)


async def test_a_proxy_that_cannot_be_reached_is_a_failed_connection() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(ConnectFailed, match="through the proxy"):
            async with open_websocket_stream("ws://localhost:1/", proxy=f"socks5://127.0.0.1:{port}"):
                pass


@pytest.mark.parametrize(
    ("proxy", "error"), [("ftp://x", ValueError), ("", ValueError), (b"http://x", TypeError)], ids=repr
)
def test_a_proxy_that_makes_no_sense_is_an_error_of_the_call(proxy: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="proxy"):
        open_websocket_stream("ws://localhost/", proxy=proxy)


def test_a_proxy_and_a_stream_exclude_each_other() -> None:
    stream, _ = memory_byte_stream_pair()
    with pytest.raises(ValueError, match="either proxy or stream"):
        open_websocket_stream("ws://localhost/", proxy="http://localhost", stream=stream)


async def test_the_deadline_says_what_it_was_waiting_for_J2() -> None:
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


async def test_the_users_own_deadline_stays_the_users_own_J5() -> None:
    client_end, _server_end = memory_byte_stream_pair()
    with pytest.raises(TimeoutError) as caught:
        with anyio.fail_after(0.01):
            async with open_websocket_stream("ws://localhost/", stream=client_end):
                pass
    assert not isinstance(caught.value, HandshakeTimeout)


async def test_a_server_that_chooses_another_protocol_by_alpn_is_refused_L5(
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


async def test_the_first_address_that_answers_wins_A2(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name has two addresses, of which only the second listens."""
    async with serving() as listener:

        async def getaddrinfo(host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
            assert host == "two.example"
            return [
                (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
                for address in ("127.0.0.9", "127.0.0.1")
            ]

        monkeypatch.setattr("websocketstream._network.dial.getaddrinfo", getaddrinfo)
        monkeypatch.setattr("anyio._core._sockets.getaddrinfo", getaddrinfo)
        async with await dial("two.example", listener.port) as stream:
            assert stream.extra(SocketAttribute.remote_port) == listener.port


async def test_when_no_address_answers_the_error_names_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))

        async def getaddrinfo(host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
            return [
                (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
                for address in ("127.0.0.8", "127.0.0.9")
            ]

        monkeypatch.setattr("websocketstream._network.dial.getaddrinfo", getaddrinfo)
        monkeypatch.setattr("anyio._core._sockets.getaddrinfo", getaddrinfo)
        with pytest.raises(ConnectFailed, match=r"cannot connect to two.example port .*refused"):
            async with open_websocket_stream(f"ws://two.example:{unused.getsockname()[1]}/"):
                pass


async def test_cancelling_while_connecting_leaves_no_socket_P1() -> None:
    """A port whose queue is full answers nothing: connecting hangs until it is cancelled."""
    with socket.create_server(("127.0.0.1", 0), backlog=1) as full:
        fillers = [socket.socket() for _ in range(4)]
        try:
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(full.getsockname())
            with anyio.move_on_after(0.1) as scope:
                async with await dial("127.0.0.1", full.getsockname()[1]):
                    pass
            assert scope.cancelled_caught
        finally:
            for filler in fillers:
                filler.close()


async def test_a_block_can_be_prepared_before_it_is_entered() -> None:
    async with serving() as listener:
        block = partial(open_websocket_stream, listener.url)()
        async with block as conn:
            await conn.send("hello")
            assert await conn.receive() == "hello"
