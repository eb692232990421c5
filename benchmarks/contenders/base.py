"""What a contender is: how it connects, how it serves. The loops that are measured are here, the same for all."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import trio

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


@dataclass(frozen=True)
class Serving:
    """What a server is asked for."""

    keepalive: bool = False
    context: ssl.SSLContext | None = None
    deflate: bool = False  # with windows of frames.WINDOW_BITS
    size: int = 64  # of the messages, for who does not look at them
    broadcast: bool = False  # send a message to all connections instead of back, as the library documents it
    port: int = 0  # 0 for a free one
    shared: bool = False  # other processes listen on the port, too (SO_REUSEPORT)
    asgi: bool = False  # see asgi.py


def shared_listener(port: int) -> trio.SocketListener:
    """Return what the servers of trio take that have no option for sharing a port."""
    import trio

    sock = socket.create_server(("127.0.0.1", port), backlog=512, reuse_port=True)
    return trio.SocketListener(trio.socket.from_stdlib_socket(sock))


class Contender(Protocol):
    """Compression is off unless asked for, keepalive too, messages of any size are taken; all else is the default."""

    def connect(
        self, url: str, *, text: bool, context: ssl.SSLContext | None = None, deflate: bool = False
    ) -> AbstractAsyncContextManager[Link]:
        """Open a connection, and close it with the closing handshake."""

    async def serve(self, announce: Callable[[int], None], how: Serving) -> None:
        """Serve echoes forever; tell the port."""
