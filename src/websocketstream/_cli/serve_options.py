"""The options of ``serve``: what the command line says, as arguments of handlers and of the server."""

from __future__ import annotations

import argparse
import shutil
import ssl
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from .exit_codes import ExitCode
from .failures import CommandFailed
from .parsing import backend_option
from .serve_broadcast import POLICIES
from .serve_exec import ExecOptions
from .serve_framing import Binary, Framing, Lines, Text
from .serve_tcp import host_and_port
from .units import parse_limit, positive_int, positive_seconds, seconds_or_forever

DEFAULT_PORT = 8765
DEFAULT_SIZE = 2**20  # of a message that has to be held as a whole
TUNNELLED_SIZE = 2**24  # of one whose sender does not think in messages
TALK_SIZE = 2**24  # as where we are the client
DEFAULT_CONNECTIONS = 10_000
DEFAULT_PROCESSES = 100
_MAX_PORT = 65535


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add all of them."""
    _purpose_options(parser)
    _place_options(parser)
    _limit_options(parser)
    _exec_options(parser)
    _talk_options(parser)


def _purpose_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what for").add_mutually_exclusive_group(required=True)
    group.add_argument(
        "--echo", action="store_true", help="answer every message with itself, whatever its size"
    )
    group.add_argument("--broadcast", action="store_true", help="send every message to all other clients")
    group.add_argument(
        "--talk",
        action="store_true",
        help="talk to a client yourself, in a terminal or as a pipe, and then to the next",
    )
    group.add_argument(
        "--tcp",
        type=host_and_port,
        metavar="HOST:PORT",
        help="connect each client to a TCP server; binary messages out and in, their boundaries forgotten",
    )
    group.add_argument(
        "--exec",
        action="store_true",
        help="run a command for each client, its standard input and output as the stream; all that follows belongs to it",
    )
    # No argument of --exec: what has a "--" in it would end there.
    parser.add_argument("program", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)


def _place_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("where, and who")
    group.add_argument(
        "--host", default="127.0.0.1", help='address to listen on, "" for all (default: %(default)s)'
    )
    group.add_argument(
        "-p",
        "--port",
        type=port_number,
        default=DEFAULT_PORT,
        help="port, 0 for a free one (default: %(default)s)",
    )
    group.add_argument("--unix", metavar="PATH", help="listen on a Unix socket instead")
    group.add_argument("--cert", metavar="FILE", help="serve wss:// with this certificate, in PEM form")
    group.add_argument("--key", metavar="FILE", help="its key, if it is not in the same file")
    group.add_argument(
        "--origin",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="let web pages of this origin in, such as https://example.com; may be repeated (default: none)",
    )
    group.add_argument("--any-origin", action="store_true", help="let all web pages in")
    group.add_argument(
        "-s",
        "--protocol",
        action="append",
        default=[],
        metavar="NAME",
        help="subprotocol to agree on; may be repeated",
    )
    backend_option(parser)
    parser.add_argument(
        "-v",
        "--log",
        action="count",
        default=0,
        help="a line for each connection on stderr; -vv: for each frame, too",
    )


def _limit_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("limits")
    group.add_argument(
        "--compress", action="store_true", help="compress for those who offer it (permessage-deflate)"
    )
    group.add_argument(
        "--max-size",
        type=parse_limit,
        default=argparse.SUPPRESS,
        metavar="SIZE",
        help="largest message to take, such as 16MiB; none for any (default: any where they pass in chunks, with --echo and "
        "--exec; 1 MiB with --broadcast and for a line of --exec --lines, 16 MiB with --talk and --tcp)",
    )
    group.add_argument(
        "--max-connections",
        type=positive_int,
        metavar="N",
        help=f"clients at the same time; more have to wait (default: {DEFAULT_CONNECTIONS}, with --exec {DEFAULT_PROCESSES}, "
        "with --talk always 1)",
    )
    group.add_argument(
        "--policy",
        choices=tuple(POLICIES),
        default="close",
        help="with --broadcast, what becomes of clients that do not keep up: closed with 1013, or they miss the oldest messages, "
        "or all but the latest (default: close)",
    )
    group.add_argument(
        "--behind",
        type=parse_limit,
        default=2**20,
        metavar="SIZE",
        help="with --broadcast, how much may wait for a client (default: 1MiB)",
    )
    group.add_argument(
        "--eof",
        choices=("close", "empty"),
        default="close",
        help="with --tcp, how one direction ends: by the Close frame, which most clients answer at once with theirs, or by an "
        "empty message, for clients that know it (default: close)",
    )


def _exec_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("with --exec, and with --talk where that is a pipe")
    framing = group.add_mutually_exclusive_group()
    for name, flags, text in (
        (
            "binary",
            ("-b", "--binary"),
            "what the command writes goes out as it comes, in binary messages (the default of --exec)",
        ),
        ("text", ("-t", "--text"), "likewise in text messages"),
        ("lines", ("--lines",), "a text message for each line, and a line for each message"),
    ):
        framing.add_argument(*flags, dest="framing", action="store_const", const=name, help=text)
    group.add_argument(
        "-1",
        "--one-message",
        action="store_true",
        help="one message is all its input, and all its output is one message: for files",
    )
    group = parser.add_argument_group("with --exec")
    group.add_argument("--shell", action="store_true", help="run it by the shell, which it else never meets")
    group.add_argument(
        "--grace",
        type=positive_seconds,
        default=5.0,
        metavar="S",
        help="seconds for it to end when its client has left; then SIGTERM, and as long again until SIGKILL (default: 5)",
    )


def _talk_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument_group("with --talk").add_argument(
        "-w",
        "--wait",
        type=seconds_or_forever,
        default=1.0,
        metavar="S",
        help="behind the end of the input, close when nothing has arrived for so long (default: 1; forever: never)",
    )


def port_number(text: str) -> int:
    """Read a port, zero included.

    :raises argparse.ArgumentTypeError: it is none
    """
    if not (text.isascii() and text.isdigit() and int(text) <= _MAX_PORT):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: a number from 0 to {_MAX_PORT}")
    return int(text)


# --- what they mean


def exec_options(arguments: argparse.Namespace) -> ExecOptions:
    """Return what to run.

    :raises CommandFailed: there is no such command, or it cannot be run so
    """
    words = arguments.program[1:] if arguments.program[:1] == ["--"] else arguments.program
    if not words:
        raise CommandFailed("--exec needs a command behind it, as the last of the options", ExitCode.USAGE)
    if arguments.one_message and arguments.framing == "lines":
        raise CommandFailed("--one-message and --lines contradict each other", ExitCode.USAGE)
    if not arguments.shell and shutil.which(words[0]) is None:
        raise CommandFailed(
            f"there is no program {words[0]!r}: check its name; --shell runs a line of the shell",
            ExitCode.USAGE,
        )
    max_size = getattr(arguments, "max_size", None)
    framings: dict[str, Callable[[], Framing]] = {
        "binary": Binary,
        "text": Text,
        "lines": partial(Lines, max_size or DEFAULT_SIZE),
    }
    return ExecOptions(
        " ".join(words) if arguments.shell else tuple(words),
        framings[arguments.framing or "binary"],
        one_message=arguments.one_message,
        max_size=max_size,
        grace=arguments.grace,
    )


def server_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the options of :func:`serve_websocket_streams` but for the address.

    :raises CommandFailed: there is no such certificate
    """
    runs_processes = arguments.exec
    # Those that pass in chunks are counted there. One that comes with the handshake is whole, but no larger than one read.
    whole = {"broadcast": DEFAULT_SIZE, "tcp": TUNNELLED_SIZE, "talk": TALK_SIZE}
    purpose = next((name for name in whole if getattr(arguments, name)), None)
    return {
        "origins": None if arguments.any_origin else [None, *arguments.origin],
        "protocols": arguments.protocol,
        "ssl_context": tls_context(arguments.cert, arguments.key),
        "compression": arguments.compress,
        "max_message_size": getattr(arguments, "max_size", whole[purpose]) if purpose else None,
        "max_connections": 1
        if arguments.talk
        else arguments.max_connections or (DEFAULT_PROCESSES if runs_processes else DEFAULT_CONNECTIONS),
        # A process may take all its steps to the end.
        "shutdown_timeout": max(10.0, 2 * arguments.grace + 1) if runs_processes else 10.0,
    }


def longest_line(arguments: argparse.Namespace) -> int | None:
    """Return the most bytes of a line that ``--talk`` sends as a message; None for any number."""
    size: int | None = getattr(arguments, "max_size", TALK_SIZE)
    return size


def tls_context(cert: str | None, key: str | None) -> ssl.SSLContext | None:
    """Return the context of a server with a certificate, None without one.

    :raises CommandFailed: it cannot be used
    """
    if cert is None:
        if key is not None:
            raise CommandFailed("--key is for the certificate of --cert, and there is none", ExitCode.USAGE)
        return None
    for name in (cert, key):
        if name is not None and not Path(name).is_file():
            raise CommandFailed(f"there is no file {name}", ExitCode.USAGE)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(cert, key)
    except ssl.SSLError as exc:
        raise CommandFailed(
            f"{cert} has no certificate with a key that fits, in PEM form; --key names the file of the key",
            ExitCode.USAGE,
        ) from exc
    except OSError as exc:
        raise CommandFailed(f"cannot read {cert}: {exc.strerror}", ExitCode.USAGE) from exc
    return context
