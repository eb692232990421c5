"""The command `docs`: the reference of what is installed, read in the terminal."""

from __future__ import annotations

import argparse
import pydoc
import shutil
import sys
from typing import Any

from . import reference
from .exit_codes import ExitCode
from .failures import CommandFailed

WIDEST = 100  # columns; longer lines are hard to read
NARROWEST = 24


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command to those of the command line."""
    parser = commands.add_parser(
        "docs",
        help="read the reference of what is installed",
        description="Show what is public, or what there is to say of one name: its signature, its defaults, its errors.",
        epilog="examples: docs open_websocket_stream, docs WebSocketStream.send, docs asgi.accept",
    )
    parser.add_argument(
        "name", nargs="?", metavar="NAME", help="a function, class or method; without it, a list of all"
    )
    parser.set_defaults(run=run)


async def run(arguments: argparse.Namespace) -> int:
    """Show a page of the reference, in a pager where it is longer than the terminal.

    :raises CommandFailed: nothing is called so
    """
    size = shutil.get_terminal_size()
    width = max(min(size.columns, WIDEST), NARROWEST)
    try:
        text = reference.page(arguments.name, width) if arguments.name else reference.overview(width)
    except LookupError as exc:
        raise CommandFailed(str(exc), ExitCode.USAGE) from None
    if sys.stdout.isatty() and text.count("\n") + 2 > size.lines:
        pydoc.pager(f"{text}\n")
    else:
        print(text)
    return ExitCode.OK
