"""A response that an ASGI application gives instead of a WebSocket, which it says in several events."""

from __future__ import annotations

from collections.abc import Iterable

from .._protocol.http import Fields
from .._protocol.server_handshake import ServerHandshake, check_refusal
from .asgi_stream import ASGIEvent

# What says where a response ends is ours to say: it is sent in one piece.
_OURS = frozenset({b"connection", b"content-length", b"transfer-encoding"})
_NO_BODY = frozenset({204, 304})


class Refusal:
    """A response that has begun."""

    def __init__(self, event: ASGIEvent) -> None:
        """Take ``websocket.http.response.start``.

        :raises ValueError: its status is none of a response, or a header field cannot be sent
        :raises TypeError: the status is no int
        """
        headers = [field for field in event.get("headers", ()) if field[0].lower() not in _OURS]
        self.status: int = event["status"]
        self._headers = as_text(headers)
        check_refusal(self.status, self._headers, b"")
        self._body = bytearray()

    def take_body(self, event: ASGIEvent) -> bool:
        """Take ``websocket.http.response.body``, and tell whether it was the last."""
        self._body += event.get("body", b"")
        return not event.get("more_body", False)

    def response(self, handshake: ServerHandshake, default_headers: Fields) -> bytes:
        """Return what to write."""
        body = b"" if self.status in _NO_BODY else bytes(self._body)
        return handshake.reject(self.status, [*as_text(default_headers), *self._headers], body)


def as_text(fields: Iterable[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    """Return header fields as a handshake takes them."""
    return [(name.decode("latin-1"), value.decode("latin-1").strip(" \t")) for name, value in fields]
