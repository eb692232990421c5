"""Send lines to an echo server, and print what comes back.

    python echo_client.py [URL [LINE ...]]

Sending and receiving are two tasks, so that neither side waits for the other for ever, however much there is to say.
"""

import sys

import anyio

from websocketstream import HandshakeError, open_websocket_stream


async def main(url: str, lines: list[str]) -> None:
    async with open_websocket_stream(url) as conn, anyio.create_task_group() as tasks:
        tasks.start_soon(conn.writable.send_batch, lines)
        for _ in lines:
            print(await conn.receive())  # raises if the server ends before it has answered all
    print(f"the server said: {await conn.closed}")


if __name__ == "__main__":
    url = sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:8765"
    try:
        anyio.run(main, url, sys.argv[2:] or ["hello", "world"])
    except HandshakeError as exc:
        sys.exit(f"no connection: {exc}")
    except KeyboardInterrupt:
        print("stopped")
