"""Ctrl-C ends the tutorial's server in good order, and without a traceback."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from websocketstream import CloseInfo
from websocketstream.blocking import open_websocket_stream

ROOT = Path(__file__).parent.parent
SERVER = re.compile(r"^```python\n(# echo_server\.py\n.*?)^```$", re.MULTILINE | re.DOTALL)
LIMIT = 20  # seconds

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")


@contextmanager
def tutorial_server(directory: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run it as a user does, on a free port; the block has to end it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    match = SERVER.search((ROOT / "docs" / "tutorial.md").read_text("utf-8"))
    assert match
    script = directory / "echo_server.py"
    script.write_text(match[1].replace("8765", str(port)), "utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    with subprocess.Popen(
        [sys.executable, "-W", "error", str(script)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            wait_for(port, process)
            yield process, port
        finally:
            process.kill()


def wait_for(port: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + LIMIT
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.02)
        else:
            return
    pytest.fail("nothing listens")


@pytest.mark.parametrize("clients", [0, 3])
def test_ctrl_c_ends_the_server_of_the_tutorial_without_a_traceback(clients: int, tmp_path: Path) -> None:
    with tutorial_server(tmp_path) as (process, port), ExitStack() as stack:
        opened = [
            stack.enter_context(open_websocket_stream(f"ws://127.0.0.1:{port}")) for _ in range(clients)
        ]
        for conn in opened:
            conn.send("hello")
            assert conn.receive() == "hello"
        process.send_signal(signal.SIGINT)
        for conn in opened:
            assert list(conn) == []
            assert conn.close_info == CloseInfo(1001)
        output, _ = process.communicate(timeout=LIMIT)
        assert output == ""
        assert process.returncode == 0
