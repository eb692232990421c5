"""A handler that does not answer, or only seems to: the log says what to write, and the client gets an answer."""

from __future__ import annotations

import logging
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import anyio
import pytest
import trio
from anyio.abc import SocketAttribute, TaskGroup

import absences
from edges.serving import SERVER_LOG, MemoryListener, levels, request_bytes, say, serving
from websocketstream import (
    ConnectionBroken,
    HandshakeRejected,
    WebSocketRequest,
    WebSocketStream,
    open_websocket_stream,
)
from websocketstream._protocol.client_handshake import ClientHandshake
from websocketstream._protocol.url import parse_url

pytestmark = pytest.mark.anyio


async def return_at_once(request: WebSocketRequest) -> None:
    pass


async def call_accept(request: WebSocketRequest) -> None:
    request.accept()


async def await_accept(request: WebSocketRequest) -> None:
    await request.accept()  # type: ignore[misc]


async def enter_accept_like_a_file(request: WebSocketRequest) -> None:
    with request.accept():  # type: ignore[attr-defined]
        pass


async def call_reject(request: WebSocketRequest) -> None:
    request.reject(404)  # type: ignore[unused-coroutine]


ACCEPT = "`async with request.accept() as conn:`"
REJECT = "`await request.reject(...)`"


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.parametrize(
    ("handler", "advice"),
    [
        (return_at_once, f"write {ACCEPT} or {REJECT}"),
        (call_accept, f"write {ACCEPT}"),
        (await_accept, f"write {ACCEPT}"),
        (enter_accept_like_a_file, f"write {ACCEPT}"),
        (lambda request: request.accept(), f"write {ACCEPT}"),
        (call_reject, f"write {REJECT}"),
    ],
)
async def test_the_log_says_what_to_write_and_the_client_gets_a_500(
    handler: Callable[[WebSocketRequest], Awaitable[None]], advice: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(handler) as listener:
        with pytest.raises(HandshakeRejected) as caught:
            async with open_websocket_stream(listener.url):
                pytest.fail("must not open")
        assert caught.value.status == 500
    assert levels(caplog) == ["ERROR"]
    assert advice in caplog.text


async def test_a_handler_that_never_answers_is_a_503_after_open_timeout(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def handler(request: WebSocketRequest) -> None:
        await anyio.sleep_forever()

    assert await status_of(handler, open_timeout=0.05) == 503
    assert levels(caplog) == ["ERROR"]
    assert "did not answer" in caplog.text


async def test_a_handler_that_calls_accept_and_never_enters_it_is_a_503_after_open_timeout() -> None:
    async def handler(request: WebSocketRequest) -> None:
        request.accept()
        await anyio.sleep_forever()

    assert await status_of(handler, open_timeout=0.05) == 503


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_a_handler_with_several_tasks_in_a_nursery_is_a_503_after_open_timeout(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Trio puts their cancellations into a group."""

    async def handler(request: WebSocketRequest) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            nursery.start_soon(trio.sleep_forever)

    assert await status_of(handler, open_timeout=0.05) == 503
    assert levels(caplog) == ["ERROR"]
    assert "did not answer" in caplog.text


async def test_a_handler_that_fails_as_open_timeout_cancels_it_is_a_503_all_the_same() -> None:
    async def handler(request: WebSocketRequest) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise LookupError("a bug in the handler's clean-up")

    assert await status_of(handler, open_timeout=0.05) == 503


async def test_a_block_that_is_entered_after_the_server_has_answered_is_an_error() -> None:
    errors = []
    refused = anyio.Event()

    async def enter_later(block: AbstractAsyncContextManager[WebSocketStream]) -> None:
        await refused.wait()
        try:
            async with block:
                pytest.fail("must not open")
        except RuntimeError as exc:
            errors.append(str(exc))

    async with anyio.create_task_group() as tasks:

        async def handler(request: WebSocketRequest) -> None:
            tasks.start_soon(enter_later, request.accept())

        assert await status_of(handler) == 500
        refused.set()
    assert len(errors) == 1
    assert "in place of the handler" in errors[0]


async def status_of(handler: Any, **options: Any) -> int:
    """Return the status by which a client's request is refused."""
    listener = MemoryListener()
    async with serving(handler, listener=listener, **options):
        with pytest.raises(HandshakeRejected) as caught:
            async with open_websocket_stream("ws://localhost/", stream=listener.connect()):
                pytest.fail("must not open")
    return caught.value.status


async def accept(request: WebSocketRequest) -> None:
    async with request.accept():
        pytest.fail("must not open")


async def reject(request: WebSocketRequest) -> None:
    await request.reject(404)


@pytest.mark.parametrize("transport", ["memory", "tcp"])
@pytest.mark.parametrize(("answer", "error"), [(accept, ConnectionBroken), (reject, None)])
async def test_a_client_that_has_gone_before_the_answer_is_no_error_of_the_server(
    transport: str,
    answer: Callable[[WebSocketRequest], Awaitable[None]],
    error: type[Exception] | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if error is not None and transport == "tcp" and "direct-writes" in absences.simulated():
        pytest.skip("there the event loop learns of it behind the write, so it is met at the first use")
    asked, gone, done = anyio.Event(), anyio.Event(), anyio.Event()
    errors: list[BaseException | None] = []

    async def handler(request: WebSocketRequest) -> None:
        asked.set()
        await gone.wait()
        try:
            await answer(request)
            errors.append(None)
        except BaseException as exc:
            errors.append(exc)
            raise
        finally:
            done.set()

    caplog.set_level(logging.DEBUG, SERVER_LOG)
    memory = MemoryListener()
    async with serving(handler, **({"listener": memory} if transport == "memory" else {})) as listener:
        if transport == "memory":
            stream = memory.connect()
            await stream.send(ClientHandshake(parse_url("ws://localhost/")).request())
            await asked.wait()
            stream.reset()
        else:
            client = await say(listener, request_bytes(listener))
            await asked.wait()
            reset_when_closed = struct.pack("ii", 1, 0)
            client.extra(SocketAttribute.raw_socket).setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, reset_when_closed
            )
            await client.aclose()
        await anyio.wait_all_tasks_blocked()
        gone.set()
        await done.wait()
        await anyio.wait_all_tasks_blocked()
    assert [type(each) for each in errors] == [error or type(None)]
    assert set(levels(caplog)) <= {"DEBUG"}


async def test_a_rejection_may_run_in_another_task() -> None:
    async with anyio.create_task_group() as tasks:
        assert await status_of(lambda request: reject_in(tasks, request)) == 404


async def reject_in(tasks: TaskGroup, request: WebSocketRequest) -> None:
    tasks.start_soon(request.reject, 404)
    await anyio.wait_all_tasks_blocked()
