"""The server's opening handshake: which requests it takes, and what it answers."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from hypothesis import given, settings, strategies as st

from websocketstream._protocol.client_handshake import ClientHandshake
from websocketstream._protocol.errors import HandshakeRejected, InvalidHandshake
from websocketstream._protocol.http import HandshakeLimits, Request
from websocketstream._protocol.negotiation import Compression
from websocketstream._protocol.server_handshake import BadRequest, ServerHandshake
from websocketstream._protocol.url import parse_url

DEFLATE = Compression()
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455 1.3, and what answers it:
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def request(*extra, line=b"GET /chat?room=1 HTTP/1.1", without=(), **instead):
    """Return a good request head with ``extra`` lines, ``without`` some, and with others ``instead``."""
    lines = {
        "host": b"Host: example.com:8080",
        "upgrade": b"Upgrade: websocket",
        "connection": b"Connection: Upgrade",
        "key": b"Sec-WebSocket-Key: " + KEY,
        "version": b"Sec-WebSocket-Version: 13",
    }
    lines.update(instead)
    kept = [line for name, line in lines.items() if name not in without]
    return b"\r\n".join([line, *kept, *extra, b"", b""])


def in_bytes(data):
    return [data[place : place + 1] for place in range(len(data))]


def feed(handshake, pieces):
    for piece in pieces:
        found = handshake.receive_data(piece)
        if found is not None:
            return found
    return None


def received(*extra, **changes):
    """Return a handshake that has received a good request."""
    handshake = ServerHandshake(compression=changes.pop("compression", None))
    assert handshake.receive_data(request(*extra, **changes)) is not None
    return handshake


def parse(response):
    head, _, body = response.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    return first, [tuple(line.split(": ", 1)) for line in lines], body


def refused(data):
    with pytest.raises(BadRequest) as caught:
        ServerHandshake(compression=DEFLATE).receive_data(data)
    return caught.value


# --- requests that are taken


def test_a_good_request_is_returned():
    handshake = ServerHandshake()
    got = handshake.receive_data(request(b"Origin: https://example.org", b"Cookie: a=1", b"X: caf\xe9"))
    assert isinstance(got, Request)
    assert (got.target, got.path, got.query) == ("/chat?room=1", "/chat", "room=1")
    assert got.origin == "https://example.org"
    assert got.protocols == ()
    assert got.headers["cookie"] == "a=1"
    assert got.headers["x"] == "caf\u00e9"
    assert handshake.trailing_data == b""


def test_a_request_may_be_cut_anywhere():
    """B2 and T2."""
    data = request(b"X: y")
    for cut in range(1, len(data)):
        handshake = ServerHandshake()
        assert handshake.receive_data(data[:cut]) is None
        assert handshake.receive_data(data[cut:]) is not None
    handshake = ServerHandshake()
    assert feed(handshake, in_bytes(data[:-1])) is None
    assert handshake.receive_data(data[-1:]) is not None


@pytest.mark.parametrize(
    "frames", [b"\x81\x82abcdxy", b"GET / HTTP/1.1\r\n\r\n", b"x" * 70_000], ids=["B15", "B17", "W11"]
)
def test_what_is_glued_to_the_request_is_kept(frames):
    handshake = ServerHandshake()
    assert handshake.receive_data(request() + frames) is not None
    assert handshake.trailing_data == frames


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"upgrade": b"upgrade:\tWebSocket "}, id="B11-case"),
        pytest.param({"connection": b"Connection: keep-alive, Upgrade"}, id="B12-list"),
        pytest.param({"connection": b"Connection: upgrade,"}, id="B12-empty-element"),
        pytest.param({"connection": b"Connection: Upgrade\r\nConnection: keep-alive"}, id="B12-first-of-two"),
        pytest.param(
            {"connection": b"Connection: keep-alive\r\nConnection: Upgrade"}, id="B12-second-of-two"
        ),
        pytest.param({"more": b"Content-Length: 0"}, id="B13-length-0"),
        pytest.param({"more": b"Content-Length: 00"}, id="B13-length-00"),
        pytest.param({"more": b"Expect: 100-continue"}, id="B14"),
        pytest.param({"more": b"Sec-WebSocket-Extensions:"}, id="empty-extensions"),
        pytest.param({"host": b"Host: example.com"}, id="host-without-port"),
        pytest.param({"host": b"Host: example.com:"}, id="host-with-empty-port"),
        pytest.param({"host": b"host: EXAMPLE.com.:65535"}, id="host-in-capitals"),
        pytest.param({"host": b"Host: my_service"}, id="host-with-underscore"),
        pytest.param({"host": b"Host: 127.0.0.1:80"}, id="host-IPv4"),
        pytest.param({"host": b"Host: [::1]:80"}, id="host-IPv6"),
        pytest.param({"host": b"Host: xn--bcher-kva.example"}, id="host-A-label"),
        pytest.param({"host": b"Host: xn--ls8h.example"}, id="host-emoji"),
    ],
)
def test_requests_that_are_legal_in_an_odd_way_are_taken(change):
    assert ServerHandshake(compression=DEFLATE).receive_data(request(**change)) is not None


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        pytest.param(b"/", "/", id="root"),
        pytest.param(b"/?", "/?", id="empty-query"),
        pytest.param(b"//evil", "//evil", id="B18-two-slashes"),
        pytest.param(b"/%00", "/%00", id="B18-NUL-escaped"),
        pytest.param(b"/../..", "/../..", id="B18-dots"),
        pytest.param(b'/a|b?{}^`"<>\\', '/a|b?{}^`"<>\\', id="what-browsers-send-raw"),
        pytest.param(b"http://example.com:8080/x?y", "/x?y", id="B18-absolute"),
        pytest.param(b"WSS://EXAMPLE.com:8080/", "/", id="B18-absolute-case"),
        pytest.param(b"ws://example.com:8080", "/", id="B18-absolute-without-path"),
        pytest.param(b"https://example.com:8080?y=/", "/?y=/", id="B18-absolute-query-only"),
    ],
)
def test_a_target_is_passed_on_undecoded(target, expected):
    got = ServerHandshake().receive_data(request(line=b"GET " + target + b" HTTP/1.1"))
    assert got is not None
    assert got.target == expected


@pytest.mark.parametrize(
    ("lines", "protocols"),
    [
        pytest.param([b"Sec-WebSocket-Protocol: b, a"], ("b", "a"), id="order"),
        pytest.param(
            [b"Sec-WebSocket-Protocol: b", b"sec-websocket-protocol: a"], ("b", "a"), id="two-fields"
        ),
        pytest.param([b"Sec-WebSocket-Protocol: ,b,, a ,"], ("b", "a"), id="B19-empty-elements"),
        pytest.param([b"Sec-WebSocket-Protocol:"], (), id="empty"),
        pytest.param([b"Sec-WebSocket-Protocol: echo, eCho"], ("echo", "eCho"), id="P4-as-Chromium-sends"),
        pytest.param(
            [b"Sec-WebSocket-Protocol: " + b",".join(b"p%d" % number for number in range(1000))],
            tuple(f"p{number}" for number in range(1000)),
            id="B19-thousand",
        ),
    ],
)
def test_the_offered_protocols_are_in_the_request(lines, protocols):
    got = ServerHandshake().receive_data(request(*lines))
    assert got is not None
    assert got.protocols == protocols


@pytest.mark.parametrize(
    "origin", [b"null", b"https://example.org:444", b"", b"\xe9", b"x" * 8000], ids=lambda o: repr(o)[:20]
)
def test_the_origin_is_passed_on_as_it_is(origin):
    """B21: whether it is allowed is for the server to say."""
    got = ServerHandshake().receive_data(request(b"Origin: " + origin))
    assert got is not None
    assert got.origin == origin.decode("latin-1")


def test_no_origin_is_none():
    got = ServerHandshake().receive_data(request())
    assert got is not None
    assert got.origin is None


# --- requests that are refused


@pytest.mark.parametrize(
    ("data", "status", "words"),
    [
        pytest.param(request(line=b"POST / HTTP/1.1"), 405, "GET", id="B6-POST"),
        pytest.param(request(line=b"get / HTTP/1.1"), 405, "GET", id="B6-lower-case"),
        pytest.param(request(line=b"CONNECT h:80 HTTP/1.1"), 405, "GET", id="B6-CONNECT"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "no HTTP/1.1 request", id="B6-HTTP/2-preface"),
        pytest.param(request(line=b"GET / HTTP/1.0"), 505, "HTTP/1.1", id="B7-1.0"),
        pytest.param(request(line=b"GET / HTTP/2.0"), 505, "HTTP/1.1", id="B7-2.0"),
        pytest.param(request(line=b"POST / HTTP/1.0"), 505, "HTTP/1.1", id="B7-POST-1.0"),
        pytest.param(request(line=b"GET /"), 400, "no HTTP/1.1 request", id="B7-0.9"),
        pytest.param(request(line=b"GET / HTTP/1.1x"), 400, "no HTTP/1.1 request", id="B7-1.1x"),
        pytest.param(request(line=b"GET / http/1.1"), 400, "no HTTP/1.1 request", id="B7-lower-case"),
        pytest.param(request(line=b"GET  / HTTP/1.1"), 400, "no HTTP/1.1 request", id="two-spaces"),
        pytest.param(request(line=b"GET / x HTTP/1.1"), 400, "no HTTP/1.1 request", id="B18-space"),
        pytest.param(request(line=b"GET /\xe9 HTTP/1.1"), 400, "no HTTP/1.1 request", id="B18-beyond-ascii"),
        pytest.param(request(line=b"GET /\0 HTTP/1.1"), 400, "no HTTP/1.1 request", id="B18-NUL"),
        pytest.param(request(line=b"GET /#frag HTTP/1.1"), 400, "fragment", id="B18-fragment"),
        pytest.param(request(line=b"GET * HTTP/1.1"), 400, "neither a path nor a URL", id="B18-star"),
        pytest.param(request(line=b"GET host:80 HTTP/1.1"), 400, "neither a path nor a URL", id="B18-authority"),
        pytest.param(request(line=b"GET ftp://example.com:8080/ HTTP/1.1"), 400, "neither", id="B18-ftp"),
        pytest.param(request(line=b"GET http://x/ HTTP/1.1"), 400, "different hosts", id="B18-absolute-other"),
        pytest.param(
            request(line=b"GET http://u@example.com:8080/ HTTP/1.1"), 400, "different hosts", id="B18-user-info"
        ),
        pytest.param(b"\r\n" + request(), 400, "no HTTP/1.1 request", id="empty-line-first"),
        pytest.param(b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", 400, r"no HTTP request: .*\\x16", id="TLS-hello"),
        pytest.param(b"GET / HTTP/1.1\nHost: h\n\n", 400, "bare line feed", id="bare-LF"),
        pytest.param(request(b" folded"), 400, "folded", id="obs-fold"),
        pytest.param(request(b"A : b"), 400, "space before the colon", id="space-before-colon"),
        pytest.param(request(b"A: \0"), 400, "control", id="NUL"),
        pytest.param(b"GET /" + b"x" * 9000, 414, "line_size", id="B4"),
        pytest.param(request(line=b"GET /" + b"x" * 9000 + b" HTTP/1.1"), 414, "line_size", id="B4-complete"),
        pytest.param(request(b"A: " + b"b" * 8190), 431, "line_size", id="B5-line"),
        pytest.param(request(*[b"A: b"] * 129), 431, "128 .*header_count", id="B5-count"),
        pytest.param(request(*[b"A: " + b"b" * 8000] * 3), 431, "16384 .*head_size", id="B5-size"),
        pytest.param(request(*[b"A: b"] * 500_000), 431, "header_count", id="W12"),
        pytest.param(request(without=["host"]), 400, "Host", id="B8-missing"),
        pytest.param(request(b"Host: example.com:8080"), 400, "Host", id="B8-two"),
        pytest.param(request(without=["key"]), 400, "no Sec-WebSocket-Key", id="B9-missing"),
        pytest.param(request(b"Sec-WebSocket-Key: " + KEY), 400, "more than one Sec-WebSocket-Key", id="B9-two"),
        pytest.param(request(without=["upgrade"]), 400, "no Upgrade", id="B11-missing"),
        pytest.param(request(b"Upgrade: websocket"), 400, "more than one Upgrade", id="B11-two"),
        pytest.param(request(upgrade=b"Upgrade: h2c, websocket"), 400, '"websocket"', id="B11-list"),
        pytest.param(request(upgrade=b"Upgrade: websocket/13"), 400, '"websocket"', id="B11-version"),
        pytest.param(request(without=["connection"]), 400, "Connection", id="B12-missing"),
        pytest.param(request(connection=b"Connection: notupgrade"), 400, "Connection", id="B12-notupgrade"),
        pytest.param(request(connection=b"Connection: upgrade-x"), 400, "Connection", id="B12-upgrade-x"),
        pytest.param(request(connection=b"Connection: Upgrade;q=1"), 400, "Connection", id="B12-parameter"),
        pytest.param(request(connection=b"Connection: \xe9"), 400, "Connection", id="W6-Connection"),
        pytest.param(request(b"Content-Length: 5") + b"hello", 400, "no body", id="B13-length"),
        pytest.param(request(b"Transfer-Encoding: chunked"), 400, "no body", id="B13-chunked"),
        pytest.param(request(b"Content-Length: 0", b"Transfer-Encoding: chunked"), 400, "no body", id="B13-both"),
        pytest.param(request(b"Transfer-Encoding: identity"), 400, "no body", id="B13-other-coding"),
        pytest.param(request(b"Content-Length: 0", b"content-length: 0"), 400, "more than one", id="B13-two"),
        pytest.param(request(b"Content-Length: 0, 5"), 400, "malformed", id="B13-list"),
        pytest.param(request(b"Content-Length: -1"), 400, "malformed", id="B13-minus"),
        pytest.param(request(b"Content-Length: +5"), 400, "malformed", id="B13-plus"),
        pytest.param(request(b"Content-Length: 1e3"), 400, "malformed", id="B13-float"),
        pytest.param(request(b"Content-Length:"), 400, "malformed", id="B13-empty"),
        pytest.param(request(b"Origin: http://a", b"Origin: http://a"), 400, "more than one Origin", id="B21-two"),
        pytest.param(request(b"Sec-WebSocket-Protocol: a, a"), 400, "twice", id="B19-duplicate"),
        pytest.param(request(b"Sec-WebSocket-Protocol: a b"), 400, "not a token", id="B19-space"),
        pytest.param(request(b"Sec-WebSocket-Protocol: \xe9"), 400, "not a token", id="B19-beyond-ascii"),
        pytest.param(request(b'Sec-WebSocket-Protocol: "a"'), 400, "not a token", id="B19-quoted"),
        pytest.param(request(b"Sec-WebSocket-Extensions: ;;"), 400, "Sec-WebSocket-Extensions", id="B20-malformed"),
        pytest.param(request(b"Sec-WebSocket-Extensions: \xe9"), 400, "Sec-WebSocket-Extensions", id="W6-Extensions"),
    ],
)  # fmt: skip
def test_a_request_that_is_no_handshake_is_refused_with_words(data, status, words):
    started = time.process_time()
    error = refused(data)
    assert time.process_time() - started < 0.5
    assert error.status == status
    with pytest.raises(BadRequest, match=words):
        raise error
    first, fields, body = parse(error.response)
    assert first.startswith(f"HTTP/1.1 {status} ")
    names = dict(fields)
    assert names["Connection"] == "close"  # websocket-smuggle: nobody may think that this was an upgrade
    assert int(names["Content-Length"]) == len(body)
    assert names["Content-Type"] == "text/plain; charset=utf-8"
    assert body.decode("ascii").removesuffix("\n") == str(error)
    assert str(error).isprintable()


@pytest.mark.parametrize(
    ("line", "status"),
    [(b"HEAD / HTTP/1.1", 405), (b"HEAD / HTTP/1.0", 505), (b"HEAD /" + b"x" * 9000, 414), (b"HEAD", 400)],
    ids=["405", "505", "414", "400"],
)
def test_who_asks_for_the_head_only_gets_what_others_get_without_the_body(line, status):
    """B6 and RFC 9110 section 9.3.2."""
    error = refused(request(line=line + b" " * (status == 400)))
    assert error.status == status
    first, fields, body = parse(error.response)
    assert first.startswith(f"HTTP/1.1 {status} ")
    assert int(dict(fields)["Content-Length"]) == len(f"{error}\n")
    assert body == b""


@pytest.mark.parametrize(
    "value",
    ["", "a..b", ".a", "\u00e9", "xn--a-", "xn--99999999", "a" * 64, "h:99999", "h:-1", "h:x", "h:1:2", "[::1", "::1", "[::1%eth0]",
     "h h", "user@h", "h/", "h?", "h#", "a,b c", "%41", "1.2.3.256", "http://h", "h:8\t0", "[]", "<h", '"h"', "a" * 8000],
    ids=lambda value: ascii(value)[:20],
)  # fmt: skip
def test_a_host_that_is_none_is_a_bad_request(value):
    """B8, t_host_matrix and CVE-2026-61666."""
    data = request(host=b"Host: " + value.encode("latin-1"))
    started = time.process_time()
    error = refused(data)
    assert time.process_time() - started < 0.2
    assert error.status == 400
    assert "Host" in str(error)
    assert len(str(error)) < 200


@pytest.mark.parametrize(
    "key",
    [
        b"",
        b"x",
        b"AAAAAAAAAAAAAAAAAAAA",  # 15 bytes
        b"AAAAAAAAAAAAAAAAAAAAAAA=",  # 17 bytes
        b"AAAAAAAAAAAAAAAAAAAAAA",  # no padding
        b"AAAAAAAAAAAAAAAAAAAA-_==",  # URL-safe alphabet
        b"AAAAAAAAAA AAAAAAAAAAAA==",
        b"!" * 22 + b"==",
        KEY + b", " + KEY,
        b"\xe9" * 22 + b"==",
    ],
)
def test_a_key_that_is_not_16_bytes_in_base64_is_a_bad_request(key):
    """B9 and W10."""
    error = refused(request(key=b"Sec-WebSocket-Key: " + key))
    assert (error.status, "16 bytes in base64" in str(error)) == (400, True)


@pytest.mark.parametrize(
    "versions", [[], [b"8"], [b"13, 8"], [b"13", b"13"], [b"013"], [b"13;"], [b""], [b"\xe9"]], ids=repr
)
def test_another_version_is_answered_with_ours(versions):
    """B10."""
    error = refused(
        request(*[b"Sec-WebSocket-Version: " + version for version in versions], without=["version"])
    )
    first, fields, _ = parse(error.response)
    assert first == "HTTP/1.1 426 Upgrade Required"
    assert ("Sec-WebSocket-Version", "13") in fields
    assert ("Upgrade", "websocket") in fields
    assert error.headers["sec-websocket-version"] == "13"


def test_another_method_is_answered_with_ours():
    """B6."""
    assert ("Allow", "GET") in parse(refused(request(line=b"PUT / HTTP/1.1")).response)[1]


def test_a_bad_start_is_refused_before_the_head_is_complete():
    """B6, B7: a slow or endless head is not worth waiting for."""
    for data in (b"POST / HTTP/1.1\r\n", b"GET / HTTP/1.0\r\n", b"\x16", b"\r"):
        with pytest.raises(BadRequest):
            ServerHandshake().receive_data(data)


def test_a_bad_request_is_a_handshake_error():
    error = BadRequest(400, "No.", {"X": "y"})
    assert isinstance(error, InvalidHandshake)
    assert (str(error), error.close_code) == ("No.", 1006)
    assert error.response == (
        b"HTTP/1.1 400 Bad Request\r\nX: y\r\nContent-Type: text/plain; charset=utf-8\r\n"
        b"Content-Length: 4\r\nConnection: close\r\n\r\nNo.\n"
    )


def test_secrets_of_a_malformed_request_are_not_shown():
    for line in (b"Authorization : canary", b"Authorization: \0canary", b"Cookie: a\r\n canary"):
        error = refused(request(line))
        assert b"canary" not in error.response


def test_limits_can_be_set():
    limits = HandshakeLimits(header_count=5)
    assert ServerHandshake(limits=limits).receive_data(request()) is not None
    with pytest.raises(BadRequest, match="5 header fields"):
        ServerHandshake(limits=limits).receive_data(request(b"A: b"))


# --- compression


@pytest.mark.parametrize(
    ("lines", "extensions"),
    [
        pytest.param([], "", id="none"),
        pytest.param([b"Sec-WebSocket-Extensions: x-unknown"], "", id="unknown"),
        pytest.param([b"Sec-WebSocket-Extensions: __class__, constructor"], "", id="B20-names"),
        pytest.param([b"Sec-WebSocket-Extensions: permessage-deflate"], "permessage-deflate", id="plain"),
        pytest.param(
            [b"Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=99; client_no_context_takeover",
             b"Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=10"],
            "permessage-deflate; server_max_window_bits=10",
            id="B20-nothing-leaks-from-a-declined-offer",
        ),
    ],
)  # fmt: skip
def test_the_first_acceptable_offer_is_accepted(lines, extensions):
    handshake = received(*lines, compression=DEFLATE)
    fields = parse(handshake.accept())[1]
    assert handshake.extensions == extensions
    assert (handshake.deflate is not None) == bool(extensions)
    assert [value for name, value in fields if name == "Sec-WebSocket-Extensions"] == (
        [extensions] if extensions else []
    )


def test_eight_hundred_offers_take_linear_time():
    """B20."""
    value = b", ".join([b"a;b=c"] * 800)
    started = time.process_time()
    received(b"Sec-WebSocket-Extensions: " + value, compression=DEFLATE)
    assert time.process_time() - started < 0.5


def test_without_compression_offers_are_not_even_read():
    handshake = received(b"Sec-WebSocket-Extensions: permessage-deflate; \xe9")
    assert "Sec-WebSocket-Extensions" not in dict(parse(handshake.accept())[1])
    assert (handshake.extensions, handshake.deflate) == ("", None)


# --- answers


def test_accepting_gives_the_101_of_rfc_6455():
    handshake = received(b"Sec-WebSocket-Protocol: a, b")
    first, fields, body = parse(handshake.accept("b", {"Set-Cookie": "x=1"}))
    assert first == "HTTP/1.1 101 Switching Protocols"
    assert fields == [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Accept", ACCEPT.decode()),
        ("Sec-WebSocket-Protocol", "b"),
        ("Set-Cookie", "x=1"),
    ]
    assert body == b""
    assert handshake.protocol == "b"


def test_no_protocol_need_be_chosen():
    handshake = received(b"Sec-WebSocket-Protocol: a, b")
    assert "Sec-WebSocket-Protocol" not in dict(parse(handshake.accept())[1])
    assert handshake.protocol == ""


@pytest.mark.parametrize("protocol", ["c", "A", "", "a, b", "\u00e9\r\n"], ids=ascii)
def test_a_protocol_that_was_not_offered_cannot_be_chosen(protocol):
    """B24: the request can still be answered."""
    handshake = received(b"Sec-WebSocket-Protocol: a, b")
    with pytest.raises(ValueError, match="was not offered"):
        handshake.accept(protocol)
    assert handshake.reject(500)


@pytest.mark.parametrize(
    "name", ["Upgrade", "connection", "Content-Length", "Transfer-Encoding", "Sec-WebSocket-Accept"]
)
def test_headers_of_the_handshake_cannot_be_set_when_accepting(name):
    handshake = received()
    with pytest.raises(ValueError, match=f"header {name} "):
        handshake.accept(headers=[(name, "x")])
    assert handshake.accept()


def test_a_request_is_answered_once():
    for first in ("accept", "reject"):
        for second in ("accept", "reject"):
            handshake = received()
            getattr(handshake, first)()
            with pytest.raises(RuntimeError, match="answered already"):
                getattr(handshake, second)()


def test_there_must_be_a_request_to_accept():
    handshake = ServerHandshake()
    handshake.receive_data(b"GET / ")
    with pytest.raises(RuntimeError, match="no request"):
        handshake.accept()


def test_a_refusal_needs_no_request():
    """B2: a timeout is answered with 408."""
    assert ServerHandshake().reject(408).startswith(b"HTTP/1.1 408 Request Timeout\r\n")


@pytest.mark.parametrize(
    ("arguments", "response"),
    [
        pytest.param((), b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", id="default"),
        pytest.param(
            (401, {"WWW-Authenticate": "Basic"}, b"\0"),
            b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\nContent-Length: 1\r\nConnection: close\r\n\r\n\0",
            id="bytes",
        ),
        pytest.param(
            (404, (), "n\u00f6"),
            b"HTTP/1.1 404 Not Found\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 3\r\n"
            b"Connection: close\r\n\r\nn\xc3\xb6",
            id="text",
        ),
        pytest.param(
            (404, [("content-type", "text/html")], "<p>"),
            b"HTTP/1.1 404 Not Found\r\ncontent-type: text/html\r\nContent-Length: 3\r\nConnection: close\r\n\r\n<p>",
            id="text-with-type",
        ),
        pytest.param(
            (426, {"Sec-WebSocket-Version": "13", "Upgrade": "websocket"}),
            b"HTTP/1.1 426 Upgrade Required\r\nSec-WebSocket-Version: 13\r\nUpgrade: websocket\r\n"
            b"Content-Length: 0\r\nConnection: close\r\n\r\n",
            id="426",
        ),
        pytest.param((299,), b"HTTP/1.1 299 \r\nContent-Length: 0\r\nConnection: close\r\n\r\n", id="no-phrase"),
        pytest.param((204,), b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n", id="204"),
        pytest.param((304,), b"HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n", id="304"),
    ],
)  # fmt: skip
def test_a_refusal_says_where_it_ends_and_closes(arguments, response):
    assert received().reject(*arguments) == response


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        pytest.param((101,), ValueError, "200-599", id="B23-101"),
        pytest.param((99,), ValueError, "200-599", id="B23-99"),
        pytest.param((600,), ValueError, "200-599", id="B23-600"),
        pytest.param((True,), TypeError, "status must be an int", id="bool"),
        pytest.param(("403",), TypeError, "status must be an int", id="str"),
        pytest.param((403, {"X": "a\r\nY: b"}), ValueError, "header X", id="B23-CRLF"),
        pytest.param((403, {"X\r\n": "a"}), ValueError, "token", id="B23-CRLF-name"),
        pytest.param((403, {"Connection": "keep-alive"}), ValueError, "header Connection", id="Connection"),
        pytest.param(
            (403, {"content-length": "5"}), ValueError, "header content-length", id="Content-Length"
        ),
        pytest.param(
            (403, {"Transfer-Encoding": "chunked"}), ValueError, "header Transfer", id="Transfer-Encoding"
        ),
        pytest.param(
            (403, {"Sec-WebSocket-Accept": "x"}), ValueError, "header Sec-WebSocket-Accept", id="Accept"
        ),
        pytest.param((403, (), 5), TypeError, "body must be bytes or str", id="body-type"),
        pytest.param((204, (), b"x"), ValueError, "no body", id="204-with-body"),
    ],
)
def test_a_refusal_that_cannot_be_written_is_an_error_and_writes_nothing(arguments, error, words):
    """B23: the request can still be answered."""
    handshake = received()
    with pytest.raises(error, match=words):
        handshake.reject(*arguments)
    assert handshake.reject(500)


# --- both sides


def test_our_client_and_our_server_agree():
    client = ClientHandshake(
        parse_url("ws://u:p@b\u00fccher.example:81/\u00e9?q"),
        protocols=["a", "b"],
        origin="https://o",
        compression=DEFLATE,
    )
    server = ServerHandshake(compression=DEFLATE)
    got = feed(server, in_bytes(client.request()))
    assert got is not None
    assert (got.target, got.protocols, got.origin) == ("/%C3%A9?q", ("a", "b"), "https://o")
    assert feed(client, in_bytes(server.accept("b"))) is not None
    assert client.protocol == server.protocol == "b"
    assert client.extensions == server.extensions != ""
    # What the server uses is less than it says.
    assert server.deflate is not None
    assert client.deflate == replace(server.deflate, server_max_window_bits=15)


def test_our_client_reads_what_our_server_refuses_with():
    client, server = ClientHandshake(parse_url("ws://h/")), ServerHandshake()
    server.receive_data(client.request())
    with pytest.raises(HandshakeRejected) as caught:
        client.receive_data(server.reject(403, {"X": "y"}, "go away"))
    assert (caught.value.status, caught.value.headers["x"], caught.value.body) == (403, "y", b"go away")


# --- anything at all


def mutations():
    """Lists of (position, deleted bytes, inserted text) to apply to a head."""
    pieces = st.sampled_from(
        [b"", b"\r", b"\n", b"\r\n", b"\0", b" ", b"\t", b":", b",", b";", b'"', b"=", b"\xff", b"\xe9", b"[", b"xn--", b"%", b"@",
         b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Host: h\r\n", b"Sec-WebSocket-Key: x\r\n"]
    ) | st.binary(max_size=4)  # fmt: skip
    return st.lists(st.tuples(st.integers(0, 400), st.integers(0, 30), pieces), max_size=4)


@given(mutations(), st.integers(1, 400))
@settings(max_examples=300, deadline=None)
def test_nothing_but_bad_requests_comes_out(changes, size):
    """T6 and W6; and the outcome does not depend on the pieces (T2)."""
    data = request(
        b"Origin: http://o",
        b"Sec-WebSocket-Protocol: a, b",
        b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits; server_max_window_bits=10",
    )
    for place, length, inserted in changes:
        data = data[:place] + inserted + data[place + length :]
    outcomes = []
    for pieces in ([data], [data[place : place + size] for place in range(0, len(data), size)]):
        handshake = ServerHandshake(compression=DEFLATE)
        try:
            got = feed(handshake, pieces)
        except BadRequest as error:
            outcomes.append((error.status, error.response[:8]))
        else:
            outcomes.append(got and (got, handshake.accept(got.protocols[0] if got.protocols else None)))
    assert outcomes[0] == outcomes[1]
    assert isinstance(outcomes[0], tuple) or outcomes[0] is None
