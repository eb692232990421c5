"""An agent that talks and lets itself be interrupted: when the caller speaks, it stops, and takes back what waits.

    python voice_agent.py [PORT]       voice_caller.py calls it

Both ways go frames of 20 ms: 16-bit samples, 16000 a second. When the agent hears the caller begin, it drops what has not
left yet and says "clear": what comes behind that is fresh. `low_latency` keeps little on the way, where nobody can drop it.
"""

import logging
import math
import sys
from array import array
from collections.abc import AsyncIterator

import anyio

from websocketstream import WebSocketRequest, WebSocketStream, run_server


def tone(pitch: int) -> bytes:
    return array("h", (int(9999 * math.sin(n * pitch * math.tau / 16000)) for n in range(320))).tobytes()


def is_speech(frame: str | bytes) -> bool:
    return isinstance(frame, bytes) and len(frame) == 640 and max(array("h", frame)) > 500


async def hears(caller: AsyncIterator[str | bytes], *, speech: bool) -> bool:
    """Wait until the caller begins, or ends, to speak; return whether there still is one."""
    async for frame in caller:
        if is_speech(frame) == speech:
            return True
    return False


async def talk(conn: WebSocketStream, pitch: int) -> None:
    for _ in range(500):  # ten seconds, made faster than anybody listens
        await conn.send(tone(pitch))


async def agent(request: WebSocketRequest) -> None:
    async with request.accept() as conn:
        caller, pitch = conn.messages(), 200
        speaks = await hears(caller, speech=True)
        while speaks:
            conn.writable.discard()
            await conn.send("clear")
            await hears(caller, speech=False)
            pitch += 50  # so that one hears which answer it is
            async with anyio.create_task_group() as answer:
                answer.start_soon(talk, conn, pitch)
                speaks = await hears(caller, speech=True)
                answer.cancel_scope.cancel()  # the block waits for its end, so nothing stale comes behind "clear"


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8765
    run_server(agent, "127.0.0.1", port, origins=[None], low_latency=True)
