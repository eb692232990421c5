"""Who goes on when there is nothing more to be had lets others have their turn, and can be cancelled.

A program that logs the error and tries again must not hold the event loop, with all other connections in it.
"""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from promises.open_sockets import connections_with_sockets, in_passes
from websocketstream import Backoff, ConnectionClosed, as_byte_stream, reconnecting
from websocketstream._streams.stream import Inside
from websocketstream.testing import websocket_stream_pair

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from websocketstream import WebSocketStream

pytestmark = pytest.mark.anyio
MANY = 20_000  # attempts: more than any turn has


async def iterate(conn: WebSocketStream) -> None:
    async for _ in conn:
        pass


async def send_chunks(conn: WebSocketStream) -> None:
    async with conn.writable.message() as part:
        await part.send(b"!")


async def wait_closed(conn: WebSocketStream) -> None:
    await conn.closed


OPERATIONS: dict[str, Callable[[WebSocketStream], Awaitable[Any]]] = {
    "receive": lambda conn: conn.receive(),
    "iterate": iterate,
    "receive a batch": lambda conn: conn.readable.receive_batch(),
    "send": lambda conn: conn.send(b"!"),
    "send what is no bytes": lambda conn: conn.send("\N{EURO SIGN}"),
    "send a batch": lambda conn: conn.writable.send_batch([b"!"]),
    "send no batch": lambda conn: conn.writable.send_batch([]),
    "send chunks": send_chunks,
    "ping": lambda conn: conn.ping(),
    "wait for the end": wait_closed,
    "receive bytes": lambda conn: as_byte_stream(conn).receive(),
    "send bytes": lambda conn: as_byte_stream(conn).send(b"!"),
    "close": lambda conn: conn.aclose(),
}


async def count_attempts(attempt: Callable[[], Awaitable[Any]]) -> int:
    """Try again and again until the event loop has made some passes; return how often that was."""
    passes_are_over = False

    def over() -> None:
        nonlocal passes_are_over
        passes_are_over = True

    in_passes(3, over)
    count = 0
    while not passes_are_over and count < MANY:
        count += 1
        with suppress(Exception):
            await attempt()
    return count


@asynccontextmanager
async def closed_by_us() -> AsyncIterator[WebSocketStream]:
    async with websocket_stream_pair() as (conn, _):
        await conn.aclose()
        yield conn


@asynccontextmanager
async def closed_by_the_peer() -> AsyncIterator[WebSocketStream]:
    async with websocket_stream_pair() as (conn, peer):
        await peer.aclose()
        with suppress(ConnectionClosed):
            await conn.receive()
        yield conn


@asynccontextmanager
async def broken() -> AsyncIterator[WebSocketStream]:
    async with connections_with_sockets(1) as [(conn, theirs)]:
        theirs.close()
        with suppress(anyio.BrokenResourceError):
            await conn.receive()
        yield conn


@pytest.mark.parametrize("ended", [closed_by_us, closed_by_the_peer, broken])
@pytest.mark.parametrize("operation", OPERATIONS)
async def test_others_have_their_turn_although_somebody_goes_on_at_the_end(
    operation: str, ended: Any
) -> None:
    async with ended() as conn:
        assert await count_attempts(lambda: OPERATIONS[operation](conn)) < MANY


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_who_goes_on_at_the_end_can_be_cancelled(operation: str) -> None:
    async with closed_by_the_peer() as conn:
        count = 0
        with anyio.CancelScope() as scope:
            in_passes(3, scope.cancel)
            while count < MANY:
                count += 1
                with suppress(Exception):
                    await OPERATIONS[operation](conn)
        assert scope.cancelled_caught


async def test_who_goes_on_sending_chunks_at_the_end_lets_others_have_their_turn() -> None:
    async with websocket_stream_pair() as (conn, _):
        with suppress(anyio.ClosedResourceError):
            async with conn.writable.message() as part:
                await part.send(b"!")
                conn.close()
                assert await count_attempts(lambda: part.send(b"!")) < MANY


async def test_who_goes_on_sending_bytes_behind_the_end_lets_others_have_their_turn() -> None:
    async with websocket_stream_pair() as (conn, _):
        stream = as_byte_stream(conn, eof="empty")
        await stream.send_eof()
        assert await count_attempts(lambda: stream.send(b"!")) < MANY


async def test_who_asks_for_connections_when_there_will_be_no_other_lets_others_have_their_turn() -> None:
    @asynccontextmanager
    async def open_one() -> AsyncIterator[WebSocketStream]:
        async with websocket_stream_pair() as (conn, peer):
            await peer.aclose(1000)
            yield conn

    async with reconnecting(open_one, backoff=Backoff(initial=0)) as connections:

        async def iterate_connections() -> None:
            async for conn in connections:
                await iterate(conn)

        await iterate_connections()  # which ends the series
        assert await count_attempts(iterate_connections) < MANY


async def test_a_receiver_whose_messages_are_dropped_by_another_task_can_be_cancelled() -> None:
    async with websocket_stream_pair() as (conn, _):
        inbox = conn.extra(Inside.connection).inbox
        passes = 0

        def arrive_and_drop() -> None:
            nonlocal passes
            passes += 1
            if passes < 1000:
                inbox.push([b"!"], 1)
                conn.readable.discard()
                in_passes(1, arrive_and_drop)

        with anyio.CancelScope() as scope:
            arrive_and_drop()
            in_passes(200, scope.cancel)
            await conn.receive()
        assert passes < 400
        passes = 1000


async def iterate_chunked(conn: WebSocketStream) -> Callable[[], Awaitable[Any]]:
    messages = conn.readable.chunked()
    return lambda: anext(messages)


async def receive_as_bytes(conn: WebSocketStream) -> Callable[[], Awaitable[Any]]:
    return as_byte_stream(conn).receive


async def receive_batches(conn: WebSocketStream) -> Callable[[], Awaitable[Any]]:
    return conn.readable.receive_batch


async def receive_messages(conn: WebSocketStream) -> Callable[[], Awaitable[Any]]:
    return conn.receive


@pytest.mark.parametrize("receiver", [receive_messages, receive_batches, receive_as_bytes, iterate_chunked])
async def test_a_second_receiver_who_tries_again_and_again_lets_the_first_have_its_message(
    receiver: Callable[[WebSocketStream], Awaitable[Callable[[], Awaitable[Any]]]],
) -> None:
    async with websocket_stream_pair() as (conn, peer), anyio.create_task_group() as tasks:
        receive = await receiver(conn)

        async def receive_first() -> None:
            await receive()
            tasks.cancel_scope.cancel()

        tasks.start_soon(receive_first)
        await anyio.wait_all_tasks_blocked()
        await peer.send(b"!")
        refused = 0
        while refused < MANY:
            with suppress(anyio.BusyResourceError):
                await receive()
                break
            refused += 1
        assert 0 < refused < MANY


async def test_who_tries_again_and_again_to_send_what_another_task_sends_lets_others_have_their_turn() -> (
    None
):
    message = bytes(2**22)  # more than anybody takes at once
    async with connections_with_sockets(1, write_buffer=1, ping_interval=None) as [(conn, _)]:
        with suppress(anyio.BrokenResourceError):
            async with anyio.create_task_group() as tasks, conn.writable.message() as part:
                tasks.start_soon(part.send, message)
                await anyio.wait_all_tasks_blocked()
                assert await count_attempts(lambda: part.send(b"!")) < MANY
                tasks.cancel_scope.cancel()


async def test_who_asks_for_a_connection_while_another_task_does_lets_others_have_their_turn() -> None:
    @asynccontextmanager
    async def never_opens() -> AsyncIterator[WebSocketStream]:
        await anyio.sleep_forever()
        yield

    async with reconnecting(never_opens) as connections, anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: anext(aiter(connections)))
        await anyio.wait_all_tasks_blocked()
        assert await count_attempts(lambda: anext(aiter(connections))) < MANY
        tasks.cancel_scope.cancel()


async def test_who_reads_a_message_in_chunks_again_and_again_lets_others_have_their_turn() -> None:
    async with websocket_stream_pair() as (conn, peer):
        messages = conn.readable.chunked()
        await peer.send(b"!")
        message = await anext(messages)
        assert await message.read() == b"!"
        assert await count_attempts(message.read) < MANY
