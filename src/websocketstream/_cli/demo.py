"""The command ``demo``."""

from __future__ import annotations

import argparse
from typing import Any

from .._demo import run_demo
from .exit_codes import ExitCode
from .parsing import backend_option
from .units import positive_seconds


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "demo",
        help="watch a fast sender being held back by a slow reader",
        description="Start a server on a free port of this machine, open a stream to it, and show how the slow "
        "reader holds the fast sender back.",
    )
    parser.add_argument(
        "--seconds", type=positive_seconds, default=5.0, help="how long to send (default: 5)", metavar="S"
    )
    parser.add_argument("--plain", action="store_true", help="print lines, no live table")
    backend_option(parser)
    parser.set_defaults(run=run)


async def run(arguments: argparse.Namespace) -> int:
    """Run the demonstration."""
    went_well = await run_demo(arguments.seconds, plain=arguments.plain)
    return ExitCode.OK if went_well else ExitCode.ENDED_BADLY
