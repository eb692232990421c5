"""libwebsockets' test programs, in both roles.

Without compression, which its test server does not have. Its test client (4.1.6) offers it, and stalls when uncompressed messages
come over a connection that has agreed on it, which RFC 7692 section 6 allows; a server on `ws` that sends with ``compress: false`` sees
the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edges.serving import serving
from interop.exchanges import echoes, is_closed_with_our_code
from interop.programs import program, running
from ports import free_port
from waiting import until
from websocketstream import ConnectionBroken, WebSocketRequest, open_websocket_stream

# Of this peer, no more than one of our loops needs to know.
pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]

MANY = 1000


@pytest.fixture
def client() -> str:
    return program("libwebsockets-test-client")


async def test_its_mirror_client_goes_on_and_on(client: str, tmp_path: Path) -> None:
    mirrored = 0

    async def mirror(request: WebSocketRequest) -> None:
        nonlocal mirrored
        async with request.accept() as conn:
            assert conn.protocol in {"lws-mirror-protocol", "dumb-increment-protocol"}
            with pytest.raises(ConnectionBroken):  # the client is killed
                async for message in conn:
                    assert str(message).startswith("c #")
                    mirrored += 1
                    await conn.send(message)

    protocols = ["lws-mirror-protocol", "dumb-increment-protocol"]
    async with serving(mirror, protocols=protocols) as listener:
        with running([client, "127.0.0.1", f"--port={listener.port}"], tmp_path):
            await until(lambda: mirrored > MANY)
        await until(lambda: listener.statistics().connections == 0)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    path, port = program("libwebsockets-test-server"), free_port()
    with running([path, f"--port={port}"], tmp_path_factory.mktemp("lws")) as server:
        server.listens(("127.0.0.1", port))
        yield f"ws://127.0.0.1:{port}"


async def test_its_mirror_server_gives_everything_back(url: str) -> None:
    async with open_websocket_stream(url, protocols=["lws-mirror-protocol"], compression=True) as conn:
        assert (conn.protocol, conn.extensions) == ("lws-mirror-protocol", "")
        await echoes(conn, [f"c #35AB8E {number} 27 26;" for number in range(MANY)])
        await echoes(conn, ["x" * 3000])
        assert await conn.ping() < 10
        await is_closed_with_our_code(conn)


async def test_what_its_server_sends_by_itself_comes_in_order(url: str) -> None:
    async with open_websocket_stream(url, protocols=["dumb-increment-protocol"]) as conn:
        assert [await conn.receive() for _ in range(5)] == list("01234")
