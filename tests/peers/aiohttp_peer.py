"""`aiohttp` as the other end."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aiohttp import ClientSession, TCPConnector, WSMsgType, web

from peers.messages import LARGEST

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator

    from aiohttp import ClientWebSocketResponse


async def _echo(request: web.Request) -> web.WebSocketResponse:
    connection = web.WebSocketResponse(
        max_msg_size=2 * LARGEST, autoclose=False, compress=True, protocols=["echo"]
    )
    await connection.prepare(request)
    while (message := await connection.receive()).type in (WSMsgType.TEXT, WSMsgType.BINARY):
        await (connection.send_str if message.type is WSMsgType.TEXT else connection.send_bytes)(message.data)
    # Left to itself aiohttp answers every Close with 1000.
    await connection.close(code=message.data, message=message.extra.encode())
    return connection


@asynccontextmanager
async def echo_server(context: ssl.SSLContext | None, *, compression: bool) -> AsyncIterator[int]:
    """Serve echoes and give the port."""
    application = web.Application()
    application.router.add_get("/{path:.*}", _echo)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def _answer(connection: ClientWebSocketResponse, message: str | bytes) -> str | bytes:
    if isinstance(message, str):
        await connection.send_str(message)
        return await connection.receive_str()
    await connection.send_bytes(message)
    return await connection.receive_bytes()


async def exchange(
    url: str, messages: list[str | bytes], context: ssl.SSLContext | None, *, compression: bool
) -> list[str | bytes]:
    """Send each message and return what came back."""
    connector = TCPConnector(ssl=context) if context else TCPConnector()
    async with (
        ClientSession(connector=connector) as session,
        session.ws_connect(
            url, compress=15 if compression else 0, max_msg_size=2 * LARGEST, protocols=["echo"]
        ) as connection,
    ):
        answers = [await _answer(connection, message) for message in messages]
        await connection.close(code=4000, message=b"done")
        assert connection.close_code == 4000
    return answers
