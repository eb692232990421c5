"""What a contender is: how it connects, how it serves. The loops that are measured are here, the same for all."""

from __future__ import annotations

import ssl
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

Message = str | bytes
perf_counter = time.perf_counter


class Link:
    """An open connection: the library's own ``send`` and ``receive``, called without anything in between."""

    def __init__(self, send: Callable[[Any], Awaitable[Any]], receive: Callable[[], Awaitable[Any]]) -> None:
        self.send = send
        self.receive = receive

    def data(self, received: Any) -> Message:
        """Return the message in what ``receive`` returned."""
        return received  # type: ignore[no-any-return]

    async def receive_n(self, count: int) -> Any:
        """Receive messages and return the last."""
        receive = self.receive
        received = None
        for _ in range(count):
            received = await receive()
        return received

    async def send_n(self, count: int, message: Message) -> None:
        send = self.send
        for _ in range(count):
            await send(message)

    async def echo_n(self, count: int, message: Message) -> list[float]:
        """Send and receive in turns and return how long each round trip took, in seconds."""
        send, receive = self.send, self.receive
        times = []
        for _ in range(count):
            start = perf_counter()
            await send(message)
            await receive()
            times.append(perf_counter() - start)
        return times

    async def pipeline_n(self, count: int, message: Message, in_flight: int) -> None:
        """Keep some messages under way, from one task."""
        send, receive = self.send, self.receive
        await self.send_n(in_flight, message)
        for _ in range(count - in_flight):
            await receive()
            await send(message)
        await self.receive_n(in_flight)

    async def slow_n(self, count: int, busy: float) -> None:
        """Receive messages and work on each for some seconds of CPU time."""
        receive, cpu_time = self.receive, time.thread_time
        for _ in range(count):
            await receive()
            until = cpu_time() + busy
            while cpu_time() < until:
                pass


class Contender(Protocol):
    """Compression is off unless asked for, keepalive too, messages of any size are taken; all else is the default."""

    def connect(
        self, url: str, *, text: bool, context: ssl.SSLContext | None = None, deflate: bool = False
    ) -> AbstractAsyncContextManager[Link]:
        """Open a connection, and close it with the closing handshake."""

    async def serve(self, announce: Callable[[int], None], *, keepalive: bool) -> None:
        """Serve echoes forever; tell the port."""
