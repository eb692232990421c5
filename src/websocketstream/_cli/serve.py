"""The command ``serve``: a server for one purpose, by one line."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any

from anyio import create_unix_listener, move_on_after

from .._server.listener import WebSocketListener, listening_on
from .._server.program import serve_until_told
from .._server.server import serve_websocket_streams
from .._server.visit import Handler
from . import serve_broadcast, serve_echo, serve_exec, serve_tcp
from .exit_codes import ExitCode
from .failures import CommandFailed
from .pipe import PipeOptions
from .serve_options import add_options, exec_options, longest_line, server_options
from .serve_talk import Party, PipingHost, TalkingHost
from .standard import OutputStream

MOST_LOGGED = 10_000  # lines that wait

EXAMPLES = """\
examples:
  %(prog)s --echo                                 answer every message with itself
  %(prog)s --broadcast --port 9000                a chat: every message to all others
  %(prog)s --talk                                 read what a client sends, and type the answers
  %(prog)s --talk < answer.json                   send a file to a client, print what it sends
  %(prog)s --lines --exec python3 -u answer.py    a process per client, a message per line
  %(prog)s --one-message --exec sha256sum         a file in, as one message; what becomes of it out, as another
  %(prog)s --tcp localhost:5432                   WebSockets outside, TCP inside

Browsers may connect from the origins that --origin lists. SIGTERM closes all connections with 1001, gives what runs
some time to end, and exits with 0, and so does the end of its terminal (SIGHUP); Ctrl-C does the same and exits with 130; a
second signal does not wait.
"""


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "serve",
        help="run a server: echo, broadcast, a command per connection, a bridge to TCP, or you in person",
        description="Serve WebSockets, for one of five purposes.",
        epilog=EXAMPLES,
        usage="%(prog)s [options] (--echo | --broadcast | --talk | --tcp HOST:PORT | --exec COMMAND [ARGUMENT ...])",
    )
    add_options(parser)
    parser.set_defaults(run=run, handles_signals=True)


async def run(arguments: argparse.Namespace) -> int:
    """Serve until a signal comes."""
    check_program(arguments)
    party = make_party(arguments)
    handler = make_handler(arguments) if party is None else party.handle
    options = server_options(arguments)
    with stopping_with_the_terminal():
        async with logging_to_stderr(arguments.log), nullcontext() if party is None else party.hosted():
            try:
                told = await _serve(arguments, handler, options, announce if party is None else party.begin)
            except OSError as exc:
                raise CommandFailed(exc.strerror or str(exc), ExitCode.NOT_CONNECTED) from exc
            except ValueError as exc:  # an origin or a subprotocol that cannot be one
                raise CommandFailed(str(exc), ExitCode.USAGE) from exc
    if party is not None and party.failure is not None:
        raise party.failure
    return ExitCode.INTERRUPTED if told is signal.SIGINT else ExitCode.OK


async def _serve(
    arguments: argparse.Namespace,
    handler: Handler,
    options: dict[str, Any],
    on_start: Callable[[WebSocketListener], object],
) -> signal.Signals | None:
    if arguments.unix is None:
        host, port = arguments.host or None, arguments.port
        return await serve_until_told(
            partial(serve_websocket_streams, handler, host, port, **options), on_start
        )
    with listening_on(arguments.unix):
        listener = await create_unix_listener(arguments.unix)
    try:
        return await serve_until_told(
            partial(serve_websocket_streams, handler, listener=listener, **options), on_start
        )
    finally:
        with suppress(OSError):
            Path(arguments.unix).unlink()  # noqa: ASYNC240  (the server is over)
        with move_on_after(0, shield=True):  # if its options were wrong the server has not done so
            await listener.aclose()


def announce(listener: WebSocketListener) -> None:
    """Say on stderr where it serves; with port 0 nobody knows before."""
    where = listener.addresses[0]
    # In one piece: the log is written meanwhile.
    sys.stderr.write(f"serving {listener.url if isinstance(where, tuple) else where}\n")
    sys.stderr.flush()


def check_program(arguments: argparse.Namespace) -> None:
    """Complain about a command that nobody has asked for.

    :raises CommandFailed: there is one
    """
    if arguments.program and not arguments.exec:
        raise CommandFailed(
            f"{arguments.program[0]!r} has no place here; a command stands behind --exec", ExitCode.USAGE
        )


def make_party(arguments: argparse.Namespace) -> Party | None:
    """Return who talks to the clients, None where no person does."""
    if not arguments.talk:
        return None
    if arguments.framing is None and not arguments.one_message and os.isatty(0) and os.isatty(1):
        return Party(TalkingHost(), announce)
    options = PipeOptions(
        arguments.framing or "auto", one_message=arguments.one_message, wait=arguments.wait, peer="client"
    )
    return Party(PipingHost(options, longest_line(arguments), terminal=os.isatty(1)), announce)


def make_handler(arguments: argparse.Namespace) -> Handler:
    """Return the handler for a purpose without a person.

    :raises CommandFailed: the command line makes no sense
    """
    max_size = getattr(arguments, "max_size", None)
    if arguments.echo:
        return serve_echo.make_handler(max_size)
    if arguments.broadcast:
        return serve_broadcast.make_handler(serve_broadcast.make_hub(arguments.policy, arguments.behind))
    if arguments.tcp is not None:
        host, port = arguments.tcp
        return serve_tcp.make_handler(host, port, arguments.eof)
    return serve_exec.make_handler(exec_options(arguments))


@contextmanager
def stopping_with_the_terminal() -> Iterator[None]:
    """Take the end of the terminal for SIGTERM, unless it is to be ignored, as behind nohup: the processes of clients do not get it."""
    if sys.platform == "win32" or signal.getsignal(signal.SIGHUP) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


class LogHandler(logging.Handler):
    """The way of the log to a stream. Nobody waits for it, so who does not read it holds up no client; what finds no room is dropped."""

    def __init__(self, stream: OutputStream) -> None:
        super().__init__()
        self._stream = stream

    def emit(self, record: logging.LogRecord) -> None:
        """Write it some time soon."""
        self._stream.offer(f"{self.format(record)}\n".encode(errors="backslashreplace"))


@asynccontextmanager
async def logging_to_stderr(verbosity: int) -> AsyncIterator[None]:
    """Let the library's loggers write to stderr: what goes wrong, with 1 each connection, with 2 each frame."""
    logger = logging.getLogger("websocketstream")
    stream = OutputStream(2, most_offered=MOST_LOGGED)
    handler = LogHandler(stream)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s" if verbosity else "%(message)s"))
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel([logging.WARNING, logging.INFO, logging.DEBUG][min(verbosity, 2)])
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
        await stream.flush()
