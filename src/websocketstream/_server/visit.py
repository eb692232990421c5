"""One client's visit to a server: TLS, the request, the handler, and whatever the handler left undone."""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from contextlib import suppress

from anyio import CancelScope, ClosedResourceError, EndOfStream, current_time, move_on_after
from anyio.abc import AnyByteStream

from .._network.any_stream import TRANSPORT_ERRORS, receive_some, release
from .._network.tls import say_and_drain, wrap_tls
from .._protocol.close import CloseCode
from .._protocol.http import Request
from .._protocol.server_handshake import BadRequest, ServerHandshake
from .._streams.connection import Connection
from .._streams.errors import ConnectionBroken, ConnectionClosed
from .request import ServerOptions, WebSocketRequest

logger = logging.getLogger("websocketstream.server")

Handler = Callable[[WebSocketRequest], Awaitable[object]]


class Visit:
    """Runs the handler for one accepted byte stream and releases the stream in the end."""

    def __init__(self, stream: AnyByteStream, handler: Handler, options: ServerOptions) -> None:
        self._stream = stream
        self._handler = handler
        self._options = options
        self._answer_by = CancelScope()  # disarmed by the handler's answer
        self._request: WebSocketRequest | None = None
        self._connection: Connection | None = None
        self._going_away = False

    def go_away(self) -> None:
        """Close the connection with 1001, now or as soon as it is open: the server shuts down."""
        self._going_away = True
        if self._connection is not None:
            self._connection.start_close(CloseCode.GOING_AWAY, "")

    async def run(self) -> None:
        """Serve the client; errors of the client and of the handler end here."""
        try:
            if self._options.open_timeout is not None:
                self._answer_by.deadline = current_time() + self._options.open_timeout
            with self._answer_by:
                await self._receive_and_handle()
            if self._answer_by.cancelled_caught and self._request is not None:
                logger.error("handler did not answer %r within open_timeout", self._request)
                await self._refuse(503)
        except (EndOfStream, *TRANSPORT_ERRORS) as exc:
            logger.debug("connection lost during the opening handshake: %r", exc)
        finally:
            with suppress(Exception):
                await release(self._stream)

    async def _receive_and_handle(self) -> None:
        if self._options.ssl_context is not None:
            self._stream = await wrap_tls(self._stream, self._options.ssl_context, server_side=True)
        handshake = ServerHandshake(limits=self._options.limits, compression=self._options.compression)
        try:
            request = await self._receive_request(handshake)
        except BadRequest as exc:
            logger.debug("bad opening handshake: %s", exc)
            await say_and_drain(self._stream, exc.response)
            return
        self._request = WebSocketRequest(
            self._stream, handshake, request, self._options, on_answer=self._answered
        )
        del handshake  # which a connection has no use for: the request lets go of it when it is answered
        if self._is_admitted(request.origin):
            await self._run_handler(self._request)
        else:
            await self._request.reject(403, body="This origin may not connect.\n")

    async def _receive_request(self, handshake: ServerHandshake) -> Request:
        while True:
            request = handshake.receive_data(await receive_some(self._stream))
            if request is not None:
                return request

    def _is_admitted(self, origin: str | None) -> bool:
        origins = self._options.origins
        return origins is None or (origin if origin is None else origin.lower()) in origins

    def _answered(self, connection: Connection | None) -> None:
        self._answer_by.deadline = math.inf
        self._connection = connection
        if self._going_away:
            self.go_away()

    async def _run_handler(self, request: WebSocketRequest) -> None:
        try:
            await self._handler(request)
        except Exception as exc:
            if self._is_no_fault(exc):
                logger.debug("handler of %r ended with its connection: %r", request, exc)
            else:
                logger.exception("handler of %r failed", request)
        else:
            if not request.answered:
                logger.error("handler of %r returned without accept() or reject()", request)
        await self._refuse(500)

    async def _refuse(self, status: int) -> None:
        """Answer in place of a handler that did not."""
        if self._request is not None and not self._request.answered:
            with move_on_after(self._options.open_timeout or math.inf):
                await self._request.reject(status)

    def _is_no_fault(self, exc: BaseException) -> bool:
        """Tell whether an error says no more than that the peer went away, or that the server shuts down."""
        if isinstance(exc, BaseExceptionGroup):
            return all(map(self._is_no_fault, exc.exceptions))
        if isinstance(exc, ClosedResourceError):
            return self._going_away
        return isinstance(exc, (ConnectionBroken, ConnectionClosed))
