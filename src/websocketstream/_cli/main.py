"""The entry: which command it is, its event loop, Ctrl-C, and the one sentence when it fails."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

import anyio

from . import connect
from .exit_codes import ExitCode
from .failures import CommandFailed, explain
from .parsing import COMMANDS, NAMES, Parser, command_module, nearly_a_command, version_option
from .standard import takes_more

_SIGNALS = {signal.SIGINT: ExitCode.INTERRUPTED, signal.SIGTERM: ExitCode.TERMINATED}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    hold_standard_descriptors()
    try:
        return flushed(_main(sys.argv[1:] if argv is None else list(argv)))
    except SystemExit:  # argparse has printed something
        if code := flushed(ExitCode.OK):
            return code
        raise
    except KeyboardInterrupt:  # while there is no receiver of signals: at a question, or in the first moments
        return say(CommandFailed("interrupted", ExitCode.INTERRUPTED))


def _main(words: list[str]) -> int:
    parser = make_parser(program_name(), words[0] if words else None)
    if not words or words == ["help"]:
        parser.print_help()
        return ExitCode.OK
    if command := nearly_a_command(words[0]):
        parser.error(f"there is no command {words[0]!r}; did you mean {command!r}?")
    arguments = parser.parse_args(words)
    if importlib.util.find_spec(backend := getattr(arguments, "backend", "asyncio")) is None:
        parser.error(f"--backend {backend} needs the package: pip install {backend}")
    return run_until_interrupted(arguments, backend)


def program_name() -> str:
    """Return what the program was called as."""
    name = Path(sys.argv[0]).stem
    return name if name in NAMES else NAMES[0]


def make_parser(program: str, first: str | None) -> argparse.ArgumentParser:
    """Return the parser for a command line that begins with a certain word: a command, or else a URL to connect to."""
    if first not in COMMANDS:
        return connect.make_parser(program)
    parser = Parser(prog=program)
    version_option(parser)
    commands = parser.add_subparsers(dest="command", title="commands", required=True, parser_class=Parser)
    command_module(first).add_parser(commands)
    return parser


def run_until_interrupted(arguments: argparse.Namespace, backend: str) -> int:
    """Run the chosen command; neither Ctrl-C nor what is to be expected ends it with a traceback."""
    command: Callable[[], Awaitable[int]] = partial(arguments.run, arguments)
    handles_signals = getattr(arguments, "handles_signals", False)
    try:
        code: int = anyio.run(command if handles_signals else partial(until_signal, command), backend=backend)
    except Exception as exc:
        failure = explain(exc)
        if failure is None:
            raise
        return say(failure)
    return code


async def until_signal(command: Callable[[], Awaitable[int]]) -> int:
    """Run a command; Ctrl-C and SIGTERM cancel it, and do nothing more while it ends: that takes a few seconds at the most.

    :raises CommandFailed: it was cancelled
    """
    received: list[signal.Signals] = []
    code: int | None = None
    with ExitStack() as until_the_end:
        signals = None
        with suppress(
            NotImplementedError
        ):  # asyncio on Windows: it is a KeyboardInterrupt after all, which may be raised anywhere
            signals = until_the_end.enter_context(anyio.open_signal_receiver(*_SIGNALS))
        async with anyio.create_task_group() as watching:
            with anyio.CancelScope() as scope:
                if signals is not None:
                    watching.start_soon(_cancel_on_signals, signals, scope, received)
                code = await command()
            watching.cancel_scope.cancel()
    if code is None:
        by = _SIGNALS[received[0]]
        raise CommandFailed("interrupted" if by == ExitCode.INTERRUPTED else "terminated", by)
    return code


async def _cancel_on_signals(
    signals: AsyncIterator[signal.Signals], scope: anyio.CancelScope, received: list[signal.Signals]
) -> None:
    async for number in signals:  # trio raises those again that nobody has taken
        received.append(number)
        scope.cancel()


def say(failure: CommandFailed) -> int:
    """Print why a command failed, unless nobody takes it, and return its exit code."""
    if failure.sentence and takes_more(2):
        with suppress(OSError):  # nobody listens
            print(f"{program_name()}: {failure.sentence}", file=sys.stderr, flush=True)
    return failure.code


def flushed(code: int) -> int:
    """Flush what was printed while somebody can still be told that it went nowhere, and return the exit code."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as exc:
        # What Python would flush at its exit goes nowhere, instead of into a complaint.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(exc, BrokenPipeError):
            return ExitCode.OUTPUT_CLOSED
        return code or say(CommandFailed(f"standard output cannot be written: {exc.strerror}"))
    return code


def hold_standard_descriptors() -> None:
    """Take the places of standard streams that are closed: the next socket would get one, and what is printed would go there."""
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            number = os.open(os.devnull, os.O_RDWR)  # the lowest that is free, so this one
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))  # noqa: SIM115  (until the exit)
