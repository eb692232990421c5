"""Say no before the connection is open, with a status, header fields and a body that the client can read.

    pip install websocketstream starlette uvicorn
    uvicorn --ws websocketstream.uvicorn:Protocol starlette_denial:app

ws://127.0.0.1:8000/feed asks for a token: `Authorization: Bearer secret`. A browser's page sees only that it failed, for
that is what browsers show of a refusal; programs see all of it, as `HandshakeRejected`.
"""

import json
import secrets

from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from websocketstream.asgi import accept, reject

PLACES = 2
taken: set[WebSocket] = set()


async def feed(websocket: WebSocket) -> None:
    said = websocket.headers.get("authorization", "").encode()
    if not secrets.compare_digest(said, b"Bearer secret"):
        await deny(websocket, 401, "no valid token", {"WWW-Authenticate": "Bearer"})
    elif len(taken) >= PLACES:
        await deny(websocket, 503, "all places are taken", {"Retry-After": "5"})  # reconnecting() heeds that
    else:
        taken.add(websocket)
        try:
            async with accept(websocket) as conn:
                await conn.send("welcome")
                async for message in conn.messages():
                    await conn.send(message)
        finally:
            taken.remove(websocket)


async def deny(websocket: WebSocket, status: int, why: str, headers: dict[str, str]) -> None:
    fields = {"Content-Type": "application/json", **headers}
    await reject(websocket, status=status, headers=fields, body=json.dumps({"error": why}))


app = Starlette(routes=[WebSocketRoute("/feed", feed)])
