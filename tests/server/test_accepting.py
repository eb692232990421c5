"""Accepting connections: as many as there are slots for, from every socket, whatever the system says meanwhile."""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import Listener, SocketAttribute
from anyio.streams.stapled import MultiListener

from edges.serving import SERVER_LOG, MemoryListener, echo, levels, serving
from websocketstream import CloseInfo, WebSocketRequest, open_websocket_stream, serve_websocket_streams
from websocketstream._network.arrivals import Arrivals
from websocketstream._server.accepting import ACCEPTED_AT_ONCE, Acceptor, Slots
from websocketstream._server.visit import wrap_socket

pytestmark = pytest.mark.anyio


class ScriptedSocket:
    """A listening socket that does what a list says, and is closed in the end."""

    def __init__(self, script: list[int | None], readable: socket.socket) -> None:
        self._script = script
        self._readable = readable

    def dup(self) -> socket.socket:
        return self._readable.dup()

    def gettimeout(self) -> None:
        """Say that only Python can accept from it."""

    def accept(self) -> tuple[str, None]:
        step = self._script.pop(0) if self._script else errno.EBADF
        if step is not None:
            raise OSError(step, "as the script says")
        return "a connection", None


@contextmanager
def scripted(
    *script: int | None, slots: int | None = None, take: bool = False
) -> Iterator[tuple[Acceptor, list[Any]]]:
    """Make an acceptor that meets errors and connections (None) in this order."""
    accepted: list[Any] = []
    readable, writer = socket.socketpair()
    with readable, writer:
        readable.setblocking(False)
        writer.send(b"x")
        free = Slots(slots)

        def on_connection(connection: Any) -> None:
            accepted.append(connection)
            if not take:
                free.give_back()

        listening: Any = ScriptedSocket(list(script), readable)
        acceptor = Acceptor(listening, free, on_connection)
        yield acceptor, accepted
        acceptor.close()


GONE = [errno.ECONNABORTED, errno.EPROTO, errno.EPERM, errno.EHOSTUNREACH]


async def test_a_connection_that_is_gone_before_it_is_accepted_delays_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, SERVER_LOG)
    with scripted(*GONE * 100, None, *GONE * 100, None, slots=1) as (acceptor, accepted):
        with anyio.fail_after(10):
            await acceptor.run()
    assert len(accepted) == 2
    assert levels(caplog) == []


async def test_a_system_out_of_descriptors_is_logged_once_and_tried_again(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("websocketstream._server.accepting.ACCEPT_PAUSE", 0)
    with scripted(*[errno.EMFILE, errno.ENFILE, None, errno.ENOMEM, None] * 20, slots=1) as (
        acceptor,
        accepted,
    ):
        await acceptor.run()
    assert len(accepted) == 40
    assert levels(caplog) == ["ERROR"]
    assert "cannot accept connections" in caplog.text


@pytest.mark.parametrize("slots", [1, 2])
async def test_a_listening_socket_that_cannot_be_watched_for_now_is_tried_again(
    slots: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Linux has a limit on how many each user may watch (fs.epoll.max_user_watches)."""
    wait = Arrivals.wait
    refusals = [errno.ENOSPC, errno.ENOMEM]

    async def wait_if_the_system_lets_us(arrivals: Arrivals) -> None:
        if refusals:
            raise OSError(refusals.pop(), "as the test says")
        await wait(arrivals)

    monkeypatch.setattr("websocketstream._server.accepting.ACCEPT_PAUSE", 0)
    monkeypatch.setattr(Arrivals, "wait", wait_if_the_system_lets_us)
    async with serving(max_connections=slots) as server:
        for _ in range(3):
            with anyio.fail_after(10):
                async with open_websocket_stream(server.url) as conn:
                    await conn.send("hello")
                    assert await conn.receive() == "hello"
    assert refusals == []
    assert levels(caplog) == ["ERROR"]
    assert "cannot accept connections" in caplog.text


async def test_a_flood_of_connections_leaves_others_their_turn() -> None:
    turns = set()
    with scripted(*[None] * 10 * ACCEPTED_AT_ONCE) as (acceptor, accepted):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(acceptor.run)
            while len(accepted) < 10 * ACCEPTED_AT_ONCE:
                turns.add(len(accepted))
                await anyio.lowlevel.checkpoint()
    assert len(turns) >= 4  # not each: on trio it is chance whose turn is first


@pytest.mark.parametrize("code", [errno.EBADF, errno.EINVAL])
async def test_a_socket_that_cannot_listen_any_more_ends_the_accepting(code: int) -> None:
    with scripted(None, code, None) as (acceptor, accepted):
        await acceptor.run()
    assert len(accepted) == 1


async def test_an_idle_socket_takes_no_slot_from_another() -> None:
    ports = [await anyio.create_tcp_listener(local_host="127.0.0.1") for _ in range(3)]
    async with serving(listener=MultiListener(ports), max_connections=1) as server:
        for host, port in [*server.addresses, *reversed(server.addresses)]:
            with anyio.fail_after(10):
                async with open_websocket_stream(f"ws://{host}:{port}") as conn:
                    await conn.send("hello")
                    assert await conn.receive() == "hello"


async def test_connections_over_the_limit_wait_for_their_turn() -> None:
    listener = MemoryListener()
    calls = []

    async def handler(request: WebSocketRequest) -> None:
        calls.append(request.path)
        await echo(request)

    async def client(path: str, leave: anyio.Event) -> None:
        async with open_websocket_stream(f"ws://localhost/{path}", stream=listener.connect()):
            await leave.wait()

    leave = [anyio.Event(), anyio.Event()]
    async with serving(handler, listener=listener, max_connections=1), anyio.create_task_group() as tasks:
        tasks.start_soon(client, "first", leave[0])
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(client, "second", leave[1])
        await anyio.wait_all_tasks_blocked()
        assert calls == ["/first"]
        leave[0].set()
        await anyio.wait_all_tasks_blocked()
        assert calls == ["/first", "/second"]
        leave[1].set()


async def test_sockets_over_the_limit_wait_in_the_queue_of_the_system() -> None:
    async with serving(max_connections=1) as listener, anyio.create_task_group() as tasks:
        opened = anyio.Event()

        async def second() -> None:
            async with open_websocket_stream(listener.url) as conn:
                opened.set()
                await conn.send("hello")
                assert await conn.receive() == "hello"

        async with open_websocket_stream(listener.url) as first:
            tasks.start_soon(second)
            for _ in range(100):
                await first.send("hello")
                assert await first.receive() == "hello"
            assert not opened.is_set()
        with anyio.fail_after(10):
            await opened.wait()


async def test_a_connection_that_fails_as_a_stream_is_made_of_it_costs_no_slot(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failures = 5

    async def wrap(accepted: socket.socket, loop: Any) -> Any:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            accepted.close()
            raise OSError(errno.EINVAL, "Invalid argument")
        return await wrap_socket(accepted, loop)

    monkeypatch.setattr("websocketstream._server.visit.wrap_socket", wrap)
    caplog.set_level(logging.INFO, SERVER_LOG)
    async with serving(max_connections=1) as listener:
        for _ in range(5):
            async with await anyio.connect_tcp("127.0.0.1", listener.port) as lost:
                with suppress(anyio.BrokenResourceError), pytest.raises(anyio.EndOfStream):
                    await lost.receive()
        async with open_websocket_stream(listener.url) as conn:
            await conn.send("hello")
            assert await conn.receive() == "hello"
    assert levels(caplog) == []


async def test_a_stream_that_raises_what_no_stream_may_raise_ends_nobody_else(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def receive(max_bytes: int = 65536) -> bytes:
        raise LookupError("a bug in the stream")

    listener = MemoryListener()
    async with serving(listener=listener, max_connections=1):
        listener.connect()
        (broken,) = listener.arrivals
        monkeypatch.setattr(broken, "receive", receive)
        await anyio.wait_all_tasks_blocked()
        async with open_websocket_stream("ws://localhost/", stream=listener.connect()) as conn:
            await conn.send("hello")
            assert await conn.receive() == "hello"
    assert levels(caplog) == ["ERROR"]
    assert "a bug in the stream" in caplog.text


async def tcp_listener(_: Path) -> Listener[Any]:
    return await anyio.create_tcp_listener(local_host="127.0.0.1")


async def two_listeners(path: Path) -> Listener[Any]:
    return MultiListener([await tcp_listener(path), await unix_listener(path)])


async def unix_listener(path: Path) -> Listener[Any]:
    return await anyio.create_unix_listener(path / "socket")


async def memory_listener(_: Path) -> Listener[Any]:
    return MemoryListener()


every_listener = pytest.mark.parametrize(
    "make", [tcp_listener, unix_listener, two_listeners, memory_listener]
)


@every_listener
async def test_a_listener_that_the_program_closes_ends_the_server_at_once(make: Any, tmp_path: Path) -> None:
    listener = await make(tmp_path)
    ended = False

    async def serve(*, task_status: anyio.abc.TaskStatus[Any]) -> None:
        nonlocal ended
        await serve_websocket_streams(echo, listener=listener, origins=None, task_status=task_status)
        ended = True

    async with anyio.create_task_group() as tasks:
        await tasks.start(serve)
        await anyio.wait_all_tasks_blocked()
        await listener.aclose()
        for _ in range(100):  # passes of the event loop
            await anyio.lowlevel.checkpoint()
        assert ended


async def test_a_listener_that_the_program_closes_closes_every_connection_with_1001() -> None:
    listener = await tcp_listener(Path())
    serve = partial(serve_websocket_streams, echo, listener=listener, origins=None)
    async with anyio.create_task_group() as tasks:
        server = await tasks.start(serve)
        async with open_websocket_stream(server.url) as conn:
            await listener.aclose()
            assert await conn.closed == CloseInfo(1001)
        with pytest.raises(OSError, match="refused"):
            async with open_websocket_stream(server.url):
                pytest.fail("must not open")


async def test_a_listening_socket_that_is_closed_behind_the_back_of_its_listener_is_noticed_with_the_next_connection() -> (
    None
):
    listener = await tcp_listener(Path())
    serve = partial(serve_websocket_streams, echo, listener=listener, origins=None)
    async with anyio.create_task_group() as tasks:
        server = await tasks.start(serve)
        listener.extra(SocketAttribute.raw_socket).close()
        with suppress(OSError, anyio.EndOfStream, anyio.BrokenResourceError):
            async with await anyio.connect_tcp("127.0.0.1", server.port) as stream:
                await stream.receive()


async def test_a_listener_is_given_back_as_it_was() -> None:
    listener = MemoryListener()
    aclose = listener.aclose
    async with serving(listener=listener):
        assert listener.aclose != aclose
    assert listener.aclose == aclose
