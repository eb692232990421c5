"""The command ``demo``: a fast sender and a slow reader, in the terminal or as a page for the browser."""

from __future__ import annotations

import argparse
from typing import Any

from .demo_display import run_in_terminal
from .demo_page import serve_page
from .exit_codes import ExitCode
from .failures import CommandFailed
from .parsing import backend_option
from .units import positive_seconds

_EXAMPLES = """\
examples:
  websocketstream demo                         five seconds of it, in the terminal
  websocketstream demo --browser               the same in the browser, beside the classic WebSocket
  websocketstream demo --browser --port 8000 --no-open
"""


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "demo",
        help="watch a fast sender being held back by a slow reader",
        description="Start a server on a free port of this machine, open a stream to it, and show how the slow "
        "reader holds the fast sender back.",
        epilog=_EXAMPLES,
    )
    parser.add_argument(
        "--seconds", type=positive_seconds, default=5.0, help="how long to send (default: 5)", metavar="S"
    )
    parser.add_argument("--plain", action="store_true", help="print lines, no live table")
    backend_option(parser)
    page = parser.add_argument_group("in the browser")
    page.add_argument(
        "--browser",
        action="store_true",
        help="serve a page that shows the browser's WebSocketStream beside its WebSocket, and open it",
    )
    page.add_argument(
        "--port", type=_port, metavar="P", help="with --browser: listen on this port (default: a free one)"
    )
    page.add_argument(
        "--no-open", action="store_true", help="with --browser: print the address, and open no browser"
    )
    parser.set_defaults(run=run)


async def run(arguments: argparse.Namespace) -> int:
    """Run the demonstration; the page is there until Ctrl-C.

    :raises CommandFailed: the options do not go together
    :raises OSError: the port cannot be listened on
    """
    if arguments.browser:
        await serve_page(arguments.port or 0, open_it=not arguments.no_open)
        return ExitCode.OK
    if arguments.no_open or arguments.port is not None:
        raise CommandFailed("--port and --no-open are for --browser", ExitCode.USAGE)
    went_well = await run_in_terminal(arguments.seconds, plain=arguments.plain)
    return ExitCode.OK if went_well else ExitCode.ENDED_BADLY


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port, a number up to 65535")
    return int(text)
