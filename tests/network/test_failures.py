"""One error says what failed and why, whatever the system, TLS or an event loop made of it."""

from __future__ import annotations

import errno
import socket
import ssl

import anyio
import pytest

from websocketstream._network.failures import connect_failed


def from_(cause: BaseException, *effects: BaseException) -> BaseException:
    """Chain errors, the first cause first."""
    for effect in effects:
        effect.__cause__ = cause
        cause = effect
    return cause


REFUSED = ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed ('127.0.0.1', 1)")
UNREACHABLE = OSError(errno.ENETUNREACH, "x")
WORDS = {
    "an error of the system": (REFUSED, "Connection refused (ECONNREFUSED)", errno.ECONNREFUSED),
    "what it comes from": (
        from_(
            ConnectionResetError(errno.ECONNRESET, "x"), anyio.BrokenResourceError("lost"), OSError("later")
        ),
        "Connection reset by peer (ECONNRESET)",
        errno.ECONNRESET,
    ),
    "a reset without a number": (
        ConnectionResetError("Connection lost"),
        "Connection reset by peer (ECONNRESET)",
        errno.ECONNRESET,
    ),
    "a number without a name": (OSError(12345, "x"), "Unknown error 12345", 12345),
    "words without a number": (OSError("no such thing"), "no such thing", None),
    "no words at all": (anyio.BrokenResourceError(), "no reason is known", None),
    "words of a later error": (from_(anyio.BrokenResourceError(), OSError("later")), "later", None),
    "an end": (from_(anyio.EndOfStream(), anyio.BrokenResourceError("x")), "the connection was closed", None),
    "a name that is unknown": (
        socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
        "Name or service not known",
        socket.EAI_NONAME,
    ),
    "several of one kind": (
        from_(ExceptionGroup("attempts", [REFUSED, REFUSED]), OSError("all failed")),
        "Connection refused (ECONNREFUSED)",
        errno.ECONNREFUSED,
    ),
    "several kinds": (
        from_(ExceptionGroup("attempts", [REFUSED, UNREACHABLE]), OSError("all failed")),
        "Connection refused (ECONNREFUSED); Network is unreachable (ENETUNREACH)",
        None,
    ),
    "a number of OpenSSL": (ssl.SSLError(1, "[SSL] wrong (_ssl.c:1)"), "[SSL] wrong (_ssl.c:1)", None),
}


@pytest.mark.parametrize(("cause", "words", "number"), WORDS.values(), ids=WORDS)
def test_a_failure_says_why(cause: BaseException, words: str, number: int | None) -> None:
    error = connect_failed("cannot connect", cause)
    assert (str(error), error.errno) == (f"cannot connect: {words}", number)
