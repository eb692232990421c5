"""What the body raised comes out also when the exit is cancelled, and the cancellation is not lost either."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import anyio
import pytest

from streams.raw_peer import some_passes
from websocketstream.testing import over_stream

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from websocketstream import WebSocketStream

pytestmark = pytest.mark.anyio

on_asyncio = pytest.mark.parametrize(
    "anyio_backend", ["asyncio", ("asyncio", {"use_uvloop": True})], ids=["asyncio", "uvloop"]
)
ERRORS = [
    ValueError("mine"),
    ExceptionGroup("mine", [ValueError("one")]),
    KeyboardInterrupt(),
    SystemExit(3),
    GeneratorExit(),
]


class Slow(anyio.abc.ByteStream):
    """A peer that says nothing; our goodbye is when something happens, and some passes later the peer ends."""

    def __init__(self, at_goodbye: Callable[[], object]) -> None:
        self.at_goodbye = at_goodbye
        self.goodbye = anyio.Event()

    async def receive(self, max_bytes: int = 65536) -> bytes:
        await self.goodbye.wait()
        await some_passes()
        self.at_goodbye()
        await some_passes()
        raise anyio.EndOfStream

    async def send(self, item: bytes) -> None:
        self.goodbye.set()
        await anyio.lowlevel.checkpoint()

    async def send_eof(self) -> None:
        await anyio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        await anyio.lowlevel.checkpoint()


def block(
    at_goodbye: Callable[[], object] = lambda: None,
) -> AbstractAsyncContextManager[WebSocketStream]:
    return over_stream(Slow(at_goodbye), server=False)


def expire(scope: anyio.CancelScope | asyncio.Timeout) -> None:
    if isinstance(scope, anyio.CancelScope):
        scope.deadline = anyio.current_time() - 1
    else:
        scope.reschedule(asyncio.get_running_loop().time() - 1)


def cancelling() -> int:
    task = asyncio.current_task()
    assert task is not None
    return task.cancelling()


async def check_same(error: BaseException, leave: Callable[[BaseException], object]) -> None:
    cause = error.__cause__ = OSError("cause")
    context = error.__context__ = LookupError("context")
    caught: BaseException | None = None
    try:
        await leave(error)  # type: ignore[misc]
    except BaseException as exc:
        caught = exc
    if isinstance(error, BaseExceptionGroup) and caught is not error:
        # A cancelled scope of trio's takes every group apart that passes by.
        assert isinstance(caught, BaseExceptionGroup)
        assert caught.exceptions == error.exceptions
    else:
        assert caught is error
    assert error.__cause__ is cause
    assert error.__context__ is context
    await anyio.sleep(0)  # nothing of the cancellation is left


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
async def test_an_error_comes_out_of_a_scope_that_was_cancelled_before(error: BaseException) -> None:
    async def leave(error: BaseException) -> None:
        with anyio.CancelScope() as scope:
            async with block():
                scope.cancel()
                raise error

    await check_same(error, leave)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
async def test_an_error_comes_out_of_a_scope_that_expires_during_the_goodbye(error: BaseException) -> None:
    async def leave(error: BaseException) -> None:
        with anyio.CancelScope() as scope:
            async with block(lambda: expire(scope)):
                raise error

    await check_same(error, leave)


@on_asyncio
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
async def test_an_error_comes_out_of_a_timeout_of_asyncios(
    error: BaseException, anyio_backend: object
) -> None:
    async def leave(error: BaseException) -> None:
        async with asyncio.timeout(None) as timeout:
            async with block(lambda: expire(timeout)):
                raise error

    before = cancelling()
    await check_same(error, leave)
    assert cancelling() == before


@on_asyncio
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
async def test_an_error_comes_out_of_a_task_that_is_cancelled_during_the_goodbye(
    error: BaseException, anyio_backend: object
) -> None:
    async def leave(error: BaseException) -> None:
        task = asyncio.current_task()
        assert task is not None
        async with block(task.cancel):
            raise error

    async def in_a_task() -> int:
        await check_same(error, leave)
        return cancelling()

    assert await asyncio.create_task(in_a_task()) == 1  # as with any other error on the way


async def test_a_cancelled_goodbye_is_a_cancellation() -> None:
    with anyio.CancelScope() as scope:
        async with block(lambda: expire(scope)):
            pass
    assert scope.cancelled_caught
    with anyio.CancelScope() as scope:
        async with block():
            expire(scope)
            await anyio.sleep_forever()
    assert scope.cancelled_caught


@on_asyncio
@pytest.mark.parametrize("during", ["the goodbye", "the body"])
async def test_a_timeout_of_asyncios_is_one_also_around_a_block(during: str, anyio_backend: object) -> None:
    before = cancelling()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(None) as timeout:
            async with block(lambda: expire(timeout)):
                if during == "the body":
                    expire(timeout)
                    await anyio.sleep_forever()
    assert cancelling() == before


@on_asyncio
async def test_a_task_group_of_asyncios_works_around_a_block(anyio_backend: object) -> None:
    error = ValueError("mine")

    async def child() -> None:
        async with block():
            raise error

    before = cancelling()
    with pytest.raises(ExceptionGroup) as caught:
        async with asyncio.TaskGroup() as tasks, block():
            tasks.create_task(child())
            await anyio.sleep_forever()
    assert caught.value.exceptions == (error,)
    assert cancelling() == before
