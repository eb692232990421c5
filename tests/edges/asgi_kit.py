"""An ASGI server in memory: a test says what its client does, and sees what the application says."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, MutableMapping
from typing import Any

import anyio

Event = MutableMapping[str, Any]
CONNECT: Event = {"type": "websocket.connect"}


def scope_of(**changes: Any) -> dict[str, Any]:
    """Return a scope as servers make it."""
    return {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "scheme": "ws",
        "path": "/röom",
        "raw_path": b"/r%C3%B6om",
        "query_string": b"name=Ada",
        "root_path": "",
        "headers": [(b"host", b"example.com"), (b"origin", b"https://example.com")],
        "client": ["192.0.2.1", 1234],
        "server": ["192.0.2.2", 80],
        "subprotocols": ["chat", "superchat"],
        "extensions": {"websocket.http.response": {}},
        **changes,
    }


class Server:
    """What it hands an application: a scope, ``receive`` and ``send``."""

    def __init__(self, **changes: Any) -> None:
        self.scope = scope_of(**changes)
        self.said: list[Event] = []  # by the application
        self.taken = 0  # events, by the application
        self.obstacle: Callable[[Event], Any] | None = None  # is awaited before an event is taken
        self.says_goodbye = True  # answers a close with a disconnect
        self._events = deque([CONNECT])
        self._news = anyio.Event()

    @property
    def asgi(self) -> tuple[Any, Any, Any]:
        return self.scope, self.receive, self.send

    async def receive(self) -> Event:
        while not self._events:
            await self._news.wait()
        self.taken += 1
        return self._events.popleft()

    async def send(self, event: Event) -> None:
        if self.obstacle is not None:
            await self.obstacle(event)
        self.said.append(event)
        if event["type"] == "websocket.close" and self.says_goodbye:
            self.disconnect(event.get("code", 1000))

    def happens(self, event: Event) -> None:
        """Let the client do something."""
        self._events.append(event)
        self._news.set()
        self._news = anyio.Event()

    def message(self, message: str | bytes) -> None:
        """Let the client send a message."""
        kind = "text" if isinstance(message, str) else "bytes"
        self.happens({"type": "websocket.receive", kind: message})

    def disconnect(self, code: int | None, **more: Any) -> None:
        """Let the client close the connection, or vanish."""
        self.happens({"type": "websocket.disconnect", "code": code, **more})

    @property
    def kinds(self) -> list[str]:
        """The types of what the application has said."""
        return [event["type"].removeprefix("websocket.") for event in self.said]

    @property
    def messages(self) -> list[str | bytes]:
        """The messages that the application has sent."""
        return [
            event.get("text", event.get("bytes")) for event in self.said if event["type"] == "websocket.send"
        ]
