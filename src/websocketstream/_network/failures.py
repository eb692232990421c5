"""Why there is no connection, in words: what the operating system, TLS and the event loops say about it."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from collections.abc import Iterator

from anyio import EndOfStream

from .._protocol.errors import ConnectFailed


def connect_failed(what: str, cause: BaseException) -> ConnectFailed:
    """Make one error that says what failed and why, with the operating system's error number where there is one.

    Raise it ``from`` the cause.
    """
    error = ConnectFailed(f"{what}: {_in_words(cause)}")
    numbers = set(_numbers(cause))
    if len(numbers) == 1:
        error.errno = numbers.pop()
    return error


def without_frames(error: Exception) -> Exception:
    """Return an error that holds nobody's local variables, nor does what it comes from: they may be a password."""
    seen: list[BaseException] = []
    todo: list[BaseException | None] = [error]
    while todo:
        each = todo.pop()
        if each is not None and each not in seen:
            seen.append(each.with_traceback(None))
            todo += [each.__cause__, each.__context__]
    return error


def _causes(error: BaseException) -> list[BaseException]:
    """Return an error and what it comes from, the first cause first."""
    chain = [error]
    while (cause := chain[-1].__cause__) is not None:
        chain.append(cause)
    return chain[::-1]


def _numbers(error: BaseException) -> Iterator[int]:
    """Yield the error numbers of all attempts; OpenSSL has numbers, too, but they mean something else."""
    for reason in _causes(error):
        if isinstance(reason, BaseExceptionGroup):
            for each in reason.exceptions:
                yield from _numbers(each)
            return
        if isinstance(reason, OSError) and not isinstance(reason, ssl.SSLError):
            if (number := _number(reason)) is not None:
                yield number
            return


def _number(error: OSError) -> int | None:
    if error.errno is None and isinstance(error, ConnectionResetError):  # asyncio makes some itself
        return errno.ECONNRESET
    return error.errno


def _in_words(error: BaseException) -> str:
    return next(filter(None, map(_reason, _causes(error))), "no reason is known")


def _reason(reason: BaseException) -> str:
    if isinstance(reason, BaseExceptionGroup):
        return "; ".join(dict.fromkeys(_in_words(each) for each in reason.exceptions))
    if isinstance(reason, EndOfStream):
        return "the connection was closed"
    if isinstance(reason, ssl.SSLError):
        return _tls_reason(reason)
    if isinstance(reason, socket.gaierror):
        return reason.strerror or str(reason)
    if isinstance(reason, OSError) and (number := _number(reason)):
        # asyncio's own words for it are only that the call failed.
        name = errno.errorcode.get(number)
        return f"{os.strerror(number)} ({name})" if name else os.strerror(number)
    return str(reason)


def _tls_reason(reason: ssl.SSLError) -> str:
    if isinstance(reason, ssl.SSLCertVerificationError):
        return f"certificate not accepted: {reason.verify_message}"
    # RFC 8446 6.2: certificate_required. Before TLS 1.3 the alert is "handshake failure", which may be anything.
    if "certificate required" in str(reason):
        return (
            "the server wants a client certificate (TLS alert certificate_required): "
            "load one into ssl_context (for a proxy into proxy_ssl_context) by load_cert_chain()"
        )
    return str(reason)
