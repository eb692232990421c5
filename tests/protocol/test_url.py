"""URLs: what a browser accepts is accepted and normalised, everything else is a ValueError with words."""

from __future__ import annotations

import base64
import ipaddress
import time

import pytest
from hypothesis import given, settings, strategies as st

from websocketstream._protocol.host import normalise_host
from websocketstream._protocol.url import WebSocketURL, for_display, parse_port, parse_url

JAPANESE = "\u5929\u6c17\u306e\u826f\u3044\u65e5"  # the host of web-platform test opening-handshake/003


@pytest.mark.parametrize(
    ("url", "href"),
    [
        pytest.param("ws://example.com/", "ws://example.com/", id="wK5"),
        pytest.param("http://example.com/", "ws://example.com/", id="U3-http"),
        pytest.param("https://example.com/", "wss://example.com/", id="U3-https"),
        pytest.param("WS://example.com/", "ws://example.com/", id="constructor/019"),
        pytest.param("ws://EXAMPLE.Com/", "ws://example.com/", id="constructor/020"),
        pytest.param("ws://example.com", "ws://example.com/", id="url/001"),
        pytest.param("ws://example.com?a b", "ws://example.com/?a%20b", id="url/resolve"),
        pytest.param("ws://h/?\u00e5", "ws://h/?%C3%A5", id="constructor/016"),
        pytest.param("ws://h/?x\0y\0", "ws://h/?x%00y", id="constructor/018"),
        pytest.param("ws:h:8080/x", "ws://h:8080/x", id="constructor/017-none"),
        pytest.param("ws:/h:8080/x", "ws://h:8080/x", id="constructor/017-one"),
        pytest.param("ws:////h/x", "ws://h/x", id="four-slashes"),
        pytest.param("ws:\\\\h\\x\\y?\\", "ws://h/x/y?\\", id="backslashes-are-slashes-before-the-query"),
        pytest.param(" \t\n\0ws://h/\r\n ", "ws://h/", id="outer-control-characters-are-stripped"),
        pytest.param("ws://h:80/", "ws://h/", id="U6-default-port-ws"),
        pytest.param("wss://h:443/", "wss://h/", id="U6-default-port-wss"),
        pytest.param("ws://h:443/", "ws://h:443/", id="constructor/008-443"),
        pytest.param("wss://h:80/", "wss://h:80/", id="constructor/008-80"),
        pytest.param("http://h:443/", "ws://h:443/", id="http-443"),
        pytest.param("ws://h:/", "ws://h/", id="empty-port"),
        pytest.param("ws://h:080/", "ws://h/", id="O1-leading-zero"),
        pytest.param("ws://h:000000008080/", "ws://h:8080/", id="many-leading-zeros"),
        pytest.param("ws://h:0/", "ws://h:0/", id="port-0"),
        pytest.param("ws://h:65535/", "ws://h:65535/", id="port-65535"),
        pytest.param("ws://h?a", "ws://h/?a", id="O6-query-only"),
        pytest.param("ws://h/?", "ws://h/?", id="empty-query"),
        pytest.param('ws://h/a b"<>^`{}\u00e9', "ws://h/a%20b%22%3C%3E%5E%60%7B%7D%C3%A9", id="path-escapes"),
        pytest.param("ws://h/%41%zz%2F;a=1,b|[]~", "ws://h/%41%zz%2F;a=1,b|[]~", id="path-kept"),
        pytest.param("ws://h/?\"<>' \u00e9", "ws://h/?%22%3C%3E%27%20%C3%A9", id="query-escapes"),
        pytest.param("ws://h/?%41%z^`{}|?/\\@:[]", "ws://h/?%41%z^`{}|?/\\@:[]", id="query-kept"),
        pytest.param("ws://h/a\x7f\x01?\x01\x7f", "ws://h/a%7F%01?%01%7F", id="O4-control-characters"),
        pytest.param("ws://h/a/./b/../c", "ws://h/a/c", id="dot-segments"),
        pytest.param("ws://h/../../x", "ws://h/x", id="dots-above-the-root"),
        pytest.param("ws://h/a/%2E%2e/b/%2e", "ws://h/b/", id="escaped-dots"),
        pytest.param("ws://h/a/..", "ws://h/", id="dots-at-the-end"),
        pytest.param("ws://h//a//", "ws://h//a//", id="empty-segments"),
        pytest.param("ws://user:secret@h/", "ws://h/", id="U7-credentials-are-not-shown"),
    ],
)
def test_a_url_is_normalised_as_in_a_browser(url, href):
    assert parse_url(url).href == href


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        pytest.param(f"{JAPANESE}.example", "xn--n8j6ds53lwwkrqhv28a.example", id="opening-handshake/003"),
        pytest.param("fa\u00df.example", "xn--fa-hia.example", id="O5-sharp-s"),
        pytest.param("\uff45\uff58.example", "ex.example", id="O5-full-width"),
        pytest.param("b\u00fccher\u3002example", "xn--bcher-kva.example", id="ideographic-full-stop"),
        pytest.param("b%C3%BCcher.example", "xn--bcher-kva.example", id="percent-encoded"),
        pytest.param("XN--BCHER-KVA.example", "xn--bcher-kva.example", id="A-label"),
        pytest.param("xn--ls8h.example", "xn--ls8h.example", id="O5-emoji-as-A-label"),
        pytest.param("h.example.", "h.example.", id="O5-trailing-dot"),
        pytest.param("my_service", "my_service", id="underscore"),
        pytest.param("a" * 63 + ".b", "a" * 63 + ".b", id="label-of-63"),
        pytest.param("127.0.0.1", "127.0.0.1", id="IPv4"),
        pytest.param("127.0.0.1.", "127.0.0.1", id="IPv4-trailing-dot"),
        pytest.param("0x7f.1", "127.0.0.1", id="O5-hexadecimal"),
        pytest.param("0x7F000001", "127.0.0.1", id="hexadecimal-number"),
        pytest.param("2130706433", "127.0.0.1", id="O5-decimal-number"),
        pytest.param("127.1", "127.0.0.1", id="O5-two-parts"),
        pytest.param("0177.0.0x.1", "127.0.0.1", id="octal-and-empty-hexadecimal"),
        pytest.param("\uff11.1.1.1", "1.1.1.1", id="full-width-digit"),
        pytest.param("[::1]", "::1", id="IPv6"),
        pytest.param("[0:0:0:0:0:0:0:0]", "::", id="IPv6-zero"),
        pytest.param("[2001:DB8::00A:0:0:1]", "2001:db8::a:0:0:1", id="IPv6-first-of-the-longest-runs"),
        pytest.param("[1:0:0:10:0:0:0:2]", "1:0:0:10::2", id="IPv6-zeros-within-a-number"),
        pytest.param("[1:0:2:0:3:0:4:0]", "1:0:2:0:3:0:4:0", id="IPv6-no-run"),
        pytest.param("[::ffff:1.2.3.4]", "::ffff:102:304", id="IPv6-mapped"),
    ],
)
def test_a_host_has_one_ascii_form(host, expected):
    url = parse_url(f"ws://{host}:99/")
    assert url.host == expected
    shown = f"[{expected}]" if ":" in expected else expected
    assert url.host_header == f"{shown}:99"
    assert url.href == f"ws://{shown}:99/"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        pytest.param("", "no scheme", id="U1"),
        pytest.param("test", "no scheme", id="U2-relative"),
        pytest.param("//h/", "no scheme", id="scheme-relative"),
        pytest.param("#test", "no scheme", id="fragment-alone"),
        pytest.param("1ws://h/", "no scheme", id="digit-first"),
        pytest.param("invalid:", "'invalid'", id="wK2"),
        pytest.param("ftp://h/", "'ftp'", id="U4-ftp"),
        pytest.param("mailto:a@h", "'mailto'", id="U4-mailto"),
        pytest.param("about:blank", "'about'", id="U4-about"),
        pytest.param("http://h/#", "fragment", id="U5-empty"),
        pytest.param("http://h/#test", "fragment", id="U5"),
        pytest.param("ws://h?a#b", "fragment", id="O2"),
        pytest.param("ws:", "empty", id="O1-nothing"),
        pytest.param("ws:///", "empty", id="O1-slashes"),
        pytest.param("ws://:80", "empty", id="O1-port-only"),
        pytest.param("ws://user@/", "empty", id="user-only"),
        pytest.param("ws://h:65536/", "port", id="O1-65536"),
        pytest.param("ws://h:100000/", "port", id="port-100000"),
        pytest.param("ws://h:abc/", "port", id="O1-abc"),
        pytest.param("ws://h:-1/", "port", id="port-minus-one"),
        pytest.param("ws://h:8_0/", "port", id="port-underscore"),
        pytest.param("ws://h:\u0661/", "port", id="port-arabic-digit"),
        pytest.param(f"ws://h:{'9' * 5000}/", "port", id="port-5000-digits"),
        pytest.param("ws://h:1:2/", "host:port", id="two-ports"),
        pytest.param("ws://[::1/", "IPv6", id="O1-open-bracket"),
        pytest.param("ws://[::1]x/", "IPv6", id="text-behind-brackets"),
        pytest.param("ws://[::1%25eth0]/", "zone", id="O1-zone"),
        pytest.param("ws://[1.2.3.4]/", "IPv6", id="IPv4-in-brackets"),
        pytest.param("ws://a[1]/", "IPv6", id="brackets-behind-text"),
        pytest.param("ws://a]/", "IPv6", id="closing-bracket-only"),
        pytest.param("ws://[]/", "IPv6", id="empty-brackets"),
        pytest.param("ws://::1/", "IPv6", id="IPv6-without-brackets"),
        pytest.param("ws://foo bar.com/", "character", id="Create-url-with-space"),
        pytest.param("ws://a%20b/", "character", id="escaped-space"),
        pytest.param("ws://a%00b/", "character", id="O4-NUL-in-host"),
        pytest.param("ws://a%0d%0ab/", "character", id="O4-CRLF-in-host"),
        pytest.param("ws://a\x7fb/", "character", id="O4-DEL-in-host"),
        pytest.param("ws://a<b/", "character", id="angle-bracket"),
        pytest.param("ws://\uff0541/", "character", id="full-width-percent"),
        pytest.param("ws://%ff/", "UTF-8", id="escape-that-is-no-UTF-8"),
        pytest.param("ws://a..b/", "empty label", id="O5-empty-label"),
        pytest.param("ws://.a/", "empty label", id="leading-dot"),
        pytest.param("ws://./", "empty label", id="dot"),
        pytest.param(f"ws://{'a' * 64}/", "longer than 63", id="O5-label-64"),
        pytest.param(f"ws://{'a.' * 126}ab/", "longer than 253", id="O5-name-254"),
        pytest.param(f"ws://{'a' * 800}/", "longer than 253", id="name-800"),
        pytest.param(f"ws://{chr(0xE9) * 254}/", "longer than 253", id="t_idna_long-254"),
        pytest.param("ws://xn--a-/", "punycode", id="B8-pure-ascii-A-label"),
        pytest.param("ws://xn--/", "punycode", id="empty-A-label"),
        pytest.param("ws://xn--99999999/", "punycode", id="A-label-out-of-range"),
        pytest.param("ws://xn--\u00fc/", "internationalised", id="A-label-with-non-ascii"),
        pytest.param("ws://\U0001f4a9.la/", "xn--", id="O5-emoji"),
        pytest.param("ws://\u202e.example/", "internationalised", id="direction-override"),
        pytest.param("ws://\u00ad/", "empty", id="soft-hyphen-only"),
        pytest.param("ws://256.1.1.1/", "IPv4", id="part-of-256"),
        pytest.param("ws://1.2.3.4.5/", "IPv4", id="five-parts"),
        pytest.param("ws://4294967296/", "IPv4", id="beyond-32-bits"),
        pytest.param("ws://08.1.1.1/", "IPv4", id="bad-octal"),
        pytest.param("ws://a.1/", "IPv4", id="name-that-ends-in-a-number"),
        pytest.param("ws://1..1/", "IPv4", id="empty-part"),
        pytest.param("ws://h/a\r\nX: y", "line break", id="O4-CRLF-in-path"),
        pytest.param("ws://h/?a\tb", "tab", id="O4-tab-in-query"),
        pytest.param("ws://h/\ud800", "surrogate", id="surrogate"),
        pytest.param("ws://%ff@h/", "UTF-8", id="user-name-that-is-no-UTF-8"),
        pytest.param("ws://a%3Ab:c@h/", "colon", id="colon-in-user-name"),
    ],
)
def test_a_url_that_names_no_websocket_is_a_value_error_with_words(url, words):
    with pytest.raises(ValueError, match=words) as caught:
        parse_url(url)
    assert type(caught.value) is ValueError  # no UnicodeError and the like
    assert str(caught.value).isascii() or "\U0001f4a9" in url or "\u202e" in url or "\u00fc" in url
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("url", [None, 123, b"ws://h/", ["ws://h/"]], ids=repr)
def test_a_url_that_is_no_str_is_a_type_error(url):
    """wK1 and U1."""
    with pytest.raises(TypeError, match="must be a str"):
        parse_url(url)


@pytest.mark.parametrize(
    ("userinfo", "username", "password", "pair"),
    [
        pytest.param("foo:bar", "foo", "bar", b"foo:bar", id="basic-auth"),
        pytest.param("foo", "foo", None, b"foo:", id="no-password"),
        pytest.param(":bar", "", "bar", b":bar", id="no-name"),
        pytest.param("a@b:c:d", "a@b", "c:d", b"a@b:c:d", id="last-at-first-colon"),
        pytest.param(
            "%66oo:p%2Fw%40%C3%A9\u00e9",
            "foo",
            "p/w@\u00e9\u00e9",
            "foo:p/w@\u00e9\u00e9".encode(),
            id="escapes",
        ),
        pytest.param("u:%0d%0a", "u", "\r\n", b"u:\r\n", id="CRLF-stays-inside-base64"),
    ],
)
def test_user_info_becomes_basic_authorization(userinfo, username, password, pair):
    """U7 and O3."""
    url = parse_url(f"ws://{userinfo}@h/")
    assert (url.username, url.password) == (username, password)
    assert url.authorization == b"Basic " + base64.b64encode(pair)


@pytest.mark.parametrize("url", ["ws://h/", "ws://@h/", "ws://:@h/"])
def test_no_user_info_means_no_authorization(url):
    parsed = parse_url(url)
    assert (parsed.username, parsed.password, parsed.authorization) == (None, None, None)


def test_credentials_are_neither_in_repr_nor_in_href():
    """O3 and O15: canaries."""
    url = parse_url("wss://canary-name:canary-word@h:1/p?token=1")
    for text in (repr(url), str(url), url.href, url.host_header, f"{url}"):
        assert "canary" not in text
    assert repr(url) == "WebSocketURL('wss://h:1/p?...')"
    assert str(url) == "wss://h:1/p?..."


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ws://h/p", "ws://h/p"),
        ("ws://h/p?", "ws://h/p?..."),
        ("ws://ann:pw@h/p@q?token=x#y", "ws://h/p@q?..."),
        ("https://h/#access_token=x", "https://h/"),
        ("https://h#f?g", "https://h"),
        ("//ann@h", "//h"),
        ("/p@q", "/p@q"),
        ("", ""),
    ],
)
def test_what_is_shown_of_a_url_holds_no_secrets(text, shown):
    assert for_display(text) == shown


@pytest.mark.parametrize(
    "url",
    [
        "ws://u:cana/ry@h/",
        "ws://u:cana#ry@h/",
        "ws://u:cana?ry@h/",
        "ws://u:cana\try@h/",
        "ws://u:cana%ffry@h/",
    ],
)
def test_an_error_about_an_unescaped_password_does_not_show_it(url):
    with pytest.raises(ValueError) as caught:
        parse_url(url)
    assert "cana" not in str(caught.value)


def test_a_url_is_a_frozen_value():
    first, second = parse_url("ws://H:80"), parse_url("ws://h/")
    assert first == second == WebSocketURL(False, "h", 80, "/")
    assert hash(first) == hash(second)
    with pytest.raises(AttributeError):
        first.port = 1  # type: ignore[misc]


def test_a_long_path_is_fine_and_takes_linear_time():
    """O6."""
    started = time.process_time()
    assert len(parse_url("ws://h/" + "a/../b/" * 50_000).target) == 100_001
    assert time.process_time() - started < 2


@pytest.mark.parametrize("host", ["\u00fc" * 100_000, "xn--" + "a" * 100_000, "1" * 100_000, "%" * 100_000])
def test_a_huge_host_is_refused_before_it_costs_anything(host):
    """t_idna_long, CVE-2022-45061."""
    started = time.process_time()
    with pytest.raises(ValueError, match="longer than 253"):
        normalise_host(host)
    assert time.process_time() - started < 0.1


@given(
    st.integers(0, 2**128 - 1)
    | st.lists(st.sampled_from([0, 0, 1, 16, 0xFFFF]), min_size=8, max_size=8).map(
        lambda groups: sum(group << 16 * place for place, group in enumerate(groups))
    )
)
@settings(max_examples=200, deadline=None)
def test_an_ipv6_address_is_written_as_rfc_5952_says(number):
    address = ipaddress.IPv6Address(number)
    host = normalise_host(f"[{address.exploded}]")
    assert ipaddress.IPv6Address(host) == address
    if address.ipv4_mapped is None:
        assert host == str(address)


@given(st.sampled_from(["ws://", "wss:", "", "ws://u:p@", "ws://xn--", "ws://["]), st.text(), st.text())
@settings(max_examples=300, deadline=None)
def test_no_text_makes_the_parser_raise_anything_but_a_value_error(start, middle, end):
    """T6: whatever comes out is ASCII without a control character, and parsing it again changes nothing."""
    try:
        url = parse_url(f"{start}{middle}/{end}")
    except UnicodeError:
        raise
    except ValueError:
        return
    for part in (url.host, url.target, url.href, url.host_header):
        assert part.isascii()
        assert part.isprintable()
        assert " " not in part
    again = parse_url(url.href)
    assert again.href == url.href
    assert (again.host, again.port, again.target) == (url.host, url.port, url.target)


@pytest.mark.parametrize(("text", "port"), [("0", 0), ("80", 80), ("00080", 80), ("65535", 65535)])
def test_a_port_is_a_number(text, port):
    assert parse_port(text) == port


@pytest.mark.parametrize(
    ("text", "suggestion"),
    [
        ("localhost:8765", "ws://localhost:8765/"),
        ("localhost:8765/feed", "ws://localhost:8765/feed"),
        ("localhost:8765?token=secret", "ws://localhost:8765/?..."),
        ("example.com/feed", "ws://example.com/feed"),
        ("Example.com", "ws://example.com/"),
        ("//example.com/feed", "ws://example.com/feed"),
        ("[::1]:80/", "ws://[::1]/"),
        ("127.0.0.1:1", "ws://127.0.0.1:1/"),
    ],
)
def test_a_url_without_a_scheme_is_refused_with_what_may_be_meant(text, suggestion):
    with pytest.raises(ValueError) as caught:
        parse_url(text)
    assert str(caught.value) == (
        f"the URL has no scheme: it must be absolute and start with ws:// or wss://, such as {suggestion}"
    )


@pytest.mark.parametrize(
    "text", ["/feed", "ann:pw@host", "ann:123@host", "a b", "", "x:99999", "@", "mailto:ann"]
)
def test_nothing_is_suggested_for_what_is_no_host_or_may_hold_a_password(text):
    with pytest.raises(ValueError) as caught:
        parse_url(text)
    assert "such as" not in str(caught.value)
    assert "pw" not in str(caught.value)
