"""What a handler learns of who asks: the address, through proxies that are trusted, and a token from a browser's page."""

from __future__ import annotations

import socket
import struct
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import SocketListener

from edges.serving import serving
from websocketstream import TrustedProxies, WebSocketRequest, open_websocket_stream, serve_websocket_streams
from websocketstream.testing import serve_in_memory

pytestmark = pytest.mark.anyio


async def tell(request: WebSocketRequest) -> None:
    """Say who the client is."""
    async with request.accept() as conn:
        await conn.send(str(request.client_host))


async def asked(url: str, field: str, **options: Any) -> Any:
    async with open_websocket_stream(url, headers={"X-Forwarded-For": field}, **options) as conn:
        return await conn.receive()


async def test_without_trusted_proxies_it_is_the_peer_whatever_it_says() -> None:
    async with serving(tell) as listener:
        assert await asked(listener.url, "192.0.2.1") == "127.0.0.1"


async def test_the_word_of_a_trusted_proxy_is_taken() -> None:
    async with serving(tell, trusted_proxies=TrustedProxies(["127.0.0.0/8"])) as listener:
        assert await asked(listener.url, "6.6.6.6, 192.0.2.1") == "192.0.2.1"
    async with serving(tell, trusted_proxies=TrustedProxies(["10.0.0.0/8"])) as listener:
        assert await asked(listener.url, "192.0.2.1") == "127.0.0.1"


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="there are no unix sockets here")
async def test_a_peer_on_a_unix_socket_has_no_address(tmp_path: Path) -> None:
    for proxies, expected in ((TrustedProxies(["unix"]), "192.0.2.1"), (TrustedProxies([]), "None")):
        path = tmp_path / "socket"
        path.unlink(missing_ok=True)
        listener: SocketListener = await anyio.create_unix_listener(path)
        async with serving(tell, listener=listener, trusted_proxies=proxies):
            stream = await anyio.connect_unix(path)
            assert await asked("ws://localhost/", "192.0.2.1", stream=stream) == expected


async def test_in_memory_there_is_no_address_either() -> None:
    async with serve_in_memory(tell) as connect, connect() as conn:
        assert await conn.receive() == "None"


async def test_a_wrong_value_is_refused() -> None:
    with pytest.raises(TypeError, match="trusted_proxies must be a TrustedProxies"):
        await serve_websocket_streams(tell, origins=None, trusted_proxies=["127.0.0.1"])  # type: ignore[arg-type]


async def test_a_token_among_the_subprotocols_is_read_and_not_sent_back() -> None:
    async def handler(request: WebSocketRequest) -> None:
        assert request.protocol_token("other.") is None
        async with request.accept() as conn:
            await conn.send(str(request.protocol_token("bearer.")))

    async with serve_in_memory(handler, protocols=["chat"]) as connect:
        async with connect(protocols=["bearer.SECRET", "chat"]) as conn:
            assert await conn.receive() == "SECRET"
            assert conn.protocol == "chat"
            assert conn.response is not None
            assert "SECRET" not in repr(conn.response.headers)
        async with connect(protocols=["bearer.", "chat"]) as conn:
            assert await conn.receive() == ""


async def test_a_client_that_has_reset_its_connection_is_no_unix_socket() -> None:
    seen: list[str | None] = []
    asked_for = anyio.Event()

    async def handler(request: WebSocketRequest) -> None:
        seen.append(request.client_host)
        asked_for.set()
        await request.reject()

    async with serving(handler, trusted_proxies=TrustedProxies(["unix"])) as listener:
        with socket.create_connection(("127.0.0.1", listener.port)) as raw:
            raw.sendall(
                b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n"
            )
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with anyio.fail_after(5):
            await asked_for.wait()
    assert seen[0] in (None, "127.0.0.1")


async def test_cookies_go_in_and_come_back_as_mappings() -> None:
    async def handler(request: WebSocketRequest) -> None:
        seen = request.cookies
        field = "session=new; Path=/; Secure; HttpOnly; SameSite=Lax"
        async with request.accept(headers=[("Set-Cookie", field), ("Set-Cookie", "theme=dark")]) as conn:
            await conn.send(repr(seen))

    async with serve_in_memory(handler) as connect:
        async with connect(cookies={"session": "old", "lang": "de"}) as conn:
            assert await conn.receive() == "{'session': 'old', 'lang': 'de'}"
            assert conn.response is not None
            assert conn.response.cookies == {"session": "new", "theme": "dark"}
            assert "new" not in repr(conn.response)
