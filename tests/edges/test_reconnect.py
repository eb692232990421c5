"""Reconnecting: one connection at a time, and what becomes of it wherever it ends."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from edges.serving import serving
from waiting import Call, in_virtual_time, until
from websocketstream import (
    Attempt,
    Backoff,
    ConnectFailed,
    ConnectionBroken,
    ConnectionClosed,
    HandshakeRejected,
    WebSocketRequest,
    WebSocketStream,
    is_transient,
    reconnecting,
)
from websocketstream.testing import (
    memory_byte_stream_pair,
    over_stream,
    serve_in_memory,
    websocket_stream_pair,
)

pytestmark = pytest.mark.anyio

AT_ONCE = Backoff(initial=0, maximum=0)
EXACT = Backoff(initial=1, factor=2, maximum=8, jitter=0, healthy_after=100)


@dataclass
class Feed:
    """A server whose connections do, one after the other, what a test asks for; it says its number first."""

    ends: list[Any]
    requests: list[WebSocketRequest] = field(default_factory=list)
    open_now: int = 0
    most: int = 0

    async def __call__(self, request: WebSocketRequest) -> None:
        self.requests.append(request)
        end = self.ends.pop(0) if self.ends else "stay"
        if isinstance(end, tuple):
            status, headers = end
            await request.reject(status, headers)
            return
        async with request.accept() as conn:
            self.open_now += 1
            self.most = max(self.most, self.open_now)
            try:
                await conn.send(str(len(self.requests)))
                if isinstance(end, int):
                    await conn.aclose(end)
                elif end is None:
                    await conn.aclose()
                else:
                    with suppress(ConnectionBroken):
                        await conn.closed
            finally:
                self.open_now -= 1


@asynccontextmanager
async def feeding(*ends: Any) -> AsyncIterator[tuple[Feed, Callable[[], Any]]]:
    feed = Feed([*ends])
    with anyio.fail_after(50):
        async with serve_in_memory(feed) as connect:
            yield feed, connect


@dataclass
class Line:
    """Connections whose other end is held by the test."""

    servers: list[WebSocketStream] = field(default_factory=list)
    ends: list[Any] = field(default_factory=list)
    left: list[int] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[WebSocketStream]:
        if self.failures:
            raise self.failures.pop(0)
        ours, theirs = memory_byte_stream_pair()
        number = len(self.servers)
        async with over_stream(theirs, server=True) as server, over_stream(ours, server=False) as client:
            self.servers.append(server)
            self.ends.append(theirs)
            try:
                yield client
            finally:
                self.left.append(number)

    def cut(self) -> None:
        self.ends[-1].reset()


# --- the plain form


async def test_a_connection_that_the_server_ends_is_followed_by_another() -> None:
    seen = []
    async with feeding(1001, 1012, 1011, 1000) as (feed, connect):
        async with reconnecting(connect, backoff=AT_ONCE) as connections:
            async for conn in connections:
                seen += [message async for message in conn.readable]
                assert feed.most == 1
    assert seen == ["1", "2", "3", "4"]


@pytest.mark.parametrize("end", [1000, None])
async def test_the_iteration_ends_when_the_server_is_done(end: int | None) -> None:
    async with feeding(1001, end) as (feed, connect):
        async with reconnecting(connect, backoff=AT_ONCE) as connections:
            async for conn in connections:
                async for _ in conn:
                    pass
            with pytest.raises(StopAsyncIteration):
                await anext(connections)
    assert len(feed.requests) == 2


async def test_an_end_that_is_not_worth_another_attempt_is_raised_by_the_next_step() -> None:
    async with feeding(1001, 1008) as (_, connect):
        async with reconnecting(connect, backoff=AT_ONCE) as connections:
            with pytest.raises(ConnectionClosed) as caught:
                async for conn in connections:
                    async for _ in conn:
                        pass
            assert caught.value.close_code == 1008
            assert not hasattr(caught.value, "__notes__")
            assert [_ async for _ in connections] == []


async def test_a_connection_that_is_left_open_is_closed_and_followed_by_another() -> None:
    line = Line()
    async with reconnecting(line.connect, backoff=AT_ONCE) as connections:
        async for _conn in connections:
            assert line.left == [*range(len(line.servers) - 1)]
            if len(line.servers) == 3:
                break
    assert line.left == [0, 1, 2]
    assert line.servers[0].close_info is not None
    assert line.servers[0].close_info.code == 1005


async def test_what_the_body_raises_leaves_the_loop_as_it_is() -> None:
    line, error = Line(), ValueError("mine")
    with pytest.raises(ValueError, match="mine") as caught:
        async with reconnecting(line.connect) as connections:
            async for _conn in connections:
                raise error
    assert caught.value is error
    assert line.left == [0]
    assert line.servers[0].close_info is not None
    assert line.servers[0].close_info.code == 1011


async def test_the_end_of_a_connection_leaves_the_loop_where_nothing_retries() -> None:
    line = Line()
    with pytest.raises(ConnectionBroken) as caught:
        async with reconnecting(line.connect) as connections:
            async for conn in connections:
                line.cut()
                await conn.receive()
    assert not hasattr(caught.value, "__notes__")
    assert line.left == [0]


async def test_the_body_may_return_from_a_function() -> None:
    async def first_message() -> Any:
        async with reconnecting(connect, backoff=AT_ONCE) as connections:
            async for conn in connections:
                async with connections.retrying():
                    return await conn.receive()
        return None

    async with feeding() as (feed, connect):
        assert await first_message() == "1"
        await until(lambda: feed.open_now == 0)


# --- the block that retries


async def test_a_body_that_meets_the_end_goes_on_with_the_next_connection() -> None:
    line, met = Line(), []
    async with reconnecting(line.connect, backoff=AT_ONCE) as connections:
        async for conn in connections:
            number = len(line.servers)
            async with connections.retrying():
                if number == 4:
                    break
                if number == 1:
                    line.cut()
                elif number == 2:
                    line.servers[-1].close(1012)
                else:
                    line.servers[-1].close(1001)
                    await line.servers[-1].closed
                    await conn.send("too late")
                await conn.receive()
                met.append("never")
            assert line.left == [*range(number)]
    assert met == []
    assert line.left == [0, 1, 2, 3]


async def test_several_tasks_may_meet_the_end_together() -> None:
    line = Line()

    async def keep_sending(conn: WebSocketStream) -> None:
        while True:
            await conn.send("x")
            await anyio.lowlevel.checkpoint()

    async with reconnecting(line.connect, backoff=AT_ONCE) as connections:
        async for conn in connections:
            async with connections.retrying():
                if len(line.servers) == 2:
                    break
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(keep_sending, conn)
                    tasks.start_soon(conn.receive)
                    await anyio.wait_all_tasks_blocked()
                    line.cut()
    assert line.left == [0, 1]


async def test_an_error_beside_the_end_comes_out_with_it() -> None:
    line = Line()

    async def fail() -> None:
        line.cut()
        raise ValueError("mine")

    async def receive(conn: WebSocketStream) -> None:
        with anyio.CancelScope(shield=True):
            await conn.receive()

    with pytest.raises(ExceptionGroup) as caught:
        async with reconnecting(line.connect, backoff=AT_ONCE) as connections:
            async for conn in connections:
                async with connections.retrying():
                    async with anyio.create_task_group() as tasks:
                        tasks.start_soon(receive, conn)
                        tasks.start_soon(fail)
    assert {type(error) for error in caught.value.exceptions} == {ValueError, ConnectionBroken}


async def test_the_end_of_another_connection_is_not_taken_for_this_ones() -> None:
    line = Line()
    async with websocket_stream_pair() as (other, its_peer):
        its_peer.close(1001)
        with pytest.raises(ConnectionClosed):
            async with reconnecting(line.connect, backoff=AT_ONCE) as connections:
                async for _conn in connections:
                    async with connections.retrying():
                        await other.receive()
    assert line.left == [0]


async def test_an_end_that_is_not_worth_it_leaves_the_retrying_block_unchanged() -> None:
    line = Line()
    with pytest.raises(ConnectionClosed) as caught:
        async with reconnecting(line.connect, backoff=AT_ONCE) as connections:
            async for conn in connections:
                async with connections.retrying():
                    line.servers[-1].close(1008, "go away")
                    await conn.receive()
    assert caught.value.reason == "go away"
    assert line.left == [0]


async def test_messages_that_had_arrived_before_the_end_are_read_first() -> None:
    line, seen = Line(), []
    async with reconnecting(line.connect, backoff=AT_ONCE) as connections:
        async for conn in connections:
            async with connections.retrying():
                if len(line.servers) == 2:
                    break
                for message in "abc":
                    await line.servers[-1].send(message)
                line.servers[-1].close(1001)
                seen += [message async for message in conn.messages()]
    assert seen == ["a", "b", "c"]


async def test_retrying_is_for_the_body_only() -> None:
    line = Line()
    async with reconnecting(line.connect) as connections:
        with pytest.raises(RuntimeError, match="there is no connection"):
            async with connections.retrying():
                pass
        async for _ in connections:
            async with connections.retrying():
                pass
            with pytest.raises(RuntimeError, match="there is no connection"):
                async with connections.retrying():
                    pass
            break


# --- attempts


@in_virtual_time()
async def test_attempts_are_made_at_growing_distances() -> None:
    line = Line(failures=[ConnectFailed("no") for _ in range(5)])
    for failure in line.failures:
        failure.__cause__ = ConnectionRefusedError()
    seen: list[Attempt] = []
    errors = [*line.failures]
    began = anyio.current_time()
    async with reconnecting(line.connect, backoff=EXACT, on_attempt=seen.append) as connections:
        async for _ in connections:
            break
    assert anyio.current_time() - began == 1 + 2 + 4 + 8 + 8
    assert seen == [
        Attempt(number, error, delay)
        for number, error, delay in zip(
            range(1, 7), [None, *errors], [0.0, 1.0, 2.0, 4.0, 8.0, 8.0], strict=True
        )
    ]


@in_virtual_time()
async def test_a_healthy_connection_makes_the_delays_short_again() -> None:
    line, seen = Line(), []
    async with reconnecting(line.connect, backoff=EXACT, on_attempt=seen.append) as connections:
        async for conn in connections:
            async with connections.retrying():
                number = len(line.servers)
                if number == 6:
                    break
                await anyio.sleep(100 if number == 3 else 99)
                line.cut()
                await conn.receive()
    assert [attempt.delay for attempt in seen] == [0, 1, 2, 1, 2, 4]
    assert [attempt.number for attempt in seen] == [1, 2, 3, 1, 2, 3]
    assert all(isinstance(attempt.error, ConnectionBroken) for attempt in seen[1:])


@in_virtual_time()
async def test_what_comes_behind_the_end_of_a_connection_does_not_make_it_healthy() -> None:
    line, seen = Line(), []
    async with reconnecting(line.connect, backoff=EXACT, on_attempt=seen.append) as connections:
        async for conn in connections:
            async with connections.retrying():
                line.cut()
                await conn.receive()
            if len(line.servers) == 3:
                break
            await anyio.sleep(1000)
    assert [attempt.delay for attempt in seen] == [0, 1, 2]


@in_virtual_time()
@pytest.mark.parametrize(("status", "delay"), [(503, 31), (429, 31), (502, 1)])
async def test_retry_after_is_honoured(status: int, delay: float) -> None:
    seen: list[Attempt] = []
    async with feeding((status, {"Retry-After": "30"})) as (_, connect):
        began = anyio.current_time()
        async with reconnecting(connect, backoff=EXACT, on_attempt=seen.append) as connections:
            await anext(connections)
            assert anyio.current_time() - began == pytest.approx(delay)
    assert isinstance(seen[1].error, HandshakeRejected)
    assert seen[1].delay == delay


@in_virtual_time()
async def test_a_server_cannot_ask_for_ever() -> None:
    async with feeding((503, {"Retry-After": "9" * 1000})) as (_, connect):
        backoff = Backoff(max_retry_after=5, jitter=0)
        began = anyio.current_time()
        async with reconnecting(connect, backoff=backoff) as connections:
            await anext(connections)
            assert anyio.current_time() - began == 6


async def test_the_last_attempt_that_is_allowed_raises_its_own_error() -> None:
    failures: list[Exception] = [ConnectionRefusedError(str(number)) for number in range(5)]
    last, line = failures[2], Line(failures=failures)
    async with reconnecting(line.connect, backoff=AT_ONCE, max_attempts=3) as connections:
        with pytest.raises(ConnectionRefusedError) as caught:
            await anext(connections)
        assert caught.value is last
        [note] = caught.value.__notes__
        assert note.startswith("gave up after 3 attempts in ")
        with pytest.raises(StopAsyncIteration):
            await anext(connections)
    assert len(line.failures) == 2


@in_virtual_time()
async def test_no_attempt_begins_after_the_time_that_is_allowed() -> None:
    line = Line(failures=[ConnectionRefusedError() for _ in range(9)])
    async with reconnecting(line.connect, backoff=EXACT, give_up_after=10) as connections:
        began = anyio.current_time()
        with pytest.raises(ConnectionRefusedError) as caught:
            await anext(connections)
    assert anyio.current_time() - began == 1 + 2 + 4  # and with eight more seconds it would be too late
    assert caught.value.__notes__ == ["gave up after 4 attempts in 7.0 s"]


async def test_a_connection_that_did_not_last_counts_as_an_attempt() -> None:
    async with feeding(1001, 1001, 1001) as (feed, connect):
        with pytest.raises(ConnectionClosed) as caught:
            async with reconnecting(connect, backoff=AT_ONCE, max_attempts=2) as connections:
                async for conn in connections:
                    async with connections.retrying():
                        async for _ in conn.messages():
                            pass
    assert caught.value.close_code == 1001
    assert caught.value.__notes__[0].startswith("gave up after 2 attempts")
    assert len(feed.requests) == 2


async def test_an_error_that_is_not_worth_it_ends_at_once() -> None:
    async with feeding((404, {})) as (feed, connect), reconnecting(connect) as connections:
        with pytest.raises(HandshakeRejected) as caught:
            await anext(connections)
        assert not hasattr(caught.value, "__notes__")
        assert len(feed.requests) == 1


async def test_the_rule_of_what_is_worth_it_is_the_users() -> None:
    asked: list[Exception] = []

    def retry(error: Exception) -> bool:
        asked.append(error)
        return is_transient(error) or getattr(error, "close_code", None) in (1000, 4000)

    async with feeding(1000, 4000, 4001) as (_, connect):
        async with reconnecting(connect, backoff=AT_ONCE, retry=retry) as connections:
            with pytest.raises(ConnectionClosed):
                async for conn in connections:
                    async with connections.retrying():
                        async for _ in conn.messages(ok=()):
                            pass
    assert [getattr(error, "close_code", None) for error in asked] == [1000, 4000, 4001]


async def test_a_function_opens_each_connection_anew() -> None:
    async with feeding(1001, 1001, 1000) as (feed, connect):
        seen: list[Any] = []
        async with reconnecting(lambda: connect(f"/?after={len(seen)}"), backoff=AT_ONCE) as connections:
            async for conn in connections:
                seen += [message async for message in conn]
    assert [request.query_params["after"] for request in feed.requests] == ["0", "1", "2"]


class Surprise(Exception):
    """What a hook or a rule of a user's raises."""


@in_virtual_time()
@pytest.mark.parametrize("error", [Surprise, KeyboardInterrupt])
async def test_a_hook_that_raises_is_heard_and_the_wait_is_kept(error: type[BaseException]) -> None:
    line, seen = Line(failures=[ConnectionRefusedError()]), []

    def hook(attempt: Attempt) -> None:
        seen.append(attempt)
        raise error

    async with reconnecting(line.connect, backoff=EXACT, on_attempt=hook) as connections:
        began = anyio.current_time()
        for _ in range(2):
            with pytest.raises(error):
                await anext(connections)
        await anext(connections)
        assert anyio.current_time() - began == 1
    assert [attempt.number for attempt in seen] == [1, 2]
    assert line.left == [0]


async def test_a_rule_that_raises_makes_no_attempts() -> None:
    line, asked = Line(failures=[ConnectionRefusedError() for _ in range(9)]), []

    def rule(failure: Exception) -> bool:
        asked.append(failure)
        if len(asked) < 4:
            raise Surprise
        return False

    async with reconnecting(line.connect, backoff=AT_ONCE, retry=rule) as connections:
        for _ in range(3):
            with pytest.raises(Surprise):
                await anext(connections)
        with pytest.raises(ConnectionRefusedError):
            await anext(connections)
    assert len(line.failures) == 8
    assert len(set(asked)) == 1


async def test_a_rule_that_raises_at_the_end_of_a_body_comes_out_beside_it() -> None:
    line = Line()

    def rule(_failure: Exception) -> bool:
        raise Surprise

    with pytest.raises(Surprise) as caught:
        async with reconnecting(line.connect, retry=rule) as connections:
            async for conn in connections:
                async with connections.retrying():
                    line.cut()
                    await conn.receive()
    assert isinstance(caught.value.__context__, ConnectionBroken)
    assert line.left == [0]


# --- cancellation


@in_virtual_time()
async def test_a_wait_can_be_cancelled_and_goes_on_with_the_next_step() -> None:
    line = Line(failures=[ConnectionRefusedError()])
    seen: list[Attempt] = []
    backoff = Backoff(initial=10, jitter=0)
    async with reconnecting(line.connect, backoff=backoff, on_attempt=seen.append) as connections:
        began = anyio.current_time()
        with anyio.move_on_after(4) as scope:
            await anext(connections)
        assert scope.cancelled_caught
        await anext(connections)
        assert anyio.current_time() - began == 10
    assert len(seen) == 2


@pytest.mark.parametrize("steps", range(12))
async def test_a_cancellation_at_any_step_leaves_nothing(steps: int) -> None:
    async with feeding(1001, (503, {}), 1001) as (feed, connect):
        async with anyio.create_task_group() as tasks:

            async def subscribe() -> None:
                async with reconnecting(connect, backoff=AT_ONCE) as connections:
                    async for conn in connections:
                        async with connections.retrying():
                            async for _ in conn.messages():
                                pass

            tasks.start_soon(subscribe)
            for _ in range(steps * 3):
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
        await until(lambda: feed.open_now == 0)


async def test_a_cancelled_body_says_so_to_the_peer() -> None:
    line = Line()
    with anyio.CancelScope() as scope:
        async with reconnecting(line.connect) as connections:
            async for conn in connections:
                async with connections.retrying():
                    scope.cancel()
                    await conn.receive()
    assert scope.cancelled_caught
    assert line.left == [0]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_native_cancellation_is_not_swallowed_with_the_end() -> None:
    line = Line()

    async def subscribe() -> None:
        async with reconnecting(line.connect, backoff=AT_ONCE) as connections:
            async for conn in connections:
                async with connections.retrying():
                    line.cut()
                    try:
                        await conn.receive()
                    finally:
                        asyncio.current_task().cancel()  # type: ignore[union-attr]

    task = asyncio.ensure_future(subscribe())
    await asyncio.wait([task], timeout=5)
    assert task.cancelled()
    assert line.left == [0]


async def test_a_block_that_another_task_leaves_opens_no_more() -> None:
    line, opening, go_on = Line(), anyio.Event(), anyio.Event()

    @asynccontextmanager
    async def slowly() -> AsyncIterator[WebSocketStream]:
        opening.set()
        await go_on.wait()
        async with line.connect() as conn:
            yield conn

    block = reconnecting(slowly)
    connections = await block.__aenter__()
    async with anyio.create_task_group() as tasks:

        async def step() -> None:
            with pytest.raises(StopAsyncIteration):
                await anext(connections)

        tasks.start_soon(step)
        await opening.wait()
        with pytest.raises(anyio.BusyResourceError):
            await anext(connections)
        await block.__aexit__(None, None, None)
        go_on.set()
    assert line.left == [0]


@in_virtual_time()
async def test_a_block_that_another_task_leaves_in_a_wait_makes_no_attempt() -> None:
    line = Line(failures=[ConnectionRefusedError()] * 2)
    block = reconnecting(line.connect, backoff=EXACT)
    connections = await block.__aenter__()
    async with anyio.create_task_group() as tasks:
        step = Call.start(tasks, anext, connections)
        await anyio.sleep(0.5)
        await block.__aexit__(None, None, None)
        with pytest.raises(StopAsyncIteration):
            await step.finished()
    assert len(line.failures) == 1


# --- arguments


@pytest.mark.parametrize(
    ("url", "options", "error", "words"),
    [
        ("ftp://example.com", {}, ValueError, "scheme"),
        (7, {}, TypeError, "str"),
        ("ws://x", {"nonsense": 1}, TypeError, "nonsense"),
        ("ws://x", {"stream": object()}, TypeError, "one connection"),
        ("ws://x", {"backoff": 3}, TypeError, "Backoff"),
        ("ws://x", {"max_attempts": 0}, ValueError, "max_attempts"),
        ("ws://x", {"give_up_after": -1}, ValueError, "give_up_after"),
        (lambda: None, {"headers": {}}, TypeError, "headers"),
    ],
)
def test_arguments_are_checked_by_the_call(
    url: Any, options: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        reconnecting(url, **options)


def test_hooks_are_plain_functions() -> None:
    async def hook(_: object) -> bool:
        return True

    for name in ("retry", "on_attempt"):
        with pytest.raises(TypeError, match=name):
            reconnecting("ws://x", **{name: hook})
    opener: Any = hook
    with pytest.raises(TypeError, match="url must be a plain function, not an async one"):
        reconnecting(opener)


async def test_a_block_is_entered_once_and_left_behind_that() -> None:
    block = reconnecting("ws://x")
    with pytest.raises(RuntimeError, match="has not been entered"):
        await block.__aexit__(None, None, None)
    async with block:
        with pytest.raises(RuntimeError, match="entered before"):
            await block.__aenter__()


# --- over sockets


async def test_it_works_over_tls(server_ssl: ssl.SSLContext, client_ssl: ssl.SSLContext) -> None:
    feed, seen = Feed([1001, 1012]), []
    async with serving(feed, ssl_context=server_ssl) as listener:
        async with reconnecting(listener.url, backoff=AT_ONCE, ssl_context=client_ssl) as connections:
            async for conn in connections:
                async with connections.retrying():
                    seen.append(await conn.receive())
                    if len(seen) == 3:
                        break
                    await conn.receive()
    assert seen == ["1", "2", "3"]


async def test_options_that_can_be_iterated_over_only_once_are_good_for_every_attempt() -> None:
    seen = []

    async def handler(request: WebSocketRequest) -> None:
        seen.append((request.headers.get("authorization"), request.headers.get("sec-websocket-protocol")))
        async with request.accept(protocol="chat") as conn:
            await conn.aclose(1012)

    async with serving(handler, protocols=["chat"]) as listener:
        headers = (field for field in [("Authorization", "Bearer SECRET")])
        protocols: Any = iter(["chat"])
        async with reconnecting(
            listener.url, headers=headers, protocols=protocols, backoff=AT_ONCE, max_attempts=3
        ) as connections:
            with pytest.raises(ConnectionClosed):
                async for conn in connections:
                    await conn.closed
    assert seen == [("Bearer SECRET", "chat")] * 3


async def test_a_server_that_restarts_is_found_again() -> None:
    feed, seen, port = Feed([]), [], 0
    backoff = Backoff(initial=0.01, maximum=0.01)
    async with AsyncExitStack() as stack:
        for number in (1, 2, 3):
            async with serving(feed, port=port) as listener:
                if number == 1:
                    port = listener.port
                    url = f"ws://127.0.0.1:{port}"
                    connections = await stack.enter_async_context(reconnecting(url, backoff=backoff))
                conn = await anext(connections)
                async with connections.retrying():
                    seen.append(await conn.receive())
                    if number < 3:
                        await listener.aclose()
                        await conn.receive()
    assert seen == ["1", "2", "3"]
