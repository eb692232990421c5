"""The server's opening handshake, sans-IO: the client's request in, the answer's bytes out (RFC 6455 section 4.2)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from http import HTTPStatus
from typing import TypeAlias

from .arguments import is_token
from .errors import InvalidHandshake
from .head import HeadReader, HeadTooLarge, MalformedHead
from .host import normalise_host
from .http import (
    DEFAULT_LIMITS,
    Fields,
    HandshakeLimits,
    Headers,
    HeadersLike,
    Request,
    accept_key,
    check_headers,
    excerpt,
    list_elements,
    serialise_head,
)
from .negotiation import Compression, DeflateParameters, NegotiationError, negotiate
from .url import parse_port

RESERVED = frozenset({"connection", "content-length", "sec-websocket-*", "transfer-encoding", "upgrade"})
# A refusal may say what would have been welcome (426 with Upgrade and Sec-WebSocket-Version), not where it ends.
_RESERVED_IN_REFUSAL = frozenset(
    {"connection", "content-length", "sec-websocket-accept", "transfer-encoding"}
)
_REQUEST_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([\x21-\x7e]+) (HTTP/[0-9]\.[0-9])")
_METHOD_SO_FAR = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+(?: |$)")
_ABSOLUTE = re.compile(r"(?:https?|wss?)://([^/?]*)(.*)", re.IGNORECASE)
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9\-._~!$&'()*+,;=]+)(?::([0-9]*))?")
_KEY = re.compile(r"[A-Za-z0-9+/]{22}==")  # 16 bytes in base64, RFC 4648 section 4
_NO_BODY = frozenset({204, 304})
_SWITCHING_PROTOCOLS = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
)

_Values: TypeAlias = Mapping[str, list[str]]  # of header fields, by lower-case names


class BadRequest(InvalidHandshake):
    """The request cannot be answered with 101: write :attr:`response`, then close and read nothing more.

    Reading on is dangerous: a proxy in front may have taken the request for something else, and what follows is its.
    """

    def __init__(self, status: int, message: str, headers: HeadersLike = ()) -> None:
        super().__init__(message)
        self.status = status
        self.headers = Headers(check_headers(headers, _RESERVED_IN_REFUSAL))
        self.has_body = True

    @property
    def response(self) -> bytes:
        """The response to write: the message as plain text, or what is said of that to who has asked for the head only."""
        fields, body = _describe_body(self.status, list(self.headers.raw), f"{self}\n")
        return _serialise(self.status, fields, body if self.has_body else b"")


class ServerHandshake:
    """One opening handshake as the server sees it.

    Feed :meth:`receive_data` until it returns the request, then write what :meth:`accept` or :meth:`reject` returns;
    :attr:`trailing_data` holds what arrived behind the request. Use once.
    """

    protocol: str = ""
    extensions: str = ""
    deflate: DeflateParameters | None = None
    trailing_data: bytes = b""

    def __init__(
        self, *, limits: HandshakeLimits = DEFAULT_LIMITS, compression: Compression | None = None
    ) -> None:
        self._compression = compression
        self._reader = HeadReader(limits, _check_request_line)
        self._request: Request | None = None
        self._key = ""
        self._answer: tuple[DeflateParameters, str] | None = None
        self._answered = False

    def receive_data(self, data: bytes) -> Request | None:
        """Take what arrived; return the request once its head is complete, None while it is not.

        :raises BadRequest: this is no WebSocket handshake that we can accept
        """
        self._reader.feed(data)
        try:
            if self._next_head() is None:
                return None
        except BadRequest as refusal:
            # RFC 9110 section 9.3.2; of what has a complete head we take no other method than GET.
            refusal.has_body = not self._reader.incomplete.startswith(b"HEAD ")
            raise
        _, target, _ = self._reader.start_line.split(b" ")
        self._request = self._check(target.decode("ascii"), Headers(block=self._reader.fields))
        self.trailing_data = self._reader.take_rest()
        return self._request

    def accept(self, protocol: str | None = None, headers: HeadersLike = ()) -> bytes:
        """Return the 101 response; from then on the connection is open.

        :raises ValueError: the client did not offer this protocol, or a header cannot be sent
        :raises TypeError: headers are no pairs of str
        :raises RuntimeError: there is no request yet, or it has been answered
        """
        if self._request is None:
            raise RuntimeError("there is no request to accept yet")
        if protocol is not None and protocol not in self._request.protocols:
            raise ValueError(f"protocol {protocol!a:.100} was not offered by the client")
        extra = check_headers(headers, RESERVED)
        self._answer_once()
        self.protocol = protocol or ""
        if self._answer is not None:
            self.deflate, self.extensions = self._answer
        beginning = _SWITCHING_PROTOCOLS + accept_key(self._key.encode("ascii"))
        return serialise_head(beginning, self._agreed_fields() + extra)

    def reject(self, status: int = 403, headers: HeadersLike = (), body: bytes | str = b"") -> bytes:
        """Return a refusal; write it and close the connection. It needs no request: a timeout is one reason.

        A str is sent as UTF-8 text.

        :raises ValueError: the status is not 200-599, a header cannot be sent, or the status has no body
        :raises TypeError: an argument has the wrong type
        :raises RuntimeError: the request has been answered
        """
        refusal = _serialise(status, *check_refusal(status, headers, body))
        self._answer_once()
        return refusal

    def _answer_once(self) -> None:
        if self._answered:
            raise RuntimeError("the request has been answered already")
        self._answered = True

    def _agreed_fields(self) -> Fields:
        fields: Fields = []
        if self.protocol:
            fields.append((b"Sec-WebSocket-Protocol", self.protocol.encode("ascii")))
        if self.extensions:
            fields.append((b"Sec-WebSocket-Extensions", self.extensions.encode("ascii")))
        return fields

    def _next_head(self) -> bytes | None:
        try:
            return self._reader.next_head()
        except HeadTooLarge as error:
            raise BadRequest(
                414 if error.start_line else 431, f"The request is too large: {error}."
            ) from None
        except MalformedHead as error:
            raise BadRequest(400, f"The request is malformed: {error}.") from None

    def _check(self, target: str, headers: Headers) -> Request:
        values = headers.by_name
        _check_no_body(values)
        host = _single(values, "Host")
        _check_host(host)
        target = _origin_form(target, host)
        _check_upgrade(values)
        self._key = _single(values, "Sec-WebSocket-Key")
        if not _KEY.fullmatch(self._key):
            raise BadRequest(400, "The Sec-WebSocket-Key is not 16 bytes in base64.")
        origins = values.get("origin", ())
        if len(origins) > 1:
            raise BadRequest(400, "The request has more than one Origin.")
        request = Request(target, headers, _offered_protocols(values), origins[0] if origins else None)
        if self._compression is not None:
            self._answer = self._negotiate(values, self._compression)
        return request

    def _negotiate(self, values: _Values, compression: Compression) -> tuple[DeflateParameters, str] | None:
        value = ", ".join(values.get("sec-websocket-extensions", ())).strip(" \t,")
        if not value:
            return None
        try:
            return negotiate(value, compression)
        except NegotiationError as error:
            raise BadRequest(400, f"The Sec-WebSocket-Extensions is malformed: {error}.") from None


def _check_request_line(line: bytes, complete: bool) -> None:
    if not complete:
        if not _METHOD_SO_FAR.match(line):
            raise BadRequest(400, f'This is no HTTP request: "{excerpt(line)}".')
        return
    match = _REQUEST_LINE.fullmatch(line)
    # The preface of HTTP/2 (RFC 9113 3.4) looks like a request on purpose.
    if match is None or match[1] == b"PRI":
        raise BadRequest(400, f'This is no HTTP/1.1 request: "{excerpt(line)}".')
    if match[3] != b"HTTP/1.1":
        raise BadRequest(505, "A WebSocket handshake needs HTTP/1.1.")
    if match[1] != b"GET":
        raise BadRequest(405, "A WebSocket handshake is a GET request.", {"Allow": "GET"})


def _check_no_body(values: _Values) -> None:
    # What we read as frames, somebody in front of us would read as a body, or the other way round.
    lengths = values.get("content-length", ())
    if len(lengths) > 1:
        raise BadRequest(400, "The request has more than one Content-Length.")
    if lengths and not (lengths[0].isascii() and lengths[0].isdigit()):
        raise BadRequest(400, "The request is malformed: its Content-Length is not a number.")
    if "".join(lengths).strip("0") or "transfer-encoding" in values:
        raise BadRequest(400, "A WebSocket handshake has no body.")


def _check_host(value: str) -> None:
    if not _is_host(value):
        raise BadRequest(400, f'The Host is not a host and port: "{_show(value)}".')


@lru_cache(maxsize=64)  # a server has few names
def _is_host(value: str) -> bool:
    match = _HOST.fullmatch(value)
    if match is None:
        return False
    try:
        normalise_host(match[1])
        parse_port(match[2] or "0")
    except ValueError:
        return False
    return True


def _origin_form(target: str, host: str) -> str:
    """Return path and query of a request target in origin-form or absolute-form (RFC 9112 section 3.2)."""
    if "#" in target:
        raise BadRequest(400, "The request target has a fragment.")
    if target.startswith("/"):
        return target
    match = _ABSOLUTE.fullmatch(target)
    if match is None:
        raise BadRequest(400, f'The request target is neither a path nor a URL: "{_show(target)}".')
    if match[1].lower() != host.lower():
        raise BadRequest(400, "The request target and the Host name different hosts.")
    return match[2] if match[2].startswith("/") else f"/{match[2]}"


def _check_upgrade(values: _Values) -> None:
    connection = values.get("connection", ())
    # Most say no more than this.
    if connection != ["Upgrade"] and "upgrade" not in map(str.lower, list_elements(connection)):
        raise BadRequest(
            400, 'This is a WebSocket server, and the Connection of the request has no "Upgrade".'
        )
    if _single(values, "Upgrade").lower() != "websocket":
        raise BadRequest(
            400, 'This is a WebSocket server, and the Upgrade of the request is not "websocket".'
        )
    if values.get("sec-websocket-version") != ["13"]:
        # RFC 9110 15.5.22 wants the Upgrade field in a 426, RFC 6455 4.4 the version.
        wanted = {"Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
        raise BadRequest(426, "This server speaks version 13 of the WebSocket protocol only.", wanted)


def _offered_protocols(values: _Values) -> tuple[str, ...]:
    if "sec-websocket-protocol" not in values:
        return ()
    protocols = list_elements(values["sec-websocket-protocol"])
    if not all(map(is_token, protocols)):
        raise BadRequest(400, "The Sec-WebSocket-Protocol has an element that is not a token.")
    if len(set(protocols)) != len(protocols):  # RFC 6455 4.1: all unique
        raise BadRequest(400, "The Sec-WebSocket-Protocol has the same element twice.")
    return tuple(protocols)


def _single(values: _Values, name: str) -> str:
    """Return the value of a field that must be there exactly once."""
    found = values.get(name.lower(), ())
    if len(found) != 1:
        raise BadRequest(400, f"The request has {'more than one' if found else 'no'} {name}.")
    return found[0]


def check_refusal(status: int, headers: HeadersLike, body: bytes | str) -> tuple[Fields, bytes]:
    """Check what an application refuses with, and return header fields and body; a str becomes UTF-8 text.

    :raises ValueError: the status is not 200-599, a header cannot be sent, or the status has no body
    :raises TypeError: an argument has the wrong type
    """
    if isinstance(status, bool) or not isinstance(status, int):
        raise TypeError(f"status must be an int, not {type(status).__name__}")
    if not 200 <= status <= 599:
        raise ValueError(f"status {status} is not that of a refusal: use 200-599")
    if not isinstance(body, bytes | str):
        raise TypeError(f"body must be bytes or str, not {type(body).__name__}")
    if body and status in _NO_BODY:
        raise ValueError(f"a response with status {status} has no body")
    return _describe_body(status, check_headers(headers, _RESERVED_IN_REFUSAL), body)


def _describe_body(status: int, fields: Fields, body: bytes | str) -> tuple[Fields, bytes]:
    if isinstance(body, str):
        body = body.encode("utf-8", "replace")
        if not any(name.lower() == b"content-type" for name, _ in fields):
            fields = [*fields, (b"Content-Type", b"text/plain; charset=utf-8")]
    # RFC 9110 8.6: a 204 has no Content-Length, and that of a 304 would be about another body.
    if status not in _NO_BODY:
        fields = [*fields, (b"Content-Length", str(len(body)).encode("ascii"))]
    return fields, body


def _serialise(status: int, fields: Fields, body: bytes) -> bytes:
    # Closing is what keeps a proxy that misread us from sending somebody else's requests here.
    start_line = f"HTTP/1.1 {status} {_phrase(status)}".encode("ascii")
    return serialise_head(start_line, [*fields, (b"Connection", b"close")]) + body


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def _show(value: str) -> str:
    return excerpt(value.encode("latin-1"))
