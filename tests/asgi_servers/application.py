"""An ASGI application for real servers, run by their own commands: what it does says the path."""

from __future__ import annotations

import json
import time
from typing import Any

from websocketstream import WebSocketStream
from websocketstream.asgi import accept, reject

REPORTS: dict[str, Any] = {}  # how the connections ended, by path


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Serve one connection."""
    if scope["type"] == "lifespan":
        while (event := await receive())["type"] != "lifespan.shutdown":
            await send({"type": f"{event['type']}.complete"})
        await send({"type": "lifespan.shutdown.complete"})
    elif scope["path"] == "/reject":
        await reject(scope, receive, send, status=404, headers={"X-A": "a"}, body="no such room")
    else:
        await _serve(scope, receive, send)


async def _serve(scope: Any, receive: Any, send: Any) -> None:
    path = scope["path"]
    protocol = "chat" if "chat" in scope["subprotocols"] else None
    begun = 0.0
    try:
        async with accept(scope, receive, send, protocol=protocol, headers={"X-A": "a"}) as conn:
            try:
                await SCENES[path](conn)
            finally:
                begun = time.monotonic()
    finally:
        if path != "/report":
            REPORTS[path] = {
                "code": conn.close_info and conn.close_info.code,
                "clean": conn.close_info and conn.close_info.clean,
                "seconds": time.monotonic() - begun,
            }


async def _echo(conn: WebSocketStream) -> None:
    async for message in conn:
        await conn.send(message)


async def _close(conn: WebSocketStream) -> None:
    await conn.send("last")
    conn.close(4000, "bye")


async def _fail(_conn: WebSocketStream) -> None:
    raise ValueError("on purpose")


async def _burst(conn: WebSocketStream) -> None:
    for _ in range(100):
        await conn.send(b"x" * 10_000)


async def _say(conn: WebSocketStream) -> None:
    assert conn.request is not None
    said = {
        "target": conn.request.target,
        "protocols": conn.request.protocols,
        "x-b": conn.request.headers["x-b"],
    }
    await conn.send(json.dumps(said))


async def _report(conn: WebSocketStream) -> None:
    path = await conn.receive()
    assert isinstance(path, str)
    await conn.send(json.dumps(REPORTS.pop(path, None)))


SCENES = {
    "/echo": _echo,
    "/listen": _echo,
    "/close": _close,
    "/fail": _fail,
    "/burst": _burst,
    "/say it": _say,
    "/report": _report,
}
