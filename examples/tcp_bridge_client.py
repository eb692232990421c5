"""Listen on a TCP port, and carry what connects through a WebSocket to tcp_bridge_server.py.

    python tcp_bridge_client.py URL [TCP_PORT]       then e.g. ssh -p TCP_PORT 127.0.0.1

A connection that cannot be made, or breaks, ends its own TCP connection and no other.
"""

import sys
from contextlib import suppress
from functools import partial

import anyio
from anyio.abc import SocketAttribute, SocketStream

from websocketstream import WebSocketError, as_byte_stream, open_websocket_stream, relay


async def forward(tcp: SocketStream, url: str) -> None:
    async with tcp:
        try:
            async with open_websocket_stream(url) as conn:
                await relay(as_byte_stream(conn, eof="empty"), tcp)
        except (WebSocketError, anyio.BrokenResourceError) as exc:
            print(f"a connection has failed: {exc}", file=sys.stderr, flush=True)


async def main(url: str, port: int) -> None:
    async with await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=port) as listener:
        print(f"listening on port {listener.extra(SocketAttribute.local_port)}", flush=True)
        await listener.serve(partial(forward, url=url))


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    with suppress(KeyboardInterrupt):
        anyio.run(main, sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 0)
