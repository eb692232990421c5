"""What a handler sees of a request, and what the client gets."""

from __future__ import annotations

from contextlib import suppress

import anyio
import pytest

from edges.serving import ask, read_all, request_bytes, say, serving
from websocketstream import HandshakeRejected, WebSocketRequest, open_websocket_stream

pytestmark = pytest.mark.anyio


async def test_a_handler_sees_the_request() -> None:
    seen: list[WebSocketRequest] = []

    async def handler(request: WebSocketRequest) -> None:
        seen.append(request)
        async with request.accept(headers={"X-Answer": "42"}) as conn:
            await conn.send(conn.url)
            assert conn.request is not None
            assert conn.request.headers["x-question"] == "6x7"
            assert conn.response is None

    async with serving(handler, protocols=["b", "a"]) as listener:
        async with open_websocket_stream(
            listener.url + "/p%20q?x=1",
            protocols=["a", "b", "c"],
            headers={"X-Question": "6x7"},
            origin="https://example.com",
        ) as conn:
            assert await conn.receive() == listener.url + "/p%20q?x=1"
            assert conn.protocol == "a"
            assert conn.response is not None
            assert conn.response.headers["X-Answer"] == "42"
    request = seen[0]
    assert (request.path, request.query, request.target) == ("/p%20q", "x=1", "/p%20q?x=1")
    assert request.protocols == ("a", "b", "c")
    assert request.origin == "https://example.com"
    assert request.headers["x-question"] == "6x7"
    assert repr(request) == "<WebSocketRequest '/p%20q'>"


async def test_a_handler_chooses_the_protocol_or_none() -> None:
    async def handler(request: WebSocketRequest) -> None:
        with pytest.raises(ValueError, match="was not offered"):
            request.accept("unheard-of")
        async with request.accept("b") as conn:
            await conn.send(conn.protocol)

    async with serving(handler, protocols=["a", "b"]) as listener:
        async with open_websocket_stream(listener.url, protocols=["a", "b"]) as conn:
            assert conn.protocol == await conn.receive() == "b"


async def test_a_rejection_reaches_the_client_with_status_headers_and_body() -> None:
    async def handler(request: WebSocketRequest) -> None:
        await request.reject(401, {"WWW-Authenticate": "Basic"}, "who are you?")
        with pytest.raises(RuntimeError, match="answered already"):
            request.accept()
        with pytest.raises(RuntimeError, match="answered already"):
            await request.reject()

    async with serving(handler) as listener:
        with pytest.raises(HandshakeRejected) as caught:
            async with open_websocket_stream(listener.url):
                pytest.fail("must not open")
    assert (caught.value.status, caught.value.body) == (401, b"who are you?")
    assert caught.value.headers["WWW-Authenticate"] == "Basic"


async def test_a_bad_request_gets_an_answer_and_the_end(caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as listener:
        answer = await ask(listener, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b"connection: close" in answer.lower()
        answer = await ask(listener, b"x" * 20_000)
        assert answer.startswith(b"HTTP/1.1 4")
    assert caplog.records == []


async def test_frames_glued_to_the_request_are_not_lost() -> None:
    async with serving() as listener:
        frames = b"\x81\x82\x00\x00\x00\x00hi" * 10 + b"\x88\x80\x00\x00\x00\x00"
        answer = await ask(listener, request_bytes(listener) + frames)
        assert answer.endswith(b"\r\n\r\n" + b"\x81\x02hi" * 10 + b"\x88\x00")


async def test_plain_http_on_a_tls_port_ends_quietly(server_ssl: object) -> None:
    async with serving(ssl_context=server_ssl) as listener:
        async with await say(listener, b"GET / HTTP/1.1\r\n\r\n") as stream:
            with suppress(anyio.BrokenResourceError):
                await read_all(stream)
