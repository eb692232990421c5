"""Header fields, limits and the values of both heads."""

from __future__ import annotations

import copy
import dataclasses
import time

import pytest

from websocketstream._protocol.http import (
    HandshakeLimits,
    Headers,
    Request,
    Response,
    accept_key,
    check_headers,
    check_protocols,
    check_value,
    excerpt,
    list_elements,
    serialise_head,
)

RESERVED = frozenset({"host", "sec-websocket-*"})


def test_headers_are_found_without_regard_to_case():
    headers = Headers([(b"Content-Type", b"text/plain")])
    assert headers["content-type"] == headers["CONTENT-TYPE"] == "text/plain"
    assert "Content-type" in headers
    assert "Content" not in headers
    assert 5 not in headers
    assert headers.get("missing") is None
    with pytest.raises(KeyError):
        headers["missing"]


def test_repeated_headers_are_joined_and_can_be_had_apart():
    headers = Headers([(b"Set-Cookie", b"a=1"), (b"X", b"y"), (b"set-cookie", b"b=2")])
    assert headers["set-cookie"] == "a=1, b=2"
    assert headers.get_all("Set-Cookie") == ["a=1", "b=2"]
    assert headers.get_all("missing") == []
    assert list(headers) == ["set-cookie", "x"]
    assert len(headers) == 2
    assert headers.raw == ((b"Set-Cookie", b"a=1"), (b"X", b"y"), (b"set-cookie", b"b=2"))


def test_packed_headers_are_the_same_headers():
    headers = Headers([(b"Set-Cookie", b"a=1"), (b"X", b""), (b"set-cookie", b"b: 2")])
    before = (headers.raw, dict(headers), headers.get_all("Set-Cookie"))
    headers.pack()
    assert (headers.raw, dict(headers), headers.get_all("Set-Cookie")) == before


def test_headers_compare_as_mappings():
    assert Headers([(b"A", b"1")]) == Headers([(b"a", b"1")]) == {"a": "1"}
    assert Headers() == {}
    assert copy.copy(Headers([(b"A", b"1")])) == {"a": "1"}


def test_a_value_with_a_line_feed_in_it_is_no_other_field() -> None:
    # What an ASGI server lets through; in a head of our own reading there is none.
    headers = Headers([(b"X", b"a\nOrigin: b")])
    for _ in range(2):
        assert dict(headers) == {"x": "a\nOrigin: b"}
        assert headers.raw == ((b"X", b"a\nOrigin: b"),)
        headers.pack()


def test_white_space_around_a_value_is_no_part_of_it_wherever_the_fields_come_from() -> None:
    for headers in (Headers([(b"X", b" a b\t")]), Headers(block=b"X: a b\t")):
        for _ in range(2):
            assert (headers["x"], headers.raw) == ("a b", ((b"X", b"a b"),))
            headers.pack()


@pytest.mark.parametrize("value", [b" a b", b"a b", b"\t a b \t"])
def test_the_space_around_a_value_in_a_line_is_no_part_of_it(value: bytes) -> None:
    headers = Headers(block=b"X:" + value + b"\r\nY:")
    assert headers == {"x": "a b", "y": ""}
    assert headers.raw == ((b"X", b"a b"), (b"Y", b""))


def test_values_beyond_ascii_are_latin_1():
    """A40."""
    assert Headers([(b"X", b"caf\xe9")])["x"] == "caf\u00e9"


@pytest.mark.parametrize("name", [b"Authorization", b"COOKIE", b"Proxy-Authorization", b"set-cookie"])
def test_repr_does_not_show_credentials(name):
    headers = Headers([(name, b"canary"), (b"Server", b"nginx")])
    assert "canary" not in repr(headers)
    assert name.decode().lower() in repr(headers)
    assert "nginx" in repr(headers)
    assert "canary" not in repr(Response(200, "OK", headers, b"body canary"))
    assert "canary" not in repr(Request("/", headers))


def test_ten_thousand_equal_names_take_linear_time():
    """CVE-2025-67725."""
    started = time.process_time()
    headers = Headers([(b"X", b"y")] * 10_000)
    assert len(headers["x"]) == 29_998
    assert time.process_time() - started < 1


def test_a_request_knows_path_and_query_undecoded():
    request = Request("/a%20b?c=d?e", Headers())
    assert (request.path, request.query) == ("/a%20b", "c=d?e")
    assert (Request("/a", Headers()).path, Request("/a", Headers()).query) == ("/a", "")


def test_limits_are_finite_by_default():
    assert dataclasses.astuple(HandshakeLimits()) == (16384, 8192, 128, 8, 65536)


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"A": "1", "b": "x y"}, id="mapping"),
        pytest.param([("A", "1"), ("b", "x y")], id="pairs"),
        pytest.param((["A", "1"], ["b", "x y"]), id="lists"),
        pytest.param(iter([("A", "1"), ("b", "x y")]), id="O8-generator"),
    ],
)
def test_headers_of_an_application_are_a_mapping_or_pairs(headers):
    assert check_headers(headers, RESERVED) == [(b"A", b"1"), (b"b", b"x y")]


def test_received_headers_can_be_sent_on():
    assert check_headers(Headers([(b"X", b"1"), (b"x", b"2")]), RESERVED) == [(b"x", b"1, 2")]


@pytest.mark.parametrize(
    "headers",
    [
        None,
        5,
        "A: b",
        b"A: b",
        ["A"],
        [("A",)],
        [("A", "b", "c")],
        [("A", 1)],
        [("A", b"b")],
        [(b"A", "b")],
        {"A": None},
    ],
    ids=repr,
)
def test_headers_of_the_wrong_type_are_a_type_error(headers):
    """O8."""
    with pytest.raises(TypeError, match="header"):
        check_headers(headers, RESERVED)


@pytest.mark.parametrize(
    "name",
    ["", " ", "A B", "A:", ":A", "A\r", "A\nB", "A\0", "\u00e9", "(A)", "A\t", "A\u010a", "A\u2028"],
    ids=ascii,
)
def test_a_header_name_is_a_token(name):
    """O8 and t_crlf_everywhere."""
    with pytest.raises(ValueError, match="not an HTTP token"):
        check_headers([(name, "x")], RESERVED)


@pytest.mark.parametrize("name", ["Host", "HOST", "Sec-WebSocket-Key", "sec-websocket-anything"])
def test_a_reserved_header_cannot_be_set(name):
    """O7."""
    with pytest.raises(ValueError, match=f"header {name} belongs to the handshake"):
        check_headers([(name, "x")], RESERVED)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("a\rb", "line break"),
        ("a\nb", "line break"),
        ("a\r\nX: y", "line break"),
        ("a\r\n b", "line break"),
        ("a\n", "line break"),
        ("a\0", "NUL"),
        ("a\x7f", "control"),
        ("a\x1b", "control"),
        (" a", "leading or trailing"),
        ("a\t", "leading or trailing"),
        ("\u010a", "latin-1"),
        ("\u2028", "latin-1"),
        ("\ud800", "latin-1"),
    ],
    ids=ascii,
)
def test_a_bad_header_value_is_a_value_error_that_names_the_header_only(value, words):
    """O8 and t_crlf_everywhere: a value may be a secret."""
    with pytest.raises(ValueError, match=f"header X-Thing .*{words}") as caught:
        check_headers(
            [("X-Thing", f"{value}canary" if value[-1] not in "\n\t" else f"canary{value}")], RESERVED
        )
    assert "canary" not in str(caught.value)
    assert type(caught.value) is ValueError


@pytest.mark.parametrize(
    "value", ["", "a", "a\tb", "caf\u00e9", "a" * 10**6], ids=lambda value: ascii(value)[:20]
)
def test_a_good_header_value_is_encoded_as_latin_1(value):
    assert check_value("X", value) == value.encode("latin-1")


@pytest.mark.parametrize("protocols", [[], ["a"], ("a", "b"), ["!#$%&'*+-.^_`|~09AZaz"]], ids=repr)
@pytest.mark.parametrize("kind", [list, iter])
def test_protocols_are_kept_in_order(protocols, kind):
    """P5."""
    assert check_protocols(kind(protocols)) == tuple(protocols)


@pytest.mark.parametrize("protocols", ["hi", b"hi", None, 5, [b"a"], [None], ["a", 1]], ids=repr)
def test_protocols_must_be_a_list_of_str(protocols):
    """P1, wK4 and O9."""
    with pytest.raises(TypeError, match="protocols must be a list of str"):
        check_protocols(protocols)


@pytest.mark.parametrize(
    "protocol",
    [
        "",
        " ",
        "a b",
        "a\t",
        "a\n",
        "\0",
        "foobar, foobar",
        "\u0080",
        "a\u00e7",
        "\u010a",
        *(f"a{mark}b" for mark in '"(),/:;<=>?@[\\]{}'),
    ],
    ids=ascii,
)
def test_a_protocol_is_a_token(protocol):
    """P2 and O9."""
    with pytest.raises(ValueError, match="not an HTTP token"):
        check_protocols(["good", protocol])


@pytest.mark.parametrize("protocols", [["a", "a"], ["echo", "eCho"]], ids=repr)
def test_a_protocol_is_given_once_without_regard_to_case(protocols):
    """P3, P4 and 6.10."""
    with pytest.raises(ValueError, match="occurs twice"):
        check_protocols(protocols)


def test_ten_thousand_protocols_take_linear_time():
    """O9."""
    started = time.process_time()
    assert len(check_protocols([f"p{number}" for number in range(10_000)])) == 10_000
    assert time.process_time() - started < 1


def test_a_list_ignores_empty_elements():
    assert list_elements(["a, b", "", " ,\t,c\t"]) == ["a", "b", "c"]


def test_the_accept_key_is_that_of_the_standard():
    """RFC 6455 section 1.3, its example."""
    assert accept_key(b"dGhlIHNhbXBsZSBub25jZQ==") == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def test_a_head_ends_in_an_empty_line():
    assert serialise_head(b"HTTP/1.1 200 OK", [(b"A", b"b")]) == b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n"
    assert serialise_head(b"HTTP/1.1 200 OK", []) == b"HTTP/1.1 200 OK\r\n\r\n"


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", ""),
        (b"a'b\r\n\x00\xff", "a'b\\r\\n\\x00\\xff"),
        (b"a" * 100, "a" * 100),
        (b"a" * 101, "a" * 97 + "..."),
    ],
)
def test_an_excerpt_is_escaped_and_short(data, text):
    assert excerpt(data) == text
    assert excerpt(bytearray(data)) == text


def test_an_excerpt_of_binary_data_is_short_as_well():
    assert len(excerpt(bytes(100))) == 100
