"""One message to many clients over sockets: some read, some do not, some go away in the middle."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from edges.serving import serving
from waiting import until
from websocketstream import (
    Broadcast,
    CloseWhenBehind,
    ConnectionClosed,
    DropOldest,
    LatestOnly,
    WebSocketRequest,
    WebSocketStream,
    open_websocket_stream,
)
from websocketstream._streams.stream import Inside

if TYPE_CHECKING:
    import ssl

pytestmark = pytest.mark.anyio

NEWS = [
    b"%06d" % number * 2**14 for number in range(200)
]  # 19 MiB: more than the system buffers for one client


@pytest.fixture(params=[False, True], ids=["tcp", "tls"])
def contexts(request: Any, server_ssl: ssl.SSLContext, client_ssl: ssl.SSLContext) -> tuple[Any, Any]:
    """The server's and the client's TLS context."""
    return (server_ssl, client_ssl) if request.param else (None, None)


class Room:
    """A server whose clients all listen to one hub, and a way to connect to it."""

    def __init__(self, hub: Broadcast) -> None:
        self.hub = hub
        self.ends: list[BaseException | None] = []  # of the handlers

    async def handle(self, request: WebSocketRequest) -> None:
        async with request.accept() as conn:
            with self.hub.subscribe(conn):
                try:
                    async for _ in conn:
                        pass
                except anyio.ClosedResourceError as exc:
                    self.ends.append(exc)
                else:
                    self.ends.append(None)

    @asynccontextmanager
    async def clients(self, count: int, url: str, **options: Any) -> AsyncIterator[list[WebSocketStream]]:
        async with AsyncExitStack() as stack:
            before = len(self.hub)
            conns = [
                await stack.enter_async_context(open_websocket_stream(url, **options)) for _ in range(count)
            ]
            await until(lambda: len(self.hub) == before + count)
            yield conns


@asynccontextmanager
async def room(hub: Broadcast, contexts: tuple[Any, Any], **options: Any) -> AsyncIterator[tuple[Room, Any]]:
    server_context, client_context = contexts
    made = Room(hub)
    async with serving(made.handle, ssl_context=server_context, **options) as listener:
        url = listener.url.replace("127.0.0.1", "localhost") if server_context else listener.url
        yield made, partial(made.clients, url=url, ssl_context=client_context)
        await listener.aclose()


async def receive_all(conn: WebSocketStream, wanted: list[Any]) -> None:
    for message in wanted:
        assert await conn.receive() == message


async def say(hub: Broadcast, messages: list[Any], key: Any = None) -> None:
    """Send a message now and then, so that readers keep up."""
    for message in messages:
        hub.send(message, key=key)
        await anyio.lowlevel.checkpoint()


async def test_nobody_waits_for_clients_that_do_not_read_and_these_are_closed(contexts: Any) -> None:
    hub = Broadcast(policy=CloseWhenBehind(max_bytes=2**20))
    async with room(hub, contexts) as (served, clients):
        async with clients(3, read_buffer=1) as slow, clients(3) as fast:
            for message in NEWS:
                hub.send(message)
                with anyio.fail_after(10):
                    for conn in fast:
                        assert await conn.receive() == message
            assert len(hub) == 3
            for conn in slow:
                seen = []
                with pytest.raises(ConnectionClosed) as caught:
                    while True:
                        seen.append(await conn.receive())
                assert (caught.value.close_code, caught.value.reason) == (
                    1013,
                    "more than 1048576 bytes behind",
                )
                assert seen == NEWS[: len(seen)]
            await until(lambda: len(served.ends) == 3)
            assert all(isinstance(end, anyio.ClosedResourceError) for end in served.ends)
        await until(lambda: not len(hub))


async def test_a_slow_client_gets_the_latest_of_each_key_when_it_reads_again(contexts: Any) -> None:
    hub = Broadcast(policy=LatestOnly())
    async with room(hub, contexts) as (_, clients), clients(1, read_buffer=1) as (conn,):
        for _ in range(3):
            await say(hub, NEWS, key="bulk")
        for number in range(100):
            hub.send(f"a{number}", key="a")
            hub.send(f"b{number}", key="b")
        with anyio.fail_after(30):
            seen = [await conn.receive()]
            while seen[-1] != "b99":
                seen.append(await conn.receive())
        assert seen[-3:] == [NEWS[-1], "a99", "b99"]
        assert len(seen) < 3 * len(NEWS)
        then = hub.subscriptions[0].statistics()
        assert then.sent == len(seen)
        assert then.sent + then.dropped == 3 * len(NEWS) + 200


async def test_a_slow_client_misses_the_oldest_and_never_a_part_of_a_message(contexts: Any) -> None:
    hub = Broadcast(policy=DropOldest(max_bytes=2**20))
    async with room(hub, contexts) as (_, clients), clients(1, read_buffer=1) as (conn,):
        await say(hub, NEWS)
        hub.send("end")
        with anyio.fail_after(30):
            seen = [await conn.receive()]
            while seen[-1] != "end":
                seen.append(await conn.receive())
        assert len(seen) < len(NEWS)
        assert sorted(seen[:-1]) == seen[:-1]
        assert set(seen[:-1]) <= set(NEWS)
        assert seen[-11:-1] == NEWS[-10:]


async def test_clients_that_go_away_in_the_middle_are_nobodys_business(contexts: Any) -> None:
    hub = Broadcast(policy=CloseWhenBehind(max_bytes=None))
    async with room(hub, contexts) as (_, clients), clients(2) as (first, second):
        async with clients(3, read_buffer=1) as gone:
            for message in NEWS[:20]:
                hub.send(message)
            for conn in gone:
                conn.extra(Inside.connection).drop()  # in the middle of a message, without a goodbye
            for message in NEWS[20:40]:
                hub.send(message)
        with anyio.fail_after(30):
            await receive_all(first, NEWS[:40])
            await receive_all(second, NEWS[:40])
            await until(lambda: len(hub) == 2)


async def test_a_client_that_closes_while_it_is_behind_is_let_go() -> None:
    hub = Broadcast(policy=CloseWhenBehind(max_bytes=None))
    async with room(hub, (None, None)) as (_, clients), clients(1, read_buffer=1) as (conn,):
        for message in NEWS:
            hub.send(message)
        conn.close(1000)
        assert (await conn.closed).code == 1000
        await until(lambda: not len(hub))


async def test_a_hub_serves_clients_and_servers_alike() -> None:
    hub = Broadcast()
    async with room(Broadcast(), (None, None)) as (served, clients), clients(1) as (conn,):
        with hub.subscribe(conn), hub.subscribe(served.hub.subscriptions[0].stream):
            hub.send("both ways")
            assert await conn.receive() == "both ways"


@pytest.mark.parametrize("together", [False, True], ids=["one at a time", "several in a pass"])
async def test_a_message_may_go_to_all_but_one(contexts: Any, together: bool) -> None:
    hub = Broadcast()
    async with room(hub, contexts) as (_, clients), clients(3) as (first, second, third):
        excluded = hub.subscriptions[1].stream
        for number in range(20):
            hub.send(f"but one {number}", exclude=excluded)
            hub.send(f"all {number}")
            if not together:
                await anyio.lowlevel.checkpoint()
        for conn in (first, third):
            await receive_all(conn, [f"{whom} {n}" for n in range(20) for whom in ("but one", "all")])
        await receive_all(second, [f"all {number}" for number in range(20)])
        assert hub.subscriptions[1].statistics().sent == 20


async def test_a_message_for_the_others_does_not_wait_for_the_one_either() -> None:
    hub = Broadcast(policy=DropOldest(max_bytes=None))
    async with room(hub, (None, None)) as (_, clients), clients(1, read_buffer=1) as (conn,):
        excluded = hub.subscriptions[0].stream
        for message in NEWS:  # more than there is room for, so most of them wait
            hub.send(message)
            hub.send(b"not for you", exclude=excluded)
        hub.flush()
        assert hub.subscriptions[0].statistics().waiting_messages > 0
        with anyio.fail_after(20):
            await receive_all(conn, NEWS)
