"""TLS contexts of the raw ends, and of contenders that are servers."""

from __future__ import annotations

import ssl

NOT_YET = (
    BlockingIOError,
    ssl.SSLWantReadError,
    ssl.SSLWantWriteError,
)  # what a read or write without waiting raises


def server_context(certificate: str) -> ssl.SSLContext:
    """Return the context of a server with this certificate and key."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def load_context() -> ssl.SSLContext:
    """Return a client's context that does not look who the server is: the load must not be the slower end."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
