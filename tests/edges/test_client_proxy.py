"""Connections through HTTP and SOCKS proxies: what goes through, and what is said when nothing does."""

from __future__ import annotations

import base64
import errno
import random
import re
import socket
import ssl
import sys
import traceback
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import trustme
from anyio.streams.tls import TLSAttribute

from edges.proxying import OPENED, proxying
from edges.serving import serving
from websocketstream import ConnectFailed, HandshakeTimeout, open_websocket_stream
from websocketstream._network.dial import dial
from websocketstream._network.proxy import connect_through
from websocketstream._protocol.connect import ConnectHandshake, ProxyRefused
from websocketstream._protocol.url import ProxyURL, parse_proxy_url
from websocketstream.testing import memory_byte_stream_pair

KINDS = ["http", "https", "socks4", "socks4a", "socks5", "socks5h"]
WITHOUT_TLS = [kind for kind in KINDS if kind != "https"]


async def failure(proxy: str, url: str = "ws://203.0.113.1/", **options: Any) -> ConnectFailed:
    with pytest.raises(ConnectFailed) as caught:
        async with open_websocket_stream(url, proxy=proxy, **options):
            pytest.fail("the body must not run")
    assert_no_secret_in(caught.value)
    return caught.value


def assert_no_secret_in(error: BaseException) -> None:
    """Insist that nothing shows the password, not even what shows the local variables of our code."""
    text = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    ours = "\n".join(
        line for line in text.splitlines() if not line.strip().startswith(("proxy = ", "stack = "))
    )
    assert not re.search(f"secret|{base64.b64encode(b'ann:secret').decode()}", ours), ours


@pytest.mark.anyio
@pytest.mark.parametrize("piece", [1, 1000])
@pytest.mark.parametrize("kind", WITHOUT_TLS)
async def test_a_connection_goes_through_a_proxy_however_its_answers_are_cut(kind: str, piece: int) -> None:
    async with proxying(kind, piece=piece) as proxy, serving() as listener:
        async with open_websocket_stream(listener.url, proxy=proxy.url) as conn:
            await conn.send("hello")
            assert await conn.receive() == "hello"


@pytest.mark.anyio
@pytest.mark.parametrize("kind", KINDS)
async def test_tls_goes_through_a_proxy_also_in_tls(
    kind: str, server_ssl: ssl.SSLContext, client_ssl: ssl.SSLContext
) -> None:
    context = server_ssl if kind == "https" else None
    async with proxying(kind, context=context) as proxy, serving(ssl_context=server_ssl) as listener:
        async with open_websocket_stream(
            listener.url,
            proxy=proxy.url,
            ssl_context=client_ssl,
            proxy_ssl_context=client_ssl if kind == "https" else None,
        ) as conn:
            await conn.send("hello")
            assert await conn.receive() == "hello"
            assert conn.extra(TLSAttribute.ssl_object).server_hostname == "127.0.0.1"


@pytest.mark.anyio
async def test_a_large_message_goes_both_ways_through_tls_in_tls(
    server_ssl: ssl.SSLContext, client_ssl: ssl.SSLContext
) -> None:
    message = random.Random(1).randbytes(2**20)
    async with proxying("https", context=server_ssl) as proxy, serving(ssl_context=server_ssl) as listener:
        async with open_websocket_stream(
            listener.url, proxy=proxy.url, ssl_context=client_ssl, proxy_ssl_context=client_ssl
        ) as conn:
            await conn.send(message)
            assert await conn.receive() == message


@pytest.mark.anyio
async def test_tls_with_the_proxy_alone_is_none_with_the_server(
    server_ssl: ssl.SSLContext, client_ssl: ssl.SSLContext
) -> None:
    async with proxying("https", context=server_ssl) as proxy, serving() as listener:
        async with open_websocket_stream(listener.url, proxy=proxy.url, proxy_ssl_context=client_ssl) as conn:
            await conn.send("hello")
            assert await conn.receive() == "hello"
        # wss:// means the server: TLS with the proxy does not stand for it.
        url = listener.url.replace("ws://", "wss://")
        error = await failure(proxy.url, url, ssl_context=client_ssl, proxy_ssl_context=client_ssl)
    assert "without TLS the URL is ws://" in str(error)


@pytest.mark.anyio
async def test_the_certificate_of_a_proxy_is_checked_as_that_of_a_server(server_ssl: ssl.SSLContext) -> None:
    async with proxying("https", context=server_ssl) as proxy:
        error = await failure(proxy.url)
        assert proxy.heard == []
    assert str(error).startswith(
        f"cannot connect to 203.0.113.1 port 80 through the proxy {parse_proxy_url(proxy.url)}: "
        "TLS handshake with 127.0.0.1 failed: certificate not accepted"
    )


@pytest.mark.anyio
@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
async def test_a_proxy_may_ask_for_a_certificate_of_its_own(
    version: str, certificate_authority: trustme.CA, client_ssl: ssl.SSLContext
) -> None:
    strict = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate_authority.issue_cert("127.0.0.1").configure_cert(strict)
    certificate_authority.configure_trust(strict)
    strict.verify_mode = ssl.CERT_REQUIRED
    strict.minimum_version = strict.maximum_version = ssl.TLSVersion[version]
    ours = ssl.create_default_context()
    certificate_authority.configure_trust(ours)
    certificate_authority.issue_cert("ann@example.com").configure_cert(ours)
    async with proxying("https", context=strict) as proxy, serving() as listener:
        async with open_websocket_stream(listener.url, proxy=proxy.url, proxy_ssl_context=ours) as conn:
            await conn.send("hello")
            assert await conn.receive() == "hello"
        error = await failure(proxy.url, proxy_ssl_context=client_ssl)
        assert f"through the proxy {parse_proxy_url(proxy.url)}: " in str(error)


@pytest.mark.anyio
async def test_a_proxy_with_tls_and_one_without_are_told_apart(server_ssl: ssl.SSLContext) -> None:
    async with proxying("http", b"HTTP/1.1 400 Bad\r\n\r\n", fault="TLS") as proxy:
        error = await failure(proxy.url.replace("http://", "https://"))
    assert str(error).endswith("; without TLS the URL is http://")
    async with proxying("http", b"\x15\x03\x01\0\2\2\x46") as proxy:
        error = await failure(proxy.url)
    assert str(error).endswith("; it speaks TLS, so its URL is https://")


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["socks4", "socks4a", "socks5", "socks5h"])
async def test_who_looks_the_name_up_is_what_the_scheme_says(kind: str) -> None:
    async with proxying(kind) as proxy, serving(host="localhost") as listener:
        async with open_websocket_stream(f"ws://localhost:{listener.port}", proxy=proxy.url) as conn:
            await conn.send("hello")
            assert await conn.receive() == "hello"
    assert (b"localhost" in proxy.heard[-1]) == (kind in ("socks4a", "socks5h"))


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["socks4", "socks4a"])
async def test_what_socks4_cannot_do_is_said(kind: str) -> None:
    async with proxying(kind) as proxy:
        error = await failure(proxy.url, "ws://[2001:db8::1]/")
    assert str(error).endswith("SOCKS4 knows no IPv6 addresses; with SOCKS5 the proxy's URL is socks5://")


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["http", "socks4", "socks5"])
async def test_a_connection_through_a_proxy_runs_on_the_same_transport_as_one_without(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    async def connect(*arguments: Any, **options: Any) -> Any:
        seen.append(await connect_through(*arguments, **options))
        return seen[-1]

    monkeypatch.setattr("websocketstream._opening.connect_through", connect)
    async with proxying(kind) as proxy, serving() as listener:
        async with open_websocket_stream(listener.url, proxy=proxy.url):
            pass
        async with await dial("127.0.0.1", listener.port) as direct:
            assert type(seen[0]) is type(direct)


@pytest.mark.anyio
async def test_the_environment_is_asked_only_when_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    async with proxying("http") as proxy, serving() as listener:
        monkeypatch.setenv("ws_proxy", proxy.url)
        async with open_websocket_stream(listener.url):
            assert proxy.heard == []
        async with open_websocket_stream(listener.url, proxy=True):
            assert len(proxy.heard) == 1
        monkeypatch.setenv("NO_PROXY", "127.0.0.0/8")
        async with open_websocket_stream(listener.url, proxy=True):
            assert len(proxy.heard) == 1


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["https", "socks5h"])
async def test_a_cancellation_at_any_point_leaves_nothing(
    kind: str, server_ssl: ssl.SSLContext, client_ssl: ssl.SSLContext
) -> None:
    context, proxy_ssl_context = (server_ssl, client_ssl) if kind == "https" else (None, None)

    async def connect() -> None:
        nonlocal opened
        async with open_websocket_stream(
            listener.url, proxy=proxy.url, ssl_context=client_ssl, proxy_ssl_context=proxy_ssl_context
        ):
            opened += 1

    opened = 0
    async with proxying(kind, context=context) as proxy, serving(ssl_context=server_ssl) as listener:
        for passes in range(120):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(connect)
                for _ in range(passes):
                    await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()
            if opened > 2:
                break
        await connect()
        assert opened, "it works when nobody cancels it"


@pytest.mark.anyio
@pytest.mark.parametrize("kind", KINDS)
async def test_a_cancellation_leaves_nothing_of_a_proxy(
    kind: str, server_ssl: ssl.SSLContext, client_ssl: ssl.SSLContext
) -> None:
    context, proxy_ssl_context = (server_ssl, client_ssl) if kind == "https" else (None, None)
    async with proxying(kind, fault="hang", context=context) as proxy:
        async with anyio.create_task_group() as tasks:

            async def connect() -> None:
                async with open_websocket_stream(
                    "ws://203.0.113.1/", proxy=proxy.url, proxy_ssl_context=proxy_ssl_context
                ):
                    pytest.fail("the body must not run")

            tasks.start_soon(connect)
            with anyio.fail_after(5):
                while not proxy.heard:
                    await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()


@pytest.mark.anyio
async def test_the_server_never_sees_what_is_for_the_proxy_nor_the_proxy_what_is_for_the_server() -> None:
    async with proxying("http") as proxy, serving() as listener:
        async with open_websocket_stream(listener.url, proxy=proxy.url, headers={"X-Secret": "origin"}):
            pass
    assert (
        proxy.heard[0]
        == (
            f"CONNECT 127.0.0.1:{listener.port} HTTP/1.1\r\nHost: 127.0.0.1:{listener.port}\r\n"
            "Proxy-Authorization: Basic YW5uOnNlY3JldA==\r\n\r\n"
        ).encode()
    )


@pytest.mark.anyio
@pytest.mark.parametrize("kind", WITHOUT_TLS)
async def test_a_proxy_that_resets_the_connection_is_named(kind: str) -> None:
    async with proxying(kind, fault="reset") as proxy:
        error = await failure(proxy.url)
    assert error.errno == errno.ECONNRESET
    assert str(error) == (
        f"cannot connect to 203.0.113.1 port 80 through the proxy {parse_proxy_url(proxy.url)}: "
        "Connection reset by peer (ECONNRESET)"
    )


@pytest.mark.anyio
@pytest.mark.parametrize("kind", WITHOUT_TLS)
async def test_a_proxy_that_hangs_up_is_named(kind: str) -> None:
    async with proxying(kind, fault="end") as proxy:
        error = await failure(proxy.url)
    assert str(error) == (
        f"cannot connect to 203.0.113.1 port 80 through the proxy {parse_proxy_url(proxy.url)}: "
        "it closed the connection"
    )


@pytest.mark.anyio
@pytest.mark.parametrize("kind", KINDS)
async def test_a_proxy_that_cannot_be_reached_is_named(kind: str) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        error = await failure(f"{kind}://ann:secret@127.0.0.1:{port}")
    assert error.errno == errno.ECONNREFUSED
    assert str(error).endswith(
        f"through the proxy {kind}://127.0.0.1:{port}, which cannot be reached: Connection refused (ECONNREFUSED)"
    )


@pytest.mark.anyio
@pytest.mark.parametrize("kind", WITHOUT_TLS)
async def test_a_proxy_that_does_not_answer_is_named(kind: str) -> None:
    async with proxying(kind, fault="hang") as proxy:
        with pytest.raises(HandshakeTimeout) as caught:
            async with open_websocket_stream("ws://203.0.113.1/", proxy=proxy.url, open_timeout=0.1):
                pytest.fail("the body must not run")
    assert str(caught.value).endswith(f"through the proxy {parse_proxy_url(proxy.url)}")


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("kind", "answer", "words"),
    [
        (
            "http",
            b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n",
            "it answered 407 Proxy Authentication Required to the user name and password of its URL",
        ),
        ("http", b"HTTP/1.0 502 \x9b2J\r\n\r\n", r"it answered 502 \x9b2J"),
        (
            "http",
            b"SSH-2.0-x\x1b[2J\r\n\r\n",
            r'it answered "SSH-2.0-x\x1b[2J\r\n\r\n"; is it an HTTP proxy?',
        ),
        ("http", b"HTTP/1.1 2", r'it closed the connection after "HTTP/1.1 2"'),
        ("http", OPENED + b"\x1b[2Jhi", r'it opened the tunnel and sent "\x1b[2Jhi" through it by itself'),
        ("socks4", b"\0\x5b" + bytes(6), 'it answered "Request rejected or failed"'),
        ("socks5", b"\5\xff", 'it answered "'),
        ("socks5", b"HTTP/1.1 400 Bad\r\n\r\n", 'it answered "Unexpected SOCKS version number'),
        ("socks5", b"\5\2\1\1", 'it answered "Username and password authentication failure"'),
        ("socks5", b"\5\2\1\0\5\0\0\3\2\xff\xfe\0\0", "it answered with a name that is not UTF-8"),
    ],
)
async def test_what_a_proxy_says_is_shown_escaped(kind: str, answer: bytes, words: str) -> None:
    async with proxying(kind, answer) as proxy:
        error = await failure(proxy.url)
    assert f"through the proxy {parse_proxy_url(proxy.url)}: {words}" in str(error)
    assert str(error).isprintable()


@pytest.mark.anyio
@pytest.mark.parametrize("answer", [b"\5\xff", b"\5\2"])
async def test_a_proxy_that_wants_a_password_and_gets_none_says_where_that_stands(answer: bytes) -> None:
    async with proxying("socks5", answer, fault="hello") as proxy:
        error = await failure(proxy.url.replace("ann:secret@", ""))
    assert str(error).endswith("; user name and password stand in its URL, socks5://name:password@host:port")


@pytest.mark.anyio
async def test_a_socks_proxy_whose_resolver_does_not_know_the_host_is_a_failed_connection() -> None:
    async with proxying("socks4") as proxy:
        error = await failure(proxy.url, "ws://no-such-host.invalid/")
    assert "no-such-host.invalid port 80 through the proxy" in str(error)


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["http", "socks5"])
async def test_only_socks_needs_another_package(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("python_socks", "python_socks.async_.anyio"):
        monkeypatch.setitem(sys.modules, module, None)
    if kind == "http":
        async with proxying(kind) as proxy, serving() as listener:
            async with open_websocket_stream(listener.url, proxy=proxy.url):
                pass
    else:
        with pytest.raises(ImportError, match=r"SOCKS proxy needs python-socks: pip install .*\[proxy\]"):
            open_websocket_stream("ws://localhost/", proxy="socks5://localhost:1")


@pytest.mark.parametrize(
    ("proxy", "error"),
    [
        (b"http://x:1", TypeError),
        (False, TypeError),
        ("", ValueError),
        ("ftp://x:1", ValueError),
        ("x:1", ValueError),
        ("http://x", ValueError),
        ("http://[::1]", ValueError),
        ("http://x:", ValueError),
        ("http://:1", ValueError),
        ("http://x:99999", ValueError),
        ("http://x:1/path", ValueError),
        ("http://a b:1", ValueError),
    ],
    ids=repr,
)
def test_a_proxy_that_makes_no_sense_is_an_error_of_the_call(proxy: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="proxy"):
        open_websocket_stream("ws://localhost/", proxy=proxy)


@pytest.mark.parametrize(
    "proxy",
    [
        "http://ann:canary@exa\u2100mple:1",  # not clean under NFKC
        "http://ann:canary@:1",
        "http://ann:canary@host:port",
        "http://ann:can/ary@host:1",
        "http://ann:can#ary@host:1",
        "http://ann:can@ary@host:1",
        "http://ann:canary\ud800@host:1",
        "http://ann:canary%ff@host:1",
        "http://canary%3a:x@host:1",
        "socks5://ann:canary\xfc@host:1",
        f"socks5://ann:{'canary' * 50}@host:1",
        "socks4://canary%00@host:1",
        "ftp://ann:canary@host:1",
    ],
)
def test_no_error_of_the_call_shows_a_password(proxy: str) -> None:
    with pytest.raises(ValueError) as caught:
        open_websocket_stream("ws://localhost/", proxy=proxy)
    assert "canary" not in "".join(traceback.format_exception(caught.value))
    assert not re.search(r"can\b|ary|exa", str(caught.value))  # nor a part of one


def test_a_proxys_url_shows_no_password() -> None:
    url = parse_proxy_url("SOCKS5://ann:p%40ss@[::1]:1080/")
    assert url == ProxyURL("socks5", "::1", 1080, "ann", "p@ss")
    assert (str(url), repr(url)) == ("socks5://[::1]:1080", "ProxyURL('socks5://[::1]:1080')")
    assert url.authorization == b"Basic YW5uOnBAc3M="
    assert parse_proxy_url("http://h:1").authorization is None


def test_a_proxy_and_a_stream_exclude_each_other() -> None:
    stream, _ = memory_byte_stream_pair()
    with pytest.raises(ValueError, match="either proxy or stream"):
        open_websocket_stream("ws://localhost/", proxy="http://localhost:1", stream=stream)


@pytest.mark.parametrize("host", ["example.com", "::1"])
def test_an_interim_answer_of_a_proxy_is_passed_over_byte_by_byte(host: str) -> None:
    handshake = ConnectHandshake(ProxyURL("http", "p", 1), host, 443)
    assert handshake.request.startswith(b"CONNECT [::1]:443 " if ":" in host else b"CONNECT example.com:443 ")
    answer = b"HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
    assert not any(handshake.receive_data(answer[n : n + 1]) for n in range(len(answer) - 1))
    assert handshake.receive_data(answer[-1:])


def test_a_proxy_whose_answer_has_no_end_is_refused() -> None:
    handshake = ConnectHandshake(ProxyURL("http", "p", 1), "h", 443)
    with pytest.raises(ProxyRefused, match=r'it answered "HTTP/1\.1 200 OK'):
        for _ in range(100):
            handshake.receive_data(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200)


@pytest.mark.parametrize(
    ("proxy", "context", "error"),
    [
        (None, ssl.create_default_context(), ValueError),
        ("http://localhost:1", ssl.create_default_context(), ValueError),
        ("https://localhost:1", True, TypeError),
    ],
)
def test_a_context_for_a_proxy_that_would_not_use_it_is_refused(
    proxy: str | None, context: Any, error: type[Exception]
) -> None:
    with pytest.raises(error, match="proxy_ssl_context"):
        open_websocket_stream("ws://localhost/", proxy=proxy, proxy_ssl_context=context)


def test_a_variable_that_holds_no_proxy_is_an_error_of_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("wss_proxy", "ftp://ann:canary@host:1")
    with pytest.raises(ValueError, match="the environment's wss_proxy cannot be used") as caught:
        open_websocket_stream("wss://localhost/", proxy=True)
    assert "canary" not in "".join(traceback.format_exception(caught.value))
