"""What the tests of the command line share: a server with a path for each kind of peer, and runs of the program."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
from anyio.from_thread import start_blocking_portal

from websocketstream import WebSocketRequest, WebSocketStream, basic_auth, serve_websocket_streams

SOURCE = Path(__file__).parents[2] / "src"
LIMIT = 20  # seconds; only a failing test waits so long


async def handler(request: WebSocketRequest) -> None:
    """Be whatever peer the path asks for."""
    if request.path.startswith("/refuse/"):
        await request.reject(int(request.path.removeprefix("/refuse/")), body="not\x1b[31m here")
        return
    if request.path == "/moved":
        await request.reject(302, {"Location": "/echo"})
        return
    async with request.accept(protocol=request.protocols[0] if request.protocols else "") as conn:
        await PEERS.get(request.path, echo)(request, conn)


async def echo(_request: WebSocketRequest, conn: WebSocketStream) -> None:
    async for message in conn:
        await conn.send(message)


async def feed(_request: WebSocketRequest, conn: WebSocketStream) -> None:
    for message in ("one", "two", "three"):
        await conn.send(message)
    conn.close(1000)


async def firehose(_request: WebSocketRequest, conn: WebSocketStream) -> None:
    while True:
        await conn.send("x" * 1000)


async def breakdown(_request: WebSocketRequest, conn: WebSocketStream) -> None:
    await conn.send("half an answer")
    conn.close(1011, "out of \x1b[31mmemory")


async def deaf(_request: WebSocketRequest, conn: WebSocketStream) -> None:
    await conn.closed


async def hostile(_request: WebSocketRequest, conn: WebSocketStream) -> None:
    await conn.send("\x1b]0;pwned\x07 and \u202eback")
    await conn.send(bytes(range(20)))
    conn.close(1000, "bye\x1b[2J")


async def headers(request: WebSocketRequest, conn: WebSocketStream) -> None:
    wanted = ("x-team", "origin", "authorization", "sec-websocket-protocol", "sec-websocket-extensions")
    await conn.send(json.dumps({name: request.headers[name] for name in wanted if name in request.headers}))
    conn.close(1000)


async def sizes(_request: WebSocketRequest, conn: WebSocketStream) -> None:
    """Answer each message with its kind and size."""
    async for message in conn:
        await conn.send(f"{type(message).__name__} {len(message)}")


async def large(_request: WebSocketRequest, conn: WebSocketStream) -> None:
    await conn.send(bytes(100_000))
    conn.close(1000)


PEERS = {
    "/feed": feed,
    "/firehose": firehose,
    "/breakdown": breakdown,
    "/deaf": deaf,
    "/hostile": hostile,
    "/headers": headers,
    "/sizes": sizes,
    "/large": large,
}

LOGIN = basic_auth("me", "secret")


@contextmanager
def serving(ssl_context: ssl.SSLContext | None = None, peer: Any = handler) -> Iterator[str]:
    """Run the server in a thread; yield its URL."""
    serve = partial(
        serve_websocket_streams, peer, "127.0.0.1", 0, origins=None, ssl_context=ssl_context, compression=True
    )
    with start_blocking_portal("asyncio") as portal:
        future, listener = portal.start_task(serve)
        yield listener.url
        portal.call(stop, listener)
        future.result(LIMIT)


async def stop(listener: Any) -> None:
    with anyio.move_on_after(0.1):
        await listener.aclose()


def environment(**changes: str) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(SOURCE),
        "PYTHONIOENCODING": "utf-8",
        "PROMPT_TOOLKIT_NO_CPR": "1",
        **changes,
    }


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-W", "error", "-m", "websocketstream", *arguments]


def run(
    *arguments: str, stdin: bytes | None = b"", timeout: float = LIMIT, **options: Any
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        command(*arguments),
        input=stdin,
        env=environment(),
        capture_output=True,
        timeout=timeout,
        check=False,
        **options,
    )
