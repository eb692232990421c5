"""A feed that Redis keeps, as one process knows it: one reader for all of its clients.

    pip install websocketstream redis

fan_out.py serves it.
"""

from typing import Any

import anyio
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisIsAway

from websocketstream import Broadcast, WebSocketStream

STREAM = "feed"
PORTION = 1000  # entries that are asked for at once


class Feed:
    """What is new goes by the hub to all clients of this process, what is not so new is read from Redis for each."""

    def __init__(self, url: str) -> None:
        self._redis: Any = Redis.from_url(url, decode_responses=True)
        self._hub = Broadcast()
        self.last = "0-0"  # the id of the entry that the hub has sent last

    async def start(self) -> None:
        """Begin behind the newest entry."""
        newest = await self._redis.xrevrange(STREAM, count=1)
        self.last = newest[0][0] if newest else self.last

    async def run(self) -> None:
        """Hand out what comes, until cancelled."""
        while True:
            try:
                news = await self._redis.xread({STREAM: self.last}, count=PORTION, block=5000)
            except RedisIsAway:
                await anyio.sleep(0.5)
                continue  # where we were
            for _, entries in news or ():
                for entry, fields in entries:
                    self._hub.send(f"{entry} {fields['text']}")
                    self.last = entry

    async def serve(self, conn: WebSocketStream, after: str) -> None:
        """Send what there is behind an entry, then all that comes."""
        while after != (newest := self.last):
            missed = await self._redis.xrange(STREAM, f"({after}", newest, count=PORTION)
            await conn.writable.send_batch(f"{entry} {fields['text']}" for entry, fields in missed)
            after = missed[-1][0] if len(missed) == PORTION else newest
        # Nobody else had a turn since the comparison: what the hub sends from here on is exactly the rest.
        with self._hub.subscribe(conn):
            async for _ in conn.messages():
                pass

    async def aclose(self) -> None:
        """Let go of Redis."""
        await self._redis.aclose()
