"""How the pieces of Python in README.md and docs/ are run."""

from __future__ import annotations

import ast
import inspect
import os
import re
from typing import Any

import anyio

import websocketstream
from ports import free_port
from snippets import ROOT, Block

PORT = re.compile(r"\b876\d\b")  # what the programs of the pages listen on
LIMIT = 30  # seconds for one program
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": str(ROOT / "src"),
    "PYTHONUNBUFFERED": "1",
    "PYTHONIOENCODING": "utf-8",
}


def localised(code: str, example_url: str, ports: dict[str, str]) -> str:
    code = code.replace("wss://example.com", example_url)
    return PORT.sub(lambda match: ports.setdefault(match[0], str(free_port())), code)


def compiled(block: Block, example_url: str) -> Any:
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    return compile(localised(block.code, example_url, {}), f"line {block.line}", "exec", flags)


def namespace(**more: object) -> dict[str, Any]:
    """Return what a fragment has at hand."""
    public = {name: getattr(websocketstream, name) for name in websocketstream.__all__}
    return {**public, "anyio": anyio, "print": quiet, **more}


async def run_fragment(block: Block, example_url: str, values: dict[str, Any] | None = None) -> None:
    coroutine = eval(compiled(block, example_url), namespace() if values is None else values)
    if inspect.iscoroutine(coroutine):
        with anyio.fail_after(LIMIT):
            await coroutine


def quiet(*values: object) -> None:
    """Take the place of print()."""
