"""Connections that outlive their event loop: wrong use, which is an error, and nothing waits, leaks or writes."""

from __future__ import annotations

import asyncio
import gc
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from streams.raw_peer import some_passes
from websocketstream import ConnectionBroken, open_websocket_stream
from websocketstream.testing import memory_byte_stream_pair, over_stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from promises.conftest import Serve
    from websocketstream import WebSocketStream
    from wpt.server import Connection

FACTORIES: list[Callable[[], asyncio.AbstractEventLoop]] = [asyncio.new_event_loop]
if sys.platform != "win32" and sys.implementation.name == "cpython":
    import uvloop

    FACTORIES.append(uvloop.new_event_loop)


def silent(connection: Connection) -> None:
    connection.accept()
    connection.wait_for_test()


@pytest.fixture(params=["socket", "memory"])
def make_block(request: pytest.FixtureRequest, serve: Serve) -> Iterator[Callable[[], Any]]:
    """Give what makes a block; Python itself complains of what belongs to a loop that was closed under it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        if request.param == "socket":
            server = serve(silent)
            yield lambda: open_websocket_stream(server.url("/"))
        else:
            yield lambda: over_stream(memory_byte_stream_pair()[0], server=False)
        gc.collect()


@pytest.mark.parametrize("factory", FACTORIES)
@pytest.mark.parametrize("use", ["send", "send_nowait", "aclose", "leave"])
def test_using_a_connection_whose_loop_was_closed_is_an_error_at_once(
    use: str, factory: Callable[[], asyncio.AbstractEventLoop], make_block: Callable[[], Any]
) -> None:
    block = make_block()

    async def enter() -> WebSocketStream:
        return await block.__aenter__()

    loop = factory()
    conn = loop.run_until_complete(enter())
    loop.close()

    async def later() -> None:
        if use == "aclose":
            await conn.aclose()
        elif use == "leave":
            await block.__aexit__(None, None, None)
        else:
            with pytest.raises(ConnectionBroken, match="the event loop has ended"):
                if use == "send":
                    await conn.send("x")
                else:
                    conn.writable.send_nowait("x")
            with pytest.raises(ConnectionBroken):
                await conn.receive()
        assert conn.close_info is not None
        assert not conn.close_info.clean

    started = time.monotonic()
    asyncio.run(later())
    assert time.monotonic() - started < 0.5


@pytest.mark.parametrize("factory", FACTORIES)
def test_a_loop_that_goes_on_in_another_thread_receives_large_messages_as_before(
    factory: Callable[[], asyncio.AbstractEventLoop], serve: Serve
) -> None:
    payload = bytes(range(256)) * 2**12
    messages = 8

    def talkative(connection: Connection) -> None:
        connection.accept()
        for _ in range(messages):
            connection.send_message(payload)
        connection.wait_for_test()

    async def receive() -> list[bool]:
        return [await conn.receive() == payload for _ in range(messages)]

    loop = factory()
    block = open_websocket_stream(serve(talkative).url("/"), max_message_size=None)
    conn = loop.run_until_complete(block.__aenter__())
    with ThreadPoolExecutor() as threads:
        are_right = threads.submit(loop.run_until_complete, receive()).result(10)
    loop.run_until_complete(block.__aexit__(None, None, None))
    loop.close()
    assert all(are_right)


@pytest.mark.parametrize("factory", FACTORIES)
@pytest.mark.parametrize("closed", [True, False])
def test_a_coroutine_that_is_closed_without_its_loop_lets_go_of_its_connection(
    closed: bool, factory: Callable[[], asyncio.AbstractEventLoop], make_block: Callable[[], Any]
) -> None:
    opened: list[WebSocketStream] = []

    async def stay() -> None:
        async with make_block() as conn:
            opened.append(conn)
            await wait()

    async def wait() -> None:
        await asyncio.get_running_loop().create_future()

    async def task() -> Any:
        body = asyncio.ensure_future(stay())
        while not opened:
            await asyncio.sleep(0)
        return body

    loop = factory()
    body = loop.run_until_complete(task())
    if closed:
        loop.close()
    body.get_coro().close()  # as the garbage collector does
    assert opened[0].close_info is not None
    if not closed:
        loop.run_until_complete(some_passes())
        loop.close()
