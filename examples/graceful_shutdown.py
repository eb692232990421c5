"""Shut down in good order: no new clients, Close 1001 to all, and time for what is still to be done.

    python graceful_shutdown.py [PORT]       then Ctrl-C, or SIGTERM as systemd, Docker and Kubernetes send it

A client's lines are saved when it has ended, whoever ended it. Handlers have `shutdown_timeout` seconds for that; a
second signal cancels what is left.
"""

import logging
import sys

import anyio

from websocketstream import WebSocketRequest, run_server


async def save(who: str, lines: list[str | bytes]) -> None:
    await anyio.sleep(0.2)  # in place of a database
    print(f"saved {len(lines)} lines of {who}", flush=True)


async def collect(request: WebSocketRequest) -> None:
    lines = []
    async with request.accept() as conn:
        try:
            async for line in conn.messages():  # meets ClosedResourceError when the server shuts down
                lines.append(line)
                await conn.send(f"{len(lines)} noted")
        finally:
            await save(conn.id, lines)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8765
    run_server(collect, "127.0.0.1", port, origins=[None], shutdown_timeout=10)
    print("all is saved")
