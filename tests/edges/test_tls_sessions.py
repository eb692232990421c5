"""A client that comes back with what the server gave it is spared the certificates, and only then."""

from __future__ import annotations

import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from anyio.streams.tls import TLSAttribute

from edges.serving import serving
from websocketstream import open_websocket_stream
from websocketstream._network import tls_client
from websocketstream._network.tls_sessions import MOST, TLSSessions


@pytest.fixture
def default_context(monkeypatch: pytest.MonkeyPatch, client_ssl: ssl.SSLContext) -> None:
    """Let the context that is used when none is given trust the server of the tests."""
    monkeypatch.setattr(tls_client, "default_ssl_context", lambda: client_ssl)
    monkeypatch.setattr(tls_client, "_sessions", TLSSessions())


async def visit(url: str, **options: Any) -> bool:
    """Say hello; return whether TLS went on with an earlier session."""
    async with open_websocket_stream(url, **options) as conn:
        await conn.send("hello")
        assert await conn.receive() == "hello"
        resumed: bool = conn.extra(TLSAttribute.ssl_object).session_reused
        return resumed


@pytest.mark.anyio
@pytest.mark.usefixtures("default_context")
async def test_who_comes_back_resumes(server_ssl: ssl.SSLContext) -> None:
    async with serving(ssl_context=server_ssl) as listener:
        assert [await visit(listener.url) for _ in range(4)] == [False, True, True, True]


@pytest.mark.anyio
@pytest.mark.usefixtures("default_context")
@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
async def test_in_both_versions_of_tls(server_ssl: ssl.SSLContext, version: str) -> None:
    server_ssl.maximum_version = ssl.TLSVersion[version]
    async with serving(ssl_context=server_ssl) as listener:
        assert [await visit(listener.url) for _ in range(3)] == [False, True, True]


@pytest.mark.anyio
@pytest.mark.usefixtures("default_context")
async def test_a_context_of_the_users_resumes_nothing(
    server_ssl: ssl.SSLContext, client_ssl: ssl.SSLContext
) -> None:
    async with serving(ssl_context=server_ssl) as listener:
        assert [await visit(listener.url, ssl_context=client_ssl) for _ in range(3)] == [False] * 3


@pytest.mark.anyio
@pytest.mark.usefixtures("default_context")
async def test_a_server_that_has_forgotten_us_checks_again(certificate_authority: Any) -> None:
    port = 0
    for _ in range(3):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # whose keys for tickets are its own
        certificate_authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
        async with serving(ssl_context=context, port=port) as listener:
            port = listener.port
            assert not await visit(listener.url)


@pytest.mark.anyio
@pytest.mark.usefixtures("default_context")
async def test_what_one_name_was_given_is_not_for_another(server_ssl: ssl.SSLContext) -> None:
    async with serving(ssl_context=server_ssl) as listener:
        assert not await visit(listener.url)
        assert not await visit(listener.url, server_hostname="localhost")
        assert await visit(listener.url)


def test_threads_that_open_their_first_connections_together_get_one_context(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A session is of no use to another context than the one that it was given to: ssl says ValueError.
    together, make = threading.Barrier(2, timeout=10), ssl.create_default_context

    def make_together() -> ssl.SSLContext:
        together.wait()
        return make()

    monkeypatch.setattr(tls_client, "_default", [])
    monkeypatch.setattr(ssl, "create_default_context", make_together)
    with ThreadPoolExecutor(2) as threads:
        one, other = (threads.submit(tls_client.default_ssl_context) for _ in range(2))
    assert one.result() is other.result() is tls_client.default_ssl_context()


class Session:
    """As far as it matters here."""

    def __init__(self, has_ticket: bool = True) -> None:
        self.has_ticket = has_ticket


def test_each_is_used_once_and_the_newest_are_kept() -> None:
    sessions = TLSSessions()
    given: list[Any] = [Session() for _ in range(MOST + 1)]
    for server, session in enumerate(given):
        sessions.keep(server, session)
    sessions.keep("none", None)
    sessions.keep("no ticket", Session(has_ticket=False))  # type: ignore[arg-type]
    assert sessions.take(0) is sessions.take("none") is sessions.take("no ticket") is None
    assert [sessions.take(server) for server in range(1, MOST + 1)] == given[1:]
    assert sessions.take(1) is None


def test_the_newest_of_a_server_is_the_one_that_counts() -> None:
    sessions = TLSSessions()
    first, second = Session(), Session()
    sessions.keep("a", first)  # type: ignore[arg-type]
    sessions.keep("b", Session())  # type: ignore[arg-type]
    sessions.keep("a", second)  # type: ignore[arg-type]
    for server in range(MOST - 1):
        sessions.keep(server, Session())  # type: ignore[arg-type]
    assert sessions.take("b") is None
    assert sessions.take("a") is second
