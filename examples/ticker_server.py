"""A feed that can be resumed: ticks have numbers, and the last ones are kept.

    python ticker_server.py [PORT]

A client says by ?after=NUMBER what it has, gets what it has missed, and then what comes. ticker_client.py does that.
"""

import sys
from collections import deque
from contextlib import suppress
from functools import partial
from itertools import count

import anyio

from websocketstream import Broadcast, WebSocketRequest, serve_websocket_streams

hub = Broadcast()
kept: deque[tuple[int, str]] = deque([(0, "")], maxlen=10_000)


def tick(text: str) -> None:
    number = kept[-1][0] + 1
    kept.append((number, f"{number} {text}"))
    hub.send(f"{number} {text}")


async def handle(request: WebSocketRequest) -> None:
    said = request.query_params.get("after", str(kept[-1][0]))
    after = int(said) if said.isdecimal() and len(said) < 20 else sys.maxsize
    if after > kept[-1][0]:
        await request.reject(409, body="There is no such tick; perhaps the feed has begun anew.\n")
        return
    async with request.accept() as conn:
        while after < kept[-1][0]:
            missed = [text for number, text in kept if number > after]
            after = kept[-1][0]
            await conn.writable.send_batch(missed)
        # Nobody else had a turn since the comparison: what the hub sends from here on is exactly the rest.
        with hub.subscribe(conn):
            async for _ in conn.messages():
                pass


async def main(port: int) -> None:
    serve = partial(serve_websocket_streams, handle, "127.0.0.1", port, origins=[None])
    async with anyio.create_task_group() as tasks:
        listener = await tasks.start(serve)
        print(f"listening on {listener.url}", flush=True)
        for number in count():
            tick(f"{100 + number % 7}.{number % 10}")
            await anyio.sleep(0.2)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        anyio.run(main, int(sys.argv[1]) if len(sys.argv) > 1 else 8765)
