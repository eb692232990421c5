"""Our server against the clients of others."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from peers.messages import LARGEST, MESSAGES
from websocketstream import CloseInfo, WebSocketRequest, serve_websocket_streams

if TYPE_CHECKING:
    import ssl

    from peers.loop_thread import LoopThread

pytestmark = pytest.mark.anyio


async def test_every_message_of_their_client_comes_back(
    peer: Any,
    peer_loop: LoopThread,
    contexts: tuple[ssl.SSLContext | None, ssl.SSLContext | None],
    compression: bool,
) -> None:
    server_context, client_context = contexts
    seen: list[object] = []

    async def echo(request: WebSocketRequest) -> None:
        async with request.accept() as conn:
            seen.extend([conn.protocol, "permessage-deflate" in conn.extensions])
            async for message in conn:
                await conn.send(message)
            seen.append(await conn.closed)

    async with anyio.create_task_group() as group:
        serve = partial(
            serve_websocket_streams,
            origins=None,
            protocols=["echo"],
            ssl_context=server_context,
            compression=compression,
            max_message_size=LARGEST,
        )
        listener = await group.start(serve, echo, "127.0.0.1", 0)
        scheme = "wss" if server_context else "ws"
        url = f"{scheme}://localhost:{listener.port}/"
        answers = await peer_loop.run(peer.exchange(url, MESSAGES, client_context, compression=compression))
        await listener.aclose()
        group.cancel_scope.cancel()
    assert answers == MESSAGES
    assert seen == ["echo", compression, CloseInfo(4000, "done")]
