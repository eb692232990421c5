"""Several processes of our own server on one port, behind nginx."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
import trustme

from interop.programs import HERE, end, program, running
from interop.proxies import KINDS
from ports import free_port
from websocketstream import ConnectionBroken, open_websocket_stream

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]

PROCESSES = 3
NGINX = next(kind for kind in KINDS if kind.name == "nginx")


@pytest.fixture(autouse=True)
def _is_installed() -> None:
    program("nginx")  # before any task group is open, which would wrap the skip


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SO_REUSEPORT")
async def test_a_process_that_dies_takes_its_own_connections_and_no_other(
    certificate_authority: trustme.CA, tmp_path: Path
) -> None:
    port = free_port()
    server = [sys.executable, HERE / "own_server_program.py", str(port)]
    environment = {"PYTHONPATH": str(HERE.parent.parent / "src")}
    with ExitStack() as stack:
        processes = {}
        for _ in range(PROCESSES):
            one = stack.enter_context(running(server, tmp_path, environment))
            one.says("listening on")  # the port is no proof: another one may have it
            processes[str(one.process.pid)] = one.process
        nginx = stack.enter_context(NGINX.in_front_of(f"127.0.0.1:{port}", certificate_authority, tmp_path))
        async with open_websocket_stream(nginx.url()) as conn:
            died = await conn.receive()
            end(processes[str(died)])
            with pytest.raises(ConnectionBroken):
                await conn.receive()
        for _ in range(20):
            async with open_websocket_stream(nginx.url()) as conn:
                assert await conn.receive() in processes.keys() - {died}
