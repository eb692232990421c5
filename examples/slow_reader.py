"""A reader that takes its time holds the sender back: nothing is lost, and memory stays where it is.

    python slow_reader.py

`send()` waits as soon as the buffers between the two are full. The sizes and pauses that it prints say how full they are.
"""

from contextlib import suppress
from functools import partial

import anyio

from websocketstream import ConnectionClosed, WebSocketRequest, open_websocket_stream, serve_websocket_streams

MESSAGES = 100
SIZE = 64 * 1024


async def produce(request: WebSocketRequest) -> None:
    """Send as fast as the reader allows."""
    async with request.accept() as conn:
        for number in range(MESSAGES):
            await conn.writable.send(number.to_bytes(4, "big") + bytes(SIZE - 4))
        held_back = conn.statistics().writable.paused_seconds
        print(f"producer: all handed over, held back for {held_back:.1f} s")


async def main() -> None:
    async with anyio.create_task_group() as tasks:
        serve = partial(serve_websocket_streams, produce, "127.0.0.1", 0, origins=[None])
        listener = await tasks.start(serve)
        async with open_websocket_stream(listener.url, read_buffer=256 * 1024) as conn:
            for expected in range(MESSAGES):
                message = await conn.readable.receive()
                assert isinstance(message, bytes)
                assert int.from_bytes(message[:4], "big") == expected
                if expected % 20 == 0:
                    ahead = conn.statistics().readable
                    print(f"reader: {expected} read, {ahead.buffered_bytes // 1024} KiB ahead of it")
                await anyio.sleep(0.005)
            try:
                await conn.readable.receive()
            except ConnectionClosed as exc:
                print(f"reader: all {MESSAGES} read, then {exc}")
        await listener.aclose()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        anyio.run(main)
