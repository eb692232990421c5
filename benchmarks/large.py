"""One message of many GiB each way, in both roles: how fast beside messages of 1 MiB, and how much memory.

``python -m benchmarks.large --gib 10`` takes an hour or so; ``--gib 1 --rounds 5`` says more about the rate, for each row is the
median of rounds in which the two ways alternate, and less about leaks.
"""

from __future__ import annotations

import argparse
import os
import resource
import ssl
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio
import trustme

from websocketstream import (
    ConnectionClosed,
    WebSocketRequest,
    WebSocketStream,
    open_websocket_stream,
    serve_websocket_streams,
)

from .interruption import BACKENDS

MIB = 2**20
CHUNK = bytes(MIB - 256 * 1024) + os.urandom(256 * 1024)  # of which a quarter cannot be compressed
WARM_UP = 64  # MiB, before memory is looked at


async def send(conn: WebSocketStream, mib: int, *, chunked: bool) -> None:
    """Send so many MiB, as one message or as one each."""
    if chunked:
        async with conn.writable.message() as part:
            for _ in range(mib * MIB // len(CHUNK)):
                await part.send(CHUNK)
        return
    message = CHUNK * (MIB // len(CHUNK))
    for _ in range(mib):
        await conn.writable.send(message)
    await conn.writable.send(b"")


async def receive(messages: AsyncIterator[Any], conn: WebSocketStream, *, chunked: bool) -> int:
    """Receive what :func:`send` sends, and return how many bytes that was."""
    size = 0
    if chunked:
        message = await anext(messages)
        async for chunk in message:
            size += len(chunk)
        return size
    while message := await conn.readable.receive():
        size += len(message)
    return size


def peak() -> int:
    """The most memory (bytes) that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


async def play(conn: WebSocketStream, *, sends: bool, chunked: bool, mib: int) -> tuple[float, int]:
    """Do our part, first to warm up; return the rate (MiB a second) and by how much memory has grown."""
    messages: Any = conn.readable.chunked() if chunked and not sends else None
    before = started = 0.0
    for size in (WARM_UP, mib):
        before, started = peak(), time.perf_counter()
        if sends:
            await send(conn, size, chunked=chunked)
            with suppress(ConnectionClosed):  # who has all of it may close before it has answered
                await conn.ping()
        else:
            got = await receive(messages, conn, chunked=chunked)
            assert got == size * MIB, f"{got} bytes instead of {size} MiB"
    return mib / (time.perf_counter() - started), int(peak() - before)


async def handler(request: WebSocketRequest) -> None:
    """Be the other end, as the path says, and leave our growth in the reason of the Close frame."""
    sends, chunked, mib = map(int, request.path.strip("/").split("/"))
    async with request.accept() as conn:
        _, growth = await play(conn, sends=bool(sends), chunked=bool(chunked), mib=mib)
        if sends:
            await conn.closed
        else:
            await conn.aclose(1000, str(growth))


async def serve(tls: ssl.SSLContext | None, compression: bool) -> None:
    """Be the server of one run, until its input ends."""
    async with anyio.create_task_group() as tasks:
        options = {"origins": [None], "ssl_context": tls, "compression": compression}
        start = partial(serve_websocket_streams, handler, "127.0.0.1", 0, **options)
        listener = await tasks.start(start)
        print(listener.port, flush=True)
        await anyio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)
        tasks.cancel_scope.cancel()


async def run(
    port: int, tls: ssl.SSLContext | None, compression: bool, **play_options: Any
) -> tuple[float, int, int]:
    """Return the rate, our growth, and the server's where that is the receiver."""
    sends, chunked, mib = play_options["sends"], play_options["chunked"], play_options["mib"]
    url = f"{'wss' if tls else 'ws'}://localhost:{port}/{int(not sends)}/{int(chunked)}/{mib}"
    async with open_websocket_stream(url, ssl_context=tls, compression=compression) as conn:
        rate, growth = await play(conn, **play_options)
        theirs = int((await conn.closed).reason) if sends else 0
    return rate, growth, theirs


def main() -> None:
    """Run what was asked for, every run against a fresh server."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gib", type=float, default=1)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--backends", default=",".join(BACKENDS))
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        name, certificate, compression = options.serve.split(",")
        backend, backend_options = BACKENDS[name]
        tls = None
        if certificate:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(certificate)
        anyio.run(serve, tls, bool(int(compression)), backend=backend, backend_options=backend_options)
        return
    with TemporaryDirectory() as directory:
        certificate = Path(directory, "certificate.pem")
        authority = trustme.CA()
        authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(certificate)
        print(
            "loop     tls  deflate  client    rate MiB/s   as messages of 1 MiB   ratio   grown MiB",
            flush=True,
        )
        for name in options.backends.split(","):
            for tls in (False, True):
                for compression in (False, True):
                    for sends in (True, False):
                        way = name, certificate if tls else None, authority, compression, sends
                        _row(*way, options.gib, options.rounds)


def _row(
    name: str,
    certificate: Path | None,
    authority: trustme.CA,
    compression: bool,
    sends: bool,
    gib: float,
    rounds: int,
) -> None:
    rates: dict[bool, list[float]] = {True: [], False: []}
    grown = 0
    for chunked, mib in ((True, int(gib * 1024)), (False, min(1024, int(gib * 1024)))) * rounds:
        command = [sys.executable, "-m", "benchmarks.large", "--serve"]
        with subprocess.Popen(
            [*command, f"{name},{certificate or ''},{int(compression)}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as server:
            assert server.stdout is not None
            port = int(server.stdout.readline())
            rate, *growths = _in_a_fresh_process(
                name, port, authority if certificate else None, compression, sends, chunked, mib
            )
            server.communicate()
        rates[chunked].append(rate)
        if chunked:
            grown = max(grown, *growths)
    rate, whole = statistics.median(rates[True]), statistics.median(rates[False])
    print(
        f"{name:<8} {'yes' if certificate else 'no':<4} {'yes' if compression else 'no':<8} "
        f"{'sends' if sends else 'receives':<9} {rate:>10.0f} {whole:>22.0f} {rate / whole:>7.2f} "
        f"{grown / MIB:>11.1f}",
        flush=True,
    )


def _in_a_fresh_process(
    name: str,
    port: int,
    authority: trustme.CA | None,
    compression: bool,
    sends: bool,
    chunked: bool,
    mib: int,
) -> tuple[float, int, int]:
    """Run the client; forked, so that the peak of its memory is its own."""
    read_end, write_end = os.pipe()
    if not (child := os.fork()):
        tls = None
        if authority is not None:
            tls = ssl.create_default_context()
            authority.configure_trust(tls)
        backend, backend_options = BACKENDS[name]
        work = partial(run, port, tls, compression, sends=sends, chunked=chunked, mib=mib)
        result = anyio.run(work, backend=backend, backend_options=backend_options)
        os.write(write_end, " ".join(map(str, result)).encode())
        os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as file:
        said = file.read().split()
    os.waitpid(child, 0)
    return float(said[0]), int(said[1]), int(said[2])


if __name__ == "__main__":
    main()
