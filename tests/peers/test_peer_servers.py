"""Our client against the servers of others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from peers.messages import LARGEST, MESSAGES
from websocketstream import CloseInfo, open_websocket_stream

if TYPE_CHECKING:
    import ssl

    from peers.loop_thread import LoopThread

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("path", ["/whole", "/fragmented"])
async def test_every_message_comes_back_from_their_server(
    path: str,
    peer: Any,
    peer_loop: LoopThread,
    contexts: tuple[ssl.SSLContext | None, ssl.SSLContext | None],
    compression: bool,
) -> None:
    if "fragmented" in path and "aiohttp" in peer.__name__:
        pytest.skip("aiohttp has no way to send fragments")
    server_context, client_context = contexts
    with peer_loop.hold(peer.echo_server(server_context, compression=compression)) as port:
        scheme = "wss" if server_context else "ws"
        async with open_websocket_stream(
            f"{scheme}://localhost:{port}{path}",
            ssl_context=client_context,
            compression=compression,
            protocols=["echo"],
            max_message_size=LARGEST,
        ) as conn:
            assert conn.protocol == "echo"
            assert ("permessage-deflate" in conn.extensions) is compression
            for message in MESSAGES:
                await conn.send(message)
                assert await conn.receive() == message
            await conn.aclose(4000, "done")
            assert await conn.closed == CloseInfo(4000, "done")
