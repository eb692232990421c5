"""The client edge: from a URL to an open :class:`WebSocketStream`."""

from __future__ import annotations

import math
import ssl
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import cache, partial

from anyio import EndOfStream, move_on_after
from anyio.abc import AnyByteStream, ByteStream, ObjectStream
from anyio.streams.tls import TLSAttribute

from ._network.any_stream import TRANSPORT_ERRORS, receive_some, send_all
from ._network.dial import dial
from ._network.failures import connect_failed
from ._network.proxy import check_proxy, connect_through
from ._network.task_transport import release
from ._network.tls import NotTLS, wrap_tls
from ._network.tls_sessions import TLSSessions
from ._protocol.client_handshake import NO_ANSWER, ClientHandshake
from ._protocol.deflate import Compression
from ._protocol.engine import make_codec
from ._protocol.errors import ConnectFailed, HandshakeTimeout
from ._protocol.host import bracketed, normalise_host
from ._protocol.http import DEFAULT_LIMITS, HandshakeLimits, HeadersLike, Response, check_limits
from ._protocol.url import ProxyURL, WebSocketURL, parse_url
from ._streams.block import StreamBlock
from ._streams.connection import Connection
from ._streams.options import StreamOptions, check_compression, check_seconds
from ._streams.stream import WebSocketStream

REJECTION_BODY_SECONDS = 1.0  # how long we wait for the body of a refusal once its head is here


def open_websocket_stream(
    url: str,
    *,
    protocols: Sequence[str] = (),
    headers: HeadersLike = (),
    origin: str | None = None,
    ssl_context: ssl.SSLContext | None = None,
    server_hostname: str | None = None,
    proxy: str | None = None,
    compression: bool | Compression = False,
    max_message_size: int | None = 16 * 2**20,
    max_fragments: int | None = 4096,
    read_buffer: int = 2**20,
    write_buffer: int = 2**16,
    low_latency: bool = False,
    ping_interval: float | None = 20,
    ping_timeout: float | None = 20,
    open_timeout: float | None = 10,
    close_timeout: float = 10,
    handshake_limits: HandshakeLimits = DEFAULT_LIMITS,
    stream: AnyByteStream | None = None,
) -> AbstractAsyncContextManager[WebSocketStream]:
    """Open a WebSocket and own it for the length of an ``async with`` block.

    Leaving the block closes the connection: with an empty Close frame, with 1011 when the body raised, with 1001
    when it was cancelled; what the body raised comes out unchanged. A cancel scope is the AbortSignal: around the
    whole block it aborts the opening handshake or closes the connection, and no socket is left.

    The arguments are checked by the call itself, before anything is awaited.

    :param url: ``ws://``, ``wss://``, ``http://`` or ``https://``; user info becomes HTTP Basic authentication
    :param protocols: the subprotocols to offer, in order of preference
    :param headers: further header fields of the request, a mapping or pairs
    :param origin: the value of the ``Origin`` header field, none by default
    :param ssl_context: for ``wss://`` only; by default certificates are verified and ALPN offers ``http/1.1``
    :param server_hostname: for ``wss://`` only; the name the certificate must have, by default the URL's host
    :param proxy: ``http://``, ``socks4://`` or ``socks5://`` URL of a proxy (SOCKS needs the ``proxy`` extra);
        the environment is not looked at
    :param compression: offer permessage-deflate; a :class:`Compression` says how
    :param max_message_size: largest message to accept, in bytes after inflation; None for unlimited
    :param max_fragments: most frames to accept for one message; None for unlimited
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
    :raises ValueError: an argument is not allowed; the message says which and why
    :raises TypeError: an argument has the wrong type
    :raises HandshakeRejected: (on entering) the server answered with something else than 101
    :raises InvalidHandshake: (on entering) the server's answer was not a WebSocket handshake
    :raises HandshakeTimeout: (on entering) not open in time (a :exc:`TimeoutError`)
    :raises ConnectFailed: (on entering) no connection, or TLS failed (an :exc:`OSError`)
    """
    parsed = parse_url(url)
    deflate = check_compression(compression)
    check_limits(handshake_limits)
    _check_tls(parsed, ssl_context, server_hostname)
    if stream is not None and not isinstance(stream, (ByteStream, ObjectStream)):
        raise TypeError(f"stream must be an anyio byte stream, not {type(stream).__name__}")
    handshake = ClientHandshake(
        parsed,
        protocols=protocols,
        headers=headers,
        origin=origin,
        compression=deflate,
        limits=handshake_limits,
    )
    if open_timeout is not None:
        check_seconds("open_timeout", open_timeout)
    proxy_url = None if proxy is None else check_proxy(proxy, stream)
    options = StreamOptions(
        read_buffer=read_buffer,
        write_buffer=write_buffer,
        ping_interval=ping_interval,
        ping_timeout=ping_timeout,
        close_timeout=close_timeout,
        max_message_size=max_message_size,
        max_fragments=max_fragments,
        low_latency=low_latency,
    )
    opening = _Opening(
        parsed,
        handshake,
        options,
        deflate,
        ssl_context,
        _certificate_name(server_hostname or parsed.host),
        proxy_url,
        open_timeout,
        stream,
    )
    return StreamBlock(opening.open)


def _check_tls(url: WebSocketURL, context: object, server_hostname: object) -> None:
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
        if value is not None and not url.secure:
            raise ValueError(f"{name} is for TLS, and {url} has none: use wss:// instead of ws://")


def _certificate_name(host: str) -> str:
    try:
        return normalise_host(bracketed(host)).rstrip(".")
    except ValueError as exc:
        raise ValueError(f"server_hostname is no host name or address: {exc}") from None


@dataclass(slots=True)
class _Opening:
    """One attempt to open a connection."""

    url: WebSocketURL
    handshake: ClientHandshake
    options: StreamOptions
    compression: Compression | None
    ssl_context: ssl.SSLContext | None
    server_hostname: str
    proxy: ProxyURL | None
    open_timeout: float | None
    given: AnyByteStream | None
    stage: str = ""
    send_error: Exception | None = None  # why the request could not be sent

    async def open(self) -> tuple[Connection, WebSocketStream]:
        with move_on_after(math.inf if self.open_timeout is None else self.open_timeout):
            return await self._open()
        if self.handshake.reading_rejection:
            self.handshake.receive_eof(timed_out=True)
        raise HandshakeTimeout(
            f"{self.url} was not open within open_timeout={self.open_timeout} s: timed out while {self.stage}"
        )

    async def _open(self) -> tuple[Connection, WebSocketStream]:
        stream = await self._connect()
        if self.url.secure and not _is_tls(stream):
            stream = await self._start_tls(stream)
        try:
            response = await self._shake_hands(stream)
        except BaseException:
            await release(stream)
            raise
        connection = Connection(
            stream,
            make_codec(
                client=True,
                limits=self.options.limits,
                deflate=self.handshake.deflate,
                compression=self.compression,
            ),
            server=False,
            options=self.options,
            early_data=self.handshake.trailing_data,
        )
        return connection, WebSocketStream(
            connection,
            url=self.url.href,
            protocol=self.handshake.protocol,
            extensions=self.handshake.extensions,
            response=response,
        )

    async def _connect(self) -> AnyByteStream:
        if self.given is not None:
            return self.given
        host, port = self.url.host, self.url.port
        self.stage = f"connecting to {host} port {port}"
        if self.proxy is not None:
            self.stage += f" through the proxy {self.proxy}"
            return await connect_through(self.proxy, host, port)
        try:
            return await dial(host, port)
        except OSError as exc:
            raise connect_failed(f"cannot connect to {host} port {port}", exc) from exc

    async def _start_tls(self, stream: AnyByteStream) -> AnyByteStream:
        self.stage = f"doing the TLS handshake with {self.server_hostname}"
        context = self.ssl_context or default_ssl_context()
        session, keep_session = None, None
        if self.ssl_context is None and self.given is None:
            # Not through another proxy, which may be there so that the server cannot tell that we are the same.
            server = self.url.host, self.url.port, self.server_hostname, self.proxy
            session, keep_session = _sessions.take(server), partial(_sessions.keep, server)
        try:
            tls = await wrap_tls(
                stream,
                context,
                server_side=False,
                hostname=self.server_hostname,
                session=session,
                keep_session=keep_session,
            )
        except NotTLS as exc:
            raise ConnectFailed(
                f"TLS handshake with {self.server_hostname} failed: {exc}; without TLS the URL is ws://"
            ) from exc
        except TRANSPORT_ERRORS as exc:
            raise self._tls_failed(exc) from exc
        alpn = tls.extra(TLSAttribute.alpn_protocol)
        if alpn not in (None, "http/1.1"):
            await release(tls)
            raise ConnectFailed(
                f"TLS handshake with {self.server_hostname} failed: the server chose the protocol "
                f"{alpn!r}, a WebSocket needs 'http/1.1'; "
                "let the ssl_context offer only that by set_alpn_protocols(['http/1.1'])"
            )
        return tls

    def _tls_failed(self, cause: Exception) -> ConnectFailed:
        return connect_failed(f"TLS handshake with {self.server_hostname} failed", cause)

    async def _shake_hands(self, stream: AnyByteStream) -> Response:
        self.stage = "waiting for the server's answer to the opening handshake"
        try:
            await send_all(stream, self.handshake.request())
        except (EndOfStream, *TRANSPORT_ERRORS) as exc:
            self.send_error = exc  # a server that refuses early may have answered already: read on
        while not self.handshake.reading_rejection:
            response = self.handshake.receive_data(await self._receive(stream))
            if response is not None:
                return response
        with move_on_after(REJECTION_BODY_SECONDS):
            while True:
                self.handshake.receive_data(await self._receive(stream))
        return self.handshake.receive_eof(timed_out=True)

    async def _receive(self, stream: AnyByteStream) -> bytes:
        try:
            return await receive_some(stream)
        except (EndOfStream, *TRANSPORT_ERRORS) as exc:
            if self.handshake.reading_rejection:
                self.handshake.receive_eof()
            if isinstance(exc, ssl.SSLError):
                raise self._tls_failed(exc) from exc
            if not isinstance(exc, EndOfStream):
                raise self._lost(exc) from exc
            if self.send_error is None:
                self.handshake.receive_eof()
            # The system says only once that a connection was reset; from then on it has just ended.
            raise self._lost(self.send_error) from self.send_error

    def _lost(self, cause: Exception) -> ConnectFailed:
        hint = "" if self.url.secure or self.handshake.answered else f" ({NO_ANSWER})"
        return connect_failed(f"the connection was lost during the opening handshake{hint}", cause)


def _is_tls(stream: AnyByteStream) -> bool:
    return stream.extra(TLSAttribute.ssl_object, None) is not None


_sessions = TLSSessions()  # of the default context


@cache
def default_ssl_context() -> ssl.SSLContext:
    """Return the context for ``wss://``: the system's authorities, host names checked, HTTP/1.1 by ALPN."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
