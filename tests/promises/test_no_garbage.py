"""A connection that has ended is freed at once: nothing of it waits for the garbage collector, or in a timer."""

from __future__ import annotations

import gc
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from streams.raw_peer import connection_and_peer
from websocketstream import (
    Backoff,
    Broadcast,
    CloseWhenBehind,
    ConnectionClosed,
    DropOldest,
    WebSocketError,
    open_websocket_stream,
    reconnecting,
    serve_websocket_streams,
)
from websocketstream._network.loop import current_event_loop
from websocketstream._network.sockets import wrap_socket
from websocketstream.testing import over_stream, serve_in_memory, websocket_stream_pair

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable

    from websocketstream import WebSocketListener, WebSocketRequest, WebSocketStream

pytestmark = pytest.mark.anyio


async def meet_the_end(conn: WebSocketStream) -> None:
    """Meet the error of the end everywhere."""
    uses: list[Awaitable[object]] = [conn.receive(), conn.send("x"), conn.closed, conn.receive(), conn.ping()]
    for use in uses:
        with suppress(WebSocketError, anyio.ClosedResourceError, anyio.EndOfStream):
            await use


async def say_goodbye(conn: WebSocketStream) -> None:
    assert await conn.ping() < 10
    await conn.send("hello")
    assert await conn.receive() == "hello"


async def raise_something(conn: WebSocketStream) -> None:
    raise LookupError


async def be_cancelled(conn: WebSocketStream) -> None:
    with anyio.move_on_after(0.01):
        await conn.receive()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await conn.send("x" * 2**20)


async def close(conn: WebSocketStream) -> None:
    conn.close(3000)
    await meet_the_end(conn)


async def be_closed(conn: WebSocketStream) -> None:
    await conn.send("close")
    await meet_the_end(conn)


async def be_dropped(conn: WebSocketStream) -> None:
    await conn.send("drop")
    await meet_the_end(conn)


async def be_dropped_while_sending(conn: WebSocketStream) -> None:
    await conn.send("drop")
    with suppress(anyio.BrokenResourceError):
        while True:
            await conn.send(bytes(2**18))
    await meet_the_end(conn)


async def listen_to_a_hub(conn: WebSocketStream) -> None:
    hub = Broadcast()
    with hub.subscribe(conn):
        hub.send("hello")
        assert await conn.receive() == "hello"


async def fall_behind_a_hub(conn: WebSocketStream) -> None:
    hub = Broadcast(policy=DropOldest(max_messages=1))
    with hub.subscribe(conn) as subscription:
        while not subscription.statistics().dropped:
            hub.send(bytes(2**18))


async def fall_too_far_behind_a_hub(conn: WebSocketStream) -> None:
    hub = Broadcast(policy=CloseWhenBehind(max_bytes=2**19))
    hub.subscribe(conn)
    while len(hub):
        hub.send(bytes(2**18))
    await meet_the_end(conn)


BODIES = [
    say_goodbye,
    raise_something,
    be_cancelled,
    close,
    be_closed,
    be_dropped,
    be_dropped_while_sending,
    listen_to_a_hub,
    fall_behind_a_hub,
    fall_too_far_behind_a_hub,
]


async def handle(request: WebSocketRequest) -> None:
    async with request.accept() as conn:
        async for message in conn:
            if message == "close":
                conn.close(3001)
            elif message == "drop":
                conn._connection.drop()
                await meet_the_end(conn)
            else:
                await conn.send(message)
        await meet_the_end(conn)


def garbage_of_ours() -> list[Any]:
    """Return what of ours only the garbage collector finds."""
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        gc.collect()
        return [each for each in gc.garbage if type(each).__module__.startswith("websocketstream")]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()


async def nothing_is_left(use: Any, *args: object) -> None:
    await use(*args)  # what is made once for all is made now
    await anyio.wait_all_tasks_blocked()
    loop = current_event_loop()
    before = len(loop._timers)  # type: ignore[attr-defined]
    gc.collect()
    gc.disable()
    try:
        await use(*args)
        await anyio.wait_all_tasks_blocked()
        assert garbage_of_ours() == []
    finally:
        gc.enable()
    assert len(loop._timers) == before  # type: ignore[attr-defined]


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("body", BODIES)
async def test_an_ended_connection_and_its_servers_side_are_freed_at_once(
    body: Any, secure: bool, client_ssl: ssl.SSLContext, server_ssl: ssl.SSLContext
) -> None:
    visits = 0
    ended = anyio.Event()

    async def counted(request: WebSocketRequest) -> None:
        nonlocal visits
        try:
            await handle(request)
        finally:
            visits -= 1
            if not visits:
                ended.set()

    async def use(listener: WebSocketListener) -> None:
        nonlocal visits, ended
        visits, ended = 1, anyio.Event()
        url = listener.url.replace("127.0.0.1", "localhost")
        with suppress(LookupError):
            async with open_websocket_stream(url, ssl_context=client_ssl if secure else None) as conn:
                await body(conn)
        await ended.wait()
        await anyio.wait_all_tasks_blocked()

    async def serve(*, task_status: Any) -> None:
        context = server_ssl if secure else None
        await serve_websocket_streams(
            counted, "127.0.0.1", origins=None, ssl_context=context, task_status=task_status
        )

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            await nothing_is_left(use, await tasks.start(serve))
            tasks.cancel_scope.cancel()


async def test_a_pair_in_memory_is_freed_at_once() -> None:
    async def use() -> None:
        async with websocket_stream_pair() as (client, server):
            await client.send("x")
            await server.receive()

    await nothing_is_left(use)


@pytest.mark.parametrize("server", [True, False])
async def test_a_connection_whose_stream_has_failed_is_freed_at_once(server: bool) -> None:
    async def use() -> None:
        async with connection_and_peer(capacity=100, server=server) as (conn, peer):
            await conn.send(bytes(1000))
            await anyio.wait_all_tasks_blocked()
            peer.stream.reset()
            await meet_the_end(conn)

    await nothing_is_left(use)


@pytest.mark.parametrize("server", [True, False])
async def test_a_connection_whose_peer_broke_a_rule_is_freed_at_once(server: bool) -> None:
    async def use() -> None:
        async with connection_and_peer(server=server) as (conn, peer):
            await peer.stream.send(b"\xff\xff\xff")
            await meet_the_end(conn)
            await peer.stream.aclose()

    await nothing_is_left(use)


async def test_the_error_of_an_end_is_the_same_object_for_as_long_as_anybody_holds_it() -> None:
    async with connection_and_peer() as (conn, peer):
        await peer.stream.aclose()
        caught = []
        for use in (conn.receive(), conn.send("x"), conn.closed):
            try:
                await use
            except anyio.BrokenResourceError as exc:
                caught.append(exc)
        assert caught[0] is caught[1] is caught[2]


async def test_a_connection_whose_writes_have_failed_is_freed_at_once() -> None:
    async def use() -> None:
        ours, theirs = socket.socketpair()
        async with over_stream(await wrap_socket(ours), server=False) as conn:
            theirs.close()
            with suppress(anyio.WouldBlock):
                while conn.close_info is None:
                    conn.writable.send_nowait(b"x")  # the first one that fails is met by the second
            await meet_the_end(conn)

    await nothing_is_left(use)


async def test_connections_that_follow_each_other_are_freed_at_once() -> None:
    async def handler(request: WebSocketRequest) -> None:
        async with request.accept() as conn:
            conn.close(int(request.path[1:]))

    async def use(connect: Any) -> None:
        codes = iter([1001, 1011, 1012, 1008])
        with suppress(ConnectionClosed):
            async with reconnecting(
                lambda: connect(f"/{next(codes)}"), backoff=Backoff(initial=0), on_attempt=repr
            ) as connections:
                async for conn in connections:
                    async with connections.retrying():
                        await conn.receive()
        with suppress(ConnectionRefusedError):
            async with reconnecting(refuse, backoff=Backoff(initial=0), max_attempts=3) as connections:
                await anext(connections)

    async with serve_in_memory(handler) as connect:
        await nothing_is_left(use, connect)


def refuse() -> Any:
    raise ConnectionRefusedError
