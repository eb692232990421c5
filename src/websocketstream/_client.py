"""The client edge: from a URL to an open :class:`WebSocketStream`."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Literal

from anyio.abc import AnyByteStream, ByteStream, ObjectStream

from ._network.dial import NO_SETTINGS, SocketSettings, check_settings
from ._network.proxy import check_proxy, check_proxy_tls, proxy_for
from ._opening import Opening
from ._protocol.arguments import check_fingerprint, check_size
from ._protocol.client_handshake import ClientHandshake
from ._protocol.cookies import cookie_field
from ._protocol.host import bracketed, normalise_host
from ._protocol.http import (
    DEFAULT_LIMITS,
    HandshakeLimits,
    HeadersLike,
    check_limits,
    check_protocols,
    header_pairs,
)
from ._protocol.negotiation import Compression
from ._protocol.trace import TraceEvent, check_trace
from ._protocol.url import WebSocketURL, parse_url
from ._streams.block import StreamBlock
from ._streams.options import check_compression, check_seconds, stream_options
from ._streams.stream import WebSocketStream


def open_websocket_stream(
    url: str,
    *,
    protocols: Sequence[str] = (),
    headers: HeadersLike = (),
    cookies: Mapping[str, str] | None = None,
    origin: str | None = None,
    ssl_context: ssl.SSLContext | None = None,
    server_hostname: str | None = None,
    fingerprint: str | None = None,
    proxy: str | Literal[True] | None = None,
    proxy_ssl_context: ssl.SSLContext | None = None,
    local_host: str | None = None,
    socket_options: Iterable[tuple[int, int, int | bytes]] = (),
    max_redirects: int = 0,
    compression: bool | Compression = False,
    max_message_size: int | None = 16 * 2**20,
    max_fragments: int | None = None,
    read_buffer: int = 2**20,
    write_buffer: int = 2**16,
    low_latency: bool = False,
    ping_interval: float | None = 20,
    ping_timeout: float | None = 20,
    open_timeout: float | None = 10,
    close_timeout: float = 10,
    handshake_limits: HandshakeLimits = DEFAULT_LIMITS,
    stream: AnyByteStream | None = None,
    trace: Callable[[TraceEvent], object] | None = None,
) -> AbstractAsyncContextManager[WebSocketStream]:
    """Open a WebSocket and own it for the length of an ``async with`` block.

    Leaving the block closes the connection: with an empty Close frame, with 1011 when the body raised, with 1001
    when it was cancelled; what the body raised comes out unchanged. A cancel scope is the AbortSignal: around the
    whole block it aborts the opening handshake or closes the connection, and no socket is left.

    The arguments are checked by the call itself, before anything is awaited.

    :param url: ``ws://``, ``wss://``, ``http://`` or ``https://``; user info becomes HTTP Basic authentication
    :param protocols: the subprotocols to offer, in order of preference
    :param headers: further header fields of the request, a mapping or pairs
    :param cookies: what the ``Cookie`` header field shall say, by name
    :param origin: the value of the ``Origin`` header field, none by default
    :param ssl_context: for ``wss://`` only; by default certificates are verified and ALPN offers ``http/1.1``
    :param server_hostname: for ``wss://`` only; the name the certificate must have, by default the URL's host
    :param fingerprint: for ``wss://`` only; the SHA-256 of the only certificate to accept, in hexadecimal digits with or without
        colons, on top of what ``ssl_context`` asks for. It is compared before anything is sent
    :param proxy: the URL of a proxy, ``http://``, ``https://``, ``socks4://``, ``socks4a://``, ``socks5://`` or ``socks5h://``
        (SOCKS needs the ``proxy`` extra; with ``a`` and ``h`` the proxy looks the host's name up); True takes it from the
        environment's variables, which are not looked at otherwise
    :param proxy_ssl_context: for TLS with an ``https://`` proxy; as ``ssl_context``, which is for the server
    :param local_host: the IP address of this machine to connect from
    :param socket_options: (level, name, value) triples for ``setsockopt()``, set before the socket connects, to the server or to
        the proxy; Nagle's algorithm is off in any case
    :param max_redirects: how many redirects to follow, never from ``wss://`` to ``ws://``. Credentials and cookies stay within
        the origin: of ``headers`` those whose name contains auth, cookie, credential, key, passw, secret, session,
        signature or token do not go to another one, nor does user info
    :param compression: offer permessage-deflate; a :class:`Compression` says how
    :param max_message_size: largest message to accept, in bytes after inflation; None for unlimited
    :param max_fragments: most frames to accept for one message; None for as many as ``max_message_size`` has KiB, and at least
        4096; unlimited if that is
    :param read_buffer: bytes of messages kept ahead of the reader before the network is no longer read
    :param write_buffer: unsent bytes from which on ``send()`` waits
    :param low_latency: keep little in between, for what may have to be taken back: the system's buffer for what is unsent is
        4 KiB where it can be set, ``write_buffer`` 16 KiB at the most and ``read_buffer`` 64 KiB
    :param ping_interval: seconds of silence after which a ping is sent; None for no pings
    :param ping_timeout: seconds of silence after that ping which end the connection; None for never
    :param open_timeout: seconds from name resolution to the open connection, all together; None for no limit
    :param close_timeout: seconds for all of closing: what is unsent, the Close frames, the end of the transport
    :param handshake_limits: bounds on the server's answer to the opening handshake
    :param stream: a connected byte stream to use instead of a new TCP connection (a unix socket, a tunnel); for
        ``wss://`` TLS is started on it unless it is a TLS stream already
    :param trace: called with each :class:`TraceEvent` of the open connection, in the midst of its work: it must not wait, nor use it
    :raises ValueError: an argument is not allowed; the message says which and why
    :raises TypeError: an argument has the wrong type
    :raises ImportError: a SOCKS proxy was asked for without the ``proxy`` extra
    :raises HandshakeRejected: (on entering) the server answered with something else than 101
    :raises InvalidHandshake: (on entering) the server's answer was not a WebSocket handshake
    :raises HandshakeTimeout: (on entering) not open in time (a :exc:`TimeoutError`)
    :raises ConnectFailed: (on entering) no connection, or TLS failed (an :exc:`OSError`)
    """
    parsed = parse_url(url)
    deflate = check_compression(compression)
    check_limits(handshake_limits)
    check_size("max_redirects", max_redirects, zero=True)
    _check_tls(parsed, ssl_context, server_hostname, max_redirects)
    pin = None if fingerprint is None else check_fingerprint(fingerprint)
    if pin is not None and not parsed.secure:
        raise ValueError(f"fingerprint is for TLS, and {parsed} has none: use wss:// instead of ws://")
    settings = check_settings(local_host, socket_options)
    if stream is not None:
        _check_stream(stream, max_redirects, settings)
    make_handshake = partial(
        ClientHandshake,
        protocols=check_protocols(protocols),
        origin=origin,
        compression=deflate,
        limits=handshake_limits,
    )
    if open_timeout is not None:
        check_seconds("open_timeout", open_timeout)
    proxies = check_proxy(proxy, stream)
    check_proxy_tls(proxies, proxy_ssl_context)
    proxy_for(proxies, parsed)  # complains about one that cannot be used
    check_trace(trace)
    options = stream_options(
        read_buffer=read_buffer,
        write_buffer=write_buffer,
        ping_interval=ping_interval,
        ping_timeout=ping_timeout,
        close_timeout=close_timeout,
        max_message_size=max_message_size,
        max_fragments=max_fragments,
        low_latency=low_latency,
    )
    fields = _fields(headers, cookies)
    if proxies is not None and any(name.lower() == "proxy-authorization" for name, _ in fields):
        raise ValueError(
            "a Proxy-Authorization header would reach the server and not the proxy: "
            "user name and password of a proxy stand in its URL, http://name:password@host:port"
        )
    opening = Opening(
        parsed,
        fields,
        make_handshake,
        options,
        deflate,
        ssl_context,
        None if server_hostname is None else _certificate_name(server_hostname),
        pin,
        proxies,
        proxy_ssl_context,
        settings,
        max_redirects,
        open_timeout,
        stream,
        trace,
    )
    return StreamBlock(opening.open)


def _fields(headers: HeadersLike, cookies: Mapping[str, str] | None) -> list[tuple[str, str]]:
    if headers == () and cookies is None:
        return []
    fields = list(header_pairs(headers))
    if cookies is None or not (value := cookie_field(cookies)):
        return fields
    if any(name.lower() == "cookie" for name, _ in fields):
        raise ValueError("give either cookies or a Cookie header, not both")
    return [*fields, ("Cookie", value)]


def _check_stream(stream: object, max_redirects: int, settings: SocketSettings) -> None:
    if not isinstance(stream, (ByteStream, ObjectStream)):
        raise TypeError(f"stream must be an anyio byte stream, not {type(stream).__name__}")
    if max_redirects:
        raise ValueError("max_redirects is for connections of our own: a given stream leads to one server")
    if settings != NO_SETTINGS:
        raise ValueError(
            "local_host and socket_options are for connections of our own: a given stream is connected"
        )


def _check_tls(url: WebSocketURL, context: object, server_hostname: object, max_redirects: int) -> None:
    """Complain about arguments that TLS cannot use, and about those that nothing would use."""
    if context is not None and not isinstance(context, ssl.SSLContext):
        raise TypeError(
            f"ssl_context must be an ssl.SSLContext or None, not {type(context).__name__}; "
            "a wss:// URL is enough for TLS with verified certificates"
        )
    if server_hostname is not None and not isinstance(server_hostname, str):
        raise TypeError(f"server_hostname must be a str or None, not {type(server_hostname).__name__}")
    if server_hostname == "":
        raise ValueError("server_hostname is empty; None takes the URL's host")
    for name, value in (("ssl_context", context), ("server_hostname", server_hostname)):
        # A redirect may lead to TLS.
        if value is not None and not url.secure and not max_redirects:
            raise ValueError(f"{name} is for TLS, and {url} has none: use wss:// instead of ws://")


def _certificate_name(host: str) -> str:
    try:
        return normalise_host(bracketed(host)).rstrip(".")
    except ValueError as exc:
        raise ValueError(f"server_hostname is no host name or address: {exc}") from None
