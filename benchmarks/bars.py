"""The bars that this project has set itself: ratios in one run, and whether they are met."""

from __future__ import annotations

from dataclasses import dataclass

from .contenders import ASYNCIO, OURS, RAW, TRIO
from .report import Medians, human
from .rows import BY_NAME

BEST = "best peer"
OURS_ON_ASYNCIO = "ours on asyncio"
SINGLE = "one by one"  # the row without batches
KIB = "KiB"


@dataclass(frozen=True)
class Bar:
    """On each of these backends the row has to be at least (at most) ``factor`` times what it is compared with."""

    row: str
    backends: tuple[str, ...]
    against: str
    factor: float
    at_least: bool = True


BARS = (
    Bar("receive-64", ASYNCIO, "picows.websockets", 1.3),
    Bar("receive-64", TRIO, BEST, 12),
    Bar("receive-64", TRIO, OURS_ON_ASYNCIO, 0.8),
    Bar("receive-64-batch", ASYNCIO + TRIO, SINGLE, 3),
    Bar("send-64-batch", ASYNCIO + TRIO, SINGLE, 2),
    Bar("receive-64-tls", ASYNCIO, BEST, 1.3),
    Bar("receive-64-tls", TRIO, BEST, 20),
    *(
        bar
        for row in ("receive-64k-tls", "receive-1m-tls", "send-1m-tls")
        for bar in (
            Bar(row, ASYNCIO, BEST, 1.0),
            Bar(row, TRIO, BEST, 2.0 if row == "send-1m-tls" else 2.5),
            Bar(row, ASYNCIO + TRIO, RAW, 0.9),
        )
    ),
    Bar("echo-64-tls", ASYNCIO, BEST, 1.0, at_least=False),
    Bar("echo-64-tls", TRIO, BEST, 1 / 1.5, at_least=False),
    Bar("send-64", ASYNCIO, "picows.websockets", 3),
    Bar("send-64", TRIO, BEST, 15),
    *(
        bar
        for row in ("receive-1m", "send-1m")
        for bar in (Bar(row, ASYNCIO, BEST, 0.9), Bar(row, ASYNCIO, RAW, 0.8), Bar(row, TRIO, BEST, 5))
    ),
    Bar("echo-64", ASYNCIO, "picows.websockets", 1.0, at_least=False),
    Bar("echo-64", TRIO, BEST, 0.5, at_least=False),
    Bar("memory", ASYNCIO[:1] + TRIO, KIB, 14, at_least=False),
    *(Bar(row, ASYNCIO + TRIO, BEST, 1.0) for row in ("connect", "accept")),
)
ROWS = tuple(dict.fromkeys(row for bar in BARS for row in (bar.row.removesuffix("-batch"), bar.row)))

HEAD = ["row", "backend", "ours", "compared with", "its figure", "ratio", "bar", "met", "by"]


def lines(medians: Medians) -> list[list[str]]:
    """Return the table of bars."""
    return [_line(medians, bar, backend) for bar in BARS for backend in bar.backends]


def _line(medians: Medians, bar: Bar, backend: str) -> list[str]:
    ours = medians.value(bar.row, BY_NAME[bar.row].metrics[0], backend, OURS)
    name, other = _compared(medians, bar, backend)
    wanted = f"{'>=' if bar.at_least else '<='} {bar.factor:g}"
    if ours is None or other is None:
        return [bar.row, backend, "-", name, "-", "-", wanted, "not measured", ""]
    ratio = ours / other
    ahead = ratio / bar.factor if bar.at_least else bar.factor / ratio
    return [
        bar.row,
        backend,
        human(ours),
        name,
        "" if bar.against == KIB else human(other),
        f"{ratio:.2f}",
        wanted,
        "met" if ahead >= 1 else "NOT MET",
        f"{ahead - 1:+.0%}",
    ]


def _compared(medians: Medians, bar: Bar, backend: str) -> tuple[str, float | None]:
    metric = BY_NAME[bar.row].metrics[0]
    if bar.against == KIB:
        return KIB, 1.0
    if bar.against == BEST:
        best = medians.best_peer(bar.row, metric, backend)
        return (BEST, None) if best is None else (f"best peer: {best[0]}", best[1])
    if bar.against == SINGLE:
        return SINGLE, medians.value(bar.row.removesuffix("-batch"), metric, backend, OURS)
    if bar.against == OURS_ON_ASYNCIO:
        return OURS_ON_ASYNCIO, medians.value(bar.row, metric, "asyncio", OURS)
    where = "none" if bar.against == RAW else backend
    return bar.against, medians.value(bar.row, metric, where, bar.against)
