"""The plot for the documentation: bars in SVG, written by hand, so that it needs nothing and differs in what changed."""

from __future__ import annotations

from html import escape
from pathlib import Path

from .contenders import ENTRIES, OURS
from .report import Medians, human
from .rows import BY_NAME, Row

SHOWN = ("receive-64", "send-64", "receive-1m", "send-1m", "echo-64", "connect", "accept", "memory")
BAR, GAP, NAME, FULL, FIGURE = 16, 5, 130, 170, 70
COLUMN = NAME + FULL + FIGURE
COLOURS = {True: "#3569b5", False: "#b9c2ce"}


def write(medians: Medians, path: Path) -> None:
    """Write one chart: a column for each backend, a panel for each row, the same scale in all columns of a row."""
    parts: list[str] = []
    y = 30
    for row in (BY_NAME[name] for name in SHOWN if name in medians.results.figures):
        height = _panel(parts, medians, row, y)
        y += height
    for column, backend in enumerate(medians.backends()):
        parts.append(_text(column * COLUMN + NAME, 16, backend, "b"))
    width = COLUMN * max(1, len(medians.backends()))
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {y}" width="{width}" height="{y}" '
        'font-family="sans-serif" font-size="12">\n'
        "<style>.b{font-weight:bold}.n{text-anchor:end}</style>\n"
        f'<rect width="{width}" height="{y}" fill="#ffffff"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _panel(parts: list[str], medians: Medians, row: Row, top: int) -> int:
    metric = row.metrics[0]
    columns = [
        [
            (name, value)
            for name in ENTRIES
            if (value := medians.value(row.name, metric, backend, name)) is not None
        ]
        for backend in medians.backends()
    ]
    largest = max((value for column in columns for _, value in column), default=1.0) or 1.0
    better = "more" if metric.more_is_better else "less"
    parts.append(_text(0, top + 12, f"{row.about} ({metric.unit}, {better} is better)", "b"))
    for number, column in enumerate(columns):
        for line, (name, value) in enumerate(column):
            x, y = number * COLUMN + NAME, top + 22 + line * (BAR + GAP)
            length = max(1.0, FULL * value / largest)
            parts.append(_text(x - 6, y + 12, name, "n"))
            parts.append(
                f'<rect x="{x}" y="{y}" width="{length:.1f}" height="{BAR}" fill="{COLOURS[name == OURS]}"/>'
            )
            parts.append(_text(round(x + length + 5), y + 12, human(value)))
    return 22 + max(map(len, columns), default=0) * (BAR + GAP) + 16


def _text(x: int, y: int, words: str, style: str = "") -> str:
    return f'<text x="{x}" y="{y}" class="{style}">{escape(words)}</text>'
