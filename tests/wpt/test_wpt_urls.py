"""The general web-platform tests about URLs, protocols and headers (`websockets/*.any.js`, `constructor/`, `security/`)."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import anyio
import pytest
from anyio.abc import SocketStream

from websocketstream import open_websocket_stream

if TYPE_CHECKING:
    from wpt.conftest import Open
    from wpt.server import Server

pytestmark = pytest.mark.anyio
wpt = pytest.mark.wpt
BLOCKED_PORTS = (1, 7, 22, 25, 6000, 6666, 10080)


@wpt(
    "2.3 Create-invalid-urls",
    "2.3 Create-url-with-space",
    "2.3 Create-non-absolute-url",
    "2.3 constructor/002",
)
@pytest.mark.parametrize(
    "url",
    [
        "ws://foo bar.com/",
        "wss://foo bar.com/",
        "ftp://localhost/",
        "mailto:example@example.org",
        "about:blank",
        "http://localhost/#",
        "ws://localhost/#test",
        "#test",
        "test",
        "?",
        "123",
        "",
        "ws://",
        "/",
    ],
)
def test_a_url_that_names_no_websocket_is_a_value_error(url: str) -> None:
    with pytest.raises(ValueError):
        open_websocket_stream(url)


@wpt("2.3 Create-non-absolute-url", deviation="a URL is a str; nothing else is converted to one")
@pytest.mark.parametrize("url", [None, 123, b"ws://localhost/"], ids=repr)
def test_a_url_that_is_no_text_is_a_type_error(url: object) -> None:
    with pytest.raises(TypeError):
        open_websocket_stream(url)  # type: ignore[arg-type]


@wpt("2.3 Create-http-urls")
async def test_http_urls_are_mapped(server: Server, client_ssl) -> None:
    url = server.url("/echo", scheme="https" if server.context else "http")
    async with open_websocket_stream(url, ssl_context=client_ssl if server.context else None) as conn:
        assert conn.url == server.url("/echo")


@wpt(
    "2.3 Create-url-with-windows-1252-encoding",
    "2.3 constructor/016",
    "2.3 constructor/018",
    "2.3 url/resolve",
)
@pytest.mark.parametrize(
    ("query", "sent"),
    [
        ("\u00e5", "%C3%A5"),
        ("x y", "x%20y"),
        ("x\0y\0", "x%00y"),
        ("a=%C3%A5&b=/?", "a=%C3%A5&b=/?"),
        ("", ""),
    ],
)
async def test_a_query_is_encoded_as_utf_8(query: str, sent: str, connect: Open) -> None:
    async with connect(f"/echo-query?{query}") as conn:
        assert await conn.receive() == sent


@wpt("2.3 constructor/017", "2.3 constructor/019", "2.3 constructor/020", "2.3 url/001")
@pytest.mark.parametrize(
    "template", ["{s}:{h}:{p}/", "{s}:/{h}:{p}/", "{S}://{h}:{p}/", "{s}://{H}:{p}/", "{s}://{h}:{p}"]
)
async def test_a_url_is_normalised(template: str, server: Server, client_ssl) -> None:
    server.handlers["/"] = server.handlers["/echo"]
    scheme = "wss" if server.context else "ws"
    url = template.format(s=scheme, S=scheme.upper(), h="localhost", H="LOCALHOST", p=server.port)
    async with open_websocket_stream(url, ssl_context=client_ssl if server.context else None) as conn:
        assert conn.url == server.url("/")


@wpt("2.3 constructor/008")
@pytest.mark.parametrize(
    "url", ["ws://localhost:80/", "ws://localhost:443/", "wss://localhost:80/", "wss://localhost:443/"]
)
def test_both_default_ports_go_with_both_schemes(url: str) -> None:
    open_websocket_stream(url)


@wpt(
    "2.3 Create-blocked-port",
    deviation="a protection of browsers against web pages: a program may use any port",
)
@pytest.mark.parametrize("port", BLOCKED_PORTS)
def test_no_port_is_blocked(port: int) -> None:
    open_websocket_stream(f"ws://localhost:{port}/")


@wpt("2.3 opening-handshake/003")
async def test_an_international_host_name_is_sent_in_punycode(
    server: Server, anyio_backend_name: str
) -> None:
    if server.context:
        pytest.skip("the certificate is for localhost; what is sent does not depend on TLS")
    with socket.create_connection(("127.0.0.1", server.port)) as sock:
        stream = await SocketStream.from_socket(sock.dup())
    async with open_websocket_stream("ws://天気の良い日.example/echo", stream=stream) as conn:
        assert conn.url == "ws://xn--n8j6ds53lwwkrqhv28a.example/echo"
    (request,) = server.requests
    assert request.headers["host"] == "xn--n8j6ds53lwwkrqhv28a.example"


@wpt(
    "2.3 opening-handshake/003-sets-origin",
    deviation="a program has no origin: the header is sent only when the option gives one",
)
@pytest.mark.parametrize(
    ("origin", "sent"), [(None, "MISSING AS PER FETCH"), ("https://example.org", "https://example.org")]
)
async def test_an_origin_is_sent_when_it_is_given(origin: str | None, sent: str, connect: Open) -> None:
    async with connect("/header?name=origin", origin=origin) as conn:
        assert await conn.receive() == sent


@wpt("2.3 referrer")
async def test_no_referrer_is_sent(connect: Open) -> None:
    async with connect("/header?name=referer") as conn:
        assert await conn.receive() == "MISSING AS PER FETCH"


@wpt("2.3 cookies", deviation="no cookie jar: cookies are headers in and headers out")
async def test_cookies_are_headers(connect: Open) -> None:
    async with connect("/header?name=cookie", headers=[("Cookie", "a=1")]) as conn:
        assert await conn.receive() == "a=1"
        assert conn.response.headers["set-cookie"] == "seen=1"


@wpt("2.3 basic-auth")
async def test_user_information_in_the_url_becomes_basic_authorization(server: Server, client_ssl) -> None:
    url = server.url("/basic_auth").replace("localhost", "foo:bar@localhost")
    async with open_websocket_stream(url, ssl_context=client_ssl if server.context else None) as conn:
        assert await conn.receive() == "pass"
        assert "bar" not in conn.url


@wpt("2.3 security/002")
@pytest.mark.parametrize(
    "name",
    [
        "Sec-WebSocket-Key",
        "sec-websocket-version",
        "Sec-WebSocket-Protocol",
        "Host",
        "Upgrade",
        "Connection",
        "Content-Length",
    ],
)
def test_headers_of_the_handshake_cannot_be_overridden(name: str) -> None:
    with pytest.raises(ValueError, match=rf"(?i){name}"):
        open_websocket_stream("ws://localhost/", headers=[(name, "x")])


@wpt(
    "2.3 constructor/004",
    "2.3 constructor/007",
    "2.3 constructor/021",
    "2.3 Create-asciiSep-protocol-string",
    "2.3 Create-nonAscii-protocol-string",
    "2.3 Create-protocol-with-space",
    "2.3 Create-protocols-repeated",
    "2.3 Create-protocols-repeated-case-insensitive",
)
@pytest.mark.parametrize(
    "protocols",
    [
        ["foobar, foobar"],
        ["\0"],
        ["a/b"],
        ["a b"],
        ["\u0080"],
        ["ab\u00e7"],
        [""],
        ["a\t"],
        *[[f"a{separator}b"] for separator in '"(),:;<=>?@[\\]{}'],
        ["echo", "echo"],
        ["echo", "eCho"],
    ],
    ids=repr,
)
def test_a_protocol_is_a_token_and_given_once(protocols: list[str]) -> None:
    with pytest.raises(ValueError):
        open_websocket_stream("ws://localhost/", protocols=protocols)


@wpt("2.3 constructor/009", "2.3 constructor/022", "2.3 Create-valid-url-protocol")
@pytest.mark.parametrize("protocols", [["echo"], ("echo",), ["foobar", "echo"]])
async def test_the_selected_protocol_is_reported(protocols: list[str], server: Server, connect: Open) -> None:
    async with connect("/echo", protocols=protocols) as conn:
        assert conn.protocol == "echo"
    assert server.requests[0].headers["sec-websocket-protocol"] == ", ".join(protocols)


@wpt("2.3 constructor/013")
async def test_many_streams_at_once_do_not_disturb_each_other(connect: Open) -> None:
    events: list[str] = []

    async def talk(number: int) -> None:
        async with connect(f"/echo?{number}") as conn:
            events.append("open")
            await conn.send(f"message {number}")
            assert await conn.receive() == f"message {number}"
            events.append("message")
        events.append("close")

    async with anyio.create_task_group() as group:
        for number in range(25):
            group.start_soon(talk, number)
    assert sorted(events) == ["close"] * 25 + ["message"] * 25 + ["open"] * 25
