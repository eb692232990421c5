"""Asking an HTTP proxy for a tunnel."""

from __future__ import annotations

import pytest

from websocketstream._protocol.connect import ConnectHandshake, ProxyRefused
from websocketstream._protocol.url import ProxyURL, parse_proxy_url


def ask(proxy: str = "http://proxy:3128", host: str = "example.com") -> ConnectHandshake:
    return ConnectHandshake(parse_proxy_url(proxy), host, 443)


def test_the_request_names_the_host_and_the_port() -> None:
    assert ask().request == b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n"
    assert ask(host="::1").request.startswith(b"CONNECT [::1]:443 HTTP/1.1\r\n")


def test_credentials_go_into_a_field_of_their_own() -> None:
    assert b"Proxy-Authorization: Basic dXNlcjpwYXNz\r\n" in ask("http://user:pass@proxy:3128").request


def test_the_tunnel_is_open_when_the_whole_head_is_there() -> None:
    answer = b"HTTP/1.1 200 Connection established\r\nX: y\r\n\r\n"
    for cut in range(1, len(answer)):
        handshake = ask()
        assert handshake.receive_data(answer[:cut]) is False
        assert handshake.receive_data(answer[cut:]) is True


def test_interim_answers_are_passed_over() -> None:
    assert ask().receive_data(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n") is True


def test_but_not_without_end() -> None:
    interim = b"HTTP/1.1 103 Early\r\n\r\n"
    assert ask().receive_data(interim * 8 + b"HTTP/1.1 200 OK\r\n\r\n") is True
    with pytest.raises(ProxyRefused, match=r"it sent more than 8 interim \(1xx\) answers"):
        ask().receive_data(interim * 9)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 407 Who are you\x1b?\r\n\r\n", "it answered"),
        (b"HTTP/1.1 407 \r\n\r\n", "it answered 407; user name and password stand in its URL, http://name:"),
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", "it answered 403 Forbidden"),
        (b"HTTP/1.1 500 \r\n\r\n", "it answered 500"),
        (b"SSH-2.0-x\r\n\r\n", 'it answered "SSH-2.0-x\\r\\n\\r\\n"; is it an HTTP proxy?'),
        (b"\x15\x03\x01\0\2\2\x46", "; it speaks TLS, so its URL is https://"),
        (b"HTTP/1.1 200 OK\r\n\r\nearly", 'it opened the tunnel and sent "early" through it by itself'),
    ],
)
def test_anything_else_is_a_refusal_with_words_that_are_safe_to_print(answer: bytes, words: str) -> None:
    with pytest.raises(ProxyRefused) as caught:
        ask().receive_data(answer)
    assert words in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 500 \r\n\r\n", "it answered 500"),
        (b"HTTP/1.1 300 Many\r\n\r\n", "it answered 300 Many"),
        (b"HTTP/1.1 403 No\r\nProxy-Authenticate: Basic\r\n\r\n", "it answered 403 No"),
        (
            b"HTTP/1.1 407 No\r\n\r\n",
            "it answered 407 No; user name and password stand in its URL, http://name:password@host:port",
        ),
        (b"?\r\n\r\n", r'it answered "?\r\n\r\n"; is it an HTTP proxy?'),
        (b"\x16\x03\x01", r'it answered "\x16\x03\x01"; it speaks TLS, so its URL is https://'),
    ],
)
def test_what_a_refusal_says_to_the_letter(answer: bytes, words: str) -> None:
    with pytest.raises(ProxyRefused) as caught:
        ask().receive_data(answer)
    assert str(caught.value) == words


def test_every_2xx_opens_the_tunnel() -> None:
    for status in (b"200", b"204", b"299"):
        assert ask().receive_data(b"HTTP/1.1 " + status + b" OK\r\n\r\n") is True


def test_a_head_has_a_limit() -> None:
    fits = b"HTTP/1.1 200 OK\r\nX: " + b"y" * 16000
    assert ask().receive_data(fits) is False
    with pytest.raises(ProxyRefused, match="it answered"):
        ask().receive_data(fits + b"y" * 1000)


def test_a_login_that_is_refused_says_what_is_asked_for() -> None:
    answer = b"HTTP/1.1 407 No\r\nProxy-Authenticate: NTLM\r\nProxy-Authenticate: Negotiate \x9b\r\n\r\n"
    with pytest.raises(ProxyRefused) as caught:
        ask("http://user:secret@proxy:3128").receive_data(answer)
    assert str(caught.value) == (
        "it answered 407 No to the user name and password of its URL; "
        'we can do Basic, it asks for "NTLM, Negotiate \\x9b"'
    )


def test_an_end_before_the_answer_says_what_had_come() -> None:
    assert str(ask().receive_eof()) == "it closed the connection"
    handshake = ask()
    handshake.receive_data(b"HTTP/1.1 2")
    assert str(handshake.receive_eof()) == 'it closed the connection after "HTTP/1.1 2"'


@pytest.mark.parametrize(
    ("text", "proxy"),
    [
        ("http://proxy:3128", ProxyURL("http", "proxy", 3128)),
        ("HTTP://Proxy:3128/", ProxyURL("http", "proxy", 3128)),
        ("https://proxy:443", ProxyURL("https", "proxy", 443)),
        ("socks4a://me@proxy:1080", ProxyURL("socks4a", "proxy", 1080, "me")),
        ("SOCKS5H://proxy:1080", ProxyURL("socks5h", "proxy", 1080)),
        (" socks4://me@10.0.0.1:1080 ", ProxyURL("socks4", "10.0.0.1", 1080, "me", "")),
        ("socks5://me:p%40ss@[::1]:1080", ProxyURL("socks5", "::1", 1080, "me", "p@ss")),
    ],
)
def test_urls_of_proxies(text: str, proxy: ProxyURL) -> None:
    parsed = parse_proxy_url(text)
    assert (parsed.scheme, parsed.host, parsed.port, parsed.username) == (
        proxy.scheme,
        proxy.host,
        proxy.port,
        proxy.username,
    )
    assert (parsed.password or "") == (proxy.password or "")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ftp://proxy:1", "proxy must be a URL such as"),
        ("socks://proxy:1", "one of the schemes http, https, socks4, socks4a, socks5, socks5h"),
        ("socks5h://m\u00e9:p@proxy:1", "1 to 255 ASCII characters"),
        ("http://a/b@proxy:1", "must be escaped"),
        ("socks5://m\u00e9:p@proxy:1", "1 to 255 ASCII characters"),
        ("socks5://" + "m" * 256 + ":p@proxy:1", "1 to 255 ASCII characters"),
        ("socks5://me@proxy:1", "both a user name and a password"),
        ("socks5h://me:@proxy:1", "both a user name and a password"),
        ("socks5://:p@proxy:1", "both a user name and a password"),
        ("http://proxy", "proxy has no port"),
        ("http://[::1:80", "proxy has no port"),
        ("http://proxy:", "proxy has no port"),
        ("http://proxy:99999", "a port from 0 to 65535"),
        ("http://exa\u2100mple:80", "a host name or address"),
    ],
)
def test_what_is_no_proxy_is_an_error_without_any_of_its_text(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        parse_proxy_url(text)
    assert text not in str(caught.value)


def test_neither_repr_nor_str_of_a_proxy_shows_credentials() -> None:
    proxy = parse_proxy_url("http://user:secret@[::1]:3128")
    assert str(proxy) == "http://[::1]:3128"
    assert repr(proxy) == "ProxyURL('http://[::1]:3128')"
    assert proxy.authorization == b"Basic dXNlcjpzZWNyZXQ="
    assert parse_proxy_url("http://proxy:1").authorization is None
