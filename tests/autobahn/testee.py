"""Our client and our server as the Autobahn|Testsuite wants them: they echo, with the limits raised and deflate on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel

from websocketstream import (
    Compression,
    HandshakeError,
    WebSocketError,
    WebSocketRequest,
    WebSocketStream,
    open_websocket_stream,
    serve_websocket_streams,
)
from websocketstream.uvicorn import Protocol

# Cases 9.* send messages of 16 MiB, 9.3 and 9.4 more than 65,000 fragments of one message.
LIMITS: dict[str, Any] = {"max_message_size": 16 * 2**20, "max_fragments": 2**17}
PARALLEL = 4  # some cases only wait
SERVER_COMPRESSION = Compression(threshold=0)
# kosoku takes 13.2, 13.5 and 13.6 to be unimplemented by a client that does not offer the parameter.
CLIENT_COMPRESSION = Compression(threshold=0, client_no_context_takeover=True)


async def echo(conn: WebSocketStream) -> None:
    """Send everything back until the connection ends; how it ends is for the testsuite to judge."""
    try:
        async for message in conn:
            await conn.send(message)
    except (WebSocketError, anyio.BrokenResourceError, anyio.ClosedResourceError):
        pass


async def _echo_request(request: WebSocketRequest) -> None:
    async with request.accept() as conn:
        await echo(conn)


@asynccontextmanager
async def echo_server() -> AsyncIterator[str]:
    """Serve on a free port and give the URL."""
    serve = partial(serve_websocket_streams, origins=None, compression=SERVER_COMPRESSION, **LIMITS)
    async with anyio.create_task_group() as group:
        listener = await group.start(serve, _echo_request, "127.0.0.1", 0)
        yield listener.url
        group.cancel_scope.cancel()


async def _echo_events(_scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        await send({**event, "type": "websocket.send"})


@asynccontextmanager
async def asgi_echo_server() -> AsyncIterator[str]:
    """Serve an ASGI application under uvicorn, on our protocol, and give the URL."""
    import uvicorn  # which the other roles do not need

    config = uvicorn.Config(_echo_events, port=0, ws=Protocol, lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    async with anyio.create_task_group() as group:
        group.start_soon(server.serve)
        while not server.started:
            await anyio.lowlevel.checkpoint()
        yield f"ws://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        server.should_exit = True


async def _ask(url: str) -> str:
    """Return the one message that an address of the fuzzing server gives."""
    async with open_websocket_stream(url) as conn:
        answer = await conn.receive()
    assert isinstance(answer, str)
    return answer


async def _run_case(url: str, agent: str, number: int, limiter: anyio.CapacityLimiter) -> None:
    async with limiter:
        try:
            async with open_websocket_stream(
                f"{url}/runCase?case={number}&agent={agent}", compression=CLIENT_COMPRESSION, **LIMITS
            ) as conn:
                await echo(conn)
        except HandshakeError as error:
            print(f"case number {number}: {error}")


async def run_cases(url: str, agent: str) -> int:
    """Let a fuzzing server do its worst, case by case; return how many there were."""
    count = int(await _ask(f"{url}/getCaseCount"))
    limiter = anyio.CapacityLimiter(PARALLEL)
    async with anyio.create_task_group() as group:
        for number in range(1, count + 1):
            group.start_soon(_run_case, url, agent, number, limiter)
    async with open_websocket_stream(f"{url}/updateReports?agent={agent}") as conn:
        await echo(conn)  # kosoku says nothing and drops the connection
    return count
