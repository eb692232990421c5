"""Blocks as fixtures and exit stacks use them: entered here, left there, in any order."""

from __future__ import annotations

import asyncio
import unittest
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from edges.serving import serving
from websocketstream import WebSocketStream, open_websocket_stream
from websocketstream.testing import websocket_stream_pair

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator


@asynccontextmanager
async def an_echo(kind: str, server_ssl: ssl.SSLContext) -> AsyncIterator[Any]:
    """Give what makes blocks of connections to an echo server."""
    async with serving(ssl_context=server_ssl if kind == "wss" else None) as listener:
        yield listener.url.replace("127.0.0.1", "localhost")


async def in_a_task_of_its_own(function: Any, *arguments: Any) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(function, *arguments)


async def enter(stack: AsyncExitStack, block: Any, entered: list[Any]) -> None:
    entered.append(await stack.enter_async_context(block))


async def say_hello(conn: WebSocketStream) -> None:
    await conn.send("hello")
    assert await conn.receive() == "hello"


kinds = pytest.mark.parametrize("kind", ["ws", "wss"])


@pytest.mark.anyio
@kinds
async def test_a_block_may_be_left_in_another_task_than_it_was_entered(
    kind: str, server_ssl: ssl.SSLContext, client_ssl: ssl.SSLContext
) -> None:
    async with an_echo(kind, server_ssl) as url:
        stack, entered = AsyncExitStack(), []
        block = open_websocket_stream(url, ssl_context=client_ssl if kind == "wss" else None)
        await in_a_task_of_its_own(enter, stack, block, entered)
        await say_hello(entered[0])
        await in_a_task_of_its_own(stack.aclose)
        assert entered[0].close_info is not None
        assert entered[0].close_info.clean


@pytest.mark.anyio
async def test_a_pair_in_memory_may_be_left_in_another_task_than_it_was_entered() -> None:
    stack, entered = AsyncExitStack(), []
    await in_a_task_of_its_own(enter, stack, websocket_stream_pair(), entered)
    client, server = entered[0]
    await client.send("hello")
    assert await server.receive() == "hello"
    await in_a_task_of_its_own(stack.aclose)
    assert client.close_info == server.close_info
    assert client.close_info.clean


@pytest.mark.anyio
@kinds
async def test_blocks_may_be_left_in_the_order_in_which_they_were_entered(
    kind: str, server_ssl: ssl.SSLContext, client_ssl: ssl.SSLContext
) -> None:
    async with an_echo(kind, server_ssl) as url:
        blocks = [
            open_websocket_stream(url, ssl_context=client_ssl if kind == "wss" else None) for _ in range(3)
        ]
        streams = [await block.__aenter__() for block in blocks]
        for block, conn in zip(blocks, streams, strict=True):
            await say_hello(conn)
            await block.__aexit__(None, None, None)
        assert all(conn.close_info is not None and conn.close_info.clean for conn in streams)


def test_a_test_case_of_unittest_may_enter_a_block_in_its_set_up() -> None:
    class Case(unittest.IsolatedAsyncioTestCase):
        async def asyncSetUp(self) -> None:
            self.client, self.server = await self.enterAsyncContext(websocket_stream_pair())

        async def test(self) -> None:
            await self.client.send("hello")
            assert await self.server.receive() == "hello"

    result = unittest.TestResult()
    Case("test").run(result)
    assert (result.testsRun, result.errors, result.failures) == (1, [], [])


def test_the_cells_of_a_notebook_are_tasks_of_one_loop() -> None:
    loop = asyncio.new_event_loop()
    try:
        stack = AsyncExitStack()
        client, server = loop.run_until_complete(stack.enter_async_context(websocket_stream_pair()))
        loop.run_until_complete(client.send("hello"))
        assert loop.run_until_complete(server.receive()) == "hello"
        loop.run_until_complete(stack.aclose())
        assert client.close_info.clean
    finally:
        loop.close()
