"""``serve --echo``: every message goes back to where it came from, as it comes, whatever its size."""

from __future__ import annotations

from anyio import EndOfStream

from .._server.request import WebSocketRequest
from .._server.visit import Handler
from .._streams.incoming import IncomingMessage
from .._streams.stream import WebSocketStream


def make_handler(max_size: int | None = None) -> Handler:
    """Return a handler that echoes.

    :param max_size: the most bytes of a message; None for any number
    """

    async def handle(request: WebSocketRequest) -> None:
        async with request.accept() as conn:
            async for message in conn.readable.chunked(max_size=max_size):
                await _echo(message, conn)

    return handle


async def _echo(message: IncomingMessage, conn: WebSocketStream) -> None:
    """Send a message back: in chunks if it does not come in one, so that nothing is held but the chunk that is under way."""
    try:
        chunk = await message.receive()
    except EndOfStream:
        chunk = "" if message.text else b""
    if message.complete:
        await conn.send(chunk)
        return
    async with conn.writable.message(text=message.text) as part:
        await part.send(chunk)
        async for chunk in message:
            await part.send(chunk)
