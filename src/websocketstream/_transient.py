"""Which errors speak of now, and not of always: the default rule of what is worth another attempt."""

from __future__ import annotations

import ssl
import time
from socket import gaierror

from anyio import EndOfStream

from ._protocol.backoff import is_transient_end, is_transient_status, seconds_asked_for
from ._protocol.connect import ProxyRefused
from ._protocol.errors import ConnectFailed, HandshakeRejected, HandshakeTimeout, InvalidHandshake
from ._streams.errors import ConnectionBroken, ConnectionClosed

# What interrupts a TLS handshake, rather than failing it.
_INTERRUPTIONS = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)


def is_transient(error: Exception) -> bool:
    """Tell whether another attempt may go better, by why the last one failed or ended: the rule of :func:`reconnecting`.

    It is true of

    - names that are not resolved, connections that are refused or lost, timeouts, a server that hangs up without an answer;
    - refusals with 408, 425, 429 and from 500 on, but for 501 and 505, by the server or by an HTTP proxy, and a SOCKS proxy that
      does not reach the server;
    - connections that broke, and those that the peer closed with 1001, 1011, 1012, 1013 or 1014.

    It is not true of certificates and other failures of TLS, of other refusals and answers, of other close codes, of a peer on
    whom we hung up because it broke the protocol or a limit of ours, and of any other error, such as a :exc:`ValueError`.
    """
    match error:
        case ConnectionBroken():
            return is_transient_end(error.close_code, error.sent_code)
        case ConnectionClosed():
            return is_transient_end(error.close_code)
        case HandshakeRejected():
            return is_transient_status(error.status)
        case InvalidHandshake():
            return isinstance(error.__cause__, EndOfStream)
        case ConnectFailed():
            return error.__cause__ is not None and _is_transient_cause(error.__cause__)
    return isinstance(error, (HandshakeTimeout, ConnectionError, TimeoutError, gaierror))


def _is_transient_cause(cause: BaseException) -> bool:
    if isinstance(cause, ProxyRefused):
        return not cause.lasting if cause.status is None else is_transient_status(cause.status)
    return not isinstance(cause, ssl.SSLError) or isinstance(cause, _INTERRUPTIONS)


def retry_after(error: Exception | None) -> float | None:
    """Return for how many seconds the server that refused wants to be left alone; None when it does not say so."""
    if isinstance(error, HandshakeRejected) and error.status in (429, 503):
        return seconds_asked_for(error.headers, time.time())
    return None
