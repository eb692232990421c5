"""The client's opening handshake: what it says, and which answers it takes."""

from __future__ import annotations

import base64
import hashlib
import time

import pytest
from hypothesis import given, settings, strategies as st

from websocketstream._protocol.client_handshake import ClientHandshake
from websocketstream._protocol.errors import (
    HandshakeError,
    HandshakeRejected,
    HandshakeTooLarge,
    InvalidHandshake,
)
from websocketstream._protocol.http import HandshakeLimits, Response
from websocketstream._protocol.negotiation import Compression
from websocketstream._protocol.url import parse_url

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
DEFLATE = Compression(server_max_window_bits=15, client_max_window_bits=15)


def new(url="ws://example.com/chat", **options):
    return ClientHandshake(parse_url(url), **options)


def lines_of(handshake):
    first, *lines = handshake.request().decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    return first, lines


def header(handshake, name):
    _, lines = lines_of(handshake)
    return [line.split(": ", 1)[1] for line in lines if line.lower().startswith(f"{name.lower()}:")]


def accept_for(handshake):
    (key,) = header(handshake, "Sec-WebSocket-Key")
    return base64.b64encode(hashlib.sha1(key.encode() + GUID).digest())


def answer(handshake, *extra, status=b"HTTP/1.1 101 Switching Protocols", without=(), **instead):
    """Return a good 101 head with ``extra`` lines, ``without`` some, and with others ``instead``."""
    lines = {
        "upgrade": b"Upgrade: websocket",
        "connection": b"Connection: Upgrade",
        "accept": b"Sec-WebSocket-Accept: " + accept_for(handshake),
    }
    lines.update(instead)
    kept = [line for name, line in lines.items() if name not in without]
    return b"\r\n".join([status, *kept, *extra, b"", b""])


def in_bytes(data):
    return [data[place : place + 1] for place in range(len(data))]


def feed(handshake, pieces):
    for piece in pieces:
        response = handshake.receive_data(piece)
        if response is not None:
            return response
    return None


# --- the request


def test_the_request_is_that_of_rfc_6455():
    """H1 and H2: no Referer, and nothing that nobody asked for."""
    handshake = new("ws://example.com/chat?room=1")
    first, lines = lines_of(handshake)
    assert first == "GET /chat?room=1 HTTP/1.1"
    names = [line.split(":")[0] for line in lines]
    assert names == ["Host", "Upgrade", "Connection", "Sec-WebSocket-Key", "Sec-WebSocket-Version"]
    assert header(handshake, "Host") == ["example.com"]
    assert header(handshake, "Upgrade") == ["websocket"]
    assert header(handshake, "Connection") == ["Upgrade"]
    assert header(handshake, "Sec-WebSocket-Version") == ["13"]
    assert handshake.request() == handshake.request()


def test_the_key_is_16_random_bytes():
    keys = {header(new(), "Sec-WebSocket-Key")[0] for _ in range(50)}
    assert len(keys) == 50
    assert all(len(base64.b64decode(key, validate=True)) == 16 for key in keys)


def test_everything_optional_is_in_the_request_when_it_is_given():
    handshake = new(
        "wss://user:word@[::1]:8080/",
        protocols=["b", "a"],
        headers=[("User-Agent", "me/1"), ("Cookie", "a=1"), ("X", "caf\u00e9"), ("X", "")],
        origin="https://example.org",
        compression=DEFLATE,
    )
    assert header(handshake, "Host") == ["[::1]:8080"]
    assert header(handshake, "Sec-WebSocket-Protocol") == ["b, a"]
    assert header(handshake, "Sec-WebSocket-Extensions") == ["permessage-deflate; client_max_window_bits"]
    assert header(handshake, "Authorization") == ["Basic " + base64.b64encode(b"user:word").decode()]
    assert header(handshake, "Origin") == ["https://example.org"]
    assert header(handshake, "User-Agent") == ["me/1"]
    assert header(handshake, "Cookie") == ["a=1"]
    assert header(handshake, "X") == ["caf\u00e9", ""]


def test_an_authorization_header_wins_over_user_info():
    handshake = new("ws://user:word@h/", headers={"authorization": "Bearer token"})
    assert header(handshake, "Authorization") == ["Bearer token"]


@pytest.mark.parametrize(
    "name",
    [
        "Host",
        "Upgrade",
        "connection",
        "Content-Length",
        "Transfer-Encoding",
        "Origin",
        "Sec-WebSocket-Key",
        "sec-websocket-version",
        "Sec-WebSocket-Protocol",
        "Sec-WebSocket-Extensions",
        "Sec-WebSocket-Accept",
    ],
)
def test_headers_of_the_handshake_cannot_be_overridden(name):
    """O7 and security/002."""
    with pytest.raises(ValueError, match=f"header {name} "):
        new(headers={name: "x"})


@pytest.mark.parametrize("value", ["a\r\nX: y", "a\n", "a\0", "\u010a", "\u2028"], ids=ascii)
def test_nothing_can_be_smuggled_into_the_request(value):
    """t_crlf_everywhere."""
    with pytest.raises(ValueError, match="header User-Agent"):
        new(headers={"User-Agent": value})
    with pytest.raises(ValueError, match="header Origin"):
        new(origin=value)
    with pytest.raises(ValueError, match="protocol"):
        new(protocols=[value])


def test_an_origin_is_a_str_with_something_in_it():
    with pytest.raises(TypeError, match="origin must be a str"):
        new(origin=b"https://example.org")
    with pytest.raises(ValueError, match="origin is empty"):
        new(origin="")


@pytest.mark.parametrize("protocols", ["hi", [1]], ids=repr)
def test_protocols_that_are_no_list_of_str_are_a_type_error(protocols):
    """P1 and wK4."""
    with pytest.raises(TypeError):
        new(protocols=protocols)


@pytest.mark.parametrize("protocols", [["a b"], [""], ["a", "A"]], ids=repr)
def test_protocols_that_cannot_be_offered_are_a_value_error(protocols):
    """P2 to P4."""
    with pytest.raises(ValueError, match="protocol"):
        new(protocols=protocols)


# --- answers that open the connection


def test_a_plain_answer_opens_the_connection():
    handshake = new()
    response = handshake.receive_data(answer(handshake, b"Set-Cookie: a=1", b"Location: /x", b"X: caf\xe9"))
    assert isinstance(response, Response)
    assert (response.status, response.reason) == (101, "Switching Protocols")
    assert response.headers["set-cookie"] == "a=1"  # A47: exposed and ignored
    assert response.headers["x"] == "caf\u00e9"  # A40
    assert (response.body, response.truncated) == (b"", False)
    assert (handshake.protocol, handshake.extensions, handshake.deflate) == ("", "", None)
    assert handshake.trailing_data == b""
    assert not handshake.reading_rejection


@pytest.mark.parametrize(
    "frames", [b"", b"\x81\x02hi", b"\x88\x06\x03\xe9PASS", b"\x81\x00" * 100, b"<html>"], ids=ascii
)
def test_what_is_glued_to_the_answer_is_kept(frames):
    """A41, A43, A46, H7 and opening-handshake/005."""
    handshake = new()
    assert handshake.receive_data(answer(handshake) + frames) is not None
    assert handshake.trailing_data == frames


def test_an_answer_may_be_cut_anywhere():
    """A6, A42 and T2."""
    for cut in range(1, len(answer(new()))):
        handshake = new()
        data = answer(handshake, b"X: y") + b"\x81\x00"
        response = feed(handshake, [data[:cut], data[cut:]])
        assert response is not None
        assert response.headers["x"] == "y"
    handshake = new()
    data = answer(handshake)
    assert feed(handshake, in_bytes(data[:-1])) is None
    assert handshake.receive_data(data[-1:]) is not None


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"status": b"HTTP/1.1 101"}, id="A14-no-reason"),
        pytest.param({"status": b"HTTP/1.1 101 "}, id="A14-empty-reason"),
        pytest.param({"status": b"HTTP/1.1 101 Sur\xe9"}, id="reason-beyond-ascii"),
        pytest.param({"upgrade": b"upgrade:WebSocket"}, id="A28-case"),
        pytest.param({"connection": b"Connection: keep-alive, Upgrade"}, id="A29-list"),
        pytest.param({"connection": b"Connection: UPGRADE,"}, id="A29-empty-element"),
        pytest.param({"connection": b"Connection: Upgrade\r\nConnection: keep-alive"}, id="W9-first-of-two"),
        pytest.param({"connection": b"Connection: keep-alive\r\nconnection: upgrade"}, id="W9-second-of-two"),
        pytest.param({"more": b"Sec-WebSocket-Extensions:"}, id="W9-empty-extensions"),
        pytest.param({"more": b"Sec-WebSocket-Extensions: , ,"}, id="A35-empty-elements"),
    ],
)
def test_answers_that_are_legal_in_an_odd_way_open_the_connection(change):
    handshake = new()
    assert handshake.receive_data(answer(handshake, **change)) is not None
    assert handshake.extensions == ""


def test_an_accept_with_outer_space_is_trimmed():
    """A30."""
    handshake = new()
    data = answer(handshake, accept=b"Sec-WebSocket-Accept:\t " + accept_for(handshake) + b" ")
    assert handshake.receive_data(data) is not None


@pytest.mark.parametrize("pieces", [lambda data: [data], in_bytes], ids=["whole", "bytes"])
def test_interim_responses_are_passed_over(pieces):
    """A17 and W7."""
    handshake = new()
    interim = b"HTTP/1.1 100 Continue\r\n\r\n" + b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 7
    response = feed(handshake, pieces(interim + answer(handshake)))
    assert response is not None
    assert response.status == 101
    assert "link" not in response.headers


def test_too_many_interim_responses_are_an_error():
    """A18."""
    handshake = new()
    with pytest.raises(InvalidHandshake, match=r"more than 8 interim.*HandshakeLimits.interim_responses"):
        handshake.receive_data(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1000)


def test_an_interim_response_may_come_before_a_refusal():
    handshake = new()
    with pytest.raises(HandshakeRejected) as caught:
        handshake.receive_data(b"HTTP/1.1 100 \r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
    assert caught.value.status == 404


@pytest.mark.parametrize("protocol", ["b", "a"])
def test_the_chosen_protocol_is_reported(protocol):
    """P7, wK6 and constructor/009."""
    handshake = new(protocols=["a", "b"])
    handshake.receive_data(answer(handshake, b"Sec-WebSocket-Protocol: " + protocol.encode()))
    assert handshake.protocol == protocol


@pytest.mark.parametrize(
    ("lines", "extensions"),
    [
        ([b"Sec-WebSocket-Extensions: permessage-deflate"], "permessage-deflate"),
        (
            [b"Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=10"],
            "permessage-deflate; server_max_window_bits=10",
        ),
        (
            [b"Sec-WebSocket-Extensions:", b"Sec-WebSocket-Extensions: permessage-deflate"],
            "permessage-deflate",
        ),
    ],
    ids=["plain", "bits", "A35-two-fields-one-empty"],
)
def test_the_agreed_extension_is_reported(lines, extensions):
    """H6: a str, as negotiated."""
    handshake = new(compression=DEFLATE)
    handshake.receive_data(answer(handshake, *lines))
    assert handshake.extensions == extensions
    assert handshake.deflate is not None
    assert handshake.deflate.server_max_window_bits == (10 if "10" in extensions else 15)


def test_a_server_may_decline_compression():
    handshake = new(compression=DEFLATE)
    handshake.receive_data(answer(handshake))
    assert (handshake.extensions, handshake.deflate) == ("", None)


# --- answers that are no handshake


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param({"status": b"HTTP/1.0 101 Switching"}, "HTTP/1.0", id="A13"),
        pytest.param({"status": b"HTTP/1.0 103 Early"}, "HTTP/1.0", id="interim-in-1.0"),
        pytest.param({"status": b"HTTP/2 101 Switching"}, "HTTP/2; WebSocket needs HTTP/1.1", id="A14-HTTP/2"),
        pytest.param({"status": b"HTTP/1.2 101 Switching"}, "HTTP/1.2; WebSocket needs", id="A14-HTTP/1.2"),
        pytest.param({"status": b"http/1.1 101 Switching"}, "did not answer in HTTP", id="A14-lower-case"),
        pytest.param({"status": b"HTTP/1.1  101 Switching"}, "did not answer in HTTP", id="A14-two-spaces"),
        pytest.param({"status": b"HTTP/1.1 0101 Switching"}, "did not answer in HTTP", id="A14-0101"),
        pytest.param({"status": b"HTTP/1.1 099 Low"}, "did not answer in HTTP", id="A15-099"),
        pytest.param({"status": b"HTTP/1.1 1000 High"}, "did not answer in HTTP", id="A15-1000"),
        pytest.param({"status": b"HTTP/1.1 -1 Minus"}, "did not answer in HTTP", id="A15-minus"),
        pytest.param({"status": b"HTTP/1.1 1O1 Oh"}, "did not answer in HTTP", id="A15-letter"),
        pytest.param({"status": b"HTTP/1.1 101 \x00"}, "did not answer in HTTP", id="NUL-in-reason"),
        pytest.param({"without": ["upgrade"]}, "no Upgrade field", id="A27-Upgrade"),
        pytest.param({"without": ["connection"]}, "Connection", id="A27-Connection"),
        pytest.param({"without": ["accept"]}, "no Sec-WebSocket-Accept field", id="A27-Accept"),
        pytest.param({"upgrade": b"Upgrade: foo, websocket"}, "foo, websocket", id="A28-list"),
        pytest.param({"upgrade": b"Upgrade: websocket\r\nUpgrade: websocket"}, "more than one Upgrade", id="A28-two"),
        pytest.param({"upgrade": b"Upgrade: h2c"}, "h2c", id="Upgrade-other"),
        pytest.param({"connection": b"Connection: notupgrade"}, "Connection", id="A29-notupgrade"),
        pytest.param({"connection": b"Connection: upgrade-x"}, "Connection", id="upgrade-x"),
        pytest.param({"connection": b"Connection: Upgrade;q=1"}, "Connection", id="A29-parameter"),
        pytest.param({"connection": b"Connection: \xe9"}, "Connection", id="W6-Connection"),
        pytest.param({"accept": b"Sec-WebSocket-Accept: abc"}, "does not answer our key", id="A30-wrong"),
        pytest.param({"accept": b"Sec-WebSocket-Accept: \xe9"}, "does not answer our key", id="accept-beyond-ascii"),
        pytest.param({"accept": b"Sec-WebSocket-Accept:"}, "does not answer our key", id="accept-empty"),
        pytest.param({"more": b"Sec-WebSocket-Accept: abc"}, "more than one Sec-WebSocket-Accept", id="A31-good-bad"),
        pytest.param({"more": b"Content-Length: 5"}, "Content-Length", id="A38-length"),
        pytest.param({"more": b"Content-Length: 0"}, "Content-Length", id="A38-length-0"),
        pytest.param({"more": b"Transfer-Encoding: chunked"}, "Transfer-Encoding", id="A38-chunked"),
        pytest.param({"more": b"Transfer-Encoding: gzip"}, "has a Transfer-Encoding field", id="W7-unknown-coding"),
        pytest.param({"more": b"Content-Length: -1"}, "has a Content-Length field", id="W7-bad-length"),
        pytest.param({"more": b"A : b"}, "space before the colon", id="A39-space-before-colon"),
        pytest.param({"more": b"A: b\r\n c"}, "folded", id="A39-obs-fold"),
        pytest.param({"more": b"A: b\nB: c"}, "bare line feed", id="A39-bare-LF"),
        pytest.param({"more": b"A: \0"}, "control character", id="A39-NUL"),
        pytest.param({"more": b"A B: c"}, "not an HTTP token", id="A39-name-with-space"),
        pytest.param({"more": b"Sec-WebSocket-Protocol: x"}, '"x", which we did not offer', id="constructor/010"),
        pytest.param({"more": b"Sec-WebSocket-Protocol:"}, '"", which', id="A32-empty"),
        pytest.param({"more": b"Sec-WebSocket-Extensions: permessage-deflate"}, "not offered", id="A35-not-requested"),
        pytest.param({"more": b"Sec-WebSocket-Extensions: x-unknown"}, "not offered", id="A35-unknown"),
        pytest.param({"more": b"Sec-WebSocket-Extensions: \xe9"}, "Sec-WebSocket-Extensions", id="W6-Extensions"),
    ],
)  # fmt: skip
def test_an_answer_that_does_not_conform_fails_and_says_why(change, words):
    """A13-A15, A27-A32, A35, A38 and A39; W8."""
    for pieces in (lambda data: [data], in_bytes):
        handshake = new()
        with pytest.raises(InvalidHandshake, match=words) as caught:
            feed(handshake, pieces(answer(handshake, **change)))
        assert not isinstance(caught.value, HandshakeTooLarge)
        assert caught.value.close_code == 1006
        assert str(caught.value).isascii()


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda good, key: good[:-1], id="truncated"),
        pytest.param(lambda good, key: good.swapcase(), id="other-case"),
        pytest.param(lambda good, key: b'"' + good + b'"', id="quoted"),
        pytest.param(lambda good, key: accept_for(new()), id="another-key"),
        pytest.param(lambda good, key: key, id="the-key-itself"),
        pytest.param(
            lambda good, key: base64.b64encode(hashlib.sha1(base64.b64decode(key) + GUID).digest()),
            id="raw-nonce",
        ),
    ],
)
def test_an_accept_for_anything_but_our_key_fails(change):
    """A30, H4 and security/001."""
    handshake = new()
    value = change(accept_for(handshake), header(handshake, "Sec-WebSocket-Key")[0].encode())
    with pytest.raises(InvalidHandshake, match="does not answer our key"):
        handshake.receive_data(answer(handshake, accept=b"Sec-WebSocket-Accept: " + value))


@pytest.mark.parametrize("order", ["good-good", "bad-good", "good-bad"])
def test_two_accepts_fail_even_when_both_are_right(order):
    """A31 and W8."""
    handshake = new()
    values = {"good": accept_for(handshake), "bad": b"x"}
    lines = [b"Sec-WebSocket-Accept: " + values[which] for which in order.split("-")]
    with pytest.raises(InvalidHandshake, match="more than one Sec-WebSocket-Accept"):
        handshake.receive_data(answer(handshake, *lines, without=["accept"]))


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        pytest.param([], r"none of the protocols we offered \(a, b\)", id="P6-constructor/012"),
        pytest.param([b"Sec-WebSocket-Protocol:"], '""', id="P6-empty"),
        pytest.param([b"Sec-WebSocket-Protocol: A"], '"A"', id="A32-case-constructor/011"),
        pytest.param([b"Sec-WebSocket-Protocol: c"], '"c"', id="A32-not-requested"),
        pytest.param([b"Sec-WebSocket-Protocol: a, b"], '"a, b"', id="A32-list"),
        pytest.param(
            [b"Sec-WebSocket-Protocol: a", b"Sec-WebSocket-Protocol: a"], "more than one", id="A32-twice"
        ),
        pytest.param([b"Sec-WebSocket-Protocol: \xe9"], r'"\\xe9"', id="A34-beyond-ascii"),
        pytest.param([b"Sec-WebSocket-Protocol: \0"], "control", id="A34-NUL"),
        pytest.param([b"Sec-WebSocket-Protocol: " + b"x" * 8000], "xxx", id="A34-long"),
    ],
)
def test_a_protocol_that_was_not_offered_or_is_missing_fails(lines, words):
    """P6 (stricter than RFC 6455, and than A33) and A32."""
    handshake = new(protocols=["a", "b"])
    with pytest.raises(InvalidHandshake, match=words) as caught:
        handshake.receive_data(answer(handshake, *lines))
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize(
    "field", [b"Content-Length: -1", b"Content-Length: 1, 2", b"Transfer-Encoding: gzip"]
)
def test_a_refusal_without_a_clear_end_is_malformed(field):
    handshake = new()
    with pytest.raises(InvalidHandshake, match="malformed"):
        handshake.receive_data(b"HTTP/1.1 404 Not Found\r\n" + field + b"\r\n\r\n")


@pytest.mark.parametrize(
    "value",
    [
        "x-webkit-deflate-frame",
        "permessage-deflate, permessage-deflate",
        "permessage-deflate; unknown",
        "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
        "permessage-deflate; server_no_context_takeover=1",
        *[
            f"permessage-deflate; server_max_window_bits={bits}"
            for bits in ("7", "16", "010", "1_0", "+10", "", "abc", "9" * 5000)
        ],
        "permessage-deflate; server_max_window_bits",
        'permessage-deflate; server_max_window_bits="1',
        "; ;",
        "__class__",
        '"' + "\\c" * 4000,
        "a; b=" + '"\\c' * 2500,
        " " * 8000 + "x",
        "," * 8000 + "x",
        ";" * 8000,
    ],
    ids=lambda value: value[:60],
)
def test_extensions_that_were_not_agreed_on_fail_quickly(value):
    """A35 to A37, W6, W8, CVE-2020-7662 and CVE-2021-32640."""
    started = time.process_time()
    handshake = new(compression=DEFLATE)
    with pytest.raises(InvalidHandshake, match="Sec-WebSocket-Extensions"):
        handshake.receive_data(answer(handshake, b"Sec-WebSocket-Extensions: " + value.encode()))
    assert time.process_time() - started < 0.5


def test_an_extension_in_two_fields_is_two_extensions():
    """A36: inflating twice is what comes of it elsewhere."""
    handshake = new(compression=DEFLATE)
    line = b"Sec-WebSocket-Extensions: permessage-deflate"
    with pytest.raises(InvalidHandshake, match="Sec-WebSocket-Extensions"):
        handshake.receive_data(answer(handshake, line, line))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        pytest.param(b"SSH-2.0-OpenSSH_9.9\r\n", "SSH-2.0-OpenSSH", id="A12-SSH"),
        pytest.param(b"220 mail.example ESMTP\r\n", "220 mail", id="A12-SMTP"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "PRI", id="A12-HTTP/2-preface"),
        pytest.param(b"\0\0\x12\x04\0\0\0\0\0", r"\\x00\\x00\\x12", id="A12-HTTP/2-settings"),
        pytest.param(b"<html><body>hello</body></html>", "<html>", id="A12-HTTP/0.9"),
        pytest.param(b"FOO BAR BAZ\r\n\r\n", "FOO BAR BAZ", id="A12-opening-handshake/001"),
        pytest.param(b"\x15\x03\x01\0\x02\x02\x28", "wss://", id="A12-TLS-alert"),
        pytest.param(b"\x16\x03\x03\0\x7a\x02", "wss://", id="A12-TLS-hello"),
        pytest.param(b"\x1b[31mred\x07" + b"z" * 5000, r"\\x1b\[31mred", id="escaped"),
        pytest.param(b"\r\n", '""', id="empty-line"),
        pytest.param(b"HTTP/1.1\r\n", "HTTP/1.1", id="version-only"),
        pytest.param(b"HTTP/\r\n", "HTTP/", id="no-version"),
    ],
)
def test_garbage_is_refused_at_once_with_an_escaped_excerpt(data, words):
    """A12: the error does not wait for the end of a head that will never come."""
    with pytest.raises(InvalidHandshake, match=words) as caught:
        new().receive_data(data)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 250
    with pytest.raises(InvalidHandshake):
        feed(new(), in_bytes(data))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        pytest.param(b"HTTP/1.1 101 " + b"x" * 9000, "line_size", id="A8-line"),
        pytest.param(
            b"HTTP/1.1 101 x\r\n" + b"A: " + b"b" * 8190 + b"\r\n", "8192 bytes.*line_size", id="A11"
        ),
        pytest.param(b"HTTP/1.1 101 x\r\n" + b"A: b\r\n" * 3000, "128 header fields.*header_count", id="A10"),
        pytest.param(
            b"HTTP/1.1 101 x\r\n" + (b"A: " + b"b" * 8000 + b"\r\n") * 3, "16384.*head_size", id="A8-head"
        ),
        pytest.param(b"HTTP/1.1 101 x\r\n" + b"A: b\r\n" * 700_000, "header_count", id="A9-W12"),
    ],
)
def test_a_head_beyond_a_limit_names_the_limit_and_the_option(data, words):
    started = time.process_time()
    with pytest.raises(HandshakeTooLarge, match=words):
        new().receive_data(data)
    assert time.process_time() - started < 0.5


def test_128_headers_are_fine():
    handshake = new()
    assert handshake.receive_data(answer(handshake, *[b"A: b"] * 125)) is not None
    with pytest.raises(HandshakeTooLarge):
        handshake = new()
        handshake.receive_data(answer(handshake, *[b"A: b"] * 126))


@pytest.mark.parametrize("count", range(0, 400, 7))
def test_no_number_of_headers_is_an_internal_error(count):
    """CVE-2024-37890."""
    handshake = new()
    try:
        handshake.receive_data(answer(handshake, *[b"A: b"] * count))
    except HandshakeTooLarge:
        assert count > 125


# --- refusals


def refusal(data, pieces=None, **options):
    """Feed a refusal and return the error, or the handshake while it waits for more."""
    handshake = new(**options)
    try:
        feed(handshake, pieces or [data])
    except HandshakeRejected as error:
        return error
    return handshake


@pytest.mark.parametrize(
    ("head", "body", "kept"),
    [
        pytest.param(b"HTTP/1.1 404 Not Found\r\nContent-Length: 5", b"hello", b"hello", id="wK7"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 0", b"", b"", id="A16"),
        pytest.param(b"HTTP/1.1 204 No Content\r\nContent-Length: 5", b"", b"", id="A19-204"),
        pytest.param(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5", b"", b"", id="A19-304"),
        pytest.param(
            b"HTTP/1.1 400 Bad\r\nTransfer-Encoding: chunked", b"2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nT: v\r\n\r\n", b"hello",
            id="chunked",
        ),
        pytest.param(b"HTTP/1.0 501 Unsupported\r\nContent-Length: 5", b"hello", b"hello", id="HTTP/1.0"),
        pytest.param(b"HTTP/1.1 999 Denied\r\nContent-Length: 5", b"hello", b"hello", id="999"),
        pytest.param(b"HTTP/1.1 403\r\nContent-Length: 5", b"hello", b"hello", id="no-reason"),
    ],
)  # fmt: skip
def test_a_refusal_carries_status_headers_and_body(head, body, kept):
    """H3, A16, A19 and A23-A26."""
    data = head + b"\r\nX: y\r\n\r\n" + body
    cuts = [[data[:cut], data[cut:]] for cut in range(1, len(data))]
    for pieces in ([data], in_bytes(data), *cuts):
        error = refusal(data, pieces)
        assert isinstance(error, HandshakeRejected)
        assert (error.body, error.truncated, error.headers["x"]) == (kept, False, "y")
        assert error.status == int(data[9:12])
        assert error.close_code == 1006


@pytest.mark.parametrize(
    ("status", "field"),
    [
        pytest.param(301, b"Location: ws://elsewhere/", id="H2-redirect"),
        pytest.param(401, b"WWW-Authenticate: Basic realm=x", id="A23"),
        pytest.param(407, b"Proxy-Authenticate: Basic realm=x", id="A24"),
        pytest.param(426, b"Sec-WebSocket-Version: 13, 8", id="A25"),
        pytest.param(503, b"Retry-After: 120", id="A26"),
    ],
)
def test_what_a_refusal_asks_for_can_be_read_and_is_not_done(status, field):
    error = refusal(b"HTTP/1.1 %d Reason\r\n%s\r\nContent-Length: 0\r\n\r\n" % (status, field))
    name, _, value = field.decode().partition(": ")
    assert isinstance(error, HandshakeRejected)
    assert (error.status, error.headers[name]) == (status, value)
    assert str(error).startswith(f"server rejected the WebSocket handshake: HTTP {status} Reason")


@pytest.mark.parametrize("head", [b"HTTP/1.0 404 Not Found", b"HTTP/1.1 404 Not Found"])
def test_a_refusal_without_length_ends_with_the_connection(head):
    handshake = new()
    assert handshake.receive_data(head + b"\r\nServer: SimpleHTTP\r\n\r\n<html>") is None
    assert handshake.reading_rejection
    assert handshake.receive_data(b"") is None
    assert handshake.receive_data(b"...</html>") is None
    with pytest.raises(HandshakeRejected) as caught:
        handshake.receive_eof()
    assert (caught.value.body, caught.value.truncated) == (b"<html>...</html>", False)


def test_a_refusal_that_is_given_up_on_is_truncated():
    handshake = new()
    handshake.receive_data(b"HTTP/1.1 404 Not Found\r\n\r\n<html>")
    with pytest.raises(HandshakeRejected) as caught:
        handshake.receive_eof(timed_out=True)
    assert (caught.value.body, caught.value.truncated) == (b"<html>", True)


@pytest.mark.parametrize("timed_out", [False, True])
@pytest.mark.parametrize(
    "framing", [b"Content-Length: 5\r\n\r\nhe", b"Transfer-Encoding: chunked\r\n\r\n5\r\nhe"]
)
def test_a_refusal_that_stalls_or_breaks_off_keeps_what_came(framing, timed_out):
    """A22."""
    handshake = new()
    assert handshake.receive_data(b"HTTP/1.1 400 Bad\r\n" + framing) is None
    assert handshake.reading_rejection
    with pytest.raises(HandshakeRejected) as caught:
        handshake.receive_eof(timed_out=timed_out)
    assert (caught.value.status, caught.value.body, caught.value.truncated) == (400, b"he", True)


@pytest.mark.parametrize(
    ("framing", "body"),
    [
        pytest.param(b"Content-Length: 1000000000000\r\n\r\n", b"x" * 1000, id="A20"),
        pytest.param(b"\r\n", b"x" * 1000, id="without-length"),
        pytest.param(b"Transfer-Encoding: chunked\r\n\r\n", b"3e8\r\n" + b"x" * 1000, id="A21-chunk"),
        pytest.param(b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 200, id="A21-chunks"),
        pytest.param(b"Transfer-Encoding: chunked\r\n\r\n", b"1;" + b"e" * 1000, id="A21-extension"),
        pytest.param(
            b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n0\r\n" + b"A: b\r\n" * 200, id="A21-trailer"
        ),
    ],
)
def test_an_endless_refusal_is_cut_at_the_limit(framing, body):
    """A20, A21 and t_reject_body_flood."""
    data = b"HTTP/1.1 400 Bad\r\n" + framing + body
    for pieces in ([data], in_bytes(data)):
        error = refusal(data, pieces, limits=HandshakeLimits(rejection_body=100))
        assert isinstance(error, HandshakeRejected)
        assert error.truncated
        assert len(error.body) <= 100


def test_a_body_as_long_as_the_limit_is_whole():
    limits = HandshakeLimits(rejection_body=100)
    error = refusal(b"HTTP/1.1 400 Bad\r\nContent-Length: 100\r\n\r\n" + b"x" * 100 + b"more", limits=limits)
    assert (len(error.body), error.truncated) == (100, False)
    error = refusal(b"HTTP/1.1 400 Bad\r\nContent-Length: 101\r\n\r\n" + b"x" * 101, limits=limits)
    assert (len(error.body), error.truncated) == (100, True)
    waiting = refusal(b"HTTP/1.1 400 Bad\r\n\r\n" + b"x" * 100, limits=limits)
    with pytest.raises(HandshakeRejected) as caught:
        waiting.receive_eof()
    assert (len(caught.value.body), caught.value.truncated) == (100, False)


@pytest.mark.parametrize("body", [b"zz\r\n", b"-1\r\n", b"2\r\nabc\r\n", b"5\r\nhello\r\nq\r\n", b"f" * 9000])
def test_a_refusal_with_a_broken_body_is_still_a_refusal(body):
    error = refusal(b"HTTP/1.1 400 Bad\r\nTransfer-Encoding: chunked\r\n\r\n" + body)
    assert isinstance(error, HandshakeRejected)
    assert (error.status, error.truncated) == (400, True)


def test_64_kib_of_tiny_chunks_do_not_hold_the_loop():
    started = time.process_time()
    error = refusal(b"HTTP/1.1 400 Bad\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 100_000)
    assert error.truncated
    assert time.process_time() - started < 1


# --- the end of the connection


def test_a_connection_that_ends_before_the_answer_is_no_handshake():
    """A3."""
    with pytest.raises(InvalidHandshake, match="closed before the server answered"):
        new().receive_eof()


def test_a_connection_that_ends_at_any_byte_of_the_answer_is_no_handshake():
    """A5."""
    for cut in range(1, len(answer(new()))):
        handshake = new()
        assert handshake.receive_data(answer(handshake)[:cut]) is None
        with pytest.raises(InvalidHandshake, match='in the middle of the answer, after "H'):
            handshake.receive_eof()


# --- anything at all


def mutations():
    """Lists of (position, deleted bytes, inserted text) to apply to a head."""
    pieces = st.sampled_from(
        [b"", b"\r", b"\n", b"\r\n", b"\0", b" ", b"\t", b":", b",", b";", b'"', b"=", b"\xff", b"\xe9", b"HTTP/1.1 200 OK\r\n",
         b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n", b"101", b"Upgrade: x\r\n"]
    ) | st.binary(max_size=4)  # fmt: skip
    return st.lists(st.tuples(st.integers(0, 400), st.integers(0, 30), pieces), max_size=4)


def mutate(data, changes):
    for place, length, inserted in changes:
        data = data[:place] + inserted + data[place + length :]
    return data


@given(mutations(), st.integers(1, 400), st.booleans(), st.booleans())
@settings(max_examples=300, deadline=None)
def test_nothing_but_handshake_errors_comes_out(changes, size, timed_out, compressed):
    """T6 and W6."""
    handshake = new(protocols=["a"], compression=DEFLATE if compressed else None)
    data = answer(
        handshake,
        b"Sec-WebSocket-Protocol: a",
        b"Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=10",
    )
    data = mutate(data + b"\x81\x00", changes)
    try:
        response = feed(handshake, [data[place : place + size] for place in range(0, len(data), size)])
        if response is None:
            handshake.receive_eof(timed_out=timed_out)
    except HandshakeError as error:
        message, code = str(error), error.close_code
    else:
        return
    assert message.isprintable()
    assert code == 1006


@given(mutations())
@settings(max_examples=150, deadline=None)
def test_the_outcome_of_a_mutated_answer_does_not_depend_on_its_pieces(changes):
    """T2."""
    outcomes = []
    first = new()
    data = mutate(b"HTTP/1.1 103 Hint\r\n\r\n" + answer(first), changes)
    for pieces in ([data], in_bytes(data)):
        handshake = new()
        handshake._key = first._key
        try:
            response = feed(handshake, pieces)
            outcomes.append(response and (response.status, dict(response.headers)))
        except HandshakeRejected as error:
            outcomes.append((error.status, error.body, error.truncated))
        except HandshakeError as error:
            outcomes.append(type(error))
    assert outcomes[0] == outcomes[1]
