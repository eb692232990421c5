"""`websocket-client`, and tornado in both roles, each in a process of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edges.serving import serving
from interop.exchanges import are_closed, echoes, is_closed_with_our_code
from interop.programs import DONE, GO, HERE, Contract, report_of, running
from waiting import until
from websocketstream import open_websocket_stream

# Of these peers, no more than one of our loops needs to know.
pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]

LARGE = {"max_message_size": 4 * 2**20}
ENVIRONMENT = {"PYTHONPATH": os.pathsep.join([str(HERE.parent), str(HERE.parent.parent / "src")])}


def python(name: str, *arguments: str) -> list[str | Path]:
    return [sys.executable, HERE / f"{name}_program.py", *arguments]


async def test_every_message_of_websocket_client_comes_back(contract: Contract, tmp_path: Path) -> None:
    pytest.importorskip("websocket")
    async with serving(contract, protocols=["echo"], **LARGE) as listener:
        arguments = python("websocket_client", f"{listener.url}/echo")
        with running(arguments, tmp_path, ENVIRONMENT) as client:
            result = await report_of(client)
        await until(lambda: contract.ends)
    assert result == {"protocol": "echo", "wrong": 0, "pong": [True, "there?"], "close": DONE}
    assert contract.ends == [DONE]


async def test_websocket_client_learns_our_close_code(contract: Contract, tmp_path: Path) -> None:
    pytest.importorskip("websocket")
    async with serving(contract, protocols=["echo"]) as listener:
        arguments = python("websocket_client", f"{listener.url}/close")
        with running(arguments, tmp_path, ENVIRONMENT) as client:
            assert (await report_of(client))["close"] == GO


@pytest.mark.parametrize("compression", [False, True], ids=["plain", "compressed"])
async def test_every_message_of_a_client_on_tornado_comes_back(
    compression: bool, contract: Contract, tmp_path: Path
) -> None:
    pytest.importorskip("tornado")
    async with serving(contract, protocols=["echo"], compression=True, **LARGE) as listener:
        arguments = python("tornado", f"{listener.url}/echo", "compress" if compression else "plain")
        with running(arguments, tmp_path, ENVIRONMENT) as client:
            assert await report_of(client) == {"protocol": "echo", "wrong": 0, "close": DONE}
        await until(lambda: contract.ends)
    assert contract.ends == [DONE]


async def test_a_client_on_tornado_learns_our_close_code(contract: Contract, tmp_path: Path) -> None:
    pytest.importorskip("tornado")
    async with serving(contract, protocols=["echo"]) as listener:
        with running(python("tornado", f"{listener.url}/close"), tmp_path, ENVIRONMENT) as client:
            assert (await report_of(client))["close"] == GO


@pytest.fixture(scope="module")
def tornado_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    pytest.importorskip("tornado")
    directory = tmp_path_factory.mktemp("tornado")
    with running(python("tornado", "server"), directory, ENVIRONMENT) as server:
        port = server.says(r"port (\d+)")
        yield f"ws://127.0.0.1:{port}"


@pytest.mark.parametrize("compression", [False, True], ids=["plain", "compressed"])
async def test_every_message_comes_back_from_tornado(tornado_url: str, compression: bool) -> None:
    async with open_websocket_stream(f"{tornado_url}/echo", compression=compression) as conn:
        assert ("permessage-deflate" in conn.extensions) is compression
        await echoes(conn)
        assert await conn.ping() < 10
        await is_closed_with_our_code(conn, reason="")


async def test_tornado_closes_us_and_we_learn_why(tornado_url: str) -> None:
    await are_closed(f"{tornado_url}/close")
