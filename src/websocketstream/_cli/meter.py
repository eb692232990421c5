"""The meter: what passes in each direction, how fast, and what holds it back; on standard error."""

from __future__ import annotations

import importlib.util
import io
import os
from collections import deque
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, Protocol, Self, cast

from anyio import (
    BrokenResourceError,
    ClosedResourceError,
    EndOfStream,
    create_task_group,
    current_time,
    sleep,
)

from .._streams.statistics import DirectionStatistics
from .escape import escape
from .pipe import Output
from .standard import OutputStream, Writer, write_all
from .traffic import Counter, Traffic
from .units import byte_rate, duration, rate, size

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

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


class Display(Protocol):
    """What is shown on standard error. Nobody waits for it: what finds no room there is dropped."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    @property
    def seconds(self) -> float:
        """How much time there is between two readings."""

    def tell(self, sentence: str) -> None:
        """Say something that is not payload."""

    def show(self, reading: Reading) -> None:
        """Show how things stand."""

    def payload(self) -> Output:
        """Return the way of the payload to standard output."""


class LinesDisplay:
    """A line for each reading."""

    seconds = PLAIN_SECONDS

    def __init__(self) -> None:
        self._stream = OutputStream(2)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stream.flush()

    def tell(self, sentence: str) -> None:
        """Say something that is not payload."""
        self._stream.offer(f"{escape(sentence, keep='')}\n".encode())

    def show(self, reading: Reading) -> None:
        """Show how things stand."""
        self.tell(reading.plain())

    def payload(self) -> Output:
        """Return the way of the payload to standard output."""
        return OutputStream()


class LiveDisplay(Writer):
    """A table that is redrawn in place, below what else is shown on the terminal."""

    seconds = LIVE_SECONDS

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        super().__init__(2)
        self._console = Console(
            file=io.TextIOWrapper(cast("BinaryIO", Unbuffered(2)), "utf-8", "replace", write_through=True)
        )
        # What others print would have to wait for what is drawn.
        self._live = Live(
            console=self._console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
        )

    async def __aenter__(self) -> Self:
        self._offer(self._live.start)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._offer(self._live.stop)
        await self.flush()

    def tell(self, sentence: str) -> None:
        """Say something that is not payload."""
        self._offer(partial(self._print, f"{escape(sentence, keep='')}\n"))

    def show(self, reading: Reading) -> None:
        """Show how things stand."""
        self._offer(partial(self._draw, reading))

    def payload(self) -> Output:
        """Return the way of the payload to standard output: above the table where that is the terminal."""
        return self if os.isatty(1) else OutputStream()

    async def send(self, data: bytes) -> None:
        """Write all of it; it is text."""
        await self._finish(partial(self._print, data.decode(errors="replace")))

    def _print(self, text: str) -> None:
        from rich.text import Text

        self._console.print(Text(text), end="", soft_wrap=True)

    def _draw(self, reading: Reading) -> None:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.text import Text

        width = self._console.width
        parts: list[Text | ProgressBar] = [
            Text(line, no_wrap=True, overflow="crop") for line in reading.lines(width)
        ]
        if reading.share is not None:
            parts.append(ProgressBar(total=1.0, completed=reading.share, width=min(width, NARROW)))
            parts.append(Text(reading.progress(), no_wrap=True, overflow="crop"))
        self._live.update(Group(*parts), refresh=True)


class Unbuffered(io.RawIOBase):
    """A descriptor as a file. There is no buffer whose lock could be held in a call that never returns, up to the exit."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._descriptor

    def isatty(self) -> bool:
        """Tell whether it is a terminal."""
        return os.isatty(self._descriptor)

    def writable(self) -> bool:
        """Say so."""
        return True

    def write(self, data: ReadableBuffer, /) -> int:
        """Write all of it."""
        view = memoryview(data)
        write_all(self._descriptor, view)
        return view.nbytes


def choose_display(*, meter: bool) -> Display:
    """Return the live display if there is a meter to show, where standard error is a terminal and rich is installed."""
    if meter and os.isatty(2) and importlib.util.find_spec("rich") is not None:
        return LiveDisplay()
    return LinesDisplay()


async def show_meter(traffic: Traffic, total: int | None, display: Display) -> None:
    """Show the meter until cancelled; a last reading shows the end.

    :param total: the bytes that will be sent, if that is known
    """
    meter = Meter(traffic, total)
    try:
        async with create_task_group() as tasks:
            tasks.start_soon(_ping, traffic)
            while True:
                await sleep(display.seconds)
                display.show(meter.read(current_time()))
    finally:
        display.show(meter.read(current_time()))


async def _ping(traffic: Traffic) -> None:
    """Keep the round trip fresh."""
    while True:
        try:
            if traffic.conn is not None:
                await traffic.conn.ping()
        except (EndOfStream, BrokenResourceError, ClosedResourceError):
            traffic.conn = None  # until there is another one
        await sleep(PING_SECONDS)
