"""Every failure is one sentence that says what to do, and an exit code."""

from __future__ import annotations

import errno
import socket
import ssl

import pytest

from websocketstream import (
    CloseInfo,
    ConnectFailed,
    ConnectionBroken,
    ConnectionClosed,
    HandshakeRejected,
    HandshakeTimeout,
    InvalidHandshake,
    Response,
)
from websocketstream._cli.exit_codes import ExitCode
from websocketstream._cli.failures import CommandFailed, close_in_words, explain
from websocketstream._network.failures import connect_failed
from websocketstream._protocol.connect import ProxyRefused
from websocketstream._protocol.http import Headers


def failed_by(cause: BaseException) -> ConnectFailed:
    error = connect_failed("cannot connect to example.com port 80", cause)
    error.__cause__ = cause
    return error


def untrusted(message: str) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, message)
    error.verify_message = message
    return error


def rejected(status: int) -> HandshakeRejected:
    return HandshakeRejected(Response(status, "", Headers(), b""))


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (failed_by(ConnectionRefusedError(errno.ECONNREFUSED, "refused")), 3, "nothing listens there"),
        (failed_by(socket.gaierror(-2, "Name or service not known")), 3, "check the host name"),
        (failed_by(OSError(errno.ENETUNREACH, "unreachable")), 3, "that this machine has a network"),
        (failed_by(untrusted("self-signed certificate")), 3, "--cacert FILE"),
        (failed_by(untrusted("Hostname mismatch, ...")), 3, "the name that the certificate is for"),
        (failed_by(ProxyRefused("it answered 407")), 3, "--proxy"),
        (HandshakeTimeout("was not open within open_timeout=10 s: timed out"), 3, "--timeout 10 s"),
        (rejected(401), 4, "--auth USER:PASSWORD"),
        (rejected(403), 4, "--origin"),
        (rejected(404), 4, "check the path"),
        (rejected(302), 4, "-L follows redirects"),
        (rejected(503), 4, "--reconnect"),
        (rejected(418), 4, "HTTP 418"),
        (InvalidHandshake("the answer is not HTTP"), 4, "check that a WebSocket server is at this URL"),
        (
            ConnectionClosed(CloseInfo(1011, "out of memory")),
            1,
            '1011 (internal error of the server), "out of memory"',
        ),
        (
            ConnectionBroken("message is larger than 9 bytes (limit: max_message_size)"),
            1,
            "(limit: --max-size)",
        ),
        (
            ConnectionBroken("the peer did not answer a ping within ping_timeout=20 s"),
            1,
            "did not answer a ping within 20 s",
        ),
        (ImportError("a SOCKS proxy needs python-socks"), 2, "python-socks"),
        (FileNotFoundError(2, "No such file or directory", "x"), 3, "No such file or directory: x"),
        (BrokenPipeError(), 141, ""),
        (CommandFailed("so it is", ExitCode.USAGE), 2, "so it is"),
        (ExceptionGroup("", [ExceptionGroup("", [rejected(404)])]), 4, "check the path"),
        (
            ExceptionGroup("", [ConnectionBroken("x"), CommandFailed("not UTF-8", ExitCode.USAGE)]),
            2,
            "not UTF-8",
        ),
    ],
)
def test_a_failure_is_a_sentence_with_a_hint_and_an_exit_code(error: Exception, code: int, says: str) -> None:
    failure = explain(error)
    assert failure is not None
    assert failure.code == code
    assert says in failure.sentence
    assert "open_timeout" not in failure.sentence
    assert "max_message_size" not in failure.sentence


@pytest.mark.parametrize(
    "error", [ValueError("a bug"), ExceptionGroup("", [rejected(404), KeyError("a bug")])]
)
def test_a_bug_is_no_failure(error: Exception) -> None:
    assert explain(error) is None


def test_what_a_peer_says_is_escaped_in_a_sentence() -> None:
    for error in (ConnectionClosed(CloseInfo(4000, "\x1b[2J\n")), CommandFailed("\x1b[2J\n")):
        failure = explain(error)
        assert failure is not None
        assert r"\e[2J\n" in failure.sentence
        assert "\x1b" not in failure.sentence


def test_close_codes_are_said_in_words() -> None:
    assert close_in_words(1000, "bye") == '1000 (all is done), "bye"'
    assert close_in_words(4321, "") == "4321"
    assert close_in_words(1005, "") == close_in_words(None, "") == "no code"
