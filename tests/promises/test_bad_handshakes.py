"""Servers that do not answer with a WebSocket handshake: one clear exception each, and nothing left behind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio
import pytest

from websocketstream import (
    ConnectFailed,
    HandshakeError,
    HandshakeRejected,
    HandshakeTimeout,
    HandshakeTooLarge,
    InvalidHandshake,
    WebSocketError,
    open_websocket_stream,
)

if TYPE_CHECKING:
    import ssl

    from promises.conftest import Serve
    from wpt.server import Connection

# uvloop is asyncio for what these tests are about.
pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])]

SWITCHING = "HTTP/1.1 101 Switching Protocols"
UPGRADE = ["Upgrade: websocket", "Connection: Upgrade"]
ACCEPT = "Sec-WebSocket-Accept: {accept}"


def head(first: str, *headers: str) -> str:
    return "\r\n".join([first, *headers, "", ""])


@dataclass(frozen=True)
class Answer:
    """What the server writes, and what the client makes of it."""

    text: str
    error: type[HandshakeError]
    words: str  # a pattern that the message must match


ANSWERS = {
    "nothing": Answer("", InvalidHandshake, "closed"),
    "half a head": Answer("HTTP/1.1 101 Swit", InvalidHandshake, "closed"),
    "garbage": Answer("SSH-2.0-OpenSSH_9.6\r\n\r\n", InvalidHandshake, "HTTP"),
    "binary garbage": Answer("\x15\x03\x01\x00\x02\x02\x16\r\n\r\n", InvalidHandshake, "."),
    "HTTP/1.0": Answer(
        head("HTTP/1.0 101 Switching", *UPGRADE, ACCEPT), InvalidHandshake, "HTTP/1.0|version"
    ),
    "a wrong accept key": Answer(
        head(SWITCHING, *UPGRADE, "Sec-WebSocket-Accept: dGhlIHNhbXBsZSBub25jZQ=="),
        InvalidHandshake,
        "(?i)accept",
    ),
    "no accept key": Answer(head(SWITCHING, *UPGRADE), InvalidHandshake, "(?i)accept"),
    "two accept keys": Answer(head(SWITCHING, *UPGRADE, ACCEPT, ACCEPT), InvalidHandshake, "(?i)accept"),
    "no upgrade": Answer(head(SWITCHING, "Connection: Upgrade", ACCEPT), InvalidHandshake, "(?i)upgrade"),
    "another upgrade": Answer(
        head(SWITCHING, "Upgrade: h2c", "Connection: Upgrade", ACCEPT), InvalidHandshake, "(?i)upgrade"
    ),
    "no connection": Answer(
        head(SWITCHING, "Upgrade: websocket", ACCEPT), InvalidHandshake, "(?i)connection"
    ),
    "an extension nobody asked for": Answer(
        head(SWITCHING, *UPGRADE, ACCEPT, "Sec-WebSocket-Extensions: permessage-deflate"),
        InvalidHandshake,
        "(?i)extension",
    ),
    "an unknown extension": Answer(
        head(SWITCHING, *UPGRADE, ACCEPT, "Sec-WebSocket-Extensions: x-unknown"),
        InvalidHandshake,
        "(?i)extension",
    ),
    "a protocol nobody offered": Answer(
        head(SWITCHING, *UPGRADE, ACCEPT, "Sec-WebSocket-Protocol: chat"), InvalidHandshake, "(?i)protocol"
    ),
    "a body": Answer(
        head(SWITCHING, *UPGRADE, ACCEPT, "Content-Length: 5") + "hello",
        InvalidHandshake,
        "(?i)content-length",
    ),
    "bare line feeds": Answer(head(SWITCHING, *UPGRADE, ACCEPT).replace("\r", ""), InvalidHandshake, "."),
    "a long line": Answer(
        head(SWITCHING, *UPGRADE, ACCEPT, f"X-Long: {'x' * 10_000}"), HandshakeTooLarge, "8192|line"
    ),
    "many headers": Answer(
        head(SWITCHING, *UPGRADE, ACCEPT, *["X-Many: 1"] * 200), HandshakeTooLarge, "128|header"
    ),
    "a long head": Answer(
        head(SWITCHING, *UPGRADE, ACCEPT, *[f"X-Long: {'x' * 4000}"] * 5), HandshakeTooLarge, "16384|head"
    ),
    "a head without an end": Answer(
        "HTTP/1.1 101 Switching\r\n" + "X-Endless: 1\r\n" * 5000, HandshakeTooLarge, "limit"
    ),
    "interim answers without an end": Answer(
        "HTTP/1.1 103 Early Hints\r\n\r\n" * 100, HandshakeTooLarge, "interim"
    ),
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
async def test_a_bad_answer_is_one_clear_error(answer: Answer, serve: Serve) -> None:
    def handler(connection: Connection) -> None:
        connection.write(answer.text.replace("{accept}", connection.accept_key).encode("latin-1"))

    with pytest.raises(HandshakeError, match=answer.words) as caught:
        async with open_websocket_stream(serve(handler).url("/")):
            pytest.fail("the body must not run")
    assert type(caught.value) is answer.error
    assert isinstance(caught.value, WebSocketError)
    assert caught.value.close_code == 1006
    assert str(caught.value)


async def test_an_interim_answer_is_passed_over(serve: Serve) -> None:
    def handler(connection: Connection) -> None:
        connection.write(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n")
        connection.accept()
        connection.answer_close(connection.read_close())

    async with open_websocket_stream(serve(handler).url("/")) as conn:
        assert conn.response.status == 101


@pytest.mark.parametrize(
    "status", ["401 Unauthorized", "403 Forbidden", "404 Not Found", "426 Upgrade Required", "500 X", "503 "]
)
async def test_a_refusal_tells_status_headers_and_body(status: str, serve: Serve) -> None:
    def handler(connection: Connection) -> None:
        connection.respond(status, "X-Hint: one", "X-Hint: two", body=b"because")

    with pytest.raises(HandshakeRejected, match=status.strip()) as caught:
        async with open_websocket_stream(serve(handler).url("/")):
            pytest.fail("the body must not run")
    error = caught.value
    assert error.status == int(status[:3])
    assert error.headers.get_all("x-hint") == ["one", "two"]
    assert (error.body, error.truncated) == (b"because", False)


@pytest.mark.parametrize(
    "status", ["301 Moved", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"]
)
async def test_a_redirect_is_not_followed(status: str, serve: Serve) -> None:
    def handler(connection: Connection) -> None:
        connection.respond(status, "Location: wss://elsewhere.example/")

    with pytest.raises(HandshakeRejected) as caught:
        async with open_websocket_stream(serve(handler).url("/")):
            pytest.fail("the body must not run")
    assert caught.value.headers["location"] == "wss://elsewhere.example/"


async def test_an_ok_is_a_refusal_as_well(serve: Serve) -> None:
    with pytest.raises(HandshakeRejected, match="200"):
        async with open_websocket_stream(
            serve(lambda connection: connection.respond("200 OK", body=b"<html>")).url("/")
        ):
            pytest.fail("the body must not run")


async def test_a_chunked_body_is_put_together(serve: Serve) -> None:
    def handler(connection: Connection) -> None:
        connection.write(
            b"HTTP/1.1 400 Bad\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nfoo\r\n3\r\nbar\r\n0\r\n\r\n"
        )
        connection.read_to_eof()

    with pytest.raises(HandshakeRejected) as caught:
        async with open_websocket_stream(serve(handler).url("/")):
            pytest.fail("the body must not run")
    assert caught.value.body == b"foobar"


async def test_a_body_larger_than_the_limit_is_cut(serve: Serve) -> None:
    with pytest.raises(HandshakeRejected) as caught:
        async with open_websocket_stream(
            serve(lambda connection: connection.respond("404 Not Found", body=b"x" * 200_000)).url("/")
        ):
            pytest.fail("the body must not run")
    assert (caught.value.body, caught.value.truncated) == (b"x" * 65536, True)


async def test_a_body_that_does_not_come_is_not_waited_for(serve: Serve) -> None:
    def handler(connection: Connection) -> None:
        connection.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 1000\r\n\r\nsome")
        connection.read_to_eof()

    started = anyio.current_time()
    with pytest.raises(HandshakeRejected) as caught:
        async with open_websocket_stream(serve(handler).url("/")):
            pytest.fail("the body must not run")
    assert (caught.value.body, caught.value.truncated) == (b"some", True)
    assert anyio.current_time() - started < 3


async def test_a_server_that_does_not_answer_is_given_up(serve: Serve) -> None:
    server = serve(lambda connection: connection.wait_for_test())
    with pytest.raises(HandshakeTimeout, match="open_timeout") as caught:
        async with open_websocket_stream(server.url("/"), open_timeout=0.2):
            pytest.fail("the body must not run")
    assert isinstance(caught.value, TimeoutError)


async def test_a_reset_during_the_handshake_is_a_failed_connection(serve: Serve) -> None:
    with pytest.raises(ConnectFailed) as caught:
        async with open_websocket_stream(serve(lambda connection: connection.reset()).url("/")):
            pytest.fail("the body must not run")
    assert isinstance(caught.value, OSError)


async def test_the_answer_may_come_byte_by_byte(serve: Serve) -> None:
    def handler(connection: Connection) -> None:
        answer = head(SWITCHING, *UPGRADE, ACCEPT).replace("{accept}", connection.accept_key)
        for byte in answer.encode() + b"\x81\x02hi":
            connection.write(bytes([byte]))
        connection.answer_close(connection.read_close())

    async with open_websocket_stream(serve(handler).url("/")) as conn:
        assert await conn.receive() == "hi"


async def test_bad_answers_are_the_same_over_tls(
    serve: Serve, server_ssl: ssl.SSLContext, client_ssl: ssl.SSLContext
) -> None:
    server = serve(lambda connection: connection.write(b"FOO BAR BAZ\r\n\r\n"), server_ssl)
    with pytest.raises(InvalidHandshake):
        async with open_websocket_stream(server.url("/"), ssl_context=client_ssl):
            pytest.fail("the body must not run")
