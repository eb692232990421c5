"""The meter: what passes in each direction, how fast, and what holds it back; on standard error."""

from __future__ import annotations

import importlib.util
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from anyio import (
    BrokenResourceError,
    ClosedResourceError,
    EndOfStream,
    create_task_group,
    current_time,
    sleep,
)
from anyio.lowlevel import checkpoint

from .._streams.statistics import DirectionStatistics
from .traffic import Counter, Traffic
from .units import byte_rate, duration, rate, size

if TYPE_CHECKING:
    from rich.console import Console

LIVE_SECONDS = 0.25  # between two pictures
PLAIN_SECONDS = 1.0  # between two lines
PING_SECONDS = 2.0
RATE_SAMPLES = 8  # over which a rate is taken
NARROW = 79  # columns that the whole table needs

NOTHING = DirectionStatistics(buffered_messages=0, buffered_bytes=0, messages=0, paused_seconds=0.0)


@dataclass(frozen=True, slots=True)
class Direction:
    """One direction at one moment; rates are per second."""

    name: str
    messages: int
    bytes: int
    message_rate: float
    byte_rate: float
    buffered: int
    held_back: float

    def plain(self) -> str:
        """Return it as a part of a line."""
        return (
            f"{self.name} {self.messages:,} ({rate(self.message_rate)}), {size(self.bytes)} ({byte_rate(self.byte_rate)}), "
            f"buffered {size(self.buffered)}, held back {duration(self.held_back)}"
        )

    def row(self, width: int) -> str:
        """Return it as a line of a table."""
        if width < NARROW:
            return f"{self.name:<8}{size(self.bytes):>10}{byte_rate(self.byte_rate):>12}"
        return (
            f"{self.name:<8}{self.messages:>14,}{rate(self.message_rate):>13}{size(self.bytes):>11}"
            f"{byte_rate(self.byte_rate):>13}{size(self.buffered):>10}{duration(self.held_back):>10}"
        )


def heading(width: int) -> str:
    """Return the first line of the table."""
    if width < NARROW:
        return f"{'':8}{'bytes':>10}{'per second':>12}"
    return f"{'':8}{'messages':>14}{'per second':>13}{'bytes':>11}{'per second':>13}{'buffered':>10}{'held back':>10}"


@dataclass(frozen=True, slots=True)
class Reading:
    """What the meter shows at one moment. ``share`` is how much of the input was sent, None where its size is not known."""

    outgoing: Direction
    incoming: Direction
    latency: float | None
    share: float | None = None
    total: int = 0
    left: float | None = None  # seconds

    def lines(self, width: int) -> list[str]:
        """Return it as a table."""
        last = f"round trip {self.round_trip()}"
        return [heading(width), self.outgoing.row(width), self.incoming.row(width), last]

    def plain(self) -> str:
        """Return it as one line."""
        parts = [self.outgoing.plain(), self.incoming.plain(), f"round trip {self.round_trip()}"]
        if self.share is not None:
            parts.insert(0, self.progress())
        return "; ".join(parts)

    def round_trip(self) -> str:
        """Say how long a ping takes."""
        return "unknown" if self.latency is None else duration(self.latency)

    def progress(self) -> str:
        """Say how much of the input was sent, and how long the rest may take."""
        left = "" if self.left is None else f", {duration(self.left)} left"
        return f"{self.share or 0:.0%} of {size(self.total)}{left}"


class Meter:
    """Takes readings; rates are over the last few of them."""

    def __init__(self, traffic: Traffic, total: int | None) -> None:
        self._traffic = traffic
        self._total = total
        self._samples: deque[tuple[float, int, int, int, int]] = deque(maxlen=RATE_SAMPLES)

    def read(self, now: float) -> Reading:
        """Take a reading.

        :param now: seconds of any clock
        """
        out, come = self._traffic.outgoing, self._traffic.incoming
        first = (
            self._samples[0] if self._samples else (now, out.messages, out.bytes, come.messages, come.bytes)
        )
        self._samples.append((now, out.messages, out.bytes, come.messages, come.bytes))
        elapsed = now - first[0]
        rates = [
            (after - before) / elapsed if elapsed > 0 else 0.0
            for before, after in zip(first[1:], self._samples[-1][1:], strict=True)
        ]
        conn = self._traffic.conn
        statistics = None if conn is None else conn.statistics()
        outgoing = _direction("sent", out, rates[:2], NOTHING if statistics is None else statistics.writable)
        incoming = _direction(
            "received", come, rates[2:], NOTHING if statistics is None else statistics.readable
        )
        latency = None if conn is None else conn.latency
        if not self._total:
            return Reading(outgoing, incoming, latency)
        left = (self._total - out.bytes) / rates[1] if rates[1] > 0 else None
        share = min(1.0, out.bytes / self._total)
        return Reading(
            outgoing, incoming, latency, share, self._total, None if left is None else max(0.0, left)
        )


def _direction(name: str, counter: Counter, rates: list[float], state: DirectionStatistics) -> Direction:
    return Direction(
        name, counter.messages, counter.bytes, rates[0], rates[1], state.buffered_bytes, state.paused_seconds
    )


Show = Callable[[Reading], None]


def live_console() -> Console | None:
    """Return what a live table is drawn on; None where standard error is no terminal, or rich is not installed."""
    if not sys.stderr.isatty() or importlib.util.find_spec("rich") is None:
        return None
    from rich.console import Console

    return Console(stderr=True)


class AboveMeter:
    """The way to a terminal on which a live table is drawn: what is written appears above that."""

    def __init__(self, console: Console) -> None:
        self._console = console

    async def send(self, data: bytes) -> None:
        """Write all of it; it is text."""
        from rich.text import Text

        await checkpoint()
        self._console.print(Text(data.decode(errors="replace")), end="", soft_wrap=True)


async def show_meter(traffic: Traffic, total: int | None, console: Console | None) -> None:
    """Show the meter until cancelled; a last reading shows the end.

    :param total: the bytes that will be sent, if that is known
    :param console: where to draw a live table; None prints lines
    """
    meter = Meter(traffic, total)
    with plain_display() if console is None else live_display(console) as show:
        try:
            async with create_task_group() as tasks:
                tasks.start_soon(_ping, traffic)
                while True:
                    await sleep(PLAIN_SECONDS if console is None else LIVE_SECONDS)
                    show(meter.read(current_time()))
        finally:
            show(meter.read(current_time()))


async def _ping(traffic: Traffic) -> None:
    """Keep the round trip fresh."""
    while True:
        try:
            if traffic.conn is not None:
                await traffic.conn.ping()
        except (EndOfStream, BrokenResourceError, ClosedResourceError):
            traffic.conn = None  # until there is another one
        await sleep(PING_SECONDS)


@contextmanager
def plain_display() -> Iterator[Show]:
    """Print a line for each reading."""
    yield lambda reading: print(reading.plain(), file=sys.stderr, flush=True)


@contextmanager
def live_display(console: Console) -> Iterator[Show]:
    """Show a table that is redrawn in place."""
    from rich.console import Group
    from rich.live import Live
    from rich.progress_bar import ProgressBar
    from rich.text import Text

    def picture(reading: Reading) -> Group:
        width = console.width
        lines = [Text(line, no_wrap=True, overflow="crop") for line in reading.lines(width)]
        if reading.share is None:
            return Group(*lines)
        bar = ProgressBar(total=1.0, completed=reading.share, width=min(width, NARROW))
        return Group(*lines, bar, Text(reading.progress(), no_wrap=True, overflow="crop"))

    with Live(console=console, auto_refresh=False) as live:
        yield lambda reading: live.update(picture(reading), refresh=True)
