"""The other end of a connection, driven frame by frame by the test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from anyio import EndOfStream
from anyio.lowlevel import checkpoint

from websocketstream import WebSocketStream
from websocketstream._protocol.codec import Close, CodecLimits, Event, Outgoing
from websocketstream._protocol.engine import make_codec
from websocketstream.testing import MemoryByteStream, memory_byte_stream_pair, over_stream


class RawPeer:
    """Reads and writes only when it is told to."""

    def __init__(self, stream: MemoryByteStream, *, client: bool) -> None:
        self.stream = stream
        self.codec = make_codec(client=client, limits=CodecLimits(None, None))
        self.events: list[Event] = []
        self.at_end = False

    async def send(self, *messages: str | bytes) -> None:
        for message in messages:
            payload = message.encode() if isinstance(message, str) else message
            for buffer in self.codec.send_messages([Outgoing(payload, isinstance(message, str))]):
                await self.stream.send(bytes(buffer))

    async def close(self, code: int | None = None, reason: str = "") -> None:
        await self.stream.send(self.codec.send_close(code, reason))

    async def ping(self, payload: bytes = b"") -> None:
        await self.stream.send(self.codec.send_ping(payload))

    async def read_event(self) -> Event | None:
        """Return the next thing that the connection under test says; None for the end of its direction."""
        while not self.events:
            try:
                self.events += self.codec.receive_data(await self.stream.receive())
            except EndOfStream:
                self.at_end = True
                return None
            while self.codec.pending:
                self.events += self.codec.receive_data(b"")
        return self.events.pop(0)

    async def read_all(self) -> list[Event]:
        """Return everything up to the end of the direction."""
        events = []
        while (event := await self.read_event()) is not None:
            events.append(event)
        return events

    async def answer_close(self) -> Close:
        """Read up to the Close frame, answer it, and end the transport as a server does."""
        while not isinstance(event := await self.read_event(), Close):
            assert event is not None, "the transport ended without a Close frame"
        await self.close(event.code, event.reason)
        await self.stream.aclose()
        return event


@asynccontextmanager
async def connection_and_peer(
    *, server: bool = False, capacity: int = 65536, **options: Any
) -> AsyncIterator[tuple[WebSocketStream, RawPeer]]:
    """Open a connection in memory; in the end the peer's transport just goes away."""
    ours, theirs = memory_byte_stream_pair(capacity)
    peer = RawPeer(theirs, client=server)
    async with over_stream(ours, server=server, **options) as conn:
        yield conn, peer
        await theirs.aclose()


async def some_passes(count: int = 20) -> None:
    """Let every task run as far as it can, without real time."""
    for _ in range(count):
        await checkpoint()
