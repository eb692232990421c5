"""The page of the examples: their README's tables, and below them every program as it is."""

from __future__ import annotations

import re
from pathlib import Path

from sphinx.application import Sphinx

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
PAGE = "examples"


def page_of(readme: str) -> str:
    """Return the page: links to programs lead to their source, which follows."""
    names = list(dict.fromkeys(re.findall(r"\]\((\w+)\.py\)", readme)))
    linked = re.sub(r"\]\((\w+)\.py\)", r"](#example-\1)", readme)
    programs = [
        f"(example-{name})=\n\n### `{name}.py`\n\n```{{literalinclude}} ../examples/{name}.py\n```"
        for name in names
    ]
    return "\n\n".join([linked, "## The programs", *programs, ""])


def write(_app: Sphinx, name: str, source: list[str]) -> None:
    """Put the page in the place of the file that stands for it."""
    if name == PAGE:
        source[0] = page_of((EXAMPLES / "README.md").read_text("utf-8"))


def setup(app: Sphinx) -> dict[str, bool]:
    """Listen to what is read."""
    app.connect("source-read", write)
    return {"parallel_read_safe": True}
