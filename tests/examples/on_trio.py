"""Run a program on trio although it says nothing of that: python on_trio.py PROGRAM [ARGUMENT ...]."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any

import anyio

run = anyio.run


def run_on_trio(function: Any, *args: Any, **_options: Any) -> Any:
    return run(function, *args, backend="trio")


anyio.run = run_on_trio
del sys.argv[0]
sys.path[0] = str(Path(sys.argv[0]).parent)
runpy.run_path(sys.argv[0], run_name="__main__")
