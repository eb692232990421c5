"""How the demonstration in a terminal is shown: a live table, or lines, and a summary in the end."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from .._protocol.close import CloseInfo
from .._streams.statistics import DirectionStatistics
from .demo_run import MESSAGE, Demo, Snapshot
from .units import size

LINE_SECONDS = 0.5  # between two lines of plain output

Show = Callable[[Snapshot], None]


async def run_in_terminal(seconds: float, *, plain: bool) -> bool:
    """Run the demonstration, print its summary and tell whether all went well."""
    with choose_display(plain=plain) as show:
        demo = Demo(seconds, show)
        await demo.run()
    print("\n".join(summary(demo)))
    return demo.succeeded


def choose_display(*, plain: bool) -> AbstractContextManager[Show]:
    """Return the live display where the output is a terminal and rich is installed."""
    if plain or not sys.stdout.isatty() or importlib.util.find_spec("rich") is None:
        return plain_display()
    return live_display()


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
    yield "Beside the browser's classic WebSocket: websocketstream demo --browser"


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
