"""Shutting a server down, gracefully or not: every client hears 1001, and nothing waits for ever."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
from typing import Any

import anyio
import pytest

from edges.serving import SERVER_LOG, MemoryListener, echo, levels, serving
from websocketstream import (
    CloseInfo,
    HandshakeError,
    WebSocketRequest,
    open_websocket_stream,
    serve_websocket_streams,
)
from websocketstream._server.server import _Server

pytestmark = pytest.mark.anyio


async def test_graceful_shutdown_closes_every_connection_with_1001_and_waits_for_the_handlers() -> None:
    finished = []
    go_on = anyio.Event()

    async def handler(request: WebSocketRequest) -> None:
        async with request.accept() as conn:
            info = await conn.closed
        await go_on.wait()
        finished.append(info)

    async with serving(handler) as listener:
        async with open_websocket_stream(listener.url) as one, open_websocket_stream(listener.url) as other:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(listener.aclose)
                assert await one.closed == await other.closed == CloseInfo(1001)
                assert finished == []
                go_on.set()
        assert finished == [CloseInfo(1001), CloseInfo(1001)]
        with pytest.raises(OSError, match="cannot connect"):
            async with open_websocket_stream(listener.url):
                pytest.fail("must not open")
        await listener.aclose()


async def test_a_handler_that_a_shutdown_ends_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(request: WebSocketRequest) -> None:
        async with request.accept() as conn, anyio.create_task_group() as tasks:
            tasks.start_soon(conn.receive)

    async with serving(handler) as listener, open_websocket_stream(listener.url):
        await anyio.wait_all_tasks_blocked()
        await listener.aclose()
    assert levels(caplog) == []


@pytest.mark.parametrize("answers", [True, False])
async def test_handlers_that_do_not_end_are_cancelled_after_shutdown_timeout(answers: bool) -> None:
    asked, cancelled = anyio.Event(), anyio.Event()

    async def handler(request: WebSocketRequest) -> None:
        asked.set()
        try:
            if answers:
                async with request.accept():
                    await anyio.sleep_forever()
            await anyio.sleep_forever()
        finally:
            cancelled.set()

    async def client(url: str) -> None:
        try:
            async with open_websocket_stream(url) as conn:
                await conn.closed
        except HandshakeError:
            assert not answers

    async with serving(handler, shutdown_timeout=0.05) as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(client, listener.url)
        await asked.wait()
        with anyio.fail_after(10):
            await listener.aclose()
        assert cancelled.is_set()


async def test_a_request_that_is_answered_during_the_shutdown_is_closed_with_1001() -> None:
    asked, go_on = anyio.Event(), anyio.Event()

    async def handler(request: WebSocketRequest) -> None:
        asked.set()
        await go_on.wait()
        await echo(request)

    async def client(url: str) -> None:
        async with open_websocket_stream(url) as conn:
            assert await conn.closed == CloseInfo(1001)

    async with serving(handler) as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(client, listener.url)
        await asked.wait()
        tasks.start_soon(listener.aclose)
        await anyio.wait_all_tasks_blocked()
        go_on.set()


@pytest.mark.parametrize("transport", ["memory", "tcp"])
async def test_a_client_that_waits_for_a_slot_meets_no_handler_during_the_shutdown(transport: str) -> None:
    calls = []
    go_on = {"/first": anyio.Event(), "/second": anyio.Event()}

    async def handler(request: WebSocketRequest) -> None:
        calls.append(request.path)
        async with request.accept() as conn:
            await conn.closed
            await go_on[request.path].wait()

    memory = MemoryListener()
    in_memory = transport == "memory"

    def open_stream(path: str) -> Any:
        if in_memory:
            return open_websocket_stream(f"ws://localhost{path}", stream=memory.connect())
        return open_websocket_stream(listener.url + path)

    async def waiting_client() -> None:
        with pytest.raises(HandshakeError):
            async with open_stream("/waiting"):
                pytest.fail("must not open")

    options: dict[str, Any] = {"listener": memory} if in_memory else {}
    async with serving(handler, max_connections=2, **options) as listener, anyio.create_task_group() as tasks:
        async with open_stream("/first") as first, open_stream("/second") as second:
            tasks.start_soon(waiting_client)
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(listener.aclose)
            assert await first.closed == await second.closed == CloseInfo(1001)
            go_on["/first"].set()
            await anyio.wait_all_tasks_blocked()
            go_on["/second"].set()
    assert calls == ["/first", "/second"]


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nHost: x\r\n"])
async def test_a_client_in_the_middle_of_its_handshake_does_not_hold_a_shutdown_up(
    said: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, SERVER_LOG)
    memory = MemoryListener()
    async with serving(listener=memory, shutdown_timeout=3600, open_timeout=3600) as listener:
        stream = memory.connect()
        if said:
            await stream.send(said)
        await anyio.wait_all_tasks_blocked()
        with anyio.fail_after(10):
            await listener.aclose()
            with pytest.raises(anyio.EndOfStream):
                await stream.receive()
    assert levels(caplog) == []


async def test_a_cancelled_server_closes_every_connection_with_1001() -> None:
    async with anyio.create_task_group() as tasks:

        async def clients() -> None:
            async with open_websocket_stream(listener.url) as conn:
                opened.set()
                assert await conn.closed == CloseInfo(1001)

        async with anyio.create_task_group() as server:
            opened = anyio.Event()
            listener = await server.start(serve_echo)
            tasks.start_soon(clients)
            await opened.wait()
            server.cancel_scope.cancel()


async def test_cancelling_aclose_leaves_the_shutdown_under_way() -> None:
    go_on = anyio.Event()

    async def handler(request: WebSocketRequest) -> None:
        async with request.accept() as conn:
            await conn.closed
            await go_on.wait()

    async with serving(handler) as listener, open_websocket_stream(listener.url) as conn:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await listener.aclose()
        assert await conn.closed == CloseInfo(1001)
        go_on.set()
        await listener.aclose()


async def test_a_server_that_is_cancelled_does_not_wait_for_clients_that_say_nothing() -> None:
    async with anyio.create_task_group() as server:
        listener = await server.start(serve_echo)
        clients = [await anyio.connect_tcp("127.0.0.1", listener.port) for _ in range(10)]
        await anyio.wait_all_tasks_blocked()
        with anyio.fail_after(10):
            server.cancel_scope.cancel()
    for client in clients:
        with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
            await client.receive()
        await client.aclose()


async def serve_echo(*, task_status: anyio.abc.TaskStatus[Any]) -> None:
    await serve_websocket_streams(echo, "127.0.0.1", 0, origins=None, task_status=task_status)


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")  # anyio's loss, too
def test_a_run_that_ends_as_a_connection_is_accepted_leaves_no_descriptor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The end of asyncio.run() cancels tasks that have not taken their first step."""
    start_visit = _Server._start_visit

    def start_visit_and_end(server: _Server, accepted: socket.socket) -> None:
        start_visit(server, accepted)
        for task in asyncio.all_tasks():
            task.cancel()

    async def main() -> None:
        async with serving() as listener, await anyio.connect_tcp("127.0.0.1", listener.port) as client:
            await client.receive()

    monkeypatch.setattr(_Server, "_start_visit", start_visit_and_end)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())
    gc.collect()


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
def test_a_run_that_ends_as_a_given_listener_hands_over_a_connection_hangs_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start_visit = _Server._start_visit
    clients = []

    def start_visit_and_end(server: _Server, accepted: Any) -> None:
        start_visit(server, accepted)
        for task in asyncio.all_tasks():
            task.cancel()

    async def main() -> None:
        listener = MemoryListener()
        async with serving(listener=listener):
            clients.append(listener.connect())
            await clients[0].receive()

    async def hear_the_end() -> None:
        with anyio.fail_after(10), pytest.raises(anyio.EndOfStream):
            await clients[0].receive()

    monkeypatch.setattr(_Server, "_start_visit", start_visit_and_end)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())
    asyncio.run(hear_the_end())
    gc.collect()
