"""Send every message back: the smallest server.

    python echo_server.py [PORT]

A client that does not read is read no further: `send()` waits for it. Talk to it with echo_client.py.
"""

import logging
import sys

from websocketstream import WebSocketRequest, run_server


async def echo(request: WebSocketRequest) -> None:
    async with request.accept() as conn:
        async for message in conn.messages():
            await conn.send(message)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)  # says where it listens, and what becomes of each client
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8765
    # [None] admits clients without an Origin header, which are programs. List your site to let its pages in.
    run_server(echo, "127.0.0.1", port, origins=[None])
