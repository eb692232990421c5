"""A peer whose application does not read for several times the keepalive's patience, over a real socket.

Where TCP can be asked it vouches for the peer's host; where it cannot, bytes of ours that wait are excuse enough. The
pause is real time, for TCP has no other.
"""

from __future__ import annotations

from functools import partial

import anyio
import pytest

from websocketstream import WebSocketRequest, open_websocket_stream, serve_websocket_streams

pytestmark = pytest.mark.anyio

PAUSE = 1.0
PATIENCE = PAUSE / 10
MESSAGES = [bytes(2**20)] * 16  # more than the system buffers


async def test_a_peer_that_does_not_read_for_long_is_not_given_up() -> None:
    received: list[object] = []

    async def read_late(request: WebSocketRequest) -> None:
        async with request.accept() as conn:
            await anyio.sleep(PAUSE)
            received.extend([message async for message in conn])

    serve = partial(
        *(serve_websocket_streams, read_late, "127.0.0.1", 0),
        origins=[None],
        ping_interval=None,
        read_buffer=1,
    )
    async with anyio.create_task_group() as tasks:
        listener = await tasks.start(serve)
        async with open_websocket_stream(listener.url, ping_interval=PATIENCE, ping_timeout=PATIENCE) as conn:
            for message in MESSAGES:
                await conn.send(message)
        assert conn.close_info is not None
        assert conn.close_info.clean
        await listener.aclose()
    assert received == MESSAGES
