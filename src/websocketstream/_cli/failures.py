"""What went wrong, as one sentence that says what to do, and the exit code for it."""

from __future__ import annotations

import errno
import re
import socket
import ssl
from collections.abc import Iterator

from .._protocol.close import CloseCode
from .._protocol.connect import ProxyRefused
from .._protocol.errors import (
    REDIRECTS,
    ConnectFailed,
    HandshakeRejected,
    HandshakeTimeout,
    InvalidHandshake,
)
from .._streams.errors import ConnectionBroken, ConnectionClosed
from .escape import escape
from .exit_codes import ExitCode

# The library's messages name its options; here they are called otherwise.
_OPTIONS = (
    (re.compile(r"open_timeout=([\d.]+) s"), r"--timeout \1 s"),
    (re.compile(r"ping_timeout=([\d.]+ s)"), r"\1"),  # which no option sets here
    (re.compile(r"max_redirects=(\d+)"), r"--max-redirects \1"),
    (re.compile(r"\bmax_message_size\b|\bmax_size of chunked\(\)"), "--max-size"),
    (re.compile(r"^ssl_context is for TLS"), "--insecure, --cacert and --cert are for TLS"),
    (re.compile(r"^proxy must be"), "--proxy must be"),
    (re.compile(r"load one into ssl_context .*? by load_cert_chain\(\)"), "give it with --cert and --key"),
)

_STATUS_HINTS = {
    200: "there is a web page at this URL, not a WebSocket: check the path",
    400: "check the path of the URL, and what the server asks for: --protocol, --origin, -H",
    401: "log in with --auth USER:PASSWORD or --bearer TOKEN",
    403: "it may want to see another --origin, or a login: --auth USER:PASSWORD, --bearer TOKEN",
    404: "check the path of the URL",
    405: "check the path of the URL",
    426: "check what the server asks for: --protocol, -H",
    429: "wait a while, or let --reconnect do so",
    503: "wait a while, or let --reconnect do so",
}

# RFC 6455 section 7.4.1 and the IANA registry, as far as they say more than the number.
CLOSE_MEANINGS = {
    CloseCode.NORMAL_CLOSURE: "all is done",
    CloseCode.GOING_AWAY: "it goes away",
    CloseCode.PROTOCOL_ERROR: "protocol error",
    CloseCode.UNSUPPORTED_DATA: "it takes no data of this kind; --text and --binary choose",
    CloseCode.NO_STATUS_RECEIVED: "no code was given",
    CloseCode.ABNORMAL_CLOSURE: "the connection was lost",
    CloseCode.INVALID_PAYLOAD: "the text was not UTF-8",
    CloseCode.POLICY_VIOLATION: "against its rules",
    CloseCode.MESSAGE_TOO_BIG: "the message was too big",
    CloseCode.MANDATORY_EXTENSION: "an extension is missing",
    CloseCode.INTERNAL_ERROR: "internal error of the server",
    CloseCode.SERVICE_RESTART: "it restarts",
    CloseCode.TRY_AGAIN_LATER: "try again later",
    CloseCode.BAD_GATEWAY: "a server behind it failed",
}


class CommandFailed(Exception):
    """A command's own failure.

    :param sentence: what went wrong and what to do, without a full stop; "" says nothing
    :param code: the exit code
    """

    def __init__(self, sentence: str, code: ExitCode = ExitCode.ENDED_BADLY) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.code = code


def explain(error: BaseException, peer: str = "server") -> CommandFailed | None:
    """Say an error in one sentence, safe to print; None for one that is no failure but a bug.

    :param peer: what the other end is called
    """
    if isinstance(error, BaseExceptionGroup):
        # What we have found out ourselves is why the rest has failed.
        causes = sorted(error.exceptions, key=lambda each: not isinstance(each, CommandFailed))
        explained = [explain(each, peer) for each in causes]
        return None if None in explained else explained[0]
    if isinstance(error, CommandFailed):
        return CommandFailed(escape(error.sentence, keep=""), error.code)
    found = _explained(error, peer)
    return found and CommandFailed(escape(_in_our_words(found[0]), keep=""), found[1])


def _explained(error: BaseException, peer: str) -> tuple[str, ExitCode] | None:
    match error:
        case HandshakeRejected():
            return _with_hint(error, _status_hint(error.status)), ExitCode.REFUSED
        case InvalidHandshake():
            return _with_hint(error, "check that a WebSocket server is at this URL"), ExitCode.REFUSED
        case HandshakeTimeout():
            return _with_hint(error, "check host and port, or give it more time"), ExitCode.NOT_CONNECTED
        case ConnectFailed():
            return _with_hint(error, _connect_hint(error)), ExitCode.NOT_CONNECTED
        case ConnectionClosed():
            return f"the {peer} closed the connection: {close_in_words(error.close_code, error.reason)}", (
                ExitCode.ENDED_BADLY
            )
        case ConnectionBroken():
            return str(error), ExitCode.ENDED_BADLY
        case BrokenPipeError():
            return "", ExitCode.OUTPUT_CLOSED
        case ImportError():
            return str(error), ExitCode.USAGE
        case OSError():
            return _os_error(error), ExitCode.NOT_CONNECTED
    return None


def wrong_argument(error: Exception) -> CommandFailed:
    """Say what is wrong with an argument that the library refuses, under the names that it has on a command line."""
    return CommandFailed(_in_our_words(str(error)), ExitCode.USAGE)


def close_in_words(code: int | None, reason: str) -> str:
    """Say a close code and reason: ``1011 (internal error of the server), "out of memory"``; not escaped."""
    if code is None or code == CloseCode.NO_STATUS_RECEIVED:
        return "no code"
    meaning = next((words for known, words in CLOSE_MEANINGS.items() if known == code), "")
    return str(code) + (f" ({meaning})" if meaning else "") + (f', "{reason}"' if reason else "")


def _with_hint(error: BaseException, hint: str) -> str:
    return f"{error}; {hint}" if hint else str(error)


def _in_our_words(sentence: str) -> str:
    for pattern, ours in _OPTIONS:
        sentence = pattern.sub(ours, sentence)
    return sentence


def _status_hint(status: int) -> str:
    if status in REDIRECTS:
        return "-L follows redirects"
    return _STATUS_HINTS.get(status, "")


def _connect_hint(error: BaseException) -> str:
    for cause in _causes(error):
        hint = _hint(cause)
        if hint:
            return hint
    return ""


def _hint(cause: BaseException) -> str:
    match cause:
        case ssl.SSLCertVerificationError():
            if "mismatch" in cause.verify_message:
                return "use the name that the certificate is for, or trust it blindly with --insecure"
            return "trust its authority with --cacert FILE, or trust blindly with --insecure"
        case ProxyRefused():
            return "the proxy is the one of --proxy"
        case socket.gaierror():
            return "check the host name, and that this machine has a network"
        case ConnectionRefusedError():
            return "nothing listens there: check the port, and that the server runs"
        case OSError(errno=errno.ENETUNREACH | errno.EHOSTUNREACH):
            return "check the host name, and that this machine has a network"
    return ""


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield what an error comes from, each attempt of several."""
    cause = error.__cause__
    if cause is not None:
        yield cause
        yield from _causes(cause)
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield each
            yield from _causes(each)


def _os_error(error: OSError) -> str:
    words = error.strerror or str(error) or type(error).__name__
    return f"{words}: {error.filename}" if error.filename else words
