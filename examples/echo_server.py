"""Send every message back. Run it, then run echo_client.py with the URL that this prints.

python examples/echo_server.py [PORT]
"""

from __future__ import annotations

import logging
import sys
from functools import partial

import anyio

from websocketstream import WebSocketRequest, serve_websocket_streams


async def echo(request: WebSocketRequest) -> None:
    async with request.accept() as conn:
        async for message in conn.readable:
            await conn.writable.send(message)  # a client that does not read is read no further


async def main(port: int) -> None:
    # No Origin header: programs. A list of origins would let pages of these sites in.
    serve = partial(serve_websocket_streams, echo, "127.0.0.1", port, origins=[None])
    async with anyio.create_task_group() as tasks:
        listener = await tasks.start(serve)
        print(f"listening on {listener.url}", flush=True)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    try:
        anyio.run(main, int(sys.argv[1]) if len(sys.argv) > 1 else 0)
    except KeyboardInterrupt:
        print("stopped")
