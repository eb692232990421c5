"""TLS as a client does it, with servers and with proxies: whom it trusts, and what is said when the handshake fails."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Callable, Hashable
from functools import partial

from anyio.abc import AnyByteStream
from anyio.streams.tls import TLSAttribute

from .._protocol.errors import ConnectFailed
from .any_stream import TRANSPORT_ERRORS
from .failures import connect_failed
from .task_transport import release
from .tls import NotTLS, TLSTransport, wrap_tls
from .tls_sessions import TLSSessions

_default: list[ssl.SSLContext] = []  # the first one counts
_sessions = TLSSessions()  # of the default context


def default_ssl_context() -> ssl.SSLContext:
    """Return the context for ``wss://``: the system's authorities, host names checked, HTTP/1.1 by ALPN."""
    if not _default:
        context = ssl.create_default_context()
        context.set_alpn_protocols(["http/1.1"])
        # Another thread may have been faster. All get the same one, for no session is of use to another context.
        _default.append(context)
    return _default[0]


async def start_tls(
    stream: AnyByteStream,
    hostname: str,
    context: ssl.SSLContext | None,
    *,
    plain: str,
    fingerprint: bytes | None = None,
    resume: Hashable | None = None,
) -> TLSTransport:
    """Do the TLS handshake; the stream belongs to the result, or is released when the handshake fails.

    :param context: None for the default one
    :param plain: the scheme of the URL of who speaks no TLS
    :param fingerprint: of the only certificate that is accepted, on top of what the context asks for
    :param resume: as whom the peer knows us; with the default context we come back to it with what it gave us the last time
    :raises ConnectFailed: the handshake failed; the message says why
    """
    session, keep_session = None, None
    if context is None and resume is not None and fingerprint is None:
        session, keep_session = _sessions.take(resume), partial(_sessions.keep, resume)
    try:
        tls = await _shake_hands(stream, hostname, context, session, keep_session)
    except NotTLS as exc:
        raise ConnectFailed(f"{_failed(hostname)}: {exc}; without TLS the URL is {plain}://") from exc
    except TRANSPORT_ERRORS as exc:
        raise tls_failed(hostname, exc) from exc
    if fingerprint is not None:
        await check_certificate(tls, hostname, fingerprint)
    alpn = tls.extra(TLSAttribute.alpn_protocol)
    if alpn not in (None, "http/1.1"):
        await release(tls)
        raise ConnectFailed(
            f"{_failed(hostname)}: the server chose the protocol {alpn!r}, a WebSocket needs 'http/1.1'; "
            "let ssl_context (for a proxy proxy_ssl_context) offer only that by set_alpn_protocols(['http/1.1'])"
        )
    return tls


async def check_certificate(stream: AnyByteStream, hostname: str, fingerprint: bytes) -> None:
    """Insist on one certificate, or release the stream.

    :raises ConnectFailed: the peer has another one
    """
    certificate = stream.extra(TLSAttribute.peer_certificate_binary, None)  # also one that was not verified
    found = hashlib.sha256(certificate or b"").digest()
    if not certificate or found != fingerprint:
        await release(stream)
        shown = found.hex(":").upper() if certificate else "none"
        raise ConnectFailed(
            f"{_failed(hostname)}: the certificate has the SHA-256 fingerprint {shown}, "
            f"not {fingerprint.hex(':').upper()} as asked for"
        )


def tls_failed(hostname: str, cause: Exception) -> ConnectFailed:
    """Return the error for TLS that failed, which may be as late as the peer's first answer; raise it ``from`` the cause."""
    return connect_failed(_failed(hostname), cause)


def _failed(hostname: str) -> str:
    return f"TLS handshake with {hostname} failed"


async def _shake_hands(
    stream: AnyByteStream,
    hostname: str,
    context: ssl.SSLContext | None,
    session: ssl.SSLSession | None,
    keep_session: Callable[[ssl.SSLSession | None], object] | None,
) -> TLSTransport:
    return await wrap_tls(
        stream,
        context or default_ssl_context(),
        server_side=False,
        hostname=hostname,
        session=session,
        keep_session=keep_session,
    )
