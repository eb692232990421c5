"""One client's visit to an ASGI application that we serve: its events on a connection, with backpressure both ways."""

from __future__ import annotations

import asyncio
import enum
from dataclasses import replace
from typing import Protocol

from anyio import ClosedResourceError
from anyio.lowlevel import checkpoint

from .._network.any_stream import TRANSPORT_ERRORS, send_all
from .._network.stream_transport import StreamTransport
from .._protocol.close import CloseCode, is_valid_on_the_wire, truncate_reason
from .._protocol.codec import Message
from .._protocol.engine import make_codec
from .._protocol.http import Fields, Request
from .._protocol.negotiation import Compression
from .._protocol.server_handshake import ServerHandshake
from .._streams.block import CANCEL_GRACE
from .._streams.connection import Connection
from .._streams.errors import ConnectionBroken, ConnectionClosed
from .._streams.options import StreamOptions
from .._streams.stream import WebSocketStream
from .asgi_refusal import Refusal, as_text
from .asgi_stream import ASGIEvent

EXTENSION = "websocketstream"  # where in a scope's extensions the visit itself is, for `websocketstream.asgi`


class ClientDisconnected(OSError):
    """The client has gone away: ASGI's word for that is an OSError."""


class Phase(enum.Enum):
    """How far the application has come."""

    ASKED = "it has not been answered"
    OPEN = "it has been accepted"
    REFUSING = "a response has begun"
    OVER = "it has been closed or refused"
    GONE = "the client has gone away, or the server is about to"


class Way(Protocol):
    """How an answer gets to the client: the HTTP server's connection."""

    def note(self, outcome: str) -> None:
        """Log what became of the request."""
        ...

    def refuse(self, response: bytes) -> None:
        """Write a response, and close behind it."""
        ...

    def open(self) -> tuple[StreamTransport, bytes]:
        """Return the connection as a byte stream, and what has arrived of the client's frames.

        :raises OSError: it is closing
        """
        ...


class ASGIVisit:
    """What an application's ``receive`` and ``send`` do."""

    def __init__(
        self,
        handshake: ServerHandshake,
        request: Request,
        way: Way,
        *,
        url: str,
        options: StreamOptions,
        compression: Compression | None,
        default_headers: Fields,
    ) -> None:
        self._handshake = handshake
        self._request = request
        self._way = way
        self._url = url
        self._options = options
        self._compression = compression
        self._default_headers = default_headers
        self.phase: Phase = Phase.ASKED
        self._connect_taken = False
        self._claimed = False  # the application has the stream itself
        self._answered = asyncio.Event()
        self._turn = asyncio.Lock()  # of receivers: an application may have several
        self._refusal: Refusal
        self._last_event = _disconnect(CloseCode.ABNORMAL_CLOSURE)  # where our own words are the last
        self._connection: Connection | None = None
        self._stream: WebSocketStream

    # --- what the application calls

    async def receive(self) -> ASGIEvent:
        """Wait for the next event. Cancelling is safe: no message is lost."""
        if not self._connect_taken:
            self._connect_taken = True
            return {"type": "websocket.connect"}
        await self._answered.wait()
        if self.phase is not Phase.OPEN:
            await checkpoint()  # for applications that go on receiving
            return self._last_event
        try:
            async with self._turn:
                return await self._wait_for_event()
        except ConnectionClosed as closed:
            return _disconnect(closed.close_code, closed.reason)
        except ConnectionBroken as broken:
            if broken.sent_code is None:
                return _disconnect(broken.close_code)
            return _disconnect(broken.sent_code, str(broken))
        except ClosedResourceError:
            return self._last_event

    async def _wait_for_event(self) -> ASGIEvent:
        if self._claimed:
            info = await self._stream.closed
            return _disconnect(info.code, info.reason)
        message = await self._stream.readable.receive()
        kind = "text" if isinstance(message, str) else "bytes"
        return {"type": "websocket.receive", kind: message}

    async def send(self, event: ASGIEvent) -> None:
        """Do what an event says, and wait until there is room for it.

        :raises OSError: the client has gone away
        :raises RuntimeError: this event cannot be sent now
        :raises ValueError: what the event says is not allowed
        """
        match self.phase, event["type"]:
            case Phase.OPEN, "websocket.send":
                await self._send(event)
            case Phase.OPEN, "websocket.close":
                self._close(event)
            case Phase.ASKED, "websocket.accept":
                await self._accept(event)
            case Phase.ASKED, "websocket.close":
                self._refuse(_refusal(403))
            case Phase.ASKED, "websocket.http.response.start":
                self._refusal = Refusal(event)
                self.phase = Phase.REFUSING
            case Phase.REFUSING, "websocket.http.response.body":
                if self._refusal.take_body(event):
                    self._refuse(self._refusal)
            case Phase.GONE, _:
                await checkpoint()  # for applications that go on sending
                raise ClientDisconnected("the client has gone away")
            case phase, kind:
                await checkpoint()
                raise RuntimeError(f"ASGI event {kind!r:.100} cannot be sent: {phase.value}")

    async def _send(self, event: ASGIEvent) -> None:
        data = event.get("bytes")
        message: Message | None = event.get("text") if data is None else data
        if message is None:
            raise ValueError("websocket.send has neither text nor bytes")
        try:
            await self._stream.writable.send(message)
        except (ConnectionBroken, ConnectionClosed, ClosedResourceError) as exc:
            raise ClientDisconnected("the client has gone away") from exc

    def _close(self, event: ASGIEvent) -> None:
        code, reason = event.get("code") or CloseCode.NORMAL_CLOSURE, event.get("reason") or ""
        if not is_valid_on_the_wire(code):
            raise ValueError(f"close code {code!r:.100} cannot be sent")
        self._say_last(Phase.OVER, code, truncate_reason(reason), _disconnect(code, reason))

    # --- what the server calls

    @property
    def is_answered(self) -> bool:
        """Whether the application has accepted, or has said all of a refusal."""
        return self.phase not in (Phase.ASKED, Phase.REFUSING)

    def is_no_fault(self, exc: BaseException) -> bool:
        """Tell whether what the application raised says no more than that the connection has ended."""
        if isinstance(exc, BaseExceptionGroup):
            return all(map(self.is_no_fault, exc.exceptions))
        if isinstance(exc, ClosedResourceError):  # the server has closed the stream that the application has
            return self.phase is Phase.GONE
        return self.is_answered and isinstance(exc, (ClientDisconnected, ConnectionBroken, ConnectionClosed))

    def client_gone(self) -> None:
        """Take note that the client has gone away before it was answered."""
        self.phase = Phase.GONE
        self._answered.set()
        if self._connection is not None:  # the answer did not leave
            self._connection.drop()

    def go_away(self) -> None:
        """Close with 1012, or refuse: the server shuts down."""
        if self.phase is Phase.OPEN:
            code = CloseCode.SERVICE_RESTART
            self._say_last(Phase.GONE, code, "", _disconnect(code))
        self.fail()

    def fail(self) -> None:
        """Answer in place of the application, unless it has answered; a refusal that it has begun ends here."""
        if self.phase is Phase.ASKED:
            self._refuse(_refusal(500, b"Internal Server Error"))
        elif self.phase is Phase.REFUSING:
            self._refuse(self._refusal)

    async def leave(self, code: int, *, cancelled: bool = False) -> None:
        """Say goodbye and let go of the connection: bounded by ``close_timeout``, or by a short grace."""
        self.fail()
        if self._connection is not None:
            await self._connection.leave(code, cancelled=cancelled, grace=CANCEL_GRACE)

    def _say_last(self, phase: Phase, code: int, reason: str, event: ASGIEvent) -> None:
        assert self._connection is not None
        self.phase, self._last_event = phase, event
        self._connection.start_close(code, reason)

    # --- what `websocketstream.asgi` calls

    def claim(self, options: StreamOptions) -> None:
        """Let the application have the stream itself, once it has accepted; the server's limits and pings stay.

        :raises RuntimeError: it has answered already
        """
        if self.phase is not Phase.ASKED:
            raise RuntimeError(f"this WebSocket is in use already: {self.phase.value}")
        sizes = self._options.max_message_size, options.max_message_size
        self._claimed = True
        self._options = replace(
            options,
            ping_interval=self._options.ping_interval,
            ping_timeout=self._options.ping_timeout,
            max_fragments=self._options.max_fragments,
            max_message_size=min((size for size in sizes if size is not None), default=None),
        )

    @property
    def claimed(self) -> tuple[Connection, WebSocketStream]:
        """The connection of an application that has claimed and accepted it: to be started.

        :raises ConnectionBroken: there is none: something between the application and us has answered in another way
        """
        if self._connection is None:
            raise ConnectionBroken("the client was not accepted: something on the way has answered otherwise")
        return self._connection, self._stream

    # --- answers

    async def _accept(self, event: ASGIEvent) -> None:
        protocol, headers = event.get("subprotocol"), [*event.get("headers", ())]
        answer = self._handshake.accept(protocol or None, as_text([*self._default_headers, *headers]))
        try:
            transport, early_data = self._way.open()
            connection = self._open(transport, early_data)
            await send_all(transport, answer)
            if not self._claimed:
                connection.start()
        except BaseException as exc:
            self.client_gone()  # also where this is cancelled: nobody has the connection yet, nor would see its end
            if isinstance(exc, TRANSPORT_ERRORS):
                raise ClientDisconnected("the client has gone away") from exc
            raise
        self._way.note("[accepted]")
        self._answered.set()

    def _open(self, transport: StreamTransport, early_data: bytes) -> Connection:
        codec = make_codec(
            client=False,
            limits=self._options.limits,
            deflate=self._handshake.deflate,
            compression=self._compression,
        )
        connection = self._connection = Connection(
            transport, codec, server=True, options=self._options, early_data=early_data
        )
        self._stream = WebSocketStream(
            connection,
            url=self._url,
            protocol=self._handshake.protocol,
            extensions=self._handshake.extensions,
            request=self._request,
        )
        self.phase = Phase.OPEN
        return connection

    def _refuse(self, refusal: Refusal) -> None:
        self.phase = Phase.OVER
        self._answered.set()
        response = refusal.response(self._handshake, self._default_headers)
        self._way.note(str(refusal.status))
        self._way.refuse(response)


def _refusal(status: int, body: bytes = b"") -> Refusal:
    headers = [(b"content-type", b"text/plain; charset=utf-8")] if body else []
    refusal = Refusal({"status": status, "headers": headers})
    refusal.take_body({"body": body})
    return refusal


def _disconnect(code: int | None, reason: str | None = None) -> ASGIEvent:
    event: ASGIEvent = {"type": "websocket.disconnect", "code": int(code or CloseCode.ABNORMAL_CLOSURE)}
    return event if reason is None else {**event, "reason": reason}
