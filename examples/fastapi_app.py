"""Rooms in a FastAPI application: routes, path parameters and dependencies are FastAPI's, the stream is this library's.

    pip install websocketstream fastapi uvicorn
    uvicorn --ws websocketstream.uvicorn:Protocol fastapi_app:app

Come to ws://127.0.0.1:8000/rooms/lobby?token=ada-1815, and ask http://127.0.0.1:8000/rooms who is where. It works under
any ASGI server; uvicorn with `--ws websocketstream.uvicorn:Protocol` also brings backpressure down to the socket.
"""

from typing import Annotated

from fastapi import Depends, FastAPI, WebSocket

from websocketstream import Broadcast
from websocketstream.asgi import accept, reject

app = FastAPI()
rooms: dict[str, Broadcast] = {}


def guest_of(token: str = "") -> str | None:
    return {"ada-1815": "Ada", "grace-1906": "Grace"}.get(token)  # in place of a database


@app.get("/rooms")
def who_is_where() -> dict[str, int]:
    return {name: len(room) for name, room in rooms.items()}


@app.websocket("/rooms/{name}")
async def enter(websocket: WebSocket, name: str, guest: Annotated[str | None, Depends(guest_of)]) -> None:
    if guest is None:
        await reject(websocket, status=401, body="Who are you? Come with ?token=YOURS.\n")
        return
    async with accept(websocket) as conn:
        room = rooms.setdefault(name, Broadcast())
        try:
            with room.subscribe(conn):
                room.send(f"{guest} is here")
                async for message in conn.messages():
                    if isinstance(message, str):
                        room.send(f"{guest}: {message}")  # never waits, for nobody
        finally:
            if not room and rooms.get(name) is room:  # the last one has left
                del rooms[name]
