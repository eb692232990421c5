"""The demonstration: a fast sender, held back by a slow reader, over a real connection on this machine."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from anyio import Event, create_task_group, current_time, move_on_after, sleep, sleep_until

from .._client import open_websocket_stream
from .._protocol.close import CloseInfo
from .._server.request import WebSocketRequest
from .._server.server import serve_websocket_streams
from .._streams.statistics import ConnectionStatistics, DirectionStatistics
from .._streams.stream import WebSocketStream

MESSAGE = bytes(4096)
READ_PER_SECOND = 1000  # messages, about 4 MiB
READ_AT_ONCE = 20  # the reader sleeps once for so many messages: the clock is too coarse for every single one
SAMPLE_SECONDS = 0.1

NOTHING = DirectionStatistics(buffered_messages=0, buffered_bytes=0, messages=0, paused_seconds=0.0)
STATUS_OF_THIS_PROCESS = Path("/proc/self/statm")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """How things stood at one moment; sizes in bytes, times in seconds, rates in messages per second."""

    seconds: float
    sent: int
    read: int
    to_network: DirectionStatistics  # the sender's connection
    to_reader: DirectionStatistics  # the reader's connection
    memory: int | None
    sent_rate: float = 0.0
    read_rate: float = 0.0

    @property
    def in_transit(self) -> int:
        """Messages in neither buffer: in the operating system's, or half decoded."""
        waiting = self.to_network.buffered_messages + self.to_reader.buffered_messages
        return max(0, self.sent - self.read - waiting)


@dataclass
class Demo:
    """One run: what the sender, the reader and the display share."""

    seconds: float
    show: Callable[[Snapshot], None]
    sender: WebSocketStream | None = None
    reader: WebSocketStream | None = None
    read: int = 0
    hurry: bool = False
    reader_done: Event = field(default_factory=Event)
    snapshots: list[Snapshot] = field(default_factory=list)
    started: float = 0.0
    close_info: CloseInfo | None = None

    async def run(self) -> None:
        """Start a server, send to it as fast as it lets us, close, and wait until everything was read."""
        self.started = current_time()
        async with create_task_group() as tasks:
            serve = partial(serve_websocket_streams, self._read_slowly, "127.0.0.1", 0, origins=[None])
            listener = await tasks.start(serve)
            async with open_websocket_stream(listener.url) as self.sender:
                tasks.start_soon(self._watch)
                with move_on_after(self.seconds):
                    await self._send_fast(self.sender)
                self.hurry = True
                await self.sender.aclose(1000, "the demo is over")
                self.close_info = self.sender.close_info
            await self.reader_done.wait()
            self.show(self._sample())
            tasks.cancel_scope.cancel()

    @property
    def succeeded(self) -> bool:
        """Whether everything that was sent was read, and the connection was closed cleanly."""
        last = self.snapshots[-1]
        return 0 < last.sent == last.read and self.close_info is not None and self.close_info.clean

    async def _send_fast(self, conn: WebSocketStream) -> None:
        while True:
            await conn.writable.send(MESSAGE)

    async def _read_slowly(self, request: WebSocketRequest) -> None:
        async with request.accept() as self.reader:
            next_turn = current_time()
            async for _ in self.reader.readable:
                self.read += 1
                if self.read % READ_AT_ONCE == 0 and not self.hurry:
                    next_turn += READ_AT_ONCE / READ_PER_SECOND
                    await sleep_until(next_turn)
            self.reader_done.set()

    async def _watch(self) -> None:
        while True:
            self.show(self._sample())
            await sleep(SAMPLE_SECONDS)

    def _sample(self) -> Snapshot:
        sender, reader = _statistics(self.sender), _statistics(self.reader)
        snapshot = Snapshot(
            seconds=current_time() - self.started,
            sent=sender.writable.messages,
            read=self.read,
            to_network=sender.writable,
            to_reader=reader.readable,
            memory=resident_memory(),
            **self._rates(sender.writable.messages),
        )
        self.snapshots.append(snapshot)
        return snapshot

    def _rates(self, sent: int) -> dict[str, float]:
        """Average over the last second or so."""
        if not self.snapshots:
            return {}
        before = self.snapshots[-min(10, len(self.snapshots))]
        elapsed = current_time() - self.started - before.seconds
        return {
            "sent_rate": (sent - before.sent) / elapsed,
            "read_rate": (self.read - before.read) / elapsed,
        }


def _statistics(conn: WebSocketStream | None) -> ConnectionStatistics:
    return ConnectionStatistics(NOTHING, NOTHING) if conn is None else conn.statistics()


def resident_memory() -> int | None:
    """Return the memory of this process in bytes, or None where the system does not show it in /proc."""
    try:
        pages = int(STATUS_OF_THIS_PROCESS.read_text("ascii").split()[1])
    except OSError:
        return None
    return pages * os.sysconf("SC_PAGESIZE")
