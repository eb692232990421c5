"""Call voice_agent.py, ask, listen, and interrupt it. What it had said before it noticed is not played.

    python voice_caller.py [URL]

The microphone and the loudspeaker are in place of real ones, and as slow as these: a frame is 20 ms.
"""

import math
import sys
from array import array

import anyio

from websocketstream import HandshakeError, WebSocketStream, open_websocket_stream

SPEECH = array("h", (int(9999 * math.sin(n / 20)) for n in range(320))).tobytes()
SCENE = [(SPEECH, 10), (bytes(640), 20)] * 2 + [(SPEECH, 10)]  # the agent is interrupted twice


class Call:
    """What the microphone and the loudspeaker know of each other."""

    unheard = 0  # how often we began to speak without the agent having said "clear" yet
    played = stale = 0  # frames


async def microphone(conn: WebSocketStream, call: Call) -> None:
    for sound, frames in SCENE:
        call.unheard += sound is SPEECH  # from here on, what comes is stale
        for _ in range(frames):
            await conn.send(sound)
            await anyio.sleep(0.02)


async def loudspeaker(conn: WebSocketStream, call: Call) -> None:
    async for frame in conn.messages():
        if frame == "clear":
            call.unheard -= 1
        elif call.unheard:
            call.stale += 1
        else:
            call.played += 1
            await anyio.sleep(0.02)


async def main(url: str) -> None:
    call = Call()
    async with open_websocket_stream(url, low_latency=True) as conn, anyio.create_task_group() as tasks:
        tasks.start_soon(loudspeaker, conn, call)
        await microphone(conn, call)
        tasks.cancel_scope.cancel()
    print(f"{call.played} frames played, {call.stale} came too late and were not")


if __name__ == "__main__":
    try:
        anyio.run(main, sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:8765")
    except (HandshakeError, KeyboardInterrupt) as exc:
        sys.exit(f"no connection: {exc}" if str(exc) else 0)
