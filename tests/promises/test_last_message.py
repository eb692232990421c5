"""A close that follows upon a message cuts nothing off: what the peer has received completely was sent completely."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import anyio
import pytest

from waiting import settled
from websocketstream import CloseInfo, WebSocketRequest, open_websocket_stream, serve_websocket_streams
from wire import connect

if TYPE_CHECKING:
    import ssl

    from promises.conftest import Serve
    from wpt.server import Connection

pytestmark = pytest.mark.anyio
LARGE = bytes(200_000)  # more than the write buffer, so that send() waits for the network
TIMES = 20


@pytest.mark.parametrize("tls", [False, True], ids=["ws", "wss"])
async def test_a_client_whose_message_is_answered_by_a_close_has_sent_it(
    tls: bool, serve: Serve, server_ssl: ssl.SSLContext, client_ssl: ssl.SSLContext
) -> None:
    def read_and_close(connection: Connection) -> None:
        connection.accept()
        assert connection.read_message() == LARGE
        connection.start_close(4000, "thanks")

    url = serve(read_and_close, server_ssl if tls else None).url("/")
    outcomes = []
    for _ in range(TIMES):
        async with open_websocket_stream(url, ssl_context=client_ssl if tls else None) as conn:
            outcomes.append((await settled(conn.send(LARGE)), await settled(conn.closed)))
    assert outcomes == [(None, CloseInfo(4000, "thanks"))] * TIMES


async def test_a_server_whose_message_is_answered_by_a_close_has_sent_it() -> None:
    outcomes: list[object] = []

    async def handler(request: WebSocketRequest) -> None:
        async with request.accept() as conn:
            outcomes.append((await settled(conn.send(LARGE)), await settled(conn.closed)))

    def read_and_close(port: int) -> None:
        wire = connect(port)
        with wire.sock:
            assert wire.read_message() == LARGE
            wire.send_close(4000, "thanks")
            assert wire.read_close().code == 4000
            wire.read_to_eof()

    async with anyio.create_task_group() as group:
        serve = partial(serve_websocket_streams, origins=None)
        listener = await group.start(serve, handler, "127.0.0.1", 0)
        for _ in range(TIMES):
            await anyio.to_thread.run_sync(read_and_close, listener.port)
        await listener.aclose()
    assert outcomes == [(None, CloseInfo(4000, "thanks"))] * TIMES
