"""Files up and down in constant memory, and TCP through a WebSocket."""

from __future__ import annotations

import filecmp
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream

from edges.serving import serving
from examples.example_kit import ended, example, part, stopped, url_of
from interop.programs import Running
from ports import free_port
from waiting import PATIENCE, until
from websocketstream import ConnectionBroken, HandshakeRejected, WebSocketRequest
from websocketstream.testing import serve_in_memory

needs_signals = pytest.mark.skipif(sys.platform == "win32", reason="sends signals")

MIB = 2**20
MOST = 24 * MIB  # that a program's memory may grow by while it moves a file


# --- files


def peak(program: Running) -> int:
    """Return the most memory that a program has had so far, 0 when it has ended."""
    status = Path(f"/proc/{program.process.pid}/status").read_text("ascii")
    return sum(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:"))


def peak_until_the_end(program: Running) -> int:
    most = 0
    while program.process.poll() is None:
        most = max(most, peak(program))
        with suppress(subprocess.TimeoutExpired):
            program.process.wait(0.01)
    assert "100%" in ended(program)
    return most


@needs_signals
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="looks for the peak memory in /proc")
def test_a_large_file_goes_up_and_down_in_constant_memory(tmp_path: Path) -> None:
    pytest.importorskip("rich")
    here, there, back = (tmp_path / name for name in ("here", "there", "back"))
    for directory in (here, there, back):
        directory.mkdir()
    write(here / "film", 64 * MIB)
    write(here / "short", 0)
    with example(tmp_path, "file_server", there, 0) as server:
        url = url_of(server)

        def transfer(verb: str, path: Path) -> int:
            with example(tmp_path, "file_client", verb, url, path) as client:
                return peak_until_the_end(client)

        usual = transfer("up", here / "short")
        server_before = peak(server)
        assert transfer("up", here / "film") < usual + MOST
        assert transfer("down", back / "film") < usual + MOST
        assert peak(server) < server_before + MOST
        stopped(server)
    assert filecmp.cmp(here / "film", there / "film", shallow=False)
    assert filecmp.cmp(here / "film", back / "film", shallow=False)


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["film", "a b?c#d%20ä.bin"])
async def test_a_file_comes_back_as_it_was_and_leaves_nothing_else(tmp_path: Path, name: str) -> None:
    pytest.importorskip("rich")
    from rich.progress import Progress

    here, there, back = (tmp_path / name for name in ("here", "there", "back"))
    for directory in (here, there, back):
        directory.mkdir()
    write(here / name, 3 * MIB)
    client = part("file_client")
    async with serving(partial(part("file_server").handle, directory=there)) as listener:
        await client.up(listener.url, here / name, Progress(disable=True))
        await client.down(listener.url, back / name, Progress(disable=True))
    for directory in (there, back):
        assert [path.name for path in directory.iterdir()] == [name]
        assert filecmp.cmp(here / name, directory / name, shallow=False)


def write(path: Path, size: int) -> None:
    block = os.urandom(MIB)
    with path.open("wb") as file:
        for number in range(size // MIB):
            file.write(number.to_bytes(4, "big") + block[4:])
        file.write(b"end")


@pytest.mark.anyio
async def test_a_broken_upload_leaves_nothing_and_the_file_before_it(tmp_path: Path) -> None:
    handle = partial(part("file_server").handle, directory=tmp_path)
    (tmp_path / "film").write_bytes(b"before")
    async with serve_in_memory(handle) as connect:
        with pytest.raises(ZeroDivisionError):
            async with connect("/up/film") as conn, conn.writable.message() as message:
                await message.send(bytes(300_000))
                await until(lambda: len([*tmp_path.iterdir()]) == 2)
                raise ZeroDivisionError
        await until(lambda: len([*tmp_path.iterdir()]) == 1)
    assert (tmp_path / "film").read_bytes() == b"before"


@pytest.mark.anyio
async def test_a_broken_download_leaves_nothing(tmp_path: Path) -> None:
    pytest.importorskip("rich")
    from rich.progress import Progress

    async def half_a_file(request: WebSocketRequest) -> None:
        async with request.accept() as conn, conn.writable.message() as message:
            await message.send(bytes(300_000))
            raise anyio.BrokenResourceError

    async with serving(half_a_file) as listener:
        with pytest.raises(ConnectionBroken):
            await part("file_client").down(listener.url, tmp_path / "film", Progress(disable=True))
    assert not [*tmp_path.iterdir()]


@pytest.mark.anyio
@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/up",
        "/up/",
        "/up/..",
        "/up/.hidden",
        "/up/a/b",
        "/up/%2e%2e%2fa",
        "/up/%2fetc%2fpasswd",
        "/down/",
        "/down/nothing",
        "/down/..",
        "/down/%2fetc%2fpasswd",
    ],
)
async def test_no_path_leads_out_of_the_directory(path: str, tmp_path: Path) -> None:
    handle = partial(part("file_server").handle, directory=tmp_path)
    async with serve_in_memory(handle) as connect:
        with pytest.raises(HandshakeRejected) as caught:
            async with connect(path):
                pass
    assert caught.value.status == 404


def test_the_client_says_what_has_failed(tmp_path: Path) -> None:
    pytest.importorskip("rich")
    (tmp_path / "film").write_bytes(b"x")
    with example(tmp_path, "file_client", "up", f"ws://127.0.0.1:{free_port()}", tmp_path / "film") as client:
        assert "it has failed: cannot connect to 127.0.0.1 port" in ended(client, code=1)


# --- TCP


async def reverse(stream: SocketStream) -> None:
    """Answer when the other end has said everything, which takes the end of one direction to come through."""
    async with stream:
        said = [data async for data in stream]
        await stream.send(b"".join(said)[::-1])
        await stream.send_eof()


@asynccontextmanager
async def listening(handler: Callable[[SocketStream], Any]) -> AsyncIterator[int]:
    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, handler)
        yield listener.extra(SocketAttribute.local_port)
        tasks.cancel_scope.cancel()


async def ask(port: int, data: bytes) -> bytes:
    async with await anyio.connect_tcp("127.0.0.1", port) as stream, anyio.create_task_group() as tasks:

        async def say() -> None:
            await stream.send(data)
            await stream.send_eof()

        tasks.start_soon(say)
        with anyio.fail_after(PATIENCE):
            return b"".join([data async for data in stream])


@pytest.mark.anyio
async def test_bytes_and_the_ends_of_directions_go_through_the_bridge() -> None:
    tunnel, forward = part("tcp_bridge_server").tunnel, part("tcp_bridge_client").forward
    data = os.urandom(3 * MIB)
    async with listening(reverse) as target:
        async with serving(partial(tunnel, host="127.0.0.1", port=target)) as server:
            async with listening(partial(forward, url=server.url)) as bridge:
                assert await ask(bridge, data) == data[::-1]
                assert await ask(bridge, b"") == b""


@pytest.mark.anyio
async def test_a_target_that_is_down_ends_that_connection_and_no_other(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tunnel, forward = part("tcp_bridge_server").tunnel, part("tcp_bridge_client").forward
    async with serving(partial(tunnel, host="127.0.0.1", port=free_port())) as server:
        async with listening(partial(forward, url=server.url)) as bridge:
            for _ in range(2):
                assert await ask(bridge, b"") == b""
    assert capsys.readouterr().err.count("a connection has failed: ") == 2


@needs_signals
@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_the_bridge_consists_of_programs(tmp_path: Path) -> None:
    async with listening(reverse) as target:
        with example(tmp_path, "tcp_bridge_server", "127.0.0.1", target, 0) as server:
            with example(tmp_path, "tcp_bridge_client", url_of(server)) as client:
                assert await ask(int(client.says(r"listening on port (\d+)")), b"abc") == b"cba"
                stopped(client)
            stopped(server)
