"""Which web pages may connect, and which origins an option can hold."""

from __future__ import annotations

import re
from typing import Any

import pytest

from edges.serving import MemoryListener, echo, levels, serving
from websocketstream import (
    HandshakeRejected,
    WebSocketRequest,
    open_websocket_stream,
    serve_websocket_streams,
)
from websocketstream._server.origins import check_origins, normal_origin

pytestmark = pytest.mark.anyio

GOOD = ["https://good.example"]


@pytest.mark.parametrize(
    ("origins", "origin", "admitted"),
    [
        (None, None, True),
        (None, "https://anywhere.example", True),
        (GOOD, "https://good.example", True),
        (GOOD, "HTTPS://GOOD.example", True),
        (GOOD, "https://good.example:443", True),
        (["HTTPS://Good.Example:443"], "https://good.example", True),
        ([*GOOD, None], None, True),
        (["null"], "null", True),
        (GOOD, None, False),
        (GOOD, "http://good.example", False),
        (GOOD, "https://good.example:80", False),
        (GOOD, "https://good.example:8443", False),
        (GOOD, "https://good.example.evil", False),
        (GOOD, "https://evil-good.example", False),
        (GOOD, "null", False),
        ([None], "null", False),
        (["null"], None, False),
        ([], "https://good.example", False),
    ],
)
async def test_only_admitted_origins_reach_the_handler(
    origins: list[str | None] | None, origin: str | None, admitted: bool, caplog: pytest.LogCaptureFixture
) -> None:
    calls = []

    async def handler(request: WebSocketRequest) -> None:
        calls.append(request.origin)
        await echo(request)

    listener = MemoryListener()
    async with serving(handler, origins=origins, listener=listener):
        status = 101
        try:
            async with open_websocket_stream("ws://localhost/", stream=listener.connect(), origin=origin):
                pass
        except HandshakeRejected as exc:
            status = exc.status
    assert status == (101 if admitted else 403)
    assert bool(calls) is admitted
    assert levels(caplog) == ([] if admitted else ["WARNING"])


async def test_a_refused_origin_is_logged_without_what_could_hurt_a_terminal(
    caplog: pytest.LogCaptureFixture,
) -> None:
    listener = MemoryListener()
    async with serving(origins=GOOD, listener=listener):
        stream = listener.connect()
        await stream.send(
            b"GET /feed?token=secret HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
            b"Origin: https://\xe9vil.example/" + b"x" * 5000 + b"\r\n\r\n"
        )
        assert (await stream.receive()).startswith(b"HTTP/1.1 403 ")
    (record,) = caplog.records
    message = record.getMessage()
    assert "'https://\\xe9vil.example/xxx" in message
    assert "'/feed'" in message
    assert "secret" not in message
    assert len(message) < 300


@pytest.mark.parametrize(
    ("origin", "advice"),
    [
        ("a.com", "write 'https://a.com'"),
        ("//a.com", "write 'https://a.com'"),
        ("https://a.com/", "write 'https://a.com'"),
        ("https://a.com/chat?x#y", "write 'https://a.com'"),
        ("https://user:password@a.com", "write 'https://a.com'"),
        (" https://a.com ", "write 'https://a.com'"),
        ("https://a.com:0443", "write 'https://a.com'"),
        ("https://A.com:08443/", "write 'https://a.com:8443'"),
        ("a.com:8443", "write 'https://a.com:8443'"),
        ("wss://a.com", "write 'https://a.com'"),
        ("ws://a.com:8080", "write 'http://a.com:8080'"),
        ("localhost:3000", "write 'http://localhost:3000'"),
        ("127.0.0.1", "write 'http://127.0.0.1'"),
        ("https://bücher.example", "write 'https://xn--bcher-kva.example'"),
        ("http://[0:0::1]:80", "write 'http://[::1]'"),
        ("chrome-extension://abcdef/page.html", "write 'chrome-extension://abcdef'"),
        ("https://", 'write it like "https://a.com"'),
        ("https://a.com:port", 'write it like "https://a.com"'),
        ("https://a.com:99999", 'write it like "https://a.com"'),
        ("https://a b", 'write it like "https://a.com"'),
        ("*", "pass origins=None"),
        ("https://*.a.com", "list each of them"),
        ("", "None stands for"),
    ],
)
def test_what_a_browser_never_sends_is_an_error_that_shows_what_it_sends(origin: str, advice: str) -> None:
    with pytest.raises(ValueError, match=re.escape(advice)):
        check_origins([origin])


@pytest.mark.parametrize(
    ("origin", "normal"),
    [
        ("https://a.com", "https://a.com"),
        ("HTTPS://A.com:443", "https://a.com"),
        ("http://a.com:80", "http://a.com"),
        ("http://a.com:443", "http://a.com:443"),
        ("http://a.com:8080", "http://a.com:8080"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("http://[::1]:3000", "http://[::1]:3000"),
        ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example"),
        ("NULL", "null"),
        ("null", "null"),
        ("file://", "file://"),
        ("chrome-extension://abcdef", "chrome-extension://abcdef"),
        ("capacitor://localhost", "capacitor://localhost"),
    ],
)
def test_what_a_browser_sends_is_taken_in_one_form(origin: str, normal: str) -> None:
    assert check_origins([origin, None]) == {normal, None}
    assert normal_origin(origin) == normal_origin(normal) == normal


@pytest.mark.parametrize("origins", ["https://a.com", b"https://a.com", 5, [1], [b"https://a.com"]])
async def test_what_is_no_list_of_origins_is_a_type_error(origins: Any) -> None:
    with pytest.raises(TypeError, match="origin"):
        await serve_websocket_streams(echo, "127.0.0.1", origins=origins)
