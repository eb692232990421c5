"""How OpenSSL is called: by its own functions where they are found, else by Python's ssl module."""

from __future__ import annotations

import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from .._protocol.engine import ENGINE
from .hot import TLSCalls

own: Any = None
if not TYPE_CHECKING and ENGINE == "compiled":
    with suppress(ImportError):  # it was not built, or does not find them
        from . import _openssl as own


def wrap(
    context: ssl.SSLContext, server_side: bool, hostname: str | None, session: ssl.SSLSession | None
) -> tuple[ssl.SSLObject, TLSCalls]:
    """Return what shakes hands, and what decrypts and encrypts before and after.

    :raises ssl.SSLError: the context is not good for that
    :raises ValueError: likewise
    """
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    if own is None:
        tls = context.wrap_bio(incoming, outgoing, server_side, hostname, session)
    else:
        own.forget()
        tls = context.wrap_bio(incoming, outgoing, server_side, hostname, session)
        with suppress(AttributeError, ValueError):  # the context is one of another kind
            return tls, own.OpenSSLCalls(tls)
    return tls, TLSCalls(tls, incoming, outgoing)
