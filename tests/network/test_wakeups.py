"""Tasks go on at the end of the event loop's callback that wakes them, and nothing is lost where that cannot be."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import sys
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from transport_kit import some_passes

from backends import BACKENDS
from promises.open_sockets import connections_with_sockets
from websocketstream._network import wakeups as portable
from websocketstream._network.hot import Wakeups
from websocketstream._network.sockets import watches_sockets
from websocketstream._network.turns import BUSY_BYTES
from wire import Frame, Opcode

if TYPE_CHECKING:
    from collections.abc import Callable

    from websocketstream import WebSocketStream

pytestmark = pytest.mark.anyio
OF_ASYNCIO = [param for param in BACKENDS if param.id != "trio"]
KINDS = {Wakeups: "chosen", portable.Wakeups: "portable"}  # one where nothing is compiled
each_kind = pytest.mark.parametrize("kind", KINDS, ids=KINDS.values())


@pytest.fixture(params=OF_ASYNCIO)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(params=KINDS, ids=KINDS.values())
async def wakeups(request: pytest.FixtureRequest) -> Any:
    return request.param(asyncio.get_running_loop())


class Waiting:
    """A task that waits, and what became of that."""

    def __init__(self, wakeups: Any, *, kind: Callable[..., Any] = asyncio.Task) -> None:
        self.waiter = wakeups.waiter()
        self.went_on = False
        self.error: BaseException | None = None
        self.then: Callable[[], object] = lambda: None
        self.task = kind(self._wait(), loop=asyncio.get_running_loop())

    async def _wait(self) -> None:
        try:
            await self.waiter
        except BaseException as exc:
            self.error = exc
            raise
        self.went_on = True
        self.then()


def wake_in_callback(wakeups: Any, waiter: Any) -> None:
    """Do what a callback of the event loop does that wakes somebody."""
    wakeups.begin()
    wakeups.wake(waiter)
    wakeups.end()


async def called_back(callback: Callable[[], object], **how: Any) -> None:
    """Let the event loop call, and wait until it has."""
    done = asyncio.Event()

    def call() -> None:
        try:
            callback()
        finally:
            done.set()

    asyncio.get_running_loop().call_soon(call, **how)
    await done.wait()


async def test_who_is_woken_in_a_callback_goes_on_at_its_end_and_others_in_the_next_pass(
    wakeups: Any,
) -> None:
    first, second = Waiting(wakeups), Waiting(wakeups)
    await asyncio.sleep(0)
    seen: list[list[bool]] = []
    order: list[str] = []
    first.then, second.then = lambda: order.append("first"), lambda: order.append("second")

    def callback() -> None:
        wakeups.begin()
        wakeups.wake(first.waiter)
        wakeups.wake(second.waiter)
        seen.append([first.went_on, second.went_on])
        wakeups.end()
        seen.append([first.went_on, second.went_on])

    await called_back(callback)
    await second.task
    assert seen == [[False, False], [True, False]]
    assert order == ["first", "second"]


@pytest.mark.parametrize("size", [1, BUSY_BYTES])
async def test_a_receiver_goes_on_in_the_callback_that_brings_its_message(size: int) -> None:
    """Where the event loop may read on at once, and has read much, it does so in the next pass."""
    payload = bytes(size)
    frame = Frame(Opcode.BINARY, payload).encode()
    seen: list[bytes] = []

    async def receive(conn: WebSocketStream) -> None:
        async for message in conn.readable:
            seen.append(message)
            await conn.send(message)

    def callback() -> None:
        if watches_sockets():
            transport.on_readable()
        else:  # what uvloop does
            transport.get_buffer(-1)[: len(frame)] = frame
            transport.buffer_updated(len(frame))
        seen.append(b"end")

    async with connections_with_sockets(1, ping_interval=None) as [(conn, theirs)]:
        transport: Any = conn._connection._transport
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(receive, conn)
            await some_passes()
            for _ in range(3):
                if watches_sockets():
                    theirs.send(frame)
                await called_back(callback)
                await some_passes()
            tasks.cancel_scope.cancel()
    in_callback = size == 1 or watches_sockets()
    assert seen == ([payload, b"end"] if in_callback else [b"end", payload]) * 3


async def test_who_is_woken_by_a_task_goes_on_in_the_next_pass(wakeups: Any) -> None:
    waiting = Waiting(wakeups)
    await asyncio.sleep(0)
    wakeups.wake(waiting.waiter)
    wakeups.wake(waiting.waiter)
    assert not waiting.went_on
    await waiting.task
    assert waiting.went_on


async def test_who_was_woken_before_waiting_does_not_wait(wakeups: Any) -> None:
    waiter = wakeups.waiter()
    wakeups.wake(waiter)
    await waiter
    assert waiter.done()


async def test_a_task_that_goes_on_wakes_others_for_the_next_pass(wakeups: Any) -> None:
    first, second = Waiting(wakeups), Waiting(wakeups)
    await asyncio.sleep(0)
    first.then = lambda: wakeups.wake(second.waiter)
    seen = []

    def callback() -> None:
        wake_in_callback(wakeups, first.waiter)
        seen.append((first.went_on, second.went_on))

    await called_back(callback)
    assert seen == [(True, False)]
    await second.task


@pytest.mark.parametrize("by", ["task", "callback"])
async def test_anyio_cancels_a_task_that_is_about_to_go_on(wakeups: Any, by: str) -> None:
    """Otherwise one that never waits for longer than a pass could not be cancelled at all."""
    went_on = False

    async def wait(waiter: Any) -> None:
        nonlocal went_on
        with scope:
            await waiter
            went_on = True

    scope = anyio.CancelScope()
    waiter = wakeups.waiter()
    task = asyncio.ensure_future(wait(waiter))
    await asyncio.sleep(0)
    if by == "task":
        wakeups.wake(waiter)
        scope.cancel()
    else:

        def callback() -> None:
            wakeups.begin()
            wakeups.wake(waiter)
            scope.cancel()
            wakeups.end()

        await called_back(callback)
    await task
    assert not went_on
    assert scope.cancelled_caught


async def test_a_cancellation_keeps_its_message_and_comes_once(wakeups: Any) -> None:
    waiting = Waiting(wakeups)
    await asyncio.sleep(0)
    waiting.task.cancel("enough")
    assert waiting.waiter.cancelled()
    wakeups.wake(waiting.waiter)
    with pytest.raises(asyncio.CancelledError, match="enough"):
        await waiting.task
    assert not waiting.went_on
    assert not waiting.waiter.cancel()


async def test_a_cancellation_behind_the_wake_comes_all_the_same(wakeups: Any) -> None:
    waiting = Waiting(wakeups)
    await asyncio.sleep(0)
    wakeups.wake(waiting.waiter)
    assert waiting.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting.task
    assert not waiting.went_on


async def test_where_a_task_runs_already_it_goes_on_in_the_next_pass(wakeups: Any) -> None:
    """Somebody has called what only the event loop should call."""
    waiting = Waiting(wakeups)
    await asyncio.sleep(0)
    wake_in_callback(wakeups, waiting.waiter)
    assert not waiting.went_on
    await waiting.task
    assert waiting.went_on


@pytest.mark.skipif(sys.version_info < (3, 11), reason="this Python's tasks take no context")
async def test_where_its_context_is_in_use_it_goes_on_in_the_next_pass(wakeups: Any) -> None:
    context = contextvars.copy_context()
    waiting = Waiting(wakeups, kind=partial(asyncio.Task, context=context))
    await asyncio.sleep(0)
    seen = []

    def callback() -> None:
        wake_in_callback(wakeups, waiting.waiter)
        seen.append(waiting.went_on)

    await called_back(callback, context=context)
    assert seen == [False]
    await waiting.task


async def test_it_goes_on_in_its_own_context(wakeups: Any) -> None:
    variable = contextvars.ContextVar("variable", default="the callback's")
    seen = []

    async def wait(waiter: Any) -> None:
        variable.set("the task's")
        await waiter
        seen.append(variable.get())

    waiter = wakeups.waiter()
    task = asyncio.ensure_future(wait(waiter))
    await asyncio.sleep(0)

    def callback() -> None:
        wake_in_callback(wakeups, waiter)
        seen.append(variable.get())

    await called_back(callback)
    await task
    assert seen == ["the task's", "the callback's"]


async def test_tasks_in_python_can_wait_as_well(wakeups: Any) -> None:
    kind: Any = asyncio.tasks._PyTask  # type: ignore[attr-defined]
    waiting, cancelled = Waiting(wakeups, kind=kind), Waiting(wakeups, kind=kind)
    await asyncio.sleep(0)

    await called_back(partial(wake_in_callback, wakeups, waiting.waiter))
    assert waiting.went_on
    cancelled.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled.task


async def test_nothing_of_a_task_that_has_ended_is_kept(wakeups: Any) -> None:
    waiting = Waiting(wakeups)
    await asyncio.sleep(0)

    await called_back(partial(wake_in_callback, wakeups, waiting.waiter))
    await waiting.task
    task = weakref.ref(waiting.task)
    waiter = waiting.waiter
    gc.collect()
    gc.disable()
    try:
        del waiting.task
        assert task() is None
    finally:
        gc.enable()
    assert waiter.done()


@each_kind
@pytest.mark.parametrize("backend", OF_ASYNCIO)
def test_what_a_task_does_not_keep_for_itself_ends_the_event_loop(kind: Any, backend: Any) -> None:
    """As it does from any task, and not the transport whose callback it was."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    async def main() -> None:
        wakeups = kind(asyncio.get_running_loop())
        waiting = Waiting(wakeups)
        waiting.then = interrupt
        tasks.append(waiting.task)
        await asyncio.sleep(0)

        def callback() -> None:
            wake_in_callback(wakeups, waiting.waiter)
            returned.append(True)

        asyncio.get_running_loop().call_soon(callback)
        await anyio.sleep_forever()

    returned: list[bool] = []
    tasks: list[asyncio.Task[None]] = []
    name, options = backend if isinstance(backend, tuple) else (backend, {})
    with pytest.raises(KeyboardInterrupt):
        anyio.run(main, backend=name, backend_options=options)
    assert returned == [True]
    assert isinstance(
        tasks[0].exception(), KeyboardInterrupt
    )  # asked for, or it is logged when it is collected


@each_kind
def test_nobody_is_woken_in_an_event_loop_that_was_closed(kind: Any) -> None:
    loop = asyncio.new_event_loop()

    async def wait() -> None:
        await waiter

    wakeups = kind(loop)
    waiter = wakeups.waiter()
    task = loop.create_task(wait())
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    wakeups.wake(waiter)
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    assert not task.done()
