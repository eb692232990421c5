"""Send lines to an echo server and print what comes back.

python examples/echo_client.py ws://127.0.0.1:PORT [LINE ...]
"""

from __future__ import annotations

import sys

import anyio

from websocketstream import HandshakeError, WebSocketStream, open_websocket_stream


async def send_lines(conn: WebSocketStream, lines: list[str]) -> None:
    for line in lines:
        await conn.writable.send(line)


async def main(url: str, lines: list[str]) -> None:
    try:
        async with open_websocket_stream(url) as conn, anyio.create_task_group() as tasks:
            # Sending and receiving at the same time: two tasks, so that neither side waits for the other for ever.
            tasks.start_soon(send_lines, conn, lines)
            for _ in lines:
                print(await conn.readable.receive())
    except HandshakeError as exc:
        sys.exit(f"no connection: {exc}")
    print(f"the server said: {await conn.closed}")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    anyio.run(main, sys.argv[1], sys.argv[2:] or ["hello", "world"])
