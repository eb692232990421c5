"""What a server keeps of a client that has gone: nothing, also while the garbage collector does not run."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import anyio
import pytest

from edges.serving import serving
from websocketstream import WebSocketRequest, open_websocket_stream

pytestmark = pytest.mark.anyio


@pytest.fixture
def no_garbage_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_garbage_collection")
async def test_the_connection_of_a_client_that_has_gone_is_freed_at_once() -> None:
    connections: list[weakref.ref[object]] = []

    async def handler(request: WebSocketRequest) -> None:
        async with request.accept() as conn:
            connections.append(weakref.ref(conn._connection))
            async for message in conn:
                await conn.send(message)

    async with serving(handler) as listener:
        async with open_websocket_stream(listener.url) as conn:
            await conn.send("hello")
            assert await conn.receive() == "hello"
        await anyio.wait_all_tasks_blocked()
        assert [connection() for connection in connections] == [None]
