"""The types of every piece of Python in README.md and docs/ are right, as mypy sees them."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from snippets import PAGES
from tools.docs_types import check

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(importlib.util.find_spec("mypy") is None, reason="needs mypy"),
]

# A line that somebody may write, and what a type checker says of it before it is run.
MISTAKES = {
    "await conn.send({})": 'has incompatible type "dict',
    "conn.recv()": 'has no attribute "recv"',
    "open_websocket_stream('wss://h', protocol='x')": "Unexpected keyword argument",
    "with open_websocket_stream('wss://h'): pass": "__enter__",
    "for message in conn: pass": '"__iter__"',
    "await open_websocket_stream('wss://h')": 'Incompatible types in "await"',
    "number: int = await conn.receive()": "Incompatible types in assignment",
    "print(conn.closed.code)": 'has no attribute "code"',
    "WebSocketStream('wss://h')": "Missing named argument",
}


def test_the_types_of_every_snippet_are_right() -> None:
    code, output = check(PAGES)
    assert code == 0, output


def test_a_mistake_in_a_snippet_is_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("".join(f"```python\n{line}\n```\n" for line in MISTAKES), "utf-8")
    code, output = check([page])
    assert code == 1
    for number, (line, words) in enumerate(MISTAKES.items()):
        said = [each for each in output.splitlines() if f"__line_{3 * number + 1}.py" in each]
        assert any(words in each for each in said), (line, said)
