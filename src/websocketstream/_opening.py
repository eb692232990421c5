"""How a client's connection comes about: the way to the server, TLS, and the opening handshake, within one deadline."""

from __future__ import annotations

import logging
import math
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NoReturn

from anyio import EndOfStream, move_on_after
from anyio.abc import AnyByteStream
from anyio.streams.tls import TLSAttribute

from ._network.any_stream import TRANSPORT_ERRORS, receive_head, send_all
from ._network.dial import SocketSettings, dial
from ._network.failures import connect_failed
from ._network.proxy import Proxies, connect_through, proxy_for
from ._network.task_transport import release
from ._network.tls_client import check_certificate, start_tls, tls_failed
from ._protocol.client_handshake import NO_ANSWER, ClientHandshake
from ._protocol.engine import make_codec
from ._protocol.errors import ConnectFailed, HandshakeRejected, HandshakeTimeout, InvalidHandshake
from ._protocol.http import Response
from ._protocol.negotiation import Compression
from ._protocol.redirect import is_redirect, is_same_origin, redirect_target, without_secrets
from ._protocol.trace import Hook, next_id, tracer_of
from ._protocol.url import ProxyURL, WebSocketURL
from ._streams.connection import Connection
from ._streams.options import StreamOptions
from ._streams.stream import WebSocketStream

logger = logging.getLogger("websocketstream.client")

REJECTION_BODY_SECONDS = 1.0  # how long we wait for the body of a refusal once its head is here


@dataclass(slots=True, repr=False)  # the header fields may be secrets
class Opening:
    """One attempt to open a connection, wherever redirects lead."""

    url: WebSocketURL
    headers: list[tuple[str, str]]
    make_handshake: Callable[..., ClientHandshake]
    options: StreamOptions
    compression: Compression | None
    ssl_context: ssl.SSLContext | None
    server_hostname: str | None  # of this host; None takes the URL's
    fingerprint: bytes | None  # of the one certificate, wherever that is
    proxies: Proxies
    proxy_ssl_context: ssl.SSLContext | None
    settings: SocketSettings
    max_redirects: int
    open_timeout: float | None
    given: AnyByteStream | None
    trace: Hook | None
    handshake: ClientHandshake = field(init=False)
    stage: str = ""
    send_error: Exception | None = None  # why the request could not be sent

    def __post_init__(self) -> None:
        self.handshake = self.make_handshake(self.url, headers=self.headers)

    async def open(self) -> tuple[Connection, WebSocketStream]:
        with move_on_after(math.inf if self.open_timeout is None else self.open_timeout):
            return await self._open()
        if self.handshake.reading_rejection:
            try:
                self.handshake.receive_eof(timed_out=True)
            except HandshakeRejected as exc:
                if not self._may_follow(exc.response):
                    raise
        raise HandshakeTimeout(
            f"{self.url} was not open within open_timeout={self.open_timeout} s: timed out while {self.stage}"
        )

    async def _open(self) -> tuple[Connection, WebSocketStream]:
        followed = 0
        while True:
            try:
                return await self._try()
            except HandshakeRejected as exc:
                response = exc.response
                if not self._may_follow(response):
                    raise
            if followed == self.max_redirects:
                raise HandshakeRejected(response, f"no more than max_redirects={followed} are followed")
            followed += 1
            self._go_to(redirect_target(self.url, response))

    def _may_follow(self, response: Response) -> bool:
        return self.max_redirects > 0 and is_redirect(response)

    def _go_to(self, target: WebSocketURL) -> None:
        if not is_same_origin(self.url, target):
            self.headers = without_secrets(self.headers)
        if self.url.host != target.host:
            self.server_hostname = None
        self.url, self.send_error = target, None
        self.handshake = self.make_handshake(target, headers=self.headers)

    async def _try(self) -> tuple[Connection, WebSocketStream]:
        stream = await self._connect()
        if self.url.secure:
            stream = await self._secure(stream)
        try:
            response = await self._shake_hands(stream)
        except BaseException:
            await release(stream)
            raise
        id_ = next_id(server=False)
        tracer = tracer_of(id_, self.trace, logger)
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
            id_=id_,
            tracer=tracer,
        )
        if tracer is not None:
            tracer.opened(
                server=False,
                url=self.url.href,
                protocol=self.handshake.protocol,
                extensions=self.handshake.extensions,
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
        host, port, proxy = self.url.host, self.url.port, self._proxy
        self.stage = f"connecting to {host} port {port}"
        if proxy is not None:
            self.stage += f" through the proxy {proxy}"
            context, settings = self.proxy_ssl_context, self.settings
            return await connect_through(proxy, host, port, ssl_context=context, settings=settings)
        try:
            return await dial(host, port, self.settings)
        except OSError as exc:
            raise connect_failed(f"cannot connect to {host} port {port}", exc) from exc

    @property
    def _proxy(self) -> ProxyURL | None:
        try:
            return proxy_for(self.proxies, self.url)
        except (ValueError, ImportError) as exc:  # the first URL's was asked for before
            raise ConnectFailed(f"cannot connect to {self.url.host} port {self.url.port}: {exc}") from exc

    @property
    def _certificate_name(self) -> str:
        return self.server_hostname or self.url.host.rstrip(".")

    async def _secure(self, stream: AnyByteStream) -> AnyByteStream:
        hostname = self._certificate_name
        # A stream to an https proxy is TLS, too, but not with the server.
        if self.given is not None and _is_tls(self.given):
            if self.fingerprint is not None:
                await check_certificate(stream, hostname, self.fingerprint)
            return stream
        self.stage = f"doing the TLS handshake with {hostname}"
        # Not through another proxy, which may be there so that the server cannot tell that we are the same.
        known_as = self.url.host, self.url.port, hostname, self._proxy
        return await start_tls(
            stream,
            hostname,
            self.ssl_context,
            plain="ws",
            fingerprint=self.fingerprint,
            resume=known_as if self.given is None else None,
        )

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
            return await receive_head(stream)
        except (EndOfStream, *TRANSPORT_ERRORS) as exc:
            if self.handshake.reading_rejection:
                self.handshake.receive_eof()
            if isinstance(exc, ssl.SSLError):
                raise tls_failed(self._certificate_name, exc) from exc
            if not isinstance(exc, EndOfStream):
                raise self._lost(exc) from exc
            if self.send_error is None:
                self._ended(exc)
            # The system says only once that a connection was reset; from then on it has just ended.
            raise self._lost(self.send_error) from self.send_error

    def _ended(self, cause: Exception) -> NoReturn:
        try:
            self.handshake.receive_eof()
        except InvalidHandshake as error:  # which says what came, but not that nothing was wrong with it
            raise error from cause

    def _lost(self, cause: Exception) -> ConnectFailed:
        hint = "" if self.url.secure or self.handshake.answered else f" ({NO_ANSWER})"
        return connect_failed(f"the connection was lost during the opening handshake{hint}", cause)


def _is_tls(stream: AnyByteStream) -> bool:
    try:
        return stream.extra(TLSAttribute.ssl_object, None) is not None
    except Exception:  # noqa: BLE001  (one that is closed may fail to answer in any way; anyio's on uvloop: AttributeError)
        return False
