"""Lead WebSockets to a TCP server: for ssh, a database, anything, where only HTTP passes.

    python tcp_bridge_server.py HOST TCP_PORT [PORT]

Backpressure goes through in both directions, and so does the end of one direction. Whoever reaches this port reaches HOST:
on more than localhost, ask in `tunnel` who it is. tcp_bridge_client.py is the other end.
"""

import logging
import sys
from functools import partial

import anyio

from websocketstream import WebSocketRequest, as_byte_stream, relay, run_server


async def tunnel(request: WebSocketRequest, host: str, port: int) -> None:
    try:
        tcp = await anyio.connect_tcp(host, port)
    except OSError:
        await request.reject(502, body=f"{host} port {port} cannot be reached.\n")
        return
    async with tcp, request.accept() as conn:
        await relay(as_byte_stream(conn, eof="empty"), tcp)  # both ends agree on how a direction ends


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    logging.basicConfig(level=logging.INFO)
    handler = partial(tunnel, host=sys.argv[1], port=int(sys.argv[2]))
    run_server(handler, "127.0.0.1", int(sys.argv[3]) if len(sys.argv) > 3 else 8765, origins=[None])
