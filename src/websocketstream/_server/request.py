"""One client's wish for a WebSocket, as a server's handler sees it."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any

from anyio import TypedAttributeProvider
from anyio.abc import AnyByteStream

from .._network.any_stream import send_all
from .._network.tls import say_and_drain
from .._protocol.deflate import Compression
from .._protocol.engine import make_codec
from .._protocol.http import HandshakeLimits, Headers, HeadersLike, Request
from .._protocol.server_handshake import ServerHandshake
from .._streams.connection import Connection
from .._streams.options import StreamOptions
from .._streams.block import StreamBlock
from .._streams.stream import WebSocketStream


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """What a server needs to know for each connection."""

    stream: StreamOptions
    compression: Compression | None
    protocols: tuple[str, ...]
    origins: frozenset[str | None] | None  # in lower case; None admits all
    ssl_context: ssl.SSLContext | None
    open_timeout: float | None
    limits: HandshakeLimits


class WebSocketRequest(TypedAttributeProvider):
    """An opening handshake to answer: enter :meth:`accept`, or await :meth:`reject`."""

    def __init__(
        self,
        stream: AnyByteStream,
        handshake: ServerHandshake,
        request: Request,
        options: ServerOptions,
        *,
        on_answer: Callable[[Connection | None], None],
    ) -> None:
        self._stream = stream
        self._handshake: ServerHandshake | None = handshake  # until it is over
        self._request = request
        self._options = options
        self._on_answer = on_answer

    def __repr__(self) -> str:
        return f"<WebSocketRequest {self._request.path!a}>"

    @property
    def target(self) -> str:
        """The request target as received: path and query, still percent-encoded."""
        return self._request.target

    @property
    def path(self) -> str:
        """The target's path, still percent-encoded."""
        return self._request.path

    @property
    def query(self) -> str:
        """The target's query without the question mark, still percent-encoded."""
        return self._request.query

    @property
    def headers(self) -> Headers:
        """The request's header fields."""
        return self._request.headers

    @property
    def protocols(self) -> tuple[str, ...]:
        """The subprotocols that the client offers, in its order of preference."""
        return self._request.protocols

    @property
    def protocol(self) -> str:
        """What :meth:`accept` picks by itself: the first offer that the server knows, "" for none."""
        return next((offer for offer in self.protocols if offer in self._options.protocols), "")

    @property
    def origin(self) -> str | None:
        """The ``Origin`` header field, None when there is none (browsers always send it)."""
        return self._request.origin

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """The typed attributes of the transport, such as the peer's address."""
        return self._stream.extra_attributes

    def accept(
        self, protocol: str | None = None, headers: HeadersLike = ()
    ) -> AbstractAsyncContextManager[WebSocketStream]:
        """Answer with 101 and own the connection for the length of an ``async with`` block.

        Leaving the block closes the connection as on a client; an exception closes it with 1011.

        :param protocol: one of the offered subprotocols; None picks :attr:`protocol`, "" none
        :param headers: further header fields of the answer
        :raises ValueError: the protocol was not offered, or a header field is not allowed
        :raises RuntimeError: the request has been answered already
        """
        handshake = self._unanswered()
        chosen = self.protocol if protocol is None else protocol
        answer = handshake.accept(chosen or None, headers)
        self._handshake = None
        return StreamBlock(partial(self._open, handshake, answer))

    async def reject(self, status: int = 403, headers: HeadersLike = (), body: bytes | str = b"") -> None:
        """Answer with an HTTP error and end the connection.

        :raises ValueError: the status is not 200-599, or a header field is not allowed; nothing was sent
        :raises RuntimeError: the request has been answered already
        """
        answer = self._unanswered().reject(status, headers, body)
        self._handshake = None
        self._on_answer(None)
        await say_and_drain(self._stream, answer)

    def _unanswered(self) -> ServerHandshake:
        if self._handshake is None:
            raise RuntimeError("this request has been answered already")
        return self._handshake

    @property
    def answered(self) -> bool:
        """Whether :meth:`accept` or :meth:`reject` was called."""
        return self._handshake is None

    async def _open(self, handshake: ServerHandshake, answer: bytes) -> tuple[Connection, WebSocketStream]:
        await send_all(self._stream, answer)
        options = self._options
        codec = make_codec(
            client=False,
            limits=options.stream.limits,
            deflate=handshake.deflate,
            compression=options.compression,
        )
        connection = Connection(
            self._stream,
            codec,
            server=True,
            options=options.stream,
            early_data=handshake.trailing_data,
        )
        self._on_answer(connection)
        stream = WebSocketStream(
            connection,
            url=self._url(),
            protocol=handshake.protocol,
            extensions=handshake.extensions,
            request=self._request,
        )
        self._request.headers.pack()
        return connection, stream

    def _url(self) -> str:
        return f"{'wss' if self._options.ssl_context else 'ws'}://{self.headers['host']}{self.target}"
