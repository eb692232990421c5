"""picows itself: callbacks, no await. Not a peer of ours, but it shows what awaiting costs."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, ClassVar

from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect, ws_create_server

from .base import Link, Message, Serving, perf_counter

PING_SECONDS = 20


class Counting(WSListener):
    """Takes every message out of its frame, and wakes somebody after so many of them."""

    transport: WSTransport

    def __init__(self) -> None:
        self.left = 0
        self.last: Message = b""
        self.done: asyncio.Future[None] | None = None
        self.writable = asyncio.Event()
        self.writable.set()
        self.on_message: Callable[[], None] = self.count

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type is WSMsgType.BINARY:
            self.last = frame.get_payload_as_bytes()
        elif frame.msg_type is WSMsgType.TEXT:
            self.last = frame.get_payload_as_utf8_text()
        else:
            transport.disconnect()
            return
        self.on_message()

    def count(self) -> None:
        self.left -= 1
        if self.left == 0 and self.done is not None:
            self.done.set_result(None)

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    async def wait(self, count: int) -> None:
        # Messages that came when nobody waited count, too: left is below zero then.
        self.left += count
        if self.left > 0:
            self.done = asyncio.get_running_loop().create_future()
            await self.done
            self.done = None


class PicowsLink(Link):
    def __init__(self, listener: Counting, text: bool) -> None:
        self.listener = listener
        self.kind = WSMsgType.TEXT if text else WSMsgType.BINARY

    def _encoded(self, message: Message) -> bytes:
        return message.encode() if isinstance(message, str) else message

    async def receive_n(self, count: int) -> Message:
        await self.listener.wait(count)
        return self.listener.last

    async def send_n(self, count: int, message: Message) -> None:
        listener, send, kind = self.listener, self.listener.transport.send, self.kind
        for _ in range(count):
            send(kind, message.encode() if isinstance(message, str) else message)
            if not listener.writable.is_set():
                await listener.writable.wait()

    async def echo_n(self, count: int, message: Message) -> list[float]:
        listener, send, kind, data = (
            self.listener,
            self.listener.transport.send,
            self.kind,
            self._encoded(message),
        )
        times: list[float] = []
        start = 0.0

        def on_message() -> None:
            nonlocal start
            now = perf_counter()
            times.append(now - start)
            if len(times) < count:
                start = perf_counter()
                send(kind, data)
            listener.count()

        listener.on_message = on_message
        start = perf_counter()
        send(kind, data)
        await listener.wait(count)
        listener.on_message = listener.count
        return times

    async def pipeline_n(self, count: int, message: Message, in_flight: int) -> None:
        listener, send, kind, data = (
            self.listener,
            self.listener.transport.send,
            self.kind,
            self._encoded(message),
        )
        sent = in_flight

        def on_message() -> None:
            nonlocal sent
            if sent < count:
                sent += 1
                send(kind, data)
            listener.count()

        listener.on_message = on_message
        for _ in range(in_flight):
            send(kind, data)
        await listener.wait(count)
        listener.on_message = listener.count


class Echo(WSListener):
    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type is WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()
        else:
            transport.send(frame.msg_type, frame.get_payload_as_bytes())


class Chat(WSListener):
    """Sends what it gets to all: there is nothing for it but to call each, and no backpressure either."""

    clients: ClassVar[set[WSTransport]] = set()

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.clients.add(transport)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.clients.discard(transport)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type is WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()
            return
        data = frame.get_payload_as_bytes()
        for client in self.clients:
            client.send(frame.msg_type, data)


class Picows:
    @asynccontextmanager
    async def connect(
        self, url: str, *, text: bool, context: ssl.SSLContext | None = None, deflate: bool = False
    ) -> AsyncIterator[Link]:
        assert not deflate
        transport, listener = await ws_connect(Counting, url, ssl_context=context, max_frame_size=2**24)
        yield PicowsLink(listener, text)  # type: ignore[arg-type]
        transport.send_close()
        await transport.wait_disconnected()

    async def serve(self, announce: Callable[[int], None], how: Serving) -> None:
        options: dict[str, Any] = {"enable_auto_ping": True, "auto_ping_idle_timeout": PING_SECONDS}
        listener = Chat if how.broadcast else Echo
        server = await ws_create_server(
            lambda _request: listener(),
            "127.0.0.1",
            how.port,
            ssl=how.context,
            max_frame_size=2**24,
            reuse_port=how.shared or None,
            **(options if how.keepalive else {}),
        )
        announce(server.sockets[0].getsockname()[1])
        await server.serve_forever()


CONTENDER = Picows()
