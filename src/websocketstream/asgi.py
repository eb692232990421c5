"""The stream inside an ASGI application, under any ASGI server.

.. code-block:: python

    async def app(scope, receive, send):
        async with accept(scope, receive, send) as conn:
            async for message in conn:
                await conn.send(message)

In Starlette and FastAPI an endpoint passes its ``WebSocket`` instead of the three: ``accept(websocket)``. Under
:class:`websocketstream.uvicorn.Protocol` the stream is the connection itself, past ASGI's queue.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn, Protocol

from ._protocol.engine import make_codec
from ._protocol.http import Fields, HeadersLike, check_headers
from ._protocol.server_handshake import RESERVED, check_refusal
from ._server.asgi_stream import ASGIReceive, ASGISend, ASGIStream, Scope, request_of, url_of
from ._server.asgi_visit import EXTENSION, ASGIVisit
from ._streams.block import StreamBlock
from ._streams.connection import Connection
from ._streams.errors import ConnectionBroken
from ._streams.options import StreamOptions
from ._streams.stream import WebSocketStream

__all__ = ["accept", "reject"]


def __dir__() -> list[str]:
    return __all__


class _Endpoint(Protocol):
    """What Starlette's ``WebSocket`` is to us."""

    @property
    def scope(self) -> Scope: ...
    @property
    def receive(self) -> ASGIReceive: ...
    @property
    def send(self) -> ASGISend: ...


def accept(
    scope: Scope | _Endpoint,
    receive: ASGIReceive | None = None,
    send: ASGISend | None = None,
    *,
    protocol: str | None = None,
    headers: HeadersLike = (),
    max_message_size: int | None = 2**20,
    read_buffer: int = 2**20,
    write_buffer: int = 2**16,
    close_timeout: float = 10,
) -> AbstractAsyncContextManager[WebSocketStream]:
    """Accept an ASGI server's WebSocket and own it for the length of an ``async with`` block.

    The stream and the end of the block are as everywhere in this library: the same backpressure, exceptions and promises
    of cancellation. What only the server can do is the server's: pings (``conn.ping()`` raises :exc:`NotImplementedError`),
    compression, limits of its own. An ASGI application cannot send an empty Close frame, so ``conn.close()`` without a code
    says 1000. None of that is so under :class:`websocketstream.uvicorn.Protocol`, where the stream is the connection's own; there
    the server's pings, and its limit on messages if that is the lower one, hold as well.

    :param scope: the connection's scope, whose ``websocket.connect`` nobody has received yet; or Starlette's ``WebSocket``
        before its ``accept()``, without ``receive`` and ``send``
    :param receive: as the server passes it
    :param send: as the server passes it
    :param protocol: one of the offered subprotocols, None for none
    :param headers: further header fields of the answer
    :param close_timeout: seconds that closing may take, also when the server never says that it is done
    :raises ValueError: this is no WebSocket, the protocol was not offered, or an option or header field is not allowed
    :raises TypeError: an argument has the wrong type
    :raises RuntimeError: Starlette's ``WebSocket`` has been accepted or answered already
    :raises ConnectionBroken: (when the block is entered) the client has gone away

    The other options are those of :func:`websocketstream.serve_websocket_streams`.
    """
    handshake = _Handshake.of(scope, receive, send)
    offered = handshake.scope.get("subprotocols") or ()
    if protocol is not None and protocol not in offered:
        raise ValueError(f"protocol {protocol!a:.100} was not offered by the client")
    fields = check_headers(headers, RESERVED)
    options = StreamOptions(
        read_buffer=read_buffer,
        write_buffer=write_buffer,
        ping_interval=None,
        ping_timeout=None,
        close_timeout=close_timeout,
        max_message_size=max_message_size,
    )
    return StreamBlock(partial(_open, handshake, protocol, fields, options), called="accept(...)")


async def reject(
    scope: Scope | _Endpoint,
    receive: ASGIReceive | None = None,
    send: ASGISend | None = None,
    *,
    status: int = 403,
    headers: HeadersLike = (),
    body: bytes | str = b"",
) -> None:
    """Answer an ASGI server's WebSocket with an HTTP error.

    A client that has gone away is no error. A server without ASGI's extension ``websocket.http.response`` answers
    with 403 and nothing else, whatever the arguments say.

    :param scope: as for :func:`accept`, and so are ``receive`` and ``send``
    :raises ValueError: this is no WebSocket, the status is not 200-599, or a header field is not allowed; nothing was sent
    :raises TypeError: an argument has the wrong type
    :raises RuntimeError: Starlette's ``WebSocket`` has been accepted or answered already
    """
    handshake = _Handshake.of(scope, receive, send)
    fields, content = check_refusal(status, headers, body)
    with suppress(ConnectionBroken):
        await handshake.take_connect()
        if "websocket.http.response" not in (handshake.scope.get("extensions") or ()):
            await handshake.answer({"type": "websocket.close"})
            return
        start = {"type": "websocket.http.response.start", "status": status, "headers": _lower(fields)}
        await handshake.answer(start)
        await handshake.answer({"type": "websocket.http.response.body", "body": content})


@dataclass(frozen=True, slots=True)
class _Handshake:
    """An opening handshake that waits for an answer."""

    scope: Scope
    receive: ASGIReceive
    send: ASGISend

    @classmethod
    def of(cls, scope: Any, receive: ASGIReceive | None, send: ASGISend | None) -> _Handshake:  # noqa: ANN401
        if receive is None and send is None and hasattr(scope, "scope"):
            _check_unanswered(scope)
            scope, receive, send = scope.scope, scope.receive, scope.send
        if not (callable(receive) and callable(send)):
            raise TypeError("an ASGI scope, its receive and its send are wanted, or Starlette's WebSocket")
        if scope["type"] != "websocket":
            raise ValueError(f"this is no WebSocket, but {scope['type']!r:.100}")
        return cls(scope, receive, send)

    async def take_connect(self) -> None:
        """Receive the event that every connection begins with.

        :raises ConnectionBroken: the client has gone away
        """
        event = await self.receive()
        if event["type"] == "websocket.disconnect":
            raise ConnectionBroken("the client went away before it was answered")
        if event["type"] != "websocket.connect":
            raise RuntimeError(f"websocket.connect was to come, and it is {event['type']!r:.100}")

    async def answer(self, event: dict[str, Any]) -> None:
        """Send an answer.

        :raises ConnectionBroken: the client has gone away
        """
        try:
            await self.send(event)
        except OSError as exc:  # ASGI's word for that since version 2.4 of its WebSocket specification
            raise ConnectionBroken("the client went away before it was answered") from exc


def _check_unanswered(websocket: Any) -> None:  # noqa: ANN401
    for state in ("client_state", "application_state"):
        name = getattr(getattr(websocket, state, None), "name", "CONNECTING")
        if name != "CONNECTING":
            raise RuntimeError(f"this WebSocket is in use already: its {state} is {name}")


async def _open(
    handshake: _Handshake, protocol: str | None, fields: Fields, options: StreamOptions
) -> tuple[Connection, WebSocketStream]:
    scope = handshake.scope
    request = request_of(scope)
    await handshake.take_connect()
    visit: ASGIVisit | None = (scope.get("extensions") or {}).get(EXTENSION, {}).get("visit")
    if visit is not None:
        visit.claim(options)
    # Also where the connection is at hand: whatever stands between the server and us may want to see the answer.
    event = {"type": "websocket.accept", "subprotocol": protocol, "headers": _lower(fields)}
    await handshake.answer(event)
    if visit is not None:
        return visit.claimed
    stream = ASGIStream(scope, handshake.receive, handshake.send)
    codec = make_codec(client=False, limits=options.limits)
    connection = Connection(stream, codec, server=True, options=options)
    url = url_of(scope, request)
    return connection, _PortableStream(connection, url=url, protocol=protocol or "", request=request)


class _PortableStream(WebSocketStream):
    """One whose frames are the ASGI server's business."""

    async def ping(self) -> NoReturn:
        """Raise an error: an ASGI application cannot send pings."""
        raise NotImplementedError("the ASGI server sends the pings; an application cannot, nor see the pongs")


def _lower(fields: Fields) -> Fields:
    return [(name.lower(), value) for name, value in fields]  # as ASGI wants them
