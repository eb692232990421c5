"""What a hub sends, read by somebody else's client: plain and compressed, with and without its context."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from websockets.asyncio.client import connect
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from edges.serving import serving
from websocketstream import Broadcast, Compression, WebSocketRequest
from websocketstream._protocol.engine import choose_engine

if TYPE_CHECKING:
    from peers.loop_thread import LoopThread

pytestmark = pytest.mark.anyio

RECORD = json.dumps([{"id": number % 7, "name": "sensor", "on": True} for number in range(60)])
MESSAGES: list[str | bytes] = [
    RECORD,
    RECORD,
    "t\xe4xt",
    b"",
    os.urandom(2000),
    RECORD * 400,
    os.urandom(2**20),
    RECORD,
    "",
    RECORD.encode(),
    RECORD[1:],
]


@pytest.fixture(params=["compiled", "wsproto"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let all codecs be of one engine."""
    if request.param == "compiled":
        pytest.importorskip("websocketstream._protocol._compiled")
    monkeypatch.setattr("websocketstream._protocol.engine._new_codec", choose_engine(request.param)[1])


@pytest.mark.parametrize(
    "extension",
    [
        None,
        ClientPerMessageDeflateFactory(),
        ClientPerMessageDeflateFactory(server_max_window_bits=9),
        ClientPerMessageDeflateFactory(server_no_context_takeover=True),
    ],
    ids=["plain", "takeover", "small window", "no takeover"],
)
@pytest.mark.usefixtures("engine")
async def test_their_client_reads_what_a_hub_and_the_connection_itself_send_in_turns(
    peer_loop: LoopThread, extension: Any
) -> None:
    hub = Broadcast()
    compression = Compression(threshold=16, server_max_window_bits=15)

    async def handle(request: WebSocketRequest) -> None:
        async with request.accept() as conn:
            with hub.subscribe(conn):
                for message in MESSAGES:
                    await conn.send(message)
                    hub.send(message)
                    assert await conn.receive() == "next"
                hub.send("last")  # and one burst
                for message in MESSAGES:
                    hub.send(message)
                await conn.receive()

    async def read(url: str) -> tuple[list[Any], list[Any]]:
        extensions = [] if extension is None else [extension]
        async with connect(
            url, extensions=extensions, compression=None, max_size=None, proxy=None
        ) as websocket:
            assert bool(websocket.protocol.extensions) == (extension is not None)
            in_turns = []
            for _ in MESSAGES:
                in_turns += [await websocket.recv(), await websocket.recv()]
                await websocket.send("next")
            return in_turns, [await websocket.recv() for _ in range(len(MESSAGES) + 1)]

    async with serving(handle, compression=compression) as listener:
        in_turns, burst = await peer_loop.run(read(listener.url))
    assert in_turns[::2] == in_turns[1::2] == MESSAGES
    assert burst == ["last", *MESSAGES]
