"""The command ``bench``: how fast a server is that echoes, anybody's."""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

from .._client import open_websocket_stream
from .._protocol.url import for_display
from .bench_report import as_json, not_an_echo, show
from .bench_run import Bench
from .bench_values import Load, NoEcho
from .connect_options import add_connection_options, open_arguments
from .exit_codes import ExitCode
from .failures import CommandFailed, wrong_argument
from .parsing import backend_option
from .units import parse_size, positive_int, positive_seconds

EXAMPLES = """\
examples:
  %(prog)s ws://localhost:8765                             one message at a time, for five seconds
  %(prog)s -c 100 --in-flight 10 ws://localhost:8765       as many as it takes, from 100 connections
  %(prog)s -c 100 --rate 5000 wss://echo.example.com       how long does it take at 5,000 messages a second
  %(prog)s --size 1MiB --seconds 10 --json out.json ws://localhost:8765

The server has to send back what it is sent, as `serve --echo` does. With --rate the latency of a message counts from the moment at
which it was due, also while the server keeps those before it waiting; without it a slow server is asked less often.
"""


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "bench",
        help="measure a server: connections, messages, latencies",
        description="Measure a server that echoes: how fast connections open, how many messages come back, and how soon.",
        epilog=EXAMPLES,
    )
    parser.add_argument("url", metavar="URL", help="ws:// or wss://")
    group = parser.add_argument_group("the load")
    group.add_argument(
        "-c", "--connections", type=positive_int, default=1, metavar="N", help="connections (default: 1)"
    )
    length = group.add_mutually_exclusive_group()
    length.add_argument(
        "--seconds", type=positive_seconds, default=5.0, metavar="S", help="how long to send (default: 5)"
    )
    length.add_argument(
        "--messages", type=positive_int, metavar="N", help="how many to send, over all connections"
    )
    group.add_argument(
        "--size",
        type=parse_size,
        default=64,
        metavar="SIZE",
        help="size of a message, such as 64KiB (default: 64)",
    )
    pace = group.add_mutually_exclusive_group()
    pace.add_argument(
        "--rate",
        type=positive_rate,
        metavar="N",
        help="messages a second, over all connections, whether or not they come back",
    )
    pace.add_argument(
        "--in-flight",
        type=positive_int,
        default=1,
        metavar="N",
        help="messages of a connection that are under way at a time, without --rate (default: 1)",
    )
    kind = group.add_mutually_exclusive_group()
    kind.add_argument(
        "-b", "--binary", dest="text", action="store_false", default=False, help="binary messages (default)"
    )
    kind.add_argument("-t", "--text", dest="text", action="store_true", default=False, help="text messages")
    add_connection_options(parser)
    group = parser.add_argument_group("further")
    group.add_argument("--json", metavar="FILE", help="write the figures to a file, - for standard output")
    backend_option(parser)
    parser.set_defaults(run=run)


def positive_rate(text: str) -> float:
    """Read how many of something there are per second.

    :raises argparse.ArgumentTypeError: it is no positive number
    """
    try:
        return positive_seconds(text)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number of messages a second") from None


async def run(arguments: argparse.Namespace) -> int:
    """Measure, and show what came out."""
    load = Load(
        connections=arguments.connections,
        messages=arguments.messages,
        seconds=arguments.seconds,
        size=arguments.size,
        text=arguments.text,
        rate=arguments.rate,
        in_flight=arguments.in_flight,
        timeout=arguments.timeout,
    )
    options = open_arguments(arguments)
    if load.size > (options["max_message_size"] or load.size):
        options["max_message_size"] = load.size  # which has to come back
    connect = partial(open_websocket_stream, arguments.url, **options)
    try:
        connect()  # which checks the arguments
    except (ValueError, TypeError, ImportError) as exc:
        raise wrong_argument(exc) from None
    try:
        result = await Bench(connect, load).run()
    except NoEcho as exc:
        raise CommandFailed(not_an_echo(exc, load.timeout)) from None
    url = for_display(arguments.url)
    figures = as_json(url, load, result)
    if arguments.json == "-":
        json.dump(figures, sys.stdout, indent=2)
        print()
    else:
        show(url, load, result)
    if arguments.json not in (None, "-"):
        _write(arguments.json, json.dumps(figures, indent=2) + "\n")
    return ExitCode.OK if result.went_well else ExitCode.ENDED_BADLY


def _write(file: str, text: str) -> None:
    try:
        Path(file).write_text(text, "utf-8")
    except OSError as exc:
        raise CommandFailed(f"cannot write {file}: {exc.strerror or exc}") from exc
