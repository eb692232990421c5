"""One client's wish for a WebSocket, as a server's handler sees it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from anyio import EndOfStream, TypedAttributeProvider
from anyio.abc import AnyByteStream
from anyio.lowlevel import checkpoint_if_cancelled

from .._network.any_stream import TRANSPORT_ERRORS, say_and_drain, send_all
from .._protocol.cookies import parse_cookies
from .._protocol.engine import make_codec
from .._protocol.http import Headers, HeadersLike, Request
from .._protocol.parameters import QueryParams
from .._protocol.server_handshake import ServerHandshake
from .._protocol.trace import tracer_of
from .._streams.connection import Connection
from .._streams.errors import ConnectionBroken
from .._streams.hints import explain_names, names_inside
from .._streams.stream import WebSocketStream
from .answer import HOW_TO_ACCEPT, HOW_TO_REJECT, AcceptBlock, Answer
from .options import ServerOptions
from .outcome import Owner
from .proxied import peer_of

logger = logging.getLogger("websocketstream.server")


class WebSocketRequest(TypedAttributeProvider):
    """An opening handshake to answer: enter :meth:`accept`, or await :meth:`reject`."""

    def __init__(
        self,
        stream: AnyByteStream,
        answer: Answer,
        request: Request,
        options: ServerOptions,
        *,
        source: str | None,
        owner: Owner,
        on_answer: Callable[[Connection | None], None],
        id_: str,
    ) -> None:
        self._stream = stream
        self._answer = answer
        self._request = request
        self._options = options
        self._source = source  # what a PROXY protocol header said
        self._owner = owner
        self._on_answer = on_answer
        self._id = id_
        self._client_host: str | None = None  # once it was asked for

    def __repr__(self) -> str:
        return f"<WebSocketRequest {self._request.path!a}>"

    if not TYPE_CHECKING:  # mistakes that type checkers see without us

        def __aiter__(self) -> NoReturn:
            raise TypeError(f"messages come in the block of {HOW_TO_ACCEPT}")

    @property
    def id(self) -> str:
        """What the connection is called in the log and in trace events, such as ``"s7"``."""
        return self._id

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
    def query_params(self) -> QueryParams:
        """The query's parameters, decoded as the browser's ``URLSearchParams`` does: a mapping to the first of each name."""
        return QueryParams(self.query)

    @property
    def cookies(self) -> dict[str, str]:
        """The request's cookies by name, as the browser sends them."""
        return parse_cookies(self.headers.get_all("Cookie"))

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
        for offer in self._request.protocols:
            if offer in self._options.protocols:
                return offer
        return ""

    def protocol_token(self, prefix: str) -> str | None:
        """What stands behind a prefix in the first offered subprotocol that begins with it; None when there is none.

        A browser's page cannot set header fields, but it can offer ``["chat", "bearer.SECRET"]``. :meth:`accept` answers with one
        of the subprotocols that the server knows, so the token is not sent back.
        """
        for offer in self.protocols:
            if offer.startswith(prefix):
                return offer.removeprefix(prefix)
        return None

    @property
    def client_host(self) -> str | None:
        """The IP address of the client: that of the peer, or what the server's ``trusted_proxies`` say; None if unknown.

        With ``proxy_protocol`` they say it in front of the connection, too.
        It is known as long as the connection is open, and from then on if it was asked for before.
        """
        if self._client_host is None:
            self._client_host = self._find_client_host()
        return self._client_host

    def _find_client_host(self) -> str | None:
        return self._options.trusted_proxies.client_host(self._source or peer_of(self), self.headers)

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

        Leaving the block closes the connection as on a client; an exception closes it with 1011, and so does a
        cancellation that is neither a cancel scope's nor the server's.

        :param protocol: one of the offered subprotocols; None picks :attr:`protocol`, "" none
        :param headers: further header fields of the answer
        :raises ValueError: the protocol was not offered, or a header field is not allowed
        :raises RuntimeError: the request has been answered already
        :raises ConnectionBroken: (when the block is entered) the client has gone away
        """
        handshake = self._answer.handshake
        chosen = self.protocol if protocol is None else protocol
        answer = handshake.accept(chosen or None, headers)
        self._answer.call_for(HOW_TO_ACCEPT)
        return AcceptBlock(partial(self._open, handshake, answer), self._owner)

    def reject(
        self, status: int = 403, headers: HeadersLike = (), body: bytes | str = b""
    ) -> Coroutine[Any, Any, None]:
        """Answer with an HTTP error and end the connection; to be awaited.

        A client that has gone away is no error. Takes at most a second.

        :raises ValueError: the status is not 200-599, or a header field is not allowed; nothing was sent
        :raises RuntimeError: the request has been answered already
        """
        last_words = self._answer.handshake.reject(status, headers, body)
        self._answer.call_for(HOW_TO_REJECT, status)
        return self._reject(last_words)

    async def _reject(self, last_words: bytes) -> None:
        if self._answer.is_late:
            await checkpoint_if_cancelled()
        self._answer.begin()
        self._on_answer(None)
        await say_and_drain(self._stream, last_words)

    @property
    def answered(self) -> bool:
        """Whether :meth:`accept` or :meth:`reject` was called."""
        return self._answer.called_for

    async def _open(self, handshake: ServerHandshake, answer: bytes) -> tuple[Connection, WebSocketStream]:
        if self._answer.is_late:
            # Who was about to go on learns of a cancellation where it waits the next time: after a 101, that is too late.
            await checkpoint_if_cancelled()
        self._answer.begin()
        try:
            await send_all(self._stream, answer)
        except (EndOfStream, *TRANSPORT_ERRORS) as exc:
            raise ConnectionBroken("the client went away before it was answered") from exc
        options = self._options
        secure = options.ssl_context is not None
        codec = make_codec(
            client=False,
            limits=options.stream.limits,
            deflate=handshake.deflate,
            compression=options.compression,
        )
        tracer = tracer_of(self._id, options.trace, logger)
        connection = Connection(
            self._stream,
            codec,
            server=True,
            options=options.stream,
            early_data=handshake.trailing_data,
            id_=self._id,
            tracer=tracer,
        )
        if tracer is not None:
            tracer.opened(
                server=True,
                url=_url_of(self._request, secure),
                protocol=handshake.protocol,
                extensions=handshake.extensions,
            )
        self._on_answer(connection)
        stream = WebSocketStream(
            connection,
            url=partial(_url_of, self._request, secure),
            protocol=handshake.protocol,
            extensions=handshake.extensions,
            request=self._request,
        )
        self._request.headers.pack()
        return connection, stream


def _url_of(request: Request, secure: bool) -> str:
    return f"{'wss' if secure else 'ws'}://{request.headers['host']}{request.target}"


explain_names(WebSocketRequest, names_inside(HOW_TO_ACCEPT))
