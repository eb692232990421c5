"""The command line: ``python -m websocketstream``, installed as ``websocketstream``."""

from __future__ import annotations

import argparse
import importlib.util
import math
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from importlib import metadata

import anyio

from ._demo import run_demo

INTERRUPTED = 130  # what shells report for a program ended by Ctrl-C


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    parser = make_parser()
    arguments = parser.parse_args(argv)
    if arguments.command is None:
        parser.print_help()
        return 0
    if importlib.util.find_spec(arguments.backend) is None:
        parser.error(f"--backend {arguments.backend} needs the package: pip install {arguments.backend}")
    return run_until_interrupted(arguments)


def make_parser() -> argparse.ArgumentParser:
    """Return the parser; without a command it leaves ``command`` None."""
    parser = argparse.ArgumentParser(
        prog="websocketstream", description="WebSockets as streams with backpressure."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {installed_version()}")
    commands = parser.add_subparsers(dest="command", title="commands")
    demo = commands.add_parser(
        "demo",
        help="watch a fast sender being held back by a slow reader",
        description="Start a server on a free port of this machine, open a stream to it, and show how the slow "
        "reader holds the fast sender back.",
    )
    demo.add_argument(
        "--seconds", type=positive_seconds, default=5.0, help="how long to send (default: 5)", metavar="S"
    )
    demo.add_argument("--plain", action="store_true", help="print lines, no live table")
    demo.add_argument(
        "--backend", choices=("asyncio", "trio"), default="asyncio", help="event loop (default: asyncio)"
    )
    return parser


def positive_seconds(text: str) -> float:
    """Read a duration.

    :raises argparse.ArgumentTypeError: it is no positive number
    """
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number of seconds")
    return seconds


def installed_version() -> str:
    """Return the version of the installed distribution."""
    try:
        return metadata.version("websocketstream")
    except metadata.PackageNotFoundError:
        return "(not installed)"


def run_until_interrupted(arguments: argparse.Namespace) -> int:
    """Run the chosen command; Ctrl-C ends it without a traceback."""
    demo = partial(run_demo, arguments.seconds, plain=arguments.plain)
    try:
        return anyio.run(exit_code_of, demo, backend=arguments.backend)
    except KeyboardInterrupt:  # before or after the receiver of signals was there
        return interrupted()


async def exit_code_of(command: Callable[[], Awaitable[bool]]) -> int:
    """Run a command and return its exit code; Ctrl-C cancels it."""
    code: int | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(cancel_on_interrupt, tasks.cancel_scope)
        code = 0 if await command() else 1
        tasks.cancel_scope.cancel()
    return interrupted() if code is None else code


async def cancel_on_interrupt(scope: anyio.CancelScope) -> None:
    """Wait for Ctrl-C, as a KeyboardInterrupt could be raised anywhere."""
    try:
        with anyio.open_signal_receiver(signal.SIGINT) as signals:
            async for _ in signals:
                scope.cancel()
                return
    except NotImplementedError:
        return  # asyncio on Windows: it is a KeyboardInterrupt after all


def interrupted() -> int:
    """Say that the command was interrupted, and return the exit code for that."""
    print("interrupted", file=sys.stderr)
    return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
