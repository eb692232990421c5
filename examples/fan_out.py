"""One feed for any number of clients, on any number of processes and machines: Redis keeps it, a hub in each hands it out.

    pip install websocketstream redis starlette uvicorn
    uvicorn --ws websocketstream.uvicorn:Protocol --workers 4 fan_out:app    with redis_feed.py beside it
    redis-cli XADD feed MAXLEN '~' 100000 '*' text hello                     says something to all

REDIS_URL says where Redis is. A client gets every message as "ID TEXT". It comes back with ?after=ID, the last one that it
has, and misses nothing that Redis still keeps.
"""

import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from redis_feed import Feed
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from websocketstream.asgi import accept, reject


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    feed = app.state.feed = Feed(os.environ.get("REDIS_URL", "redis://localhost"))
    await feed.start()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(feed.run)
        yield
        tasks.cancel_scope.cancel()
    await feed.aclose()


async def follow(websocket: WebSocket) -> None:
    feed: Feed = websocket.app.state.feed
    after = websocket.query_params.get("after", feed.last)
    if not re.fullmatch(r"[0-9]{1,19}-[0-9]{1,19}", after):
        await reject(websocket, status=400, body="after is no id of the feed\n")
        return
    async with accept(websocket) as conn:
        await feed.serve(conn, after)


app = Starlette(routes=[WebSocketRoute("/{anything:path}", follow)], lifespan=lifespan)
