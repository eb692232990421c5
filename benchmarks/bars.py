"""The bars that this project has set itself: ratios in one run, and whether they are met."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .contenders import ASYNCIO, OURS, RAW, TRIO
from .report import Medians, human, title
from .rows import BY_NAME, Metric

BEST = "best peer"
OURS_ON_ASYNCIO = "ours on asyncio"
SINGLE = "one by one"  # the row without batches
ON_TEN = "ours on 10"  # connections
KIB = "KiB"


@dataclass(frozen=True)
class Bar:
    """On each of these backends the row has to be at least (at most) ``factor`` times what it is compared with."""

    row: str
    backends: tuple[str, ...]
    against: str
    factor: float
    at_least: bool = True
    of: str = ""  # the name of the row's metric, when it is not the first

    @property
    def metric(self) -> Metric:
        metrics = BY_NAME[self.row].metrics
        return next(metric for metric in metrics if self.of in ("", metric.name))


def _at_least(row: str, asyncio: float, trio: float) -> Iterator[Bar]:
    """Give the bars of a row where more is better, beside the best peer of each loop."""
    yield Bar(row, ASYNCIO, BEST, asyncio)
    yield Bar(row, TRIO, BEST, trio)


def _at_most(row: str, asyncio: float, trio: float, of: str = "") -> Iterator[Bar]:
    """Give the bars of a row where less is better, beside the best peer of each loop."""
    yield Bar(row, ASYNCIO, BEST, asyncio, at_least=False, of=of)
    yield Bar(row, TRIO, BEST, trio, at_least=False, of=of)


BARS = (
    Bar("receive-64", ASYNCIO, "picows.websockets", 1.3),
    Bar("receive-64", TRIO, BEST, 12),
    Bar("receive-64", TRIO, OURS_ON_ASYNCIO, 0.8),
    Bar("receive-64-batch", ASYNCIO + TRIO, SINGLE, 3),
    Bar("send-64-batch", ASYNCIO + TRIO, SINGLE, 2),
    Bar("asgi-echo-100", ASYNCIO, BEST, 1.0, at_least=False),
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
    *_at_most("echo-64-tls", 1.0, 1 / 1.5),
    Bar("send-64", ASYNCIO, "picows.websockets", 3),
    Bar("send-64", TRIO, BEST, 15),
    *(
        bar
        for row in ("receive-1m", "send-1m")
        for bar in (Bar(row, ASYNCIO, BEST, 0.9), Bar(row, ASYNCIO, RAW, 0.8), Bar(row, TRIO, BEST, 5))
    ),
    # Five times the best peer is more than a bare socket does; this is the limit that there is.
    Bar("send-1m", TRIO, RAW, 0.95),
    *_at_most("echo-64", 1.0, 0.5),
    *_at_most("slow", 1 / 0.9, 1 / 0.9),
    *_at_least("receive-deflate", 1.2, 1.5),
    *_at_least("send-deflate", 1.0, 1.5),
    *_at_least("connect", 1.0, 1.3),
    *_at_least("accept", 1.0, 2.5),
    Bar("accept-tls", ASYNCIO + TRIO, RAW, 0.9, of="rate_per_cpu"),
    Bar("memory", ASYNCIO + TRIO, KIB, 11, at_least=False),
    *_at_most("memory-tls", 1.0, 1.0),
    *_at_most("memory-deflate", 1.0, 1.0),
    *(bar for count in (10, 100, 1000) for bar in _at_most(f"many-{count}", 1.0, 1 / 4, of="cpu")),
    Bar("many-1000", ASYNCIO + TRIO, ON_TEN, 1.3, at_least=False, of="cpu"),
    *_at_most("many-100-tls", 1.0, 1 / 3, of="cpu"),
    Bar("broadcast-5000", ASYNCIO, "websockets", 0.5, at_least=False),
)
ROWS = tuple(dict.fromkeys(row for bar in BARS for row in (bar.row.removesuffix("-batch"), bar.row)))

HEAD = ["row", "backend", "ours", "compared with", "its figure", "ratio", "bar", "met", "by"]


def lines(medians: Medians) -> list[list[str]]:
    """Return the table of bars."""
    return [_line(medians, bar, backend) for bar in BARS for backend in bar.backends]


def _line(medians: Medians, bar: Bar, backend: str) -> list[str]:
    ours = medians.value(bar.row, bar.metric, backend, OURS)
    row = title(BY_NAME[bar.row], bar.metric)
    name, other = _compared(medians, bar, backend)
    wanted = f"{'>=' if bar.at_least else '<='} {bar.factor:g}"
    if ours is None or other is None:
        return [row, backend, "-", name, "-", "-", wanted, "not measured", ""]
    ratio = ours / other
    ahead = ratio / bar.factor if bar.at_least else bar.factor / ratio
    return [
        row,
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
    metric = bar.metric
    if bar.against == KIB:
        return KIB, 1.0
    if bar.against == BEST:
        best = medians.best_peer(bar.row, metric, backend)
        return (BEST, None) if best is None else (f"best peer: {best[0]}", best[1])
    if bar.against == SINGLE:
        return SINGLE, medians.value(bar.row.removesuffix("-batch"), metric, backend, OURS)
    if bar.against == ON_TEN:
        return ON_TEN, medians.value("many-10", metric, backend, OURS)
    if bar.against == OURS_ON_ASYNCIO:
        return OURS_ON_ASYNCIO, medians.value(bar.row, metric, "asyncio", OURS)
    where = "none" if bar.against == RAW else backend
    return bar.against, medians.value(bar.row, metric, where, bar.against)
