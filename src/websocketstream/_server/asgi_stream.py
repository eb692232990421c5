"""An ASGI server's connection as a byte stream: its events are a client's frames, our frames are events to it.

So everything above is what runs over a socket, and no promise has a second implementation.
"""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from functools import partial
from typing import Any, TypeAlias
from urllib.parse import quote

from anyio import BrokenResourceError, EndOfStream
from anyio.abc import ObjectStream, SocketAttribute

from .._protocol.close import CloseCode, is_valid_on_the_wire, truncate_reason
from .._protocol.codec import Close, CodecLimits, Event
from .._protocol.engine import make_codec
from .._protocol.http import Headers, Request

Scope: TypeAlias = MutableMapping[str, Any]
ASGIEvent: TypeAlias = MutableMapping[str, Any]
ASGIReceive: TypeAlias = Callable[[], Awaitable[ASGIEvent]]
ASGISend: TypeAlias = Callable[[ASGIEvent], Awaitable[None]]

_TEXT, _BINARY, _CLOSE = 0x1, 0x2, 0x8  # RFC 6455 5.2
_OURS = CodecLimits(max_message_size=None, max_fragments=None)  # what we have sent is as large as it is


class ASGIStream(ObjectStream[bytes]):
    """What an ASGI server hands an application, behind the opening handshake."""

    def __init__(self, scope: Scope, receive: ASGIReceive, send: ASGISend) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._codec = make_codec(client=True, limits=_OURS)  # reads what a server sends
        self._ended = False  # nothing more comes from the client

    async def receive(self) -> bytes:
        """Wait for the next event and return it as a frame.

        :raises anyio.EndOfStream: the connection is over
        :raises anyio.BrokenResourceError: this is no event of an open WebSocket
        """
        if self._ended:
            raise EndOfStream
        event = await self._receive()
        if event["type"] == "websocket.receive":
            return _message_frame(event)
        if event["type"] != "websocket.disconnect":
            raise BrokenResourceError(f"the ASGI server sent {event['type']!r:.100} over an open WebSocket")
        self._ended = True
        return _close_frame(event)

    async def send(self, item: bytes) -> None:
        """Send the events that our frames say."""
        for event in self._codec.receive_data(item):
            await self._say(event)
        while self._codec.pending:
            for event in self._codec.receive_data(b""):
                await self._say(event)

    async def _say(self, event: Event) -> None:
        if isinstance(event, str):
            await self._send({"type": "websocket.send", "text": event})
        elif isinstance(event, bytes):
            await self._send({"type": "websocket.send", "bytes": event})
        elif isinstance(event, Close) and not self._ended:  # else the server has answered already
            code = CloseCode.NORMAL_CLOSURE if event.code is None else event.code
            await self._send({"type": "websocket.close", "code": int(code), "reason": event.reason})

    async def send_eof(self) -> None:
        """Do nothing: an ASGI application ends no direction."""

    async def aclose(self) -> None:
        """Do nothing: the connection is the server's, which ends it behind the application."""

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """The addresses, as far as the server knows them."""
        addresses = {
            SocketAttribute.remote_address: self._scope.get("client"),
            SocketAttribute.local_address: self._scope.get("server"),
        }
        return {name: partial(tuple, address) for name, address in addresses.items() if address is not None}


def request_of(scope: Scope) -> Request:
    """Return the client's opening handshake."""
    headers = Headers([(bytes(name), bytes(value)) for name, value in scope["headers"]])
    path = (scope.get("raw_path") or quote(scope["path"]).encode()).decode("latin-1")
    query = (scope.get("query_string") or b"").decode("latin-1")
    origins = headers.get_all("origin")
    return Request(
        f"{path}?{query}" if query else path,
        headers,
        tuple(scope.get("subprotocols") or ()),
        origins[0] if origins else None,
    )


def url_of(scope: Scope, request: Request) -> str:
    """Return the URL that a client has opened."""
    server = scope.get("server") or ("localhost", None)
    return f"{scope.get('scheme') or 'ws'}://{request.headers.get('host', server[0])}{request.target}"


def _message_frame(event: ASGIEvent) -> bytes:
    data, text = event.get("bytes"), event.get("text")
    if data is not None:
        return _frame(_BINARY, data)
    if text is None:
        raise BrokenResourceError("the ASGI server sent a message that is neither text nor bytes")
    return _frame(_TEXT, text.encode())


def _close_frame(event: ASGIEvent) -> bytes:
    code = event.get("code")
    if code == CloseCode.NO_STATUS_RECEIVED:
        return _frame(_CLOSE, b"")
    if not (isinstance(code, int) and is_valid_on_the_wire(code)):
        raise EndOfStream  # there was no Close frame: 1006, or nothing
    return _frame(_CLOSE, struct.pack("!H", code) + truncate_reason(event.get("reason") or "").encode())


def _frame(opcode: int, payload: bytes) -> bytes:
    """Return a client's frame; a mask of zeros leaves the payload as it is (RFC 6455 section 5.3)."""
    length = len(payload)
    if length < 126:
        head = struct.pack("!BB4x", 0x80 | opcode, 0x80 | length)
    elif length < 2**16:
        head = struct.pack("!BBH4x", 0x80 | opcode, 0x80 | 126, length)
    else:
        head = struct.pack("!BBQ4x", 0x80 | opcode, 0x80 | 127, length)
    return b"".join((head, payload))
