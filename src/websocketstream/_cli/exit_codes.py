"""What a command says to the shell that ran it."""

from __future__ import annotations

import enum


class ExitCode(enum.IntEnum):
    """The exit codes of all commands."""

    OK = 0
    """All went well, and the connection ended with a code that says so."""
    ENDED_BADLY = 1
    """The connection ended with an error code, or was lost."""
    USAGE = 2
    """The command line, or what was to be sent, made no sense."""
    NOT_CONNECTED = 3
    """There was no connection: name, port, proxy, TLS, time."""
    REFUSED = 4
    """The server answered, but not with a WebSocket."""
    INTERRUPTED = 130
    """Ctrl-C, as shells report it: 128 and the number of the signal."""
    OUTPUT_CLOSED = 141
    """Nobody reads the output any more, as behind ``| head``; likewise (SIGPIPE)."""
    TERMINATED = 143
    """SIGTERM, likewise."""
