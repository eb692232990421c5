"""Redirects: followed as far as was asked for, without what is secret, and with nothing left behind."""

from __future__ import annotations

import re
import ssl
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.abc import SocketAttribute
from anyio.lowlevel import checkpoint

from edges.serving import serving
from websocketstream import (
    ConnectFailed,
    HandshakeRejected,
    HandshakeTimeout,
    WebSocketListener,
    WebSocketRequest,
    open_websocket_stream,
)
from websocketstream.testing import memory_byte_stream_pair

pytestmark = pytest.mark.anyio

SECRETS = {"Cookie": "a=b", "X-Api-Key": "secret"}


class Site:
    """A server that points to others, and says where it ends what it was asked with."""

    def __init__(self, status: int = 302) -> None:
        self.status = status
        self.places: dict[str, str] = {}
        self.asked: list[WebSocketRequest] = []

    async def __call__(self, request: WebSocketRequest) -> None:
        self.asked.append(request)
        if request.path in self.places:
            await request.reject(self.status, {"Location": self.places[request.path]})
            return
        async with request.accept() as conn:
            await conn.send(request.target)


@asynccontextmanager
async def site(status: int = 302, **options: Any) -> AsyncIterator[tuple[Site, WebSocketListener]]:
    asked = Site(status)
    async with serving(asked, **options) as listener:
        yield asked, listener


async def rejection(url: str, **options: Any) -> HandshakeRejected:
    with pytest.raises(HandshakeRejected) as caught:
        async with open_websocket_stream(url, **options):
            pytest.fail("the body must not run")
    return caught.value


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_followed_when_that_is_asked_for(status: int) -> None:
    async with site(status) as (asked, listener):
        asked.places = {"/a": "b?c=d#e"}
        async with open_websocket_stream(f"{listener.url}/a", max_redirects=1) as conn:
            assert await conn.receive() == "/b?c=d"
            assert conn.url == f"{listener.url}/b?c=d"
            assert conn.response is not None
            assert conn.response.status == 101
        error = await rejection(f"{listener.url}/a")
    assert str(error).endswith('it points to "b?...", and redirects are not followed')


async def test_within_the_origin_everything_goes_along() -> None:
    async with site(protocols=["chat"]) as (asked, listener):
        asked.places = {"/a": "/b"}
        url = listener.url.replace("//", "//ann:pw@")
        async with open_websocket_stream(
            f"{url}/a",
            max_redirects=1,
            headers=SECRETS,
            protocols=iter(["chat"]),
            origin="http://o.test",  # type: ignore[arg-type]
        ) as conn:
            assert conn.protocol == "chat"
        first, second = asked.asked
        for name in ("authorization", "cookie", "x-api-key", "origin", "sec-websocket-protocol"):
            assert first.headers[name] == second.headers[name]
        assert first.headers["sec-websocket-key"] != second.headers["sec-websocket-key"]


async def test_to_another_origin_no_secret_goes_and_none_comes_back_from_there() -> None:
    async with site(protocols=["chat"]) as (one, here), site(protocols=["chat"]) as (other, there):
        one.places = {"/a": f"{there.url}/b"}
        other.places = {"/b": f"{here.url}/c"}
        url = here.url.replace("//", "//ann:pw@")
        async with open_websocket_stream(
            f"{url}/a",
            max_redirects=2,
            headers={"X-Api-Key": "secret", "User-Agent": "me"},
            cookies={"a": "b"},
            protocols=["chat"],
        ) as conn:
            assert conn.url == f"{here.url}/c"
            assert conn.protocol == "chat"
        for request in (other.asked[0], one.asked[1]):
            assert not {"authorization", "cookie", "x-api-key"} & {*request.headers}
            assert request.headers["user-agent"] == "me"
        assert other.asked[0].headers["host"] == f"127.0.0.1:{there.port}"


async def test_a_loop_ends_with_the_limit() -> None:
    async with site() as (asked, listener):
        asked.places = {"/a": "/a"}
        error = await rejection(f"{listener.url}/a", max_redirects=3)
        assert str(error).endswith('it points to "/a", and no more than max_redirects=3 are followed')
        assert len(asked.asked) == 4
    assert error.__cause__ is None
    assert error.__context__ is None


async def test_without_tls_a_redirect_may_lead_to_it(
    server_ssl: ssl.SSLContext, client_ssl: ssl.SSLContext
) -> None:
    async with site() as (plain, here), site(ssl_context=server_ssl) as (_, there):
        plain.places = {"/a": f"https://localhost:{there.port}/b"}
        async with open_websocket_stream(
            f"{here.url}/a", max_redirects=1, ssl_context=client_ssl, server_hostname="elsewhere.example"
        ) as conn:
            assert conn.url == f"wss://localhost:{there.port}/b"


async def test_from_tls_no_redirect_leads_away(
    server_ssl: ssl.SSLContext, client_ssl: ssl.SSLContext
) -> None:
    async with site() as (plain, here), site(ssl_context=server_ssl) as (secure, there):
        secure.places = {"/a": f"{here.url}/b"}
        error = await rejection(f"{there.url}/a", max_redirects=5, ssl_context=client_ssl)
        assert "from wss:// to ws:// no redirect is followed" in str(error)
        assert plain.asked == []


async def test_the_name_of_a_certificate_is_asked_for_at_every_place(
    server_ssl: ssl.SSLContext, client_ssl: ssl.SSLContext
) -> None:
    async with site(ssl_context=server_ssl) as (one, here), site(ssl_context=server_ssl) as (_, there):
        one.places = {"/a": f"wss://127.0.0.2:{there.port}/b"}
        with pytest.raises(
            ConnectFailed, match=r"TLS handshake with 127\.0\.0\.2 failed|connect to 127\.0\.0\.2"
        ):
            async with open_websocket_stream(
                f"{here.url}/a", max_redirects=1, ssl_context=client_ssl, server_hostname="localhost"
            ):
                pytest.fail("the body must not run")


async def test_a_cancellation_at_any_point_leaves_nothing() -> None:
    async def connect() -> None:
        nonlocal opened
        async with open_websocket_stream(f"{listener.url}/a", max_redirects=2):
            opened += 1

    opened = 0
    async with site() as (asked, listener):
        asked.places = {"/a": "/b", "/b": f"ws://localhost:{listener.port}/c"}
        for passes in range(120):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(connect)
                for _ in range(passes):
                    await checkpoint()
                tasks.cancel_scope.cancel()
            if opened > 2:
                break
        await connect()


async def test_the_local_variables_of_an_error_show_no_secret() -> None:
    async with site() as (asked, listener):
        asked.places = {"/a": "/a"}
        for redirects in (0, 1):
            error = await rejection(
                f"{listener.url.replace('//', '//ann:canary@')}/a",
                max_redirects=redirects,
                headers={"X-Api-Key": "canary"},
                cookies={"a": "canary"},
            )
            error.__traceback__ = error.__traceback__.tb_next  # type: ignore[union-attr]  # what this test has called
            text = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
            assert "self = " in text
            assert not re.search("canary|YW5uOmNhbmFyeQ==", text)


async def test_the_deadline_is_for_all_places_together() -> None:
    async def hang(request: WebSocketRequest) -> None:
        if request.path == "/a":
            await request.reject(302, {"Location": "/hang"})
        else:
            await anyio.sleep_forever()

    async with serving(hang) as listener:
        with pytest.raises(HandshakeTimeout, match=r"/hang was not open within open_timeout=0\.2 s"):
            async with open_websocket_stream(f"{listener.url}/a", max_redirects=1, open_timeout=0.2):
                pytest.fail("the body must not run")


@asynccontextmanager
async def pointing_without_end(target: str) -> AsyncIterator[str]:
    """Give the URL of a server that points to another, and never comes to the end of that."""

    async def point(client: Any) -> None:
        async with client:
            await client.receive()
            await client.send(f"HTTP/1.1 302 Found\r\nLocation: {target}\r\n\r\nand".encode())
            with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                await client.receive()

    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, point)
        yield f"ws://127.0.0.1:{listener.extra(SocketAttribute.local_port)}"
        tasks.cancel_scope.cancel()


async def test_a_redirect_whose_body_has_no_end_is_followed_all_the_same(monkeypatch: Any) -> None:
    monkeypatch.setattr("websocketstream._opening.REJECTION_BODY_SECONDS", 0.05)
    async with site() as (_, listener), pointing_without_end(f"{listener.url}/b") as url:
        async with open_websocket_stream(url, max_redirects=1) as conn:
            assert await conn.receive() == "/b"


async def test_a_redirect_that_would_be_followed_is_no_refusal_when_the_deadline_comes_in_its_body() -> None:
    async with pointing_without_end("ws://localhost:1") as url:
        with pytest.raises(HandshakeTimeout, match=r"was not open within open_timeout=0\.2 s"):
            async with open_websocket_stream(url, max_redirects=1, open_timeout=0.2):
                pytest.fail("the body must not run")
        error = await rejection(url, open_timeout=0.2)
    assert (error.status, error.body, error.truncated) == (302, b"and", True)


async def test_what_is_no_redirect_is_a_refusal_as_ever() -> None:
    async def refuse(request: WebSocketRequest) -> None:
        await request.reject(401, {"Location": "/b"}, "who are you?")

    async with serving(refuse) as listener:
        error = await rejection(listener.url, max_redirects=5)
    assert (error.status, error.body) == (401, b"who are you?")


async def test_every_place_has_the_proxy_that_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("ws_proxy", "ftp://nowhere:1")
    async with site() as (asked, listener):
        asked.places = {"/a": f"ws://localhost:{listener.port}/b"}
        with pytest.raises(ConnectFailed, match="the environment's ws_proxy cannot be used"):
            async with open_websocket_stream(f"{listener.url}/a", max_redirects=1, proxy=True):
                pytest.fail("the body must not run")


@pytest.mark.parametrize("value", [-1, None, True, 1.5])
async def test_a_number_of_redirects_that_makes_no_sense_is_refused(value: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="max_redirects"):
        open_websocket_stream("ws://localhost/", max_redirects=value)


async def test_a_given_stream_leads_to_one_server() -> None:
    stream, _ = memory_byte_stream_pair()
    with pytest.raises(ValueError, match="max_redirects is for connections of our own"):
        open_websocket_stream("ws://localhost/", max_redirects=1, stream=stream)
