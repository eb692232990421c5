"""A client that takes its time over the opening handshake is dropped in time, whatever it does instead."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import anyio
import pytest
from anyio.abc import SocketAttribute

from edges.serving import SERVER_LOG, MemoryListener, ask, echo, levels, read_all, serving
from websocketstream import WebSocketRequest, open_websocket_stream
from websocketstream._server.visit import Visit
from websocketstream.testing import MemoryByteStream

pytestmark = pytest.mark.anyio

CLIENT_HELLO = b"\x16\x03\x01\x02\x00\x01"  # the beginning of one


@pytest.mark.parametrize("begun", [b"", b"G", b"GET / HTTP/1.1\r\nHost: x\r\n"])
async def test_a_client_that_does_not_finish_its_request_is_dropped_after_open_timeout(
    begun: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, SERVER_LOG)
    listener = MemoryListener()
    async with serving(listener=listener, open_timeout=0.05):
        await is_dropped(listener.connect(), begun)
    assert levels(caplog) == []


@pytest.mark.parametrize("begun", [b"", CLIENT_HELLO])
async def test_a_client_that_does_not_finish_the_tls_handshake_is_dropped_after_open_timeout(
    begun: bytes, server_ssl: ssl.SSLContext, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, SERVER_LOG)
    listener = MemoryListener()
    async with serving(listener=listener, open_timeout=0.05, ssl_context=server_ssl):
        await is_dropped(listener.connect(), begun)
    assert levels(caplog) == []


async def test_a_client_that_does_not_take_its_answer_is_dropped_after_open_timeout(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def send(item: bytes) -> None:
        await anyio.sleep_forever()

    async def handler(request: WebSocketRequest) -> None:
        async with request.accept():
            pytest.fail("must not open")

    caplog.set_level(logging.INFO, SERVER_LOG)
    listener = MemoryListener()
    async with serving(handler, listener=listener, open_timeout=0.05):
        stream = listener.connect()
        (server_end,) = listener.arrivals
        monkeypatch.setattr(server_end, "send", send)
        await is_dropped(stream, REQUEST)
    assert levels(caplog) == []


async def accept(request: WebSocketRequest) -> None:
    async with request.accept():
        pytest.fail("must not open")


async def reject(request: WebSocketRequest) -> None:
    await request.reject(404)
    pytest.fail("must not answer")


@pytest.mark.parametrize("answer", [accept, reject])
async def test_a_handler_that_is_ready_to_answer_in_the_moment_in_which_its_time_is_up_is_too_late(
    answer: Callable[[WebSocketRequest], Awaitable[None]],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It goes on without noticing that it is cancelled; a 101 would be followed by a Close frame right away."""
    ready = anyio.Event()
    hurry = Visit.hurry

    def hurry_who_is_ready(visit: Visit) -> None:
        ready.set()
        hurry(visit)

    async def handler(request: WebSocketRequest) -> None:
        await ready.wait()
        await answer(request)

    monkeypatch.setattr(Visit, "hurry", hurry_who_is_ready)
    async with serving(handler, open_timeout=0.05) as server:
        assert (await ask(server, REQUEST)).startswith(b"HTTP/1.1 503 ")
    assert levels(caplog) == ["ERROR"]
    assert "did not answer" in caplog.text


async def test_a_request_that_is_there_in_the_moment_in_which_its_time_is_up_is_dropped(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = Visit.started

    def started_too_late(visit: Visit, task: Any) -> None:
        started(visit, task)
        visit.hurry()

    monkeypatch.setattr(Visit, "started", started_too_late)
    listening = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listening.extra(SocketAttribute.local_port)
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(REQUEST)  # before there is anybody to accept the connection
        async with serving(accept, listener=listening):
            with suppress(anyio.BrokenResourceError):  # a reset, as there was something unread
                assert await read_all(stream) == b""
    assert levels(caplog) == []


async def test_a_client_that_does_not_read_a_refusal_is_dropped_in_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def send(item: bytes) -> None:
        await anyio.sleep_forever()

    monkeypatch.setattr("websocketstream._network.any_stream.DRAIN_SECONDS", 0.05)
    listener = MemoryListener()
    async with serving(listener=listener, open_timeout=None):
        stream = listener.connect()
        (server_end,) = listener.arrivals
        monkeypatch.setattr(server_end, "send", send)
        await is_dropped(stream, b"nonsense\r\n\r\n")


async def test_an_accepted_connection_lives_longer_than_open_timeout() -> None:
    """A client that came later is dropped for its slowness meanwhile."""
    listener = MemoryListener()
    async with serving(listener=listener, open_timeout=0.2):
        async with open_websocket_stream("ws://localhost/", stream=listener.connect()) as conn:
            await is_dropped(listener.connect(), b"")
            await conn.send("hello")
            assert await conn.receive() == "hello"


async def test_without_open_timeout_nobody_is_in_a_hurry() -> None:
    listener = MemoryListener()
    async with serving(echo, listener=listener, open_timeout=None):
        stream = listener.connect()
        for byte in REQUEST:
            await stream.send(bytes([byte]))
            await anyio.lowlevel.checkpoint()
        assert (await stream.receive()).startswith(b"HTTP/1.1 101 ")


REQUEST = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


async def is_dropped(stream: MemoryByteStream, said: bytes) -> None:
    if said:
        await stream.send(said)
    with anyio.fail_after(10), pytest.raises(anyio.EndOfStream):
        await stream.receive()
