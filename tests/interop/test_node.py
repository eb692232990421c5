"""Node's `ws` in both roles, and undici's classic WebSocket and WebSocketStream."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from edges.serving import serving
from interop.exchanges import are_closed, echoes, is_closed_with_our_code
from interop.programs import DONE, GO, HERE, Contract, Running, node_module, program, report_of, running
from waiting import at_rest, until
from websocketstream import ConnectionBroken, open_websocket_stream

pytestmark = pytest.mark.anyio

LARGE = {"max_message_size": 4 * 2**20}
# More than the buffers of two systems and of both libraries hold together.
MUCH = 50 * 2**20


@pytest.fixture(autouse=True)
def _is_installed() -> None:
    program("node")  # before any task group is open, which would wrap the skip


@pytest.fixture(scope="module")
def ws_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    environment = node_module("ws")
    arguments = [program("node"), HERE / "node" / "ws_server.cjs"]
    with running(arguments, tmp_path_factory.mktemp("ws"), environment) as server:
        server.says("port")
        yield server


@pytest.fixture(scope="module")
def url(ws_server: Running) -> str:
    port = ws_server.says(r"port (\d+)")
    return f"ws://127.0.0.1:{port}"


@pytest.mark.parametrize("compression", [False, True], ids=["plain", "compressed"])
@pytest.mark.parametrize("path", ["/echo", "/fragmented"])
async def test_every_message_comes_back_from_ws(url: str, path: str, compression: bool) -> None:
    async with open_websocket_stream(url + path, compression=compression) as conn:
        assert ("permessage-deflate" in conn.extensions) is compression
        await echoes(conn)
        assert await conn.ping() < 10
        await is_closed_with_our_code(conn)


async def test_ws_closes_us_and_we_learn_why(url: str) -> None:
    await are_closed(f"{url}/close")


async def test_a_connection_that_ws_drops_is_broken(url: str) -> None:
    async with open_websocket_stream(f"{url}/vanish") as conn:
        with pytest.raises(ConnectionBroken):
            await conn.receive()


@pytest.mark.parametrize("compression", [False, True], ids=["plain", "compressed"])
async def test_ws_takes_a_message_that_we_send_in_chunks(url: str, compression: bool) -> None:
    async with open_websocket_stream(f"{url}/echo", compression=compression) as conn:
        await conn.writable.send_chunks(["\xe4" * 1000, "", "b", "c" * 100_000], text=True)
        assert await conn.receive() == "\xe4" * 1000 + "b" + "c" * 100_000


async def test_ws_that_does_not_read_holds_our_send_back(ws_server: Running, url: str) -> None:
    async def send_much() -> None:
        for _ in range(MUCH // 2**20):
            await conn.send(bytes(2**20))

    async with open_websocket_stream(f"{url}/paused") as conn, anyio.create_task_group() as tasks:
        tasks.start_soon(send_much)
        await at_rest(lambda: conn.statistics().writable.messages)
        assert conn.statistics().writable.messages < MUCH // 2**20
        ws_server.process.send_signal(signal.SIGUSR2)
        for _ in range(MUCH // 2**20):
            assert await conn.receive() == str(2**20)


async def test_ws_is_held_back_while_we_do_not_read_and_all_of_it_arrives(url: str) -> None:
    async with open_websocket_stream(f"{url}/flood", read_buffer=2**16) as conn:
        await until(lambda: conn.statistics().readable.paused_seconds)
        assert sum([len(message) async for message in conn]) == 800 * 65536


@pytest.mark.parametrize("compression", [False, True], ids=["plain", "compressed"])
@pytest.mark.parametrize("path", ["/echo", "/chunks"])
async def test_every_message_of_a_client_on_ws_comes_back(
    path: str, compression: bool, contract: Contract, tmp_path: Path
) -> None:
    environment = node_module("ws")
    async with serving(contract, protocols=["echo"], compression=compression, **LARGE) as listener:
        arguments = [program("node"), HERE / "node" / "ws_client.cjs", listener.url + path, "compress"]
        with running(arguments, tmp_path, environment) as client:
            result = await report_of(client)
        await until(lambda: contract.ends)
    assert result.pop("extensions").startswith("permessage-deflate") is compression
    assert result == {"protocol": "echo", "wrong": 0, "pong": "are you there?", "close": DONE}
    assert contract.ends == [DONE]


async def test_a_client_on_ws_learns_our_close_code(contract: Contract, tmp_path: Path) -> None:
    environment = node_module("ws")
    async with serving(contract, protocols=["echo"]) as listener:
        arguments = [program("node"), HERE / "node" / "ws_client.cjs", f"{listener.url}/close"]
        with running(arguments, tmp_path, environment) as client:
            assert (await report_of(client))["close"] == GO
        await until(lambda: contract.ends)
    assert contract.ends == [GO]


# Whatever loop we run on, undici is the same to it as `ws`: once is enough.
on_one_loop = pytest.mark.parametrize("anyio_backend", ["asyncio"])


def undici(kind: str, url: str) -> list[Any]:
    return [program("node"), HERE / "node" / "undici_client.cjs", kind, url]


@on_one_loop
@pytest.mark.parametrize("compression", [False, True], ids=["plain", "compressed"])
@pytest.mark.parametrize("kind", ["WebSocket", "WebSocketStream"])
async def test_every_message_of_a_client_on_undici_comes_back(
    kind: str, compression: bool, contract: Contract, tmp_path: Path
) -> None:
    environment = node_module("undici")
    async with serving(contract, protocols=["echo"], compression=compression, **LARGE) as listener:
        with running(undici(kind, f"{listener.url}/echo"), tmp_path, environment) as client:
            result = await report_of(client)
        await until(lambda: contract.ends)
    assert result.pop("wrong") == 0
    assert (result["protocol"], result["close"]) == ("echo", DONE)
    assert contract.ends == [DONE]


@on_one_loop
@pytest.mark.parametrize("kind", ["WebSocket", "WebSocketStream"])
async def test_a_client_on_undici_learns_our_close_code(
    kind: str, contract: Contract, tmp_path: Path
) -> None:
    environment = node_module("undici")
    async with serving(contract, protocols=["echo"]) as listener:
        with running(undici(kind, f"{listener.url}/close"), tmp_path, environment) as client:
            assert (await report_of(client))["close"] == GO


@on_one_loop
async def test_undicis_websocketstream_is_held_back_while_we_do_not_read(
    contract: Contract, tmp_path: Path
) -> None:
    """The other direction it does not hold back: its readable (7.30) takes what comes, whoever reads (no `pull`)."""
    environment = node_module("undici")
    async with serving(contract, protocols=["echo"], read_buffer=2**16) as listener:
        with running(undici("WebSocketStream", f"{listener.url}/slow"), tmp_path, environment) as client:
            await until(lambda: "written" in client.output)
            await at_rest(lambda: client.output)
            assert client.output.count("written") < 400
            contract.resume.set()
            assert (await report_of(client))["close"] == DONE
    assert contract.received == 400 * 65536
