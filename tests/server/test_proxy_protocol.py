"""A proxy that says by the PROXY protocol whom it speaks for: believed if it is trusted, and needed then."""

from __future__ import annotations

import logging
import socket
import ssl
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import ObjectStream, SocketAttribute, SocketListener, SocketStream

from edges.serving import SERVER_LOG, MemoryListener, levels, read_all, request_bytes, serving
from websocketstream import (
    HandshakeLimits,
    TrustedProxies,
    WebSocketListener,
    WebSocketRequest,
    open_websocket_stream,
    serve_websocket_streams,
)
from websocketstream._protocol.proxy_header import BadProxyHeader
from websocketstream._server.proxied import receive_proxy_header

pytestmark = pytest.mark.anyio

TRUSTED = TrustedProxies(["127.0.0.1"])
LINE = b"PROXY TCP4 192.0.2.1 10.0.0.1 12345 443\r\n"
BINARY = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes([192, 0, 2, 1, 10, 0, 0, 1, 0x30, 0x39, 1, 187])
LOCAL = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"


async def tell(request: WebSocketRequest) -> None:
    """Say who the client is."""
    async with request.accept() as conn:
        await conn.send(str(request.client_host))
        async for message in conn:
            await conn.send(message)


expecting = partial(serving, tell, proxy_protocol=True)


async def connected(listener: WebSocketListener, *pieces: bytes) -> SocketStream:
    stream = await anyio.connect_tcp("127.0.0.1", listener.port)
    for piece in pieces:
        await stream.send(piece)
        await anyio.wait_all_tasks_blocked()
    return stream


async def asked(listener: WebSocketListener, *pieces: bytes, **options: Any) -> Any:
    """Say a header, then open a WebSocket on the same connection, and return who the server thinks that we are."""
    stream = await connected(listener, *pieces)
    async with open_websocket_stream(listener.url, stream=stream, **options) as conn:
        await conn.send("more")
        answer = await conn.receive()
        assert await conn.receive() == "more"
        return answer


@pytest.mark.parametrize("header", [LINE, BINARY], ids=["1", "2"])
async def test_the_header_of_a_trusted_proxy_says_who_the_client_is(header: bytes) -> None:
    async with expecting(trusted_proxies=TRUSTED) as listener:
        assert await asked(listener, header) == "192.0.2.1"


@pytest.mark.parametrize("header", [LINE, BINARY], ids=["1", "2"])
async def test_it_may_come_in_pieces_or_together_with_what_is_behind_it(header: bytes) -> None:
    async with expecting(trusted_proxies=TRUSTED) as listener:
        assert await asked(listener, header[:1], header[1:14], header[14:-1], header[-1:]) == "192.0.2.1"
        async with await connected(listener, header + request_bytes(listener)) as stream:
            assert (await stream.receive()).startswith(b"HTTP/1.1 101")


@pytest.mark.parametrize("header", [LINE, BINARY], ids=["1", "2"])
async def test_it_stands_in_front_of_tls(
    header: bytes, server_ssl: ssl.SSLContext, client_ssl: ssl.SSLContext
) -> None:
    async with expecting(trusted_proxies=TRUSTED, ssl_context=server_ssl) as listener:
        for pieces in ([header], [header[:5], header[5:]]):
            assert await asked(listener, *pieces, ssl_context=client_ssl) == "192.0.2.1"


async def test_a_proxy_that_speaks_for_itself_is_the_client() -> None:
    async with expecting(trusted_proxies=TRUSTED) as listener:
        assert await asked(listener, LOCAL) == "127.0.0.1"
        assert await asked(listener, b"PROXY UNKNOWN\r\n") == "127.0.0.1"


async def test_from_there_on_header_fields_count_as_far_as_the_source_is_trusted() -> None:
    fields = {"X-Forwarded-For": "198.51.100.7"}
    async with expecting(trusted_proxies=TRUSTED) as listener:
        assert await asked(listener, LINE, headers=fields) == "192.0.2.1"
    async with expecting(trusted_proxies=TrustedProxies(["127.0.0.1", "192.0.2.0/24"])) as listener:
        assert await asked(listener, LINE, headers=fields) == "198.51.100.7"


async def test_of_others_no_header_is_expected_and_none_is_believed() -> None:
    async with expecting(trusted_proxies=TrustedProxies(["10.0.0.0/8"])) as listener:
        async with open_websocket_stream(listener.url) as conn:
            assert await conn.receive() == "127.0.0.1"
        async with await connected(listener, LINE + request_bytes(listener)) as stream:
            assert (await stream.receive()).startswith(b"HTTP/1.1 400")


async def test_without_the_option_none_is_expected_either() -> None:
    async with serving(tell, trusted_proxies=TRUSTED) as listener:
        async with open_websocket_stream(listener.url) as conn:
            assert await conn.receive() == "127.0.0.1"


@pytest.mark.parametrize(
    "noise", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", LINE.replace(b"192", b"999"), BINARY[:12] + b"\xff" * 90]
)
async def test_a_trusted_proxy_that_says_something_else_is_dropped(
    noise: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with expecting(trusted_proxies=TRUSTED) as listener:
        stream = await connected(listener, noise)
        async with stream:
            with suppress(anyio.BrokenResourceError):  # for what was not read there may be a reset
                assert await read_all(stream) == b""
        assert levels(caplog) == ["WARNING"]
        assert "dropped a connection of a trusted proxy" in caplog.text
        assert "999" not in caplog.text
        assert await asked(listener, LINE) == "192.0.2.1", "the server goes on"


async def test_a_proxy_that_goes_or_resets_in_the_middle_is_nothing_to_worry_about(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, SERVER_LOG)
    async with expecting(trusted_proxies=TRUSTED) as listener:
        for begin in (b"", LINE[:9], BINARY[:20]):
            await (await connected(listener, begin)).aclose()
            await anyio.wait_all_tasks_blocked()
        assert await asked(listener, LINE) == "192.0.2.1"
    assert set(levels(caplog)) == {"DEBUG"}


@pytest.mark.parametrize("begin", [b"", LINE[:-1], BINARY[:-1]])
async def test_one_that_stays_silent_has_the_time_that_an_opening_may_take(begin: bytes) -> None:
    async with expecting(trusted_proxies=TRUSTED, open_timeout=0.1) as listener:
        async with await connected(listener, begin) as stream:
            assert await read_all(stream) == b""


async def test_the_size_of_a_header_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    limits = HandshakeLimits(head_size=1000)
    async with expecting(trusted_proxies=TRUSTED, handshake_limits=limits) as listener:
        padded = BINARY[:14] + (984).to_bytes(2) + BINARY[16:] + bytes(972)
        assert await asked(listener, padded) == "192.0.2.1"
        async with await connected(listener, BINARY[:14] + (985).to_bytes(2)) as stream:
            assert await read_all(stream) == b""
    assert "announces 1001 bytes, more than 1000, the limit (HandshakeLimits.head_size)" in caplog.text


async def test_a_shutdown_does_not_wait_for_a_header() -> None:
    async with expecting(trusted_proxies=TRUSTED) as listener:
        async with await connected(listener, LINE[:9]) as stream:
            with anyio.fail_after(5):
                await listener.aclose()
            assert await read_all(stream) == b""


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="there are no unix sockets here")
async def test_a_proxy_on_a_unix_socket_may_say_it_too(tmp_path: Path) -> None:
    listener: SocketListener = await anyio.create_unix_listener(tmp_path / "socket")
    async with expecting(listener=listener, trusted_proxies=TrustedProxies(["unix"])):
        stream = await anyio.connect_unix(tmp_path / "socket")
        await stream.send(LINE)
        async with open_websocket_stream("ws://localhost/", stream=stream) as conn:
            assert await conn.receive() == "192.0.2.1"


class MessagesOnSocket(ObjectStream[bytes]):
    """A stream of somebody's own, which hands over what it likes."""

    @property
    def extra_attributes(self) -> Any:
        return {SocketAttribute.remote_address: lambda: ("127.0.0.1", 1)}

    async def receive(self) -> bytes:
        raise AssertionError("nothing is read from it")

    async def send(self, item: bytes) -> None:
        raise AssertionError("nothing is written to it")

    async def send_eof(self) -> None:
        pass

    async def aclose(self) -> None:
        pass


async def test_a_stream_that_may_give_more_than_the_header_is_not_asked_for_one() -> None:
    with pytest.raises(BadProxyHeader, match="cannot be read byte by byte"):
        await receive_proxy_header(MessagesOnSocket(), TRUSTED, 1000)


async def test_whose_address_is_not_known_is_not_trusted() -> None:
    listener = MemoryListener()
    async with expecting(listener=listener, trusted_proxies=TrustedProxies(["unix", "0.0.0.0/0", "::/0"])):
        async with open_websocket_stream("ws://localhost/", stream=listener.connect()) as conn:
            assert await conn.receive() == "None"


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"proxy_protocol": True}, ValueError, "proxy_protocol is for connections of trusted_proxies"),
        (
            {"proxy_protocol": 2, "trusted_proxies": TRUSTED},
            TypeError,
            "proxy_protocol must be a bool, not int",
        ),
    ],
)
async def test_wrong_values_are_refused(options: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        await serve_websocket_streams(tell, origins=None, **options)
