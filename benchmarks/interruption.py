"""How long stale speech still arrives after ``discard()``, over a link of 1 Mbit/s: ``python -m benchmarks.interruption``.

A server speaks as fast as backpressure lets it. A proxy in user space passes 125 kB a second on, as a slow line would, and
whatever the system's buffers on the way hold. After some seconds the listener interrupts: the server drops what waits and
says so. What counts is the time until that has come through.
"""

from __future__ import annotations

import argparse
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import anyio
import trustme
from anyio.abc import SocketAttribute

from websocketstream import WebSocketRequest, open_websocket_stream, serve_websocket_streams

BYTES_PER_SECOND = 125_000
STEP_SECONDS = 0.005
FRAME_BYTES = 320  # 20 ms of speech, 128 kbit/s
BACKENDS: dict[str, tuple[str, dict[str, Any]]] = {
    "asyncio": ("asyncio", {}),
    "uvloop": ("asyncio", {"use_uvloop": True}),
    "trio": ("trio", {}),
}


@contextmanager
def slow_line(port: int) -> Iterator[int]:
    """Give a port that leads to another one, slowly in the direction from there."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_run, args=(listener, port), daemon=True).start()
        yield listener.getsockname()[1]


def _run(listener: socket.socket, port: int) -> None:
    client, _ = listener.accept()
    server = socket.create_connection(("127.0.0.1", port))
    server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    threading.Thread(target=_pass_on, args=(client, server), daemon=True).start()
    started, passed = time.perf_counter(), 0
    while data := server.recv(int(BYTES_PER_SECOND * STEP_SECONDS)):
        client.sendall(data)
        passed += len(data)
        ahead = passed / BYTES_PER_SECOND - (time.perf_counter() - started)
        if ahead > 0:
            time.sleep(ahead)
        else:  # an idle line saves nothing up
            started -= ahead
    client.close()
    server.close()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    while data := source.recv(65536):
        target.sendall(data)
    with suppress(OSError):  # the other direction has ended
        target.shutdown(socket.SHUT_WR)


async def measure(seconds: float, *, low_latency: bool, tls: bool) -> tuple[float, int]:
    """Return for how long stale speech arrived, and how many bytes ``discard()`` has dropped."""
    server_tls, client_tls = _contexts() if tls else (None, None)
    interrupted: list[float] = []
    dropped = 0

    async def speak(request: WebSocketRequest) -> None:
        nonlocal dropped
        async with request.accept() as conn, anyio.create_task_group() as tasks:

            async def speech() -> None:
                while True:
                    await conn.writable.send(bytes(FRAME_BYTES))

            tasks.start_soon(speech)
            await conn.readable.receive()
            tasks.cancel_scope.cancel()
            dropped = conn.writable.discard().bytes
            interrupted.append(time.perf_counter())
            with anyio.CancelScope(shield=True):
                await conn.writable.send("interrupted")
                await conn.closed

    async with anyio.create_task_group() as tasks:
        serve = partial(
            serve_websocket_streams,
            speak,
            "127.0.0.1",
            0,
            origins=[None],
            ssl_context=server_tls,
            low_latency=low_latency,
        )
        listener = await tasks.start(serve)
        with slow_line(listener.extra(SocketAttribute.local_port)) as port:
            url = f"{'wss' if tls else 'ws'}://localhost:{port}/"
            async with open_websocket_stream(url, ssl_context=client_tls) as conn:
                interrupt_at = time.perf_counter() + seconds
                asked = False
                async for message in conn.readable:
                    if message == "interrupted":
                        break
                    if not asked and time.perf_counter() >= interrupt_at:
                        asked = True
                        await conn.writable.send("stop")
                arrived = time.perf_counter()
        tasks.cancel_scope.cancel()
    return arrived - interrupted[0], dropped


def _contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


def main() -> None:
    """Measure on each event loop, plain and over TLS, without and with ``low_latency``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--seconds", type=float, default=5, help="of speech before the interruption; 5 by default"
    )
    options = parser.parse_args()
    print("loop      tls    low_latency   stale seconds   dropped bytes")
    for name, (backend, backend_options) in BACKENDS.items():
        for tls in (False, True):
            for low_latency in (False, True):
                stale, dropped = anyio.run(
                    partial(measure, options.seconds, low_latency=low_latency, tls=tls),
                    backend=backend,
                    backend_options=backend_options,
                )
                print(f"{name:<9} {tls!s:<6} {low_latency!s:<13} {stale:>13.3f} {dropped:>15}", flush=True)


if __name__ == "__main__":
    main()
