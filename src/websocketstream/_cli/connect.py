"""The command without a name: connect to a URL, and talk or pipe."""

from __future__ import annotations

import argparse
import math
import os
import stat
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

from anyio import create_task_group

from .._client import open_websocket_stream
from .._protocol.backoff import Attempt
from .._protocol.close import OK_CODES, CloseCode
from .._reconnect import Connections, reconnecting
from .._streams.stream import WebSocketStream
from .connect_options import add_connection_options, open_arguments
from .exit_codes import ExitCode
from .failures import CommandFailed, explain, wrong_argument
from .framing import compact_json, make_framer, make_whole_framer
from .meter import choose_display, show_meter
from .parsing import COMMANDS, Parser, backend_option, version_option
from .pipe import PONG_SECONDS, Input, Output, Pipe, PipeOptions
from .rendering import Rendering
from .standard import InputStream
from .traffic import Traffic
from .units import positive_int, seconds_or_forever

_EXAMPLES = """\
examples:
  %(prog)s wss://echo.example.com                      talk, where input and output are a terminal
  echo hello | %(prog)s ws://localhost:8765            send a line, print the answers
  %(prog)s -n1 -x hello ws://localhost:8765            likewise, and leave after the first answer
  %(prog)s wss://feed.example.com > feed.log           one message per line
  cat video.ts | %(prog)s wss://example.com/upload     binary data goes in pieces as they come
  %(prog)s -1 wss://example.com/photo < photo.jpg      a whole file as one message
  %(prog)s --auth me:secret -H 'X-Team: a' wss://...   log in, with a header field
  %(prog)s --cacert ca.pem wss://localhost:8443        trust a certificate of one's own

exit codes:
  0 all went well            3 no connection: name, port, TLS, time, proxy
  1 ended with an error      4 the server refused
  2 wrong command line       130 Ctrl-C, 141 nobody reads the output

commands:
"""


def make_parser(program: str) -> Parser:
    """Return the parser of a command line that begins with none of the commands."""
    parser = Parser(
        prog=program,
        usage="%(prog)s [options] URL\n       %(prog)s COMMAND ...",
        description="Connect to a WebSocket: talk to it in a terminal, or use it in a pipe.",
        epilog=_EXAMPLES + "\n".join(f"  {name:<12} {what}" for name, what in COMMANDS.items()),
    )
    parser.add_argument("url", metavar="URL", help="ws:// or wss://")
    version_option(parser)
    group = parser.add_argument_group("messages")
    kinds = group.add_mutually_exclusive_group()
    for flags, text in (
        (("--lines",), "a text message per line, both ways (the default for text)"),
        (("-b", "--binary"), "binary messages, written as they are (the default for what is no text)"),
        (("-t", "--text"), "text messages in pieces as they come, written without line ends"),
        (("--json",), "JSON, a line per message; what is sent is checked"),
    ):
        kinds.add_argument(
            *flags, dest="kind", action="store_const", const=flags[-1].lstrip("-"), default="auto", help=text
        )
    group.add_argument(
        "-1", "--one-message", action="store_true", help="all of the input is one message, of any size"
    )
    group.add_argument(
        "-x",
        "--send",
        action="append",
        metavar="TEXT",
        help="send this in place of standard input; may be repeated",
    )
    group.add_argument("-N", "--no-input", action="store_true", help="only receive, until the server closes")
    group.add_argument(
        "-n", "--count", type=positive_int, metavar="N", help="leave after so many messages were received"
    )
    group.add_argument(
        "-w",
        "--wait",
        type=seconds_or_forever,
        default=1.0,
        metavar="S",
        help="behind the end of the input, close when nothing has arrived for so long (default: 1; forever: never)",
    )
    add_connection_options(parser)
    group = parser.add_argument_group("further")
    group.add_argument("--reconnect", action="store_true", help="connect again when the connection is lost")
    group.add_argument(
        "--meter", action="store_true", help="show on standard error what passes, and how fast"
    )
    backend_option(parser)
    parser.set_defaults(run=run)
    return parser


async def run(arguments: argparse.Namespace) -> int:
    """Connect, and talk or pipe."""
    check(arguments)
    options = open_arguments(arguments)
    traffic = Traffic()
    if is_interactive(arguments):
        from .interactive import Talk

        async with Talk(traffic, meter=arguments.meter) as talk:
            return await connected(arguments, options, talk.run, talk.tell)
    async with choose_display(meter=arguments.meter) as display, create_task_group() as tasks:
        if arguments.meter:
            tasks.start_soon(show_meter, traffic, size_of_input(arguments), display)
        pipe = make_pipe(arguments, display.payload(), traffic)
        code = await connected(arguments, options, pipe.run, display.tell)
        tasks.cancel_scope.cancel()
    return code


def check(arguments: argparse.Namespace) -> None:
    """Complain about options that contradict each other.

    :raises CommandFailed: they do
    """
    if arguments.no_input and arguments.send:
        raise CommandFailed("--no-input sends nothing, so it does not go with --send", ExitCode.USAGE)
    if arguments.send and "" in arguments.send:
        raise CommandFailed(
            "--send wants some text; an empty line of the input is an empty message", ExitCode.USAGE
        )
    if arguments.reconnect and arguments.one_message:
        raise CommandFailed(
            "--one-message cannot go on behind a connection that was lost, so it does not go with --reconnect",
            ExitCode.USAGE,
        )


def is_interactive(arguments: argparse.Namespace) -> bool:
    """Tell whether somebody sits there to talk, and no option says what to send or when to leave."""
    says = arguments.send or arguments.no_input or arguments.one_message or arguments.count
    return not says and arguments.kind == "auto" and os.isatty(0) and os.isatty(1)


def make_pipe(arguments: argparse.Namespace, sink: Output, traffic: Traffic) -> Pipe:
    """Return the pipe that the command line asks for."""
    source: Input | None = None if arguments.no_input else InputStream()
    if arguments.send:
        source = Given(
            [_checked(text, number, arguments.kind) for number, text in enumerate(arguments.send, 1)]
        )
    options = PipeOptions(
        arguments.kind,
        one_message=arguments.one_message,
        wait=arguments.wait,
        timeout=arguments.timeout,
        pong=None if math.isinf(arguments.ping) else PONG_SECONDS,
        count=arguments.count,
        # A server that goes away may come back.
        ok=tuple(code for code in OK_CODES if not (arguments.reconnect and code == CloseCode.GOING_AWAY)),
    )
    whole = arguments.one_message or arguments.send
    framer = make_whole_framer(arguments.kind) if whole else make_framer(arguments.kind, arguments.max_size)
    rendering = Rendering(arguments.kind, terminal=os.isatty(1))
    return Pipe(source, sink, framer=framer, rendering=rendering, options=options, traffic=traffic)


def _checked(text: str, number: int, kind: str) -> str:
    return compact_json(text, number) or text if kind == "json" else text


class Given:
    """What ``--send`` says, as if it came by standard input."""

    def __init__(self, texts: list[str]) -> None:
        self._texts = texts[::-1]

    async def receive(self) -> bytes:
        """Return the next one."""
        return os.fsencode(self._texts.pop()) if self._texts else b""


def size_of_input(arguments: argparse.Namespace) -> int | None:
    """Return how many bytes standard input has left, if it is a file."""
    if arguments.send or arguments.no_input:
        return None
    status = os.fstat(0)
    if not stat.S_ISREG(status.st_mode):
        return None
    return max(0, status.st_size - os.lseek(0, 0, os.SEEK_CUR))


async def connected(
    arguments: argparse.Namespace,
    options: dict[str, Any],
    use: Callable[[WebSocketStream], Awaitable[int]],
    tell: Callable[[str], None],
) -> int:
    """Connect, as often as asked for, and use the connection; return what the last use of it returns.

    :raises CommandFailed: an argument is not allowed
    """
    connect: Callable[[], AbstractAsyncContextManager[WebSocketStream]] = partial(
        open_websocket_stream, arguments.url, **options
    )
    try:
        block = connect()  # which checks the arguments
        series = (
            reconnecting(connect, on_attempt=partial(_tell_of_attempt, tell)) if arguments.reconnect else None
        )
    except (ValueError, TypeError, ImportError) as exc:
        raise wrong_argument(exc) from None
    if series is not None:
        return await _again_and_again(series, use)
    async with block as conn:
        return await use(conn)


async def _again_and_again(
    series: AbstractAsyncContextManager[Connections], use: Callable[[WebSocketStream], Awaitable[int]]
) -> int:
    async with series as connections:
        async for conn in connections:
            async with connections.retrying():
                return await use(conn)
    raise AssertionError("a series goes on until it is left, or raises")


def _tell_of_attempt(tell: Callable[[str], None], attempt: Attempt) -> None:
    if attempt.error is not None:
        failure = explain(attempt.error)
        tell(f"{failure.sentence if failure else attempt.error}; trying again in {attempt.delay:.1f} s")
