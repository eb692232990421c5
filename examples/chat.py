"""A chat room: messages of many clients come together and go out to all; a client that does not read is let go.

python examples/chat.py          runs a room, three guests, and one that is turned away
"""

from __future__ import annotations

from functools import partial

import anyio
from anyio.abc import TaskStatus

from websocketstream import (
    Broadcast,
    CloseWhenBehind,
    HandshakeRejected,
    WebSocketRequest,
    open_websocket_stream,
    serve_websocket_streams,
)


class Room:
    """The guests, and what they say; a slow one must not hold the others back."""

    def __init__(self) -> None:
        self.guests = Broadcast(policy=CloseWhenBehind(max_seconds=10))

    async def handle(self, request: WebSocketRequest) -> None:
        """Let guests in who know where they want to go."""
        if request.path != "/room":
            await request.reject(404, body="There is only /room here.\n")
            return
        async with request.accept() as conn:
            with self.guests.subscribe(conn):
                async for message in conn.readable:
                    self.guests.send(message)


async def guest(
    url: str,
    name: str,
    heard: list[str | bytes],
    *,
    task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
) -> None:
    async with open_websocket_stream(f"{url}/room") as conn:
        await conn.send(f"{name} is here")
        heard.append(await conn.receive())  # what we said has come back: we are in
        task_status.started()
        async for message in conn.messages():
            heard.append(message)
            if message == "good night":
                return


async def main() -> None:
    room = Room()
    async with anyio.create_task_group() as tasks:
        serve = partial(serve_websocket_streams, room.handle, "127.0.0.1", 0, origins=[None])
        listener = await tasks.start(serve)

        try:
            async with open_websocket_stream(f"{listener.url}/cellar"):
                pass
        except HandshakeRejected as exc:
            print(f"turned away: {exc.status}, {exc.body.decode().strip()}")

        heard: dict[str, list[str | bytes]] = {name: [] for name in ("Ada", "Grace", "Hedy")}
        async with anyio.create_task_group() as guests:
            for name, messages in heard.items():
                await guests.start(guest, listener.url, name, messages)
            async with open_websocket_stream(f"{listener.url}/room") as host:
                await host.send("good night")
        for name, messages in heard.items():
            print(f"{name} heard {messages[-1]!r} last")
        await listener.aclose()


if __name__ == "__main__":
    anyio.run(main)
