"""A handler ends its own connection and no other, whatever it lets out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

import anyio
import pytest
import sniffio

from edges.serving import SERVER_LOG, MemoryListener, levels, serving
from websocketstream import (
    CloseInfo,
    ConnectionClosed,
    HandshakeError,
    HandshakeRejected,
    WebSocketRequest,
    WebSocketStream,
    open_websocket_stream,
    serve_websocket_streams,
)

pytestmark = pytest.mark.anyio

Act = Callable[[], Awaitable[object]]


class Outrage(BaseException):
    """No Exception."""


async def raise_an_error() -> None:
    raise LookupError("a bug in the handler")


async def raise_a_base_exception() -> None:
    raise Outrage


async def raise_a_generator_exit() -> None:
    raise GeneratorExit


async def raise_a_group() -> None:
    raise BaseExceptionGroup("several", [Outrage(), LookupError("a bug in the handler")])


async def let_out_a_cancellation() -> None:
    """Await what somebody else has cancelled; on trio, raise a cancellation outside of its scope."""
    if sniffio.current_async_library() == "asyncio":
        other = asyncio.ensure_future(anyio.sleep_forever())
        other.cancel()
        await other
    kept = None
    with anyio.CancelScope() as scope:
        scope.cancel()
        try:
            await anyio.lowlevel.checkpoint()
        except BaseException as exc:
            kept = exc
    assert kept is not None
    raise kept


async def be_cancelled() -> None:
    """Be cancelled by somebody who has found this task, which nobody can do on trio."""
    if sniffio.current_async_library() == "trio":
        await let_out_a_cancellation()
    cancel_this_task()
    await anyio.sleep_forever()


async def let_out_a_group_with_a_cancellation() -> None:
    try:
        await let_out_a_cancellation()
    except BaseException as exc:
        raise BaseExceptionGroup("several", [exc, LookupError("a bug in the handler")]) from None


def cancel_this_task() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()


OUTCOMES = [
    raise_an_error,
    raise_a_base_exception,
    raise_a_generator_exit,
    raise_a_group,
    let_out_a_cancellation,
    let_out_a_group_with_a_cancellation,
    be_cancelled,
]
every_outcome = pytest.mark.parametrize("act", OUTCOMES, ids=lambda act: act.__name__)


async def works(conn: WebSocketStream) -> None:
    await conn.send("hello")
    assert await conn.receive() == "hello"


def failing_on_demand(act: Act) -> Callable[[WebSocketRequest], Awaitable[None]]:
    async def handler(request: WebSocketRequest) -> None:
        if request.path == "/fail":
            await act()
        async with request.accept() as conn:
            async for message in conn:
                if message == "fail":
                    await act()
                await conn.send(message)

    return handler


@every_outcome
async def test_what_leaves_an_open_block_closes_with_1011_and_is_logged_and_the_others_go_on(
    act: Act, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(failing_on_demand(act)) as listener:
        async with open_websocket_stream(listener.url) as bystander:
            async with open_websocket_stream(listener.url) as conn:
                await conn.send("fail")
                with pytest.raises(ConnectionClosed):
                    await conn.receive()
                assert await conn.closed == CloseInfo(1011)
            await works(bystander)
            async with open_websocket_stream(listener.url) as later:
                await works(later)
    assert levels(caplog) == ["ERROR"]
    assert "failed" in caplog.text


@every_outcome
async def test_what_comes_out_before_the_answer_is_a_500_and_is_logged_and_the_others_go_on(
    act: Act, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(failing_on_demand(act)) as listener, open_websocket_stream(listener.url) as bystander:
        with pytest.raises(HandshakeError) as caught:
            async with open_websocket_stream(f"{listener.url}/fail"):
                pytest.fail("must not open")
        if act is not raise_a_generator_exit:  # behind which nothing can be waited for
            assert isinstance(caught.value, HandshakeRejected)
            assert caught.value.status == 500
        await works(bystander)
    assert levels(caplog) == ["ERROR"]


@pytest.mark.parametrize(
    "anyio_backend", ["asyncio", ("asyncio", {"use_uvloop": True})], ids=["asyncio", "uvloop"]
)
async def test_a_task_that_is_cancelled_as_its_handler_returns_ends_nobody_else() -> None:
    async def handler(request: WebSocketRequest) -> None:
        async with request.accept() as conn:
            async for message in conn:
                await conn.send(message)
        cancel_this_task()

    async with serving(handler) as listener, open_websocket_stream(listener.url) as bystander:
        async with open_websocket_stream(listener.url) as conn:
            await works(conn)
        await works(bystander)


@pytest.mark.parametrize(
    "anyio_backend", ["asyncio", ("asyncio", {"use_uvloop": True})], ids=["asyncio", "uvloop"]
)
async def test_a_task_that_is_cancelled_while_its_connection_is_released_ends_nobody_else() -> None:
    async def handler(request: WebSocketRequest) -> None:
        if request.path == "/refused":
            await request.reject()
            task = asyncio.current_task()
            assert task is not None
            asyncio.get_running_loop().call_soon(task.cancel)
            return
        async with request.accept() as conn:
            async for message in conn:
                await conn.send(message)

    async with (
        serving(handler, max_connections=2) as listener,
        open_websocket_stream(listener.url) as bystander,
    ):
        for _ in range(3):  # nor does any of them keep its place
            with pytest.raises(HandshakeRejected):
                async with open_websocket_stream(f"{listener.url}/refused"):
                    pytest.fail("must not open")
            await works(bystander)


@pytest.mark.parametrize(
    "anyio_backend", ["asyncio", ("asyncio", {"use_uvloop": True})], ids=["asyncio", "uvloop"]
)
async def test_a_task_that_is_cancelled_before_its_handler_begins_ends_nobody_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    before = asyncio.all_tasks()
    listener = MemoryListener()
    async with serving(failing_on_demand(raise_an_error), listener=listener):
        serving_tasks = asyncio.all_tasks() - before
        stream = listener.connect()
        await anyio.wait_all_tasks_blocked()
        (visit,) = asyncio.all_tasks() - before - serving_tasks
        visit.cancel()
        with pytest.raises(anyio.EndOfStream):
            await stream.receive()
        async with open_websocket_stream("ws://localhost/", stream=listener.connect()) as conn:
            await works(conn)
    assert levels(caplog) == ["ERROR"]


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_program_passes_through_the_server(
    interrupt: type[BaseException], anyio_backend_name: str, anyio_backend_options: dict[str, Any]
) -> None:
    async def handler(request: WebSocketRequest) -> None:
        raise interrupt

    async def main() -> None:
        async with serving(handler) as listener, open_websocket_stream(listener.url):
            pytest.fail("must not open")

    run = partial(anyio.run, main, backend=anyio_backend_name, backend_options=anyio_backend_options)
    with ThreadPoolExecutor(1) as thread, pytest.raises((interrupt, BaseExceptionGroup)) as caught:
        thread.submit(run).result()
    assert isinstance(caught.value, interrupt) or caught.value.split(interrupt)[0] is not None


@pytest.mark.parametrize("way", ["the server is cancelled", "the run ends"])
async def test_the_end_of_a_server_is_no_failure_of_its_handlers(
    way: str, anyio_backend_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    if way == "the run ends" and anyio_backend_name == "trio":
        pytest.skip("a run of trio's has no tasks left when it ends")
    infos = []
    opened = anyio.Event()

    async def handler(request: WebSocketRequest) -> None:
        async with request.accept() as conn, anyio.create_task_group() as tasks:
            tasks.start_soon(conn.receive)

    async def client(url: str) -> None:
        async with open_websocket_stream(url) as conn:
            opened.set()
            infos.append(await conn.closed)

    async with anyio.create_task_group() as tasks:
        async with anyio.create_task_group() as server_tasks:
            listener = await server_tasks.start(serve_on_loopback, handler)
            before = asyncio.all_tasks() if way == "the run ends" else set()
            tasks.start_soon(client, listener.url)
            await opened.wait()
            await anyio.wait_all_tasks_blocked()
            if way == "the run ends":
                for task in cancelled_at_the_end_of_the_run(before):
                    task.cancel()
            server_tasks.cancel_scope.cancel()
    assert infos == [CloseInfo(1001)]
    assert levels(caplog) == []


def cancelled_at_the_end_of_the_run(before: set[asyncio.Task[Any]]) -> list[asyncio.Task[Any]]:
    """Return the server's tasks, handlers first: asyncio.run() cancels them all at once, in no order."""
    handlers = [task for task in asyncio.all_tasks() - before if "Visit.run" in repr(task)]
    servers = [task for task in before if "serve_on_loopback" in repr(task)]
    assert handlers
    assert servers
    return handlers + servers


async def serve_on_loopback(handler: Any, *, task_status: anyio.abc.TaskStatus[Any]) -> None:
    await serve_websocket_streams(handler, "127.0.0.1", origins=None, task_status=task_status)


async def test_a_peer_that_goes_away_is_no_error_of_the_handler(caplog: pytest.LogCaptureFixture) -> None:
    ended = anyio.Event()

    async def handler(request: WebSocketRequest) -> None:
        try:
            async with request.accept() as conn, anyio.create_task_group() as tasks:
                tasks.start_soon(conn.receive)
        finally:
            ended.set()

    caplog.set_level(logging.INFO, SERVER_LOG)
    listener = MemoryListener()
    async with serving(handler, listener=listener):
        with suppress(anyio.BrokenResourceError):
            async with open_websocket_stream("ws://localhost/", stream=(stream := listener.connect())):
                await stream.aclose()
        await ended.wait()
    assert levels(caplog) == []


@pytest.mark.parametrize("passes", range(5))
async def test_a_cancellation_of_one_handler_during_a_graceful_shutdown_takes_no_time_from_the_others(
    passes: int, caplog: pytest.LogCaptureFixture
) -> None:
    go_on = anyio.Event()
    failed = anyio.Event()
    finished = []

    async def handler(request: WebSocketRequest) -> None:
        if request.path == "/fail":
            tasks.start_soon(listener.aclose)
            failed.set()
            for _ in range(passes):
                await anyio.lowlevel.checkpoint()
            await let_out_a_cancellation()
        async with request.accept() as conn:
            await conn.closed
            await go_on.wait()
            finished.append(request.path)

    async def failing_client() -> None:
        with suppress(HandshakeError):
            async with open_websocket_stream(f"{listener.url}/fail"):
                pytest.fail("must not open")

    async with serving(handler) as listener, anyio.create_task_group() as tasks:
        async with open_websocket_stream(f"{listener.url}/steady") as steady:
            tasks.start_soon(failing_client)
            await failed.wait()
            assert await steady.closed == CloseInfo(1001)
            await anyio.wait_all_tasks_blocked()
            go_on.set()
    assert finished == ["/steady"]
    assert levels(caplog) == ["ERROR"]
