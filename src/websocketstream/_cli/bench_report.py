"""What a measurement has found: for people, drawn, and for programs."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from typing import Any

from .bench_values import Load, NoEcho, Result
from .escape import escape
from .latencies import Latencies
from .units import byte_rate, duration, size

PERCENTILES = (50.0, 90.0, 99.0, 99.9, 100.0)
ROWS = 16  # of the histogram
BAR = 40  # characters
SHOWN_ERRORS = 5
SHOWN_OF_AN_ANSWER = 60  # characters


def summary(url: str, load: Load, result: Result) -> Iterator[str]:
    """Yield the lines that say what was done and what came out, without the histogram."""
    yield f"{escape(url, keep='')}: {_count(load.connections, 'connection')}, {_kind(load)}, {_pace(load)}"
    opened = result.opened
    yield (
        f"opened     {opened.count:,} of {load.connections:,} in {duration(result.opening_seconds)}; each "
        f"p50 {duration(opened.percentile(50))}, max {duration(opened.most)}"
    )
    rate = result.echoed / result.seconds if result.seconds else 0.0
    yield (
        f"messages   {result.echoed:,} of {result.sent:,} came back, {rate:,.0f} a second, "
        f"{byte_rate(rate * load.size)} each way"
    )
    if load.rate is not None:
        yield f"rate       {load.rate:,.0f} a second were wanted; latency counts from when a message was due"
    if result.latencies.count:
        yield "latency    " + "  ".join(
            f"{_name(percent)} {duration(result.latencies.percentile(percent))}" for percent in PERCENTILES
        )
    yield from _troubles(result)


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}" + ("" if number == 1 else "s")


def _kind(load: Load) -> str:
    return f"{'text' if load.text else 'binary'} messages of {size(load.size)}"


def _pace(load: Load) -> str:
    length = f"{load.seconds:g} s" if load.messages is None else _count(load.messages, "message")
    if load.rate is not None:
        return f"{load.rate:,.0f} messages a second, {length}"
    return f"{load.in_flight:,} under way in each, {length}"


def _name(percent: float) -> str:
    return "max" if percent == 100 else f"p{percent:g}"


def _troubles(result: Result) -> Iterator[str]:
    if result.overdue:
        yield f"missing    {result.overdue:,} had not come back in the end; their latency counts as what it was by then"
    if result.unexpected:
        yield f"unexpected {result.unexpected:,} messages were no echo"
    for error, count in result.errors.most_common(SHOWN_ERRORS):
        yield f"errors     {count:,} x {escape(error, keep='')}"
    if len(result.errors) > SHOWN_ERRORS:
        yield f"errors     and {len(result.errors) - SHOWN_ERRORS} other kinds"


def not_an_echo(failure: NoEcho, timeout: float) -> str:
    """Say that a server cannot be measured like this, in one sentence."""
    sentence = f"the server does not echo, so there is nothing to time: within {timeout:g} s it sent "
    if not failure.answers:
        return f"{sentence}nothing back"
    last = failure.answers[-1]
    shown = last if isinstance(last, str) else repr(last[:SHOWN_OF_AN_ANSWER])[2:-1]
    return f"{sentence}{_count(len(failure.answers), 'other message')}, the last {escape(shown[:SHOWN_OF_AN_ANSWER], keep='')!r}"


# --- the histogram


def histogram(latencies: Latencies, mark: str = "#") -> Iterator[tuple[str, str, str]]:
    """Yield a row for each bar: until which latency, the bar, and how many percent."""
    bars = latencies.bars(ROWS)
    longest = max((count for _, _, count in bars), default=0)
    for _, until, count in bars:
        length = max(1, round(BAR * count / longest)) if count else 0  # what is there is seen
        yield duration(until), mark * length, f"{100 * count / latencies.count:.2f} %" if count else ""


def show(url: str, load: Load, result: Result) -> None:
    """Print all of it: in colour on a terminal where rich is installed, in plain characters elsewhere."""
    lines = list(summary(url, load, result))
    if sys.stdout.isatty() and importlib.util.find_spec("rich") is not None:
        _show_in_colour(lines, result)
        return
    print("\n".join(lines))
    for until, bar, share in histogram(result.latencies):
        print(f"  up to {until:>9}  {bar:<{BAR}}  {share:>8}".rstrip())


def _show_in_colour(lines: list[str], result: Result) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    for line in lines:
        label, text = line[:11], line[11:]
        trouble = label.startswith(("missing", "unexpected", "errors"))
        if line is lines[0]:
            console.print(Text(line, style="bold"))
        else:
            console.print(Text(label, style="red" if trouble else "cyan") + Text(text))
    table = Table(box=None, show_header=False)
    table.add_column(justify="right", style="cyan")
    table.add_column(style="green")
    table.add_column(justify="right")
    for until, bar, share in histogram(result.latencies, mark="\u2588"):
        table.add_row(f"up to {until}", bar, share)
    console.print(table)


# --- for programs


def as_json(url: str, load: Load, result: Result) -> dict[str, Any]:
    """Return it as plain values; times in seconds, sizes in bytes."""
    rate = result.echoed / result.seconds if result.seconds else 0.0
    return {
        "url": url,
        "load": {
            "connections": load.connections,
            "messages": load.messages,
            "seconds": None if load.messages is not None else load.seconds,
            "size": load.size,
            "text": load.text,
            "rate": load.rate,
            "in_flight": None if load.rate is not None else load.in_flight,
        },
        "opened": {
            "connections": result.opened.count,
            "seconds": result.opening_seconds,
            "each": _latency_figures(result.opened),
        },
        "messages": {
            "sent": result.sent,
            "echoed": result.echoed,
            "overdue": result.overdue,
            "unexpected": result.unexpected,
            "seconds": result.seconds,
            "per_second": rate,
            "bytes_per_second": rate * load.size,
        },
        "latency": _latency_figures(result.latencies),
        "histogram": [
            {"from": low, "to": high, "count": count} for low, high, count in result.latencies.bars(ROWS)
        ],
        "errors": dict(result.errors),
    }


def _latency_figures(latencies: Latencies) -> dict[str, float]:
    return {"mean": latencies.mean} | {
        _name(percent): latencies.percentile(percent) for percent in PERCENTILES
    }
