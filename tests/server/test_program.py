"""A server as a whole program: it stops in good order when it is told to, and says plainly why it cannot start."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from edges.serving import serving
from websocketstream import (
    ConnectionBroken,
    WebSocketRequest,
    open_websocket_stream,
    run_server,
    serve_websocket_streams,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from anyio.abc import Process

    from websocketstream import WebSocketListener

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")

PROGRAM = """
import logging, sys
import anyio
from websocketstream import run_server

logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")

async def handler(request):
    if request.path == "/stubborn":
        async with request.accept() as conn:
            await conn.send("ready")
            await anyio.sleep_forever()
    async with request.accept() as conn:
        async for message in conn:
            await conn.send(message)

def started(listener):
    print("url", listener.url, flush=True)

options = {"backend": "trio"} if sys.argv[1] == "trio" else {"backend_options": {"use_uvloop": sys.argv[1] == "uvloop"}}
run_server(handler, "127.0.0.1", 0, origins=None, on_start=started, shutdown_timeout=3600, **options)
print("done", flush=True)
"""

LOOPS = ["asyncio", "uvloop", "trio"]


class Lines:
    """What a program says, line by line."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._begun = b""

    async def __anext__(self) -> str:
        assert self._process.stdout is not None
        while b"\n" not in self._begun:
            self._begun += await self._process.stdout.receive()
        line, _, self._begun = self._begun.partition(b"\n")
        return line.decode()

    async def until(self, start: str) -> str:
        """Return the rest of the next line that begins so."""
        while not (line := await anext(self)).startswith(start):
            pass
        return line.removeprefix(start).strip()


@asynccontextmanager
async def program(loop: str) -> AsyncIterator[tuple[Process, Lines, str]]:
    """Run the program; give its process, what it says, and where it listens."""
    async with await anyio.open_process(
        [sys.executable, "-c", PROGRAM, loop], stderr=subprocess.STDOUT
    ) as process:
        try:
            lines = Lines(process)
            yield process, lines, await lines.until("url")
        finally:
            if process.returncode is None:
                process.kill()


@pytest.mark.anyio
@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_closes_every_connection_with_1001_and_ends_the_program(
    loop: str, number: signal.Signals
) -> None:
    async with program(loop) as (process, lines, url), open_websocket_stream(url) as conn:
        await conn.send("hello")
        assert await conn.receive() == "hello"
        process.send_signal(number)
        assert (await conn.closed).code == 1001
        assert await lines.until("shutting down because of") == number.name
        await lines.until("done")
        assert await process.wait() == 0


@pytest.mark.anyio
@pytest.mark.parametrize("loop", LOOPS)
async def test_a_second_signal_cancels_what_does_not_end_by_itself(loop: str) -> None:
    async with program(loop) as (process, lines, url), open_websocket_stream(f"{url}/stubborn") as conn:
        assert await conn.receive() == "ready"
        process.send_signal(signal.SIGTERM)
        await lines.until("shutting down")
        process.send_signal(signal.SIGINT)
        await lines.until("cancelling what is left because of SIGINT")
        await lines.until("done")
        assert await process.wait() == 0


async def nothing(request: WebSocketRequest) -> None:
    async with request.accept():
        pass


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_it_ends_when_the_server_does(backend: str) -> None:
    listeners: list[WebSocketListener] = []

    def started(listener: WebSocketListener) -> None:
        listeners.append(listener)
        listener.shut_down()

    run_server(nothing, "127.0.0.1", origins=None, on_start=started, backend=backend)
    assert listeners[0].port > 0


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_in_another_thread_it_waits_for_no_signals(backend: str) -> None:
    urls: list[str] = []

    def started(listener: WebSocketListener) -> None:
        urls.append(listener.url)
        listener.shut_down()

    options: dict[str, Any] = {"origins": None, "on_start": started, "backend": backend}
    thread = threading.Thread(target=run_server, args=(nothing, "127.0.0.1"), kwargs=options)
    thread.start()
    thread.join()
    assert urls


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_what_is_wrong_comes_out_plainly(backend: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        run_server(nothing, "127.0.0.1", taken.getsockname()[1], origins=None, backend=backend)
    with pytest.raises(TypeError, match="origins"):
        run_server(nothing, backend=backend)
    with pytest.raises(ValueError, match="max_connections"):
        run_server(nothing, origins=None, max_connections=0, backend=backend)

    async def inside() -> None:
        await checkpoint()
        run_server(nothing, "127.0.0.1", origins=None)

    with pytest.raises(RuntimeError, match=rf"{backend} runs .* already: .*`await serve_websocket_streams\("):
        anyio.run(inside, backend=backend)

    def failing(_listener: WebSocketListener) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        run_server(nothing, "127.0.0.1", origins=None, on_start=failing, backend=backend)


@pytest.mark.anyio
@pytest.mark.skipif(not hasattr(socket, "SO_REUSEPORT"), reason="this system shares no ports")
async def test_processes_that_say_so_share_a_port() -> None:
    async with serving(reuse_port=True) as one, serving(reuse_port=True, port=one.port) as other:
        assert one.port == other.port
        await one.aclose()
        async with open_websocket_stream(other.url) as conn:
            await conn.send("still here")
            assert await conn.receive() == "still here"
        with pytest.raises(OSError, match="in use"):
            await serve_websocket_streams(
                nothing, "127.0.0.1", one.port, origins=None
            )  # which does not share


@pytest.mark.anyio
async def test_a_listener_that_was_made_elsewhere_cannot_be_shared_here() -> None:
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    with pytest.raises(ValueError, match="reuse_port"):
        await serve_websocket_streams(nothing, listener=listener, reuse_port=True, origins=None)
    await listener.aclose()
    with pytest.raises(TypeError, match="reuse_port must be a bool"):
        await serve_websocket_streams(nothing, reuse_port=1, origins=None)  # type: ignore[arg-type]


@pytest.mark.anyio
async def test_the_end_of_a_server_can_be_waited_for() -> None:
    async with serving() as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.wait_stopped)
        async with open_websocket_stream(listener.url) as conn:
            listener.shut_down()
            listener.shut_down()
            try:
                assert (await conn.closed).code == 1001
            except ConnectionBroken:
                pytest.fail("it should have been told")


@pytest.mark.parametrize("loop", LOOPS)
def test_what_the_program_does_with_signals_is_put_back(loop: str) -> None:
    def mine(*_: object) -> None:
        """Handle a signal."""

    def started(_listener: WebSocketListener) -> None:
        sys.exit(3)

    options: dict[str, Any] = (
        {"backend": "trio"} if loop == "trio" else {"backend_options": {"use_uvloop": loop == "uvloop"}}
    )
    before = signal.signal(signal.SIGTERM, mine)
    try:
        with pytest.raises(SystemExit, match="3"):
            run_server(nothing, "127.0.0.1", origins=None, on_start=started, **options)
        assert signal.getsignal(signal.SIGTERM) is mine
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_signal_ends_a_start_that_takes_long(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(**_: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        await anyio.sleep_forever()

    monkeypatch.setattr("websocketstream._server.listener.create_tcp_listener", never)
    run_server(nothing, "127.0.0.1", origins=None, backend=backend)


def test_a_start_that_is_async_is_refused() -> None:
    async def started(_listener: WebSocketListener) -> None:
        pass

    with pytest.raises(TypeError, match="on_start"):
        run_server(nothing, "127.0.0.1", origins=None, on_start=started)
