"""What the parsers of all commands share, and which commands there are."""

from __future__ import annotations

import argparse
import importlib
from importlib import metadata
from typing import Any, Protocol

NAMES = ("websocketstream", "wstream")
"""What the program is installed as; the second is for those who type."""

COMMANDS = {
    "serve": "run a server: echo, broadcast, a command per connection, a bridge to TCP, or you in person",
    "bench": "measure a server: connections, messages, latencies",
    "demo": "watch a fast sender being held back by a slow reader",
    "docs": "read the reference",
    "completion": "print the completion script of a shell",
}
"""The commands, each a module of this package, and what each does."""


class Command(Protocol):
    """What a module of a command has."""

    def add_parser(self, commands: argparse._SubParsersAction[Any]) -> None:
        """Add the command's parser, with ``run`` among its defaults."""


def command_module(name: str) -> Command:
    """Import the module of a command: only the one that is wanted, as others need what may not be installed."""
    module: Any = importlib.import_module(f".{name}", __package__)
    return module  # type: ignore[no-any-return]


def nearly_a_command(word: str) -> str | None:
    """Return the command that a word is probably meant to be, None for a command and for what is none."""
    if word in COMMANDS or not word.isalpha():  # a URL has a colon
        return None
    from difflib import get_close_matches  # which takes longer to import than argparse

    return next(iter(get_close_matches(word.lower(), COMMANDS, n=1, cutoff=0.75)), None)


class Parser(argparse.ArgumentParser):
    """A parser whose help keeps the lines of its examples."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401  (those of argparse)
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(**options)

    @property
    def actions(self) -> list[argparse.Action]:
        """All options and arguments, for those who describe them."""
        return self._actions


def version_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--version``."""
    parser.add_argument("--version", action="version", version=f"%(prog)s {installed_version()}")


def backend_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--backend``."""
    parser.add_argument(
        "--backend", choices=("asyncio", "trio"), default="asyncio", help="event loop (default: asyncio)"
    )


def installed_version() -> str:
    """Return the version of the installed distribution."""
    try:
        return metadata.version("websocketstream")
    except metadata.PackageNotFoundError:
        return "(not installed)"
