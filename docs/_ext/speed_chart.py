"""The directive `speed-chart`: three rows of the last full measurement, drawn from the table that it left."""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import escape
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx

TABLE = Path(__file__).parent.parent / "_static" / "performance.md"
ROWS = {
    "receive-64": "receive 64 bytes, messages/s",
    "send-64": "send 64 bytes, messages/s",
    "echo-64": "echo 64 bytes, µs (less is better)",
}
CONTENDERS = ("websocketstream", "picows.websockets", "aiohttp", "websockets")  # those that one can await
SCALE = {"": 1, "k": 1e3, "M": 1e6}
# Pixels: of the picture, of a bar, where bars begin, and how long they may be.
WIDTH, BAR, LEFT, ROOM = 300, 15, 122, 122


@dataclass(frozen=True, slots=True)
class Bar:
    """One figure: as it was written, and as a number."""

    contender: str
    text: str

    @property
    def value(self) -> float:
        """The figure as a number."""
        number, _, scale = self.text.partition(" ")
        return float(number) * SCALE[scale]


def read(text: str, row: str, backend: str = "asyncio") -> list[Bar]:
    """Find the figures of a row in the tables of a measurement."""
    _, _, behind = text.partition(f"### {backend}: medians")
    head, *lines = [
        _cells(line) for line in behind.partition("\n###")[0].splitlines() if line.startswith("|")
    ]
    figures = next(cells for cells in lines if cells[0] == row)
    by_name = dict(zip(head, figures, strict=True))
    return [Bar(name, re.sub(r" ±.*", "", by_name[name])) for name in CONTENDERS]


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def draw(text: str) -> str:
    """Draw the rows, below each other, each with its own scale."""
    parts, y = [], 0
    for row, title in ROWS.items():
        bars = read(text, row)
        most = max(bar.value for bar in bars)
        parts.append(f'<text x="0" y="{y + 14}" font-weight="bold">{escape(title)}</text>')
        y += 22
        for bar in bars:
            ours = bar.contender == "websocketstream"
            long = max(bar.value / most * ROOM, 1)
            parts.append(
                f'<text x="{LEFT - 6}" y="{y + 11}" text-anchor="end">{escape(bar.contender)}</text>'
            )
            fill = "#3569b5" if ours else "#9aa7b5"
            parts.append(f'<rect x="{LEFT}" y="{y}" width="{long:.1f}" height="{BAR - 3}" fill="{fill}"/>')
            parts.append(f'<text x="{LEFT + long + 4:.1f}" y="{y + 11}">{escape(bar.text)}</text>')
            y += BAR
        y += 8
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-10 -6 {WIDTH + 10} {y + 6}" role="img" '
        f'aria-label="How fast small messages are received, sent and echoed, beside other libraries" '
        f'font-family="system-ui, sans-serif" font-size="12" fill="#23303d">'
        f'<rect x="-10" y="-6" width="{WIDTH + 10}" height="{y + 6}" rx="8" fill="#f7f8fa"/>{"".join(parts)}</svg>'
    )


class SpeedChart(Directive):
    """The picture."""

    def run(self) -> list[nodes.Node]:
        """Draw it from the table, which is a part of the page from now on."""
        self.state.document.settings.env.note_dependency(str(TABLE))
        return [nodes.raw("", draw(TABLE.read_text("utf-8")), format="html")]


def setup(app: Sphinx) -> dict[str, bool]:
    """Make the directive known."""
    app.add_directive("speed-chart", SpeedChart)
    return {"parallel_read_safe": True}
