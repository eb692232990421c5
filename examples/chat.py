"""A chat room in which a slow guest cannot stall the others.

    python chat.py [PORT]

Guests come to ws://127.0.0.1:PORT/room?name=Ada, and what one says goes to all. Nobody waits for a guest who does not
read: what is said waits for them, and who is behind for ten seconds, or by a megabyte, is let go with code 1013.
"""

import logging
import sys

import anyio

from websocketstream import Broadcast, CloseWhenBehind, WebSocketRequest, run_server

logger = logging.getLogger("chat")
guests = Broadcast(policy=CloseWhenBehind(max_bytes=2**20, max_seconds=10))


async def room(request: WebSocketRequest) -> None:
    name = request.query_params.get("name", "")
    if request.path != "/room" or not name.isalnum() or len(name) > 20:
        await request.reject(404, body="Come to /room?name=Ada, with a name of letters and digits.\n")
        return
    async with request.accept() as conn:
        try:
            with guests.subscribe(conn):
                guests.send(f"{name} is here")
                async for message in conn.messages():
                    if isinstance(message, str):
                        guests.send(f"{name}: {message}")  # never waits, for nobody
        except anyio.ClosedResourceError:
            logger.info("%s was let go: too slow, or the room closes", name)
        finally:
            guests.send(f"{name} has left")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8765
    run_server(room, "127.0.0.1", port, origins=[None])
