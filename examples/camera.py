"""Frames of a camera for any number of viewers: a slow one sees fewer of them, and always the newest.

    python camera.py [PORT]            the camera
    python camera.py URL [SECONDS]     a viewer that takes so long for each frame

`LatestOnly` drops what a viewer has no room for, but for the latest; `low_latency` keeps little on the way, where nothing
can be dropped any more. In a browser the viewer is a `WebSocketStream`, whose reader sets the pace as well.
"""

import sys
from functools import partial
from itertools import count

import anyio

import websocketstream as ws

viewers = ws.Broadcast(policy=ws.LatestOnly(max_bytes=None))


def picture(number: int) -> bytes:
    line = bytearray(320)
    line[number % 320] = 255  # a bright bar that moves from left to right
    return number.to_bytes(8, "big") + bytes(line) * 240


async def show(request: ws.WebSocketRequest) -> None:
    async with request.accept() as conn:
        with viewers.subscribe(conn):
            async for _ in conn.messages():
                pass


async def film(port: int) -> None:
    serve = partial(ws.serve_websocket_streams, show, "127.0.0.1", port, origins=[None], low_latency=True)
    async with anyio.create_task_group() as tasks:
        listener = await tasks.start(serve)
        print(f"listening on {listener.url}", flush=True)
        for number in count():
            viewers.send(picture(number))
            await anyio.sleep(1 / 30)


async def watch(url: str, seconds: float) -> None:
    async with ws.open_websocket_stream(url, low_latency=True) as conn:
        async for frame in conn.messages():
            assert isinstance(frame, bytes)
            print("frame", int.from_bytes(frame[:8], "big"), flush=True)
            await anyio.sleep(seconds)


if __name__ == "__main__":
    try:
        if sys.argv[1:] and "://" in sys.argv[1]:
            anyio.run(watch, sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else 0)
        else:
            anyio.run(film, int(sys.argv[1]) if len(sys.argv) > 1 else 8765)
    except (ws.HandshakeError, KeyboardInterrupt) as exc:
        sys.exit(f"no connection: {exc}" if str(exc) else 0)
