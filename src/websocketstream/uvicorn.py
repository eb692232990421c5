"""A WebSocket protocol for uvicorn: what uvicorn serves runs on this library, without a changed line.

.. code-block:: shell

    uvicorn app:app --ws websocketstream.uvicorn:Protocol
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from typing import Any, cast
from urllib.parse import quote, unquote

from ._network.adopted_transport import adopt
from ._network.stream_transport import StreamTransport
from ._protocol.close import CloseCode
from ._protocol.http import HandshakeLimits, Request
from ._protocol.negotiation import Compression
from ._protocol.server_handshake import BadRequest, ServerHandshake
from ._server.asgi_stream import Scope, url_of
from ._server.asgi_visit import EXTENSION, ASGIVisit
from ._streams.options import StreamOptions

__all__ = ["Protocol"]


def __dir__() -> list[str]:
    return __all__


_logger = logging.getLogger("uvicorn.error")  # where uvicorn's own protocols log

# What a client may send before it is answered; RFC 6455 section 4.1 allows nothing. Not to read on is no choice: the end of a
# connection that is not read would not be seen.
MAX_EARLY_BYTES = 65536
# uvicorn has no such setting; in Autobahn's case 9.3.1, messages have 65,536 fragments, and one needs no memory of its own.
MAX_FRAGMENTS = 2**17
# uvicorn's parsers have seen the head already, with limits of their own.
_LIMITS = HandshakeLimits(head_size=2**20, line_size=2**20, header_count=10_000)


class Protocol(asyncio.Protocol):
    """What uvicorn makes for each WebSocket: ``--ws websocketstream.uvicorn:Protocol``, or ``uvicorn.run(app, ws=Protocol)``.

    uvicorn's settings hold: ``ws_max_size``, ``ws_ping_interval``, ``ws_ping_timeout``, ``ws_per_message_deflate``, header
    fields, root path, shutdown. ``ws_max_queue`` does not count here: what waits for an application is bounded by its bytes, 1 MiB,
    and so is what waits for a client, 64 KiB. An application's ``receive`` and ``send`` are cancel-safe.

    :func:`websocketstream.asgi.accept` gives the connection's own stream.
    """

    def __init__(
        self,
        config: Any,  # noqa: ANN401  (uvicorn's types are its own; this module does not need it to be there)
        server_state: Any,  # noqa: ANN401
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        if not config.loaded:
            config.load()
        self._config = config
        self._server_state = server_state
        self._app_state = app_state
        self._loop = _loop or asyncio.get_running_loop()
        self._compression = Compression() if config.ws_per_message_deflate else None
        self._handshake = ServerHandshake(limits=_LIMITS, compression=self._compression)
        self._transport: asyncio.Transport
        self._early_data = bytearray()
        self._scope: Scope = {}
        self._visit: ASGIVisit | None = None  # once there is a request

    # --- called by uvicorn, and by the transport until the application accepts

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See :class:`asyncio.BaseProtocol`."""
        self._transport = cast("asyncio.Transport", transport)  # which uvloop's is not by its type
        self._server_state.connections.add(self)

    def data_received(self, data: bytes) -> None:
        """Take the request, and then what the client sends before it is answered."""
        if self._visit is None:
            self._receive_request(data)
            return
        self._early_data += data
        if len(self._early_data) > MAX_EARLY_BYTES:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Take note that the client has gone before the application has accepted."""
        if self._visit is None or self._visit.is_answered:
            self._server_state.connections.discard(self)
        else:
            self._visit.client_gone()

    def shutdown(self) -> None:
        """Close with 1012, or refuse: uvicorn shuts down."""
        if self._visit is None:
            self._transport.close()
        else:
            self._visit.go_away()

    # --- called by the visit

    def note(self, outcome: str) -> None:
        """See :class:`Way`."""
        client = "{}:{}".format(*self._scope["client"]) if self._scope["client"] else ""
        query = self._scope["query_string"].decode("latin-1")
        path = quote(self._scope["path"]) + (f"?{query}" if query else "")
        _logger.info('%s - "WebSocket %s" %s', client, path, outcome)

    def refuse(self, response: bytes) -> None:
        """See :class:`Way`."""
        self._transport.write(response)
        self._transport.close()

    def open(self) -> tuple[StreamTransport, bytes]:
        """See :class:`Way`."""
        return adopt(self._transport), self._handshake.trailing_data + bytes(self._early_data)

    # --- the request

    def _receive_request(self, data: bytes) -> None:
        try:
            request = self._handshake.receive_data(data)
        except BadRequest as exc:
            _logger.warning("Invalid WebSocket handshake: %s", exc)
            self.refuse(exc.response)
            return
        if request is not None:
            self._start(request)

    def _start(self, request: Request) -> None:
        config = self._config
        self._scope = self._scope_of(request)
        self._visit = ASGIVisit(
            self._handshake,
            request,
            self,
            url=url_of(self._scope, request),
            options=StreamOptions(
                ping_interval=config.ws_ping_interval or None,
                ping_timeout=config.ws_ping_timeout or None,
                max_message_size=config.ws_max_size,
                max_fragments=MAX_FRAGMENTS,
            ),
            compression=self._compression,
            default_headers=list(self._server_state.default_headers),
        )
        self._scope["extensions"][EXTENSION] = {"visit": self._visit}
        context = contextvars.Context() if getattr(config, "reset_contextvars", False) else None
        # Not by the loop's factory: an eager task would answer while uvicorn still hands the transport over.
        task = asyncio.Task(self._run(self._visit), loop=self._loop, context=context)
        self._server_state.tasks.add(task)
        task.add_done_callback(self._server_state.tasks.discard)

    def _scope_of(self, request: Request) -> Scope:
        root_path = self._config.root_path
        secure = self._transport.get_extra_info("sslcontext") is not None
        return {
            "type": "websocket",
            "asgi": {"version": self._config.asgi_version, "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": "wss" if secure else "ws",
            "server": _address(self._transport, "sockname"),
            "client": _address(self._transport, "peername"),
            "root_path": root_path,
            "path": root_path + unquote(request.path),
            "raw_path": (root_path + request.path).encode("latin-1"),
            "query_string": request.query.encode("latin-1"),
            "headers": [(name.lower(), value) for name, value in request.headers.raw],
            "subprotocols": list(request.protocols),
            "state": self._app_state.copy(),
            "extensions": {"websocket.http.response": {}},
        }

    # --- the application

    async def _run(self, visit: ASGIVisit) -> None:
        """Run the application, and end what it leaves."""
        cancelled, code = True, CloseCode.GOING_AWAY
        try:
            code = await self._run_application(visit)
            cancelled = False
        finally:
            try:
                await visit.leave(code, cancelled=cancelled)
            finally:
                # The application's scope knows the visit, and the visit knows us.
                self._visit, self._scope = None, {}
                self._transport.close()  # unless it has been
                self._server_state.connections.discard(self)

    async def _run_application(self, visit: ASGIVisit) -> CloseCode:
        """Return the code for a connection that the application has left open."""
        try:
            result = await self._config.loaded_app(self._scope, visit.receive, visit.send)
        except Exception as exc:
            if visit.is_no_fault(exc):
                _logger.debug("ASGI application ended with its connection: %r", exc)
                return CloseCode.NORMAL_CLOSURE
            _logger.exception("Exception in ASGI application\n")
            return CloseCode.INTERNAL_ERROR
        if not visit.is_answered:
            _logger.error("ASGI callable returned without completing handshake.")
        elif result is not None:
            _logger.error("ASGI callable should return None, but returned '%s'.", result)
            return CloseCode.INTERNAL_ERROR
        return CloseCode.NORMAL_CLOSURE


def _address(transport: asyncio.Transport, name: str) -> tuple[str, int | None] | None:
    """Return a host and a port, the path of a unix socket and None, or None for neither."""
    address = transport.get_extra_info(name)
    if isinstance(address, tuple | list):
        return str(address[0]), int(address[1])
    return (address, None) if name == "sockname" and isinstance(address, str) and address else None
