"""gorilla's Go package in both roles."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from edges.serving import serving
from interop.exchanges import are_closed, echoes, is_closed_with_our_code
from interop.programs import DONE, GO, HERE, Contract, program, report_of, running
from waiting import until
from websocketstream import open_websocket_stream

# Of this peer, no more than one of our loops needs to know.
pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]

GOPATH = Path("/usr/share/gocode")  # where Debian has it
LARGE = {"max_message_size": 4 * 2**20}


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    go = program("go")
    if not (GOPATH / "src/github.com/gorilla/websocket").is_dir():
        pytest.skip("golang-github-gorilla-websocket-dev is not installed (tests/interop/install)")
    directory = tmp_path_factory.mktemp("gorilla")
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(directory),
        "GOPATH": str(GOPATH),
        "GO111MODULE": "off",
        "GOFLAGS": "-buildvcs=false",
    }
    arguments = [go, "build", "-o", directory / "peer", HERE / "gorilla" / "main.go"]
    subprocess.run(arguments, check=True, env=environment, cwd=directory, timeout=50)
    return directory / "peer"


@pytest.fixture(scope="module")
def url(peer: Path) -> Iterator[str]:
    with running([peer, "server"], peer.parent) as server:
        port = server.says(r"port (\d+)")
        yield f"ws://127.0.0.1:{port}"


@pytest.mark.parametrize("compression", [False, True], ids=["plain", "compressed"])
@pytest.mark.parametrize("path", ["/echo", "/fragmented"])
async def test_every_message_comes_back_from_gorilla(url: str, path: str, compression: bool) -> None:
    async with open_websocket_stream(url + path, compression=compression) as conn:
        assert ("permessage-deflate" in conn.extensions) is compression
        await echoes(conn)
        assert await conn.ping() < 10
        await is_closed_with_our_code(conn, reason="")


async def test_a_large_message_in_its_frames_of_4_kib_is_limited_by_its_size_only(url: str) -> None:
    message = bytes(40 * 2**20)
    async with open_websocket_stream(f"{url}/fragmented", max_message_size=len(message)) as conn:
        await conn.send(message)
        assert await conn.receive() == message


async def test_gorilla_closes_us_and_we_learn_why(url: str) -> None:
    await are_closed(f"{url}/close")


@pytest.mark.parametrize("compression", [False, True], ids=["plain", "compressed"])
async def test_every_message_of_a_client_on_gorilla_comes_back(
    peer: Path, compression: bool, contract: Contract, tmp_path: Path
) -> None:
    async with serving(contract, protocols=["echo"], compression=True, **LARGE) as listener:
        arguments = [peer, f"{listener.url}/echo", *(["compress"] if compression else [])]
        with running(arguments, tmp_path) as client:
            assert await report_of(client) == {"protocol": "echo", "wrong": 0, "close": DONE}
        await until(lambda: contract.ends)
    assert contract.ends == [DONE]


async def test_a_client_on_gorilla_learns_our_close_code(
    peer: Path, contract: Contract, tmp_path: Path
) -> None:
    async with serving(contract, protocols=["echo"]) as listener:
        with running([peer, f"{listener.url}/close"], tmp_path) as client:
            assert (await report_of(client))["close"] == GO
