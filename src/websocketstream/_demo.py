"""The demonstration: a fast sender, held back by a slow reader, over a real connection on this machine."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from anyio import Event, create_task_group, current_time, move_on_after, sleep, sleep_until

from ._client import open_websocket_stream
from ._protocol.close import CloseInfo
from ._server.request import WebSocketRequest
from ._server.server import serve_websocket_streams
from ._streams.statistics import ConnectionStatistics, DirectionStatistics
from ._streams.stream import WebSocketStream

MESSAGE = bytes(4096)
READ_PER_SECOND = 1000  # messages, about 4 MiB
READ_AT_ONCE = 20  # the reader sleeps once for so many messages: the clock is too coarse for every single one
SAMPLE_SECONDS = 0.1
LINE_SECONDS = 0.5  # between two lines of plain output

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


Show = Callable[[Snapshot], None]


@dataclass
class Demo:
    """One run: what the sender, the reader and the display share."""

    seconds: float
    show: Show
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


def summary(demo: Demo) -> Iterator[str]:
    """Yield the lines that are printed in the end."""
    last = demo.snapshots[-1]
    held = last.to_network.paused_seconds
    most_out = max(each.to_network.buffered_bytes for each in demo.snapshots)
    most_in = max(each.to_reader.buffered_bytes for each in demo.snapshots)
    yield "summary"
    yield f"  sent       {last.sent:,} messages of {size(len(MESSAGE))}"
    yield f"  read       {last.read:,} messages, {'none lost' if last.read == last.sent else 'SOME LOST'}"
    yield f"  held back  the sender waited {held:.1f} s of {demo.seconds:.1f} s for the reader"
    yield f"  buffered   at most {size(most_out)} ahead of the network, {size(most_in)} ahead of the reader"
    yield f"  memory     {_growth(demo.snapshots)}"
    yield f"  closed     {_farewell(demo.close_info)}"


def _growth(snapshots: list[Snapshot]) -> str:
    # Buffers fill in the first moments, and the allocator keeps what it got: look at what comes after.
    known = [each.memory for each in snapshots[len(snapshots) // 4 :] if each.memory is not None]
    if not known:
        return "not shown by this system"
    return f"{size(max(known))}, {size(max(known) - known[0])} more than when the buffers had filled"


def _farewell(info: CloseInfo | None) -> str:
    if info is None:
        return "not closed"
    return f"{'clean' if info.clean else 'NOT CLEAN'}, code {info.code}, reason {info.reason!r}"


def size(number: float) -> str:
    """Say a number of bytes for people."""
    for unit in ("B", "KiB"):
        if abs(number) < 1024:
            return f"{number:.0f} {unit}"
        number /= 1024
    return f"{number:.1f} MiB"


def succeeded(demo: Demo) -> bool:
    """Tell whether everything that was sent was read, and the connection was closed cleanly."""
    last = demo.snapshots[-1]
    return 0 < last.sent == last.read and demo.close_info is not None and demo.close_info.clean


# --- the two displays


def plain_line(now: Snapshot) -> str:
    """Return one line of plain output."""
    memory = "" if now.memory is None else f"  memory {size(now.memory)}"
    return (
        f"{now.seconds:5.1f} s  sent {now.sent:>7,} ({now.sent_rate:>6,.0f}/s)"
        f"  buffered {size(now.to_network.buffered_bytes):>8} + {size(now.to_reader.buffered_bytes):>8}"
        f"  read {now.read:>7,} ({now.read_rate:>6,.0f}/s)"
        f"  held back {now.to_network.paused_seconds:4.1f} s{memory}"
    )


@contextmanager
def plain_display() -> Iterator[Show]:
    """Print a line every half second."""
    due = LINE_SECONDS

    def show(now: Snapshot) -> None:
        nonlocal due
        if now.seconds >= due:
            due += LINE_SECONDS
            print(plain_line(now), flush=True)

    yield show


@contextmanager
def live_display() -> Iterator[Show]:
    """Show a table that is redrawn in place."""
    from rich.live import Live
    from rich.table import Table

    def table(now: Snapshot) -> Table:
        grid = Table(title="a fast sender, held back by a slow reader", title_justify="left")
        for name in ("", "messages", "per second", "buffered", "held back"):
            grid.add_column(name, justify="left" if not name else "right", min_width=10)
        grid.add_row("sent", *_row(now.sent, now.sent_rate, now.to_network))
        grid.add_row("in transit", f"{now.in_transit:,}", "", "", "")
        grid.add_row("read", *_row(now.read, now.read_rate, now.to_reader))
        memory = "unknown" if now.memory is None else size(now.memory)
        grid.caption = f"{now.seconds:.1f} s, process memory {memory}"
        return grid

    with Live(auto_refresh=False) as live:
        yield lambda now: live.update(table(now), refresh=True)


def _row(messages: int, rate: float, direction: DirectionStatistics) -> tuple[str, str, str, str]:
    return (
        f"{messages:,}",
        f"{rate:,.0f}",
        size(direction.buffered_bytes),
        f"{direction.paused_seconds:.1f} s",
    )


def choose_display(*, plain: bool) -> AbstractContextManager[Show]:
    """Return the live display where the output is a terminal and rich is installed."""
    if plain or not sys.stdout.isatty() or importlib.util.find_spec("rich") is None:
        return plain_display()
    return live_display()


async def run_demo(seconds: float, *, plain: bool) -> bool:
    """Run the demonstration, print its summary and tell whether all went well."""
    with choose_display(plain=plain) as show:
        demo = Demo(seconds, show)
        await demo.run()
    print("\n".join(summary(demo)))
    return succeeded(demo)
