"""One feed for any number of clients, on any number of processes and machines: Redis keeps it, a hub in each process hands it out.

uvicorn --ws websocketstream.uvicorn:Protocol --workers 4 fan_out:app     in examples/; REDIS_URL says where Redis is

A client gets every message as "ID TEXT". It comes back with ?after=ID, the last one that it has, and misses nothing that Redis
still has. What was trimmed meanwhile is lost to it: `redis-cli XADD feed MAXLEN ~ 100000 '*' text hello` keeps about so many.
"""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

import anyio
from anyio.abc import TaskStatus
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisIsAway

from websocketstream import Broadcast, WebSocketStream
from websocketstream.asgi import accept, reject

Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]

STREAM = "feed"
PORTION = 1000  # entries that are asked for at once
WAIT = 5000  # milliseconds that Redis may let us wait for news
PAUSE = 0.5  # seconds until Redis is asked again when it is away


def order_of(entry: str) -> tuple[int, int]:
    """Return what the ids of Redis are compared by: milliseconds, and a number within them."""
    milliseconds, number = entry.split("-")
    return int(milliseconds), int(number)


class Feed:
    """What this process knows of the feed: one reader for all of its clients."""

    def __init__(self, url: str) -> None:
        self._redis: Any = Redis.from_url(url, decode_responses=True)
        self._hub = Broadcast()
        self.last = "0-0"  # what the hub has sent last

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Hand out what comes, until cancelled."""
        newest = await self._redis.xrevrange(STREAM, count=1)
        if newest:
            self.last = newest[0][0]
        task_status.started()
        while True:
            try:
                await self._read()
            except RedisIsAway:
                await anyio.sleep(PAUSE)  # and go on where we were

    async def _read(self) -> None:
        news = await self._redis.xread({STREAM: self.last}, count=PORTION, block=WAIT)
        for _, entries in news or ():
            for entry, fields in entries:
                self._hub.send(f"{entry} {fields['text']}")
                self.last = entry

    async def serve(self, conn: WebSocketStream, after: str) -> None:
        """Send what there is behind an entry, then all that comes."""
        while order_of(after) < order_of(self.last):
            missed = await self._redis.xrange(STREAM, f"({after}", self.last, count=PORTION)
            if not missed:
                break  # trimmed
            for entry, fields in missed:
                await conn.send(f"{entry} {fields['text']}")
                after = entry
        # Nobody else had a turn since the comparison: what the hub sends from here on is exactly the rest.
        with self._hub.subscribe(conn):
            async for _ in conn:
                pass

    async def aclose(self) -> None:
        """Let go of Redis."""
        await self._redis.aclose()


async def lifespan(scope: Event, receive: Receive, send: Send) -> None:
    feed = Feed(os.environ.get("REDIS_URL", "redis://localhost"))
    await receive()
    async with anyio.create_task_group() as tasks:
        await tasks.start(feed.run)
        scope["state"]["feed"] = feed
        await send({"type": "lifespan.startup.complete"})
        await receive()
        tasks.cancel_scope.cancel()
    await feed.aclose()
    await send({"type": "lifespan.shutdown.complete"})


async def app(scope: Event, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await lifespan(scope, receive, send)
        return
    feed = scope["state"]["feed"]
    after = parse_qs(scope["query_string"].decode()).get("after", [feed.last])[0]
    if not re.fullmatch(r"[0-9]{1,19}-[0-9]{1,19}", after):
        await reject(scope, receive, send, status=400, body="after is no id of the feed\n")
        return
    async with accept(scope, receive, send) as conn:
        await feed.serve(conn, after)
