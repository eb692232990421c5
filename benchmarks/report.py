"""The table on the terminal: medians, spread, and how we compare."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from .contenders import ENTRIES, OURS, RAW
from .rows import BY_NAME, Metric, Row
from .run import Results


@dataclass(frozen=True)
class Cell:
    """The figures of all rounds."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return median(self.values)

    def __str__(self) -> str:
        text = human(self.median)
        if len(self.values) > 1:
            spread = (max(self.values) - min(self.values)) / 2 / abs(self.median or 1)
            text += f" ±{spread:.0%}"
        return text


class Medians:
    """The results as the reports need them.

    :param per_cpu: CPU time instead of time on the clock, where there is such a figure; on a machine that does
        something else as well it is steadier, but it does not see a contender that waits
    """

    def __init__(self, results: Results, *, per_cpu: bool = False) -> None:
        self.results = results
        self.suffix = "_per_cpu" if per_cpu else ""

    def cell(self, row: str, metric: Metric, backend: str, contender: str) -> Cell | None:
        rounds = self.results.figures.get(row, {}).get(backend, {}).get(contender, [])
        name = metric.name + self.suffix
        values = tuple(figures.get(name, figures[metric.name]) for figures in rounds)
        return Cell(values) if values else None

    def value(self, row: str, metric: Metric, backend: str, contender: str) -> float | None:
        cell = self.cell(row, metric, backend, contender)
        return None if cell is None else cell.median

    def best_peer(self, row: str, metric: Metric, backend: str) -> tuple[str, float] | None:
        """Return the best of those who offer an interface to await, and its figure."""
        peers = [
            (name, value)
            for name, entry in ENTRIES.items()
            if entry.awaitable and name != OURS
            if (value := self.value(row, metric, backend, name)) is not None
        ]
        better = max if metric.more_is_better else min
        return better(peers, key=lambda peer: peer[1]) if peers else None

    def backends(self) -> list[str]:
        found = dict.fromkeys(backend for row in self.results.figures.values() for backend in row)
        return [backend for backend in found if backend != "none"]


def human(value: float) -> str:
    for limit, divisor, unit in ((1e6, 1e6, " M"), (1e4, 1e3, " k")):
        if abs(value) >= limit:
            return f"{value / divisor:.3g}{unit}"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def times_better(metric: Metric, ours: float, other: float) -> str:
    """Return how many times better we are; below 1 is worse."""
    ratio = (ours / other if other else 0) if metric.more_is_better else (other / ours if ours else 0)
    return f"{ratio:.2f}"


def tables(medians: Medians) -> Iterable[tuple[str, list[str], list[list[str]]]]:
    """Yield a title, a head and lines for each backend; one of its own when only a bare socket was measured."""
    for backend in medians.backends() or ["none"]:
        yield _table(medians, backend)


def _table(medians: Medians, backend: str) -> tuple[str, list[str], list[list[str]]]:
    figures = medians.results.figures
    names = [name for name in ENTRIES if any(name in row.get(backend, {}) for row in figures.values())]
    has_raw = any("none" in row for row in figures.values()) and backend != "none"
    head = ["row", "unit", *names, *(["raw"] if has_raw else []), "best peer", "ours / best", "ours / raw"]
    lines = []
    for row in (BY_NAME[name] for name in figures):
        for metric in row.metrics:
            cells = [medians.cell(row.name, metric, backend, name) for name in names]
            if any(cells):
                raw = [medians.cell(row.name, metric, "none", RAW)] if has_raw else []
                shown = ["-" if cell is None else str(cell) for cell in [*cells, *raw]]
                lines.append(
                    [title(row, metric), metric.unit, *shown, *_ratios(medians, row, metric, backend)]
                )
    return f"{backend}: medians of {medians.results.environment.get('rounds', 1)} rounds", head, lines


def title(row: Row, metric: Metric) -> str:
    """Name one figure of a row."""
    return row.name if metric is row.metrics[0] else f"{row.name} {metric.name}"


def _ratios(medians: Medians, row: Row, metric: Metric, backend: str) -> list[str]:
    ours = medians.value(row.name, metric, backend, OURS)
    best = medians.best_peer(row.name, metric, backend)
    raw = medians.value(row.name, metric, "none", RAW)
    return [
        "-" if best is None else best[0],
        "-" if ours is None or best is None else times_better(metric, ours, best[1]),
        "-" if ours is None or raw is None else times_better(metric, ours, raw),
    ]


def growth(medians: Medians) -> Iterable[str]:
    """Yield how the cost of a message grows with the number of connections: linear work has a factor of 1."""
    row = BY_NAME["many-1000"]
    cpu = row.metrics[1]
    for backend in medians.backends():
        for name in ENTRIES:
            few = medians.value("many-10", cpu, backend, name)
            many = medians.value("many-1000", cpu, backend, name)
            if few and many:
                yield f"{name} ({backend}): a message on one of 1,000 connections costs {many / few:.2f} x that on one of 10"


def notes(results: Results) -> Iterable[str]:
    """Yield what a reader has to know beside the figures."""
    yield "'ours / ...' is how many times better websocketstream is; below 1 it is worse"
    yield from troubles(results)


def troubles(results: Results) -> Iterable[str]:
    """Yield what was not measured, or not well."""
    yield from (f"skipped: {name}: {why}" for name, why in results.skipped.items())
    yield from (f"FAILED: {failure}" for failure in results.failures)
    shares = [
        figures["busy"]
        for name, row in results.figures.items()
        if BY_NAME[name].kind in ("receive", "send")
        for contenders in row.values()
        for rounds in contenders.values()
        for figures in rounds
        if "busy" in figures
    ]
    starved = sum(share < 0.9 for share in shares)
    if starved:
        yield (
            f"in {starved} of {len(shares)} measurements of throughput the contender had less than 90 % of its core: "
            "the machine was busy with something else, or the other end was the bottleneck (--per-cpu-second)"
        )


def print_table(title: str, head: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    """Print with rich if there is rich."""
    try:
        from rich.console import Console
        from rich.table import Table
    except ImportError:
        _print_plain(title, head, lines)
        return
    table = Table(title=title, title_justify="left")
    for number, name in enumerate(head):
        table.add_column(name, justify="left" if number < 2 else "right", no_wrap=True)
    for line in lines:
        table.add_row(*line)
    console = Console()
    if not console.is_terminal:
        console.width = 240  # a pipe has no width to keep to
    console.print(table)


def markdown_table(title: str, head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a section with a table."""
    rows = [head, ["---"] * 2 + ["---:"] * (len(head) - 2), *lines]
    return "\n".join([f"### {title}", "", *(f"| {' | '.join(row)} |" for row in rows), ""])


def _print_plain(title: str, head: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    widths = [max(len(line[column]) for line in [head, *lines]) for column in range(len(head))]
    print(title)
    for line in [head, *lines]:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    print()
