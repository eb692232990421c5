"""Check the types of every piece of Python in README.md and docs/ with mypy: `python tests/tools/docs_types.py`.

A program is checked as it stands, a fragment inside of a function that has an open ``conn`` and the public names. Bodies of functions
without annotations are checked, too: the docs have few of those.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from snippets import PAGES, Block, blocks  # noqa: E402

AROUND = """\
import anyio
from websocketstream import *

async def fragment(conn: WebSocketStream) -> None:
{code}
"""
OPTIONS = [
    "--check-untyped-defs",
    "--ignore-missing-imports",  # of what a page shows beside us
    # What is no mistake in a snippet: an empty list without a type, bytes in a line that is printed, and `conn.response`, which is
    # None on a server, as `conn.request` is on a client: the page knows on which it is.
    "--disable-error-code=var-annotated",
    "--disable-error-code=str-bytes-safe",
    "--disable-error-code=union-attr",
    "--no-error-summary",
    "--hide-error-context",
    "--no-incremental",
    "--python-version=3.11",
]


def modules(pages: list[Path]) -> Iterator[tuple[str, str]]:
    """Yield what to check: the name of a file, and what is in it."""
    for page in pages:
        for block in blocks(page):
            if not block.needs_something:
                place = os.path.relpath(page, ROOT).removesuffix(".md").replace(os.sep, "__").replace(".", "")
                yield f"{place.replace('-', '_')}__line_{block.line}.py", module(block)


def module(block: Block) -> str:
    """Return a snippet as a module."""
    return block.code if block.is_program else AROUND.format(code=textwrap.indent(block.code, "    "))


def check(pages: list[Path]) -> tuple[int, str]:
    """Return mypy's exit code and what it says."""
    with tempfile.TemporaryDirectory() as directory:
        for name, code in modules(pages):
            (Path(directory) / name).write_text(code, "utf-8")
        command = [
            sys.executable,
            "-m",
            "mypy",
            "--config-file=",
            *OPTIONS,
            *sorted(map(str, Path(directory).iterdir())),
        ]
        done = subprocess.run(command, cwd=ROOT / "src", capture_output=True, text=True, check=False)
    return done.returncode, (done.stdout + done.stderr).replace(f"{directory}/", "")


if __name__ == "__main__":
    code, output = check(PAGES)
    print(output or "the types of all snippets are right")
    sys.exit(code)
