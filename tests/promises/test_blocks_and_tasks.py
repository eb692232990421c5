"""A block may be left in another task than it was entered: fixtures, cells, generators, exit stacks."""

from __future__ import annotations

import asyncio
import unittest
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import anyio
import pytest
import sniffio

from promises.test_loops_that_ended import FACTORIES
from waiting import until
from websocketstream import CloseInfo, open_websocket_stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from promises.conftest import Serve
    from websocketstream import WebSocketStream
    from wpt.server import Connection

CLEAN = CloseInfo(1005)


def echo(connection: Connection) -> None:
    connection.accept()
    connection.send_message("hello")
    connection.answer_close(connection.read_close())


@pytest.fixture
def url(serve: Serve) -> str:
    return serve(echo).url("/")


async def in_a_task_of_its_own(function: Callable[..., Awaitable[Any]], *args: object) -> Any:
    results = []

    async def run() -> None:
        results.append(await function(*args))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
    return results[0]


@pytest.mark.anyio
async def test_a_block_may_be_entered_used_and_left_by_three_tasks(url: str) -> None:
    stack = AsyncExitStack()
    conn = await in_a_task_of_its_own(stack.enter_async_context, open_websocket_stream(url))
    assert await in_a_task_of_its_own(conn.receive) == "hello"
    await in_a_task_of_its_own(stack.aclose)
    assert conn.close_info == CLEAN


@pytest.mark.anyio
async def test_a_cancelled_scope_around_the_entering_task_does_not_reach_the_connection(url: str) -> None:
    block = open_websocket_stream(url)
    with anyio.CancelScope() as scope:
        conn = await block.__aenter__()
        scope.cancel()
    assert await conn.receive() == "hello"
    await in_a_task_of_its_own(block.__aexit__, None, None, None)
    assert conn.close_info == CLEAN


@pytest.mark.anyio
async def test_blocks_may_be_left_out_of_order(url: str) -> None:
    first, second = open_websocket_stream(url), open_websocket_stream(url)
    with anyio.CancelScope():
        one = await first.__aenter__()
    other = await second.__aenter__()
    with anyio.CancelScope():
        await first.__aexit__(None, None, None)
        assert await other.receive() == "hello"
    await second.__aexit__(None, None, None)
    assert one.close_info == other.close_info == CLEAN


@pytest.mark.anyio
async def test_a_block_in_an_abandoned_generator_is_left_by_the_event_loops_hook(url: str) -> None:
    opened: list[WebSocketStream] = []

    async def messages() -> AsyncIterator[Any]:
        async with open_websocket_stream(url) as conn:
            opened.append(conn)
            async for message in conn:
                yield message

    async def take_one() -> Any:
        return await anext(held[0])

    held = [messages()]
    assert await in_a_task_of_its_own(take_one) == "hello"
    if sniffio.current_async_library() == "trio":
        with pytest.warns(ResourceWarning, match="garbage collected before it had been exhausted"):
            held.clear()
    else:
        held.clear()
    with anyio.fail_after(5):
        assert await opened[0].closed == CloseInfo(1001)
    # Then the peer ends TCP, and the generator's task is through.
    await until(lambda: opened[0]._connection._released.is_set)
    await anyio.wait_all_tasks_blocked()


@pytest.mark.parametrize("factory", FACTORIES)
def test_the_cells_of_a_notebook_share_a_connection(
    factory: Callable[[], asyncio.AbstractEventLoop], url: str
) -> None:
    loop = factory()
    block = open_websocket_stream(url)
    conn = loop.run_until_complete(block.__aenter__())
    assert loop.run_until_complete(conn.receive()) == "hello"
    loop.run_until_complete(block.__aexit__(None, None, None))
    assert conn.close_info == CLEAN
    assert not asyncio.all_tasks(loop)
    loop.close()


def test_unittests_enter_async_context_works(url: str) -> None:
    class Test(unittest.IsolatedAsyncioTestCase):
        async def asyncSetUp(self) -> None:
            self.conn = await self.enterAsyncContext(open_websocket_stream(url))

        async def test(self) -> None:
            assert await self.conn.receive() == "hello"

    case = Test("test")
    result = case.run()
    assert result is not None
    assert result.wasSuccessful(), result
    assert case.conn.close_info == CLEAN
