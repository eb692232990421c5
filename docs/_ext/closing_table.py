"""The directive `closing-table`: the state table of the closing handshake, as the code has it."""

from __future__ import annotations

from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx

from websocketstream._protocol.state import TRANSITIONS


class ClosingTable(Directive):
    """A table with one row per transition."""

    def run(self) -> list[nodes.Node]:
        """Build the table."""
        rows = [("state", "what happens", "next state")]
        rows += [(old.value, what.value, new.value) for (old, what), new in TRANSITIONS.items()]
        table, group = nodes.table(), nodes.tgroup(cols=3)
        group += [nodes.colspec(colwidth=width) for width in (1, 2, 1)]
        head, *body = [nodes.row("", *map(_cell, row)) for row in rows]
        group += nodes.thead("", head), nodes.tbody("", *body)
        table += group
        return [table]


def _cell(text: str) -> nodes.entry:
    return nodes.entry("", nodes.paragraph(text=text))


def setup(app: Sphinx) -> dict[str, bool]:
    """Make the directive known."""
    app.add_directive("closing-table", ClosingTable)
    return {"parallel_read_safe": True}
