"""`websockets/stream/tentative/constructor.any.js`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio.abc
import pytest

from websocketstream import HandshakeRejected, WebSocketError, open_websocket_stream

if TYPE_CHECKING:
    from wpt.conftest import Open
    from wpt.server import Server

pytestmark = pytest.mark.anyio
ANY_URL = "ws://localhost:1/"


@pytest.mark.wpt("wK1")
def test_a_url_is_required() -> None:
    with pytest.raises(TypeError):
        open_websocket_stream()  # type: ignore[call-arg]


@pytest.mark.wpt("wK2")
def test_an_invalid_url_is_a_value_error() -> None:
    with pytest.raises(ValueError):
        open_websocket_stream("invalid:")


@pytest.mark.wpt("wK3")
def test_options_are_named() -> None:
    with pytest.raises(TypeError):
        open_websocket_stream(ANY_URL, True)  # type: ignore[misc]


@pytest.mark.wpt("wK4")
@pytest.mark.parametrize("protocols", ["hi", b"hi", 5, True])
def test_protocols_are_a_list(protocols: Any) -> None:
    with pytest.raises(TypeError):
        open_websocket_stream(ANY_URL, protocols=protocols)


@pytest.mark.wpt("wK5")
async def test_a_valid_url_works_and_is_reported(server: Server, connect: Open) -> None:
    async with connect("/echo") as conn:
        assert conn.url == server.url("/echo")


@pytest.mark.wpt("wK6")
async def test_protocols_are_offered_and_the_selected_one_is_reported(connect: Open) -> None:
    async with connect("/protocol", protocols=["alpha", "beta"]) as conn:
        assert conn.protocol == "alpha"
        assert await conn.receive() == "alpha"


@pytest.mark.wpt(
    "wK7",
    deviation="one exception instead of two rejected promises; it tells status, headers and body",
)
async def test_a_refused_handshake_raises_one_websocket_error(connect: Open) -> None:
    with pytest.raises(HandshakeRejected) as caught:
        async with connect("/404"):
            pytest.fail("the body must not run")
    error = caught.value
    assert isinstance(error, WebSocketError)
    assert (error.close_code, error.reason) == (1006, "")
    assert (error.status, error.body) == (404, b"no such page")
    assert error.headers["x-hint"] == "look elsewhere"


@pytest.mark.wpt(
    "wK8", deviation="the streams are anyio streams instead of ReadableStream and WritableStream"
)
async def test_an_open_stream_has_the_right_types(connect: Open) -> None:
    async with connect("/echo") as conn:
        assert isinstance(conn, anyio.abc.ObjectStream)
        assert isinstance(conn.readable, anyio.abc.ObjectReceiveStream)
        assert isinstance(conn.writable, anyio.abc.ObjectSendStream)
        assert conn.protocol == ""
        assert conn.extensions == ""


@pytest.mark.wpt("wK8")
async def test_extensions_are_the_negotiated_string(connect: Open) -> None:
    async with connect("/negotiated", compression=True) as conn:
        assert isinstance(conn.extensions, str)
        assert conn.extensions.startswith("permessage-deflate")
