"""The client's opening handshake, sans-IO: the request's bytes out, the server's answer in (RFC 6455 section 4.1)."""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Mapping, Sequence
from typing import NoReturn

import h11

from .errors import HandshakeRejected, HandshakeTooLarge, InvalidHandshake
from .head import HeadReader, HeadTooLarge, MalformedHead
from .http import (
    DEFAULT_LIMITS,
    TLS_RECORDS,
    Fields,
    HandshakeLimits,
    Headers,
    HeadersLike,
    Response,
    accept_key,
    check_headers,
    check_protocols,
    check_value,
    excerpt,
    list_elements,
    serialise_head,
)
from .negotiation import Compression, DeflateParameters, NegotiationError, accept_answer, offer
from .url import WebSocketURL

_RESERVED = frozenset(
    {
        "connection",
        "content-length",
        "host",
        "origin",  # an argument of its own
        "sec-websocket-*",
        "transfer-encoding",
        "upgrade",
    }
)
# HTTP/1.0 is let through for refusals only: old proxies and simple servers say "HTTP/1.0 503".
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] [1-9][0-9][0-9](?: [\t\x20-\x7e\x80-\xff]*)?")
_SOME_HTTP = re.compile(rb"HTTP/[0-9.]+(?= |$)")
# Most servers with TLS answer a request without it by hanging up.
NO_ANSWER = "is this a WebSocket server, and one without TLS? With TLS the URL is wss://"


class ClientHandshake:
    """One opening handshake as the client sees it.

    Write :meth:`request`, then feed :meth:`receive_data` until it returns the response; from then on the connection is
    open and :attr:`trailing_data` holds what arrived behind the head. Use once.

    :raises ValueError: an argument cannot be put into a handshake
    :raises TypeError: an argument has the wrong type
    """

    protocol: str = ""
    extensions: str = ""
    deflate: DeflateParameters | None = None
    trailing_data: bytes = b""
    answered: bool = False  # whether anything has arrived

    def __init__(
        self,
        url: WebSocketURL,
        *,
        protocols: Sequence[str] = (),
        headers: HeadersLike = (),
        origin: str | None = None,
        compression: Compression | None = None,
        limits: HandshakeLimits = DEFAULT_LIMITS,
    ) -> None:
        self._limits = limits
        self._secure = url.secure
        self._compression = compression
        self._protocols = check_protocols(protocols)
        # RFC 6455 4.1: 16 random bytes, so that no cache or confused server can have the answer ready.
        self._key = base64.b64encode(secrets.token_bytes(16))
        fields = self._fields(url, _check_origin(origin), check_headers(headers, _RESERVED))
        self._request = serialise_head(b"GET " + url.target.encode("ascii") + b" HTTP/1.1", fields)
        self._http: h11.Connection  # reads the body of a refusal
        self._reader = HeadReader(limits, _check_status_line)
        self._interim_responses = 0
        self._rejection: Response | None = None
        self._body = bytearray()
        self._body_room = limits.rejection_body

    def _fields(self, url: WebSocketURL, origin: Fields, extra: Fields) -> Fields:
        fields = [
            (b"Host", url.host_header.encode("ascii")),
            (b"Upgrade", b"websocket"),
            (b"Connection", b"Upgrade"),
            (b"Sec-WebSocket-Key", self._key),
            (b"Sec-WebSocket-Version", b"13"),
        ]
        if self._protocols:
            fields.append((b"Sec-WebSocket-Protocol", ", ".join(self._protocols).encode("ascii")))
        if self._compression is not None:
            fields.append((b"Sec-WebSocket-Extensions", offer(self._compression).encode("ascii")))
        authorized = any(name.lower() == b"authorization" for name, _ in extra)
        if url.authorization is not None and not authorized:
            fields.append((b"Authorization", url.authorization))
        return fields + origin + extra

    def request(self) -> bytes:
        """Return the request to send."""
        return self._request

    @property
    def reading_rejection(self) -> bool:
        """Whether the head of a refusal has arrived and its body has not: worth about a second more of waiting."""
        return self._rejection is not None

    def receive_data(self, data: bytes) -> Response | None:
        """Take what arrived; return the response once the handshake is complete, None while it is not.

        :raises InvalidHandshake: the answer is not HTTP, or does not conform to RFC 6455
        :raises HandshakeTooLarge: the head of the answer is beyond a limit
        :raises HandshakeRejected: the status is not 101; its body is complete or as long as we keep
        """
        self.answered = self.answered or bool(data)
        self._reader.feed(data)
        while self._rejection is None:
            head = self._next_head()
            if head is None:
                return None
            response = self._receive_head(head)
            if response is not None:
                self.trailing_data = self._reader.take_rest()
                return response
        self._receive_body(self._reader.take_rest())
        return None

    def receive_eof(self, *, timed_out: bool = False) -> NoReturn:
        """Say that nothing more will come: the server closed, or (``timed_out``) we stop waiting for a refusal's body.

        :raises InvalidHandshake: the connection ended before the answer's head
        :raises HandshakeRejected: it ended in the body of a refusal, which may be its proper end (RFC 9112 section 6.3)
        """
        if self._rejection is not None:
            complete = not timed_out and self._feed_body(b"")
            self._reject(truncated=not complete)
        begun = self._reader.incomplete
        if begun:
            raise InvalidHandshake(
                f'the connection was closed in the middle of the answer, after "{excerpt(begun)}"'
            )
        raise InvalidHandshake(
            "the connection was closed before the server answered the handshake; "
            + ("is this a WebSocket server?" if self._secure else NO_ANSWER)
        )

    def _next_head(self) -> bytes | None:
        try:
            return self._reader.next_head()
        except HeadTooLarge as error:
            raise HandshakeTooLarge(f"the server's answer is too large: {error}") from None
        except MalformedHead as error:
            raise InvalidHandshake(f"the server's answer is malformed: {error}") from None

    def _receive_head(self, head: bytes) -> Response | None:
        version, _, rest = self._reader.start_line.partition(b" ")
        status, _, reason = rest.partition(b" ")
        response = Response(int(status), reason.decode("latin-1"), Headers(block=self._reader.fields))
        if response.status >= 200:
            self._begin_rejection(head, response)
            return None
        if version != b"HTTP/1.1":
            raise InvalidHandshake(
                f"the server answered {response.status} in HTTP/1.0; WebSocket needs HTTP/1.1"
            )
        if response.status == 101:
            self._check(response)
            return response
        self._count_interim_response()
        return None

    def _begin_rejection(self, head: bytes, response: Response) -> None:
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=self._limits.line_size)
        self._http.send(h11.Request(method="GET", target="/", headers=[("Host", "")]))
        self._http.send(h11.EndOfMessage())
        self._http.receive_data(head)
        try:
            self._http.next_event()
        except h11.RemoteProtocolError as error:
            raise InvalidHandshake(f"the server's answer is malformed: {error}") from None
        self._rejection = response

    def _count_interim_response(self) -> None:
        # RFC 9110 15.2: any number may come before the final one, wanted or not; a thousand are an attack.
        self._interim_responses += 1
        if self._interim_responses > self._limits.interim_responses:
            raise HandshakeTooLarge(
                f"the server sent more than {self._limits.interim_responses} interim (1xx) responses, "
                "the limit (HandshakeLimits.interim_responses)"
            )

    def _check(self, response: Response) -> None:
        """Check a 101 response as RFC 6455 section 4.1 asks, second list, steps 2-6."""
        values = response.headers.by_name
        for name in ("Content-Length", "Transfer-Encoding"):
            # RFC 9110 8.6 and RFC 9112 6.1: not in a 101. Whoever sends one disagrees with us on where frames begin.
            if name.lower() in values:
                raise InvalidHandshake(f"the 101 response has a {name} field")
        upgrade = _single(values, "Upgrade")
        if upgrade.lower() != "websocket":
            raise InvalidHandshake(f'the 101 response upgrades to "{_show(upgrade)}" instead of "websocket"')
        connection = values.get("connection", [])
        # Most say no more than this.
        if connection != ["Upgrade"] and "upgrade" not in map(str.lower, list_elements(connection)):
            raise InvalidHandshake('the 101 response has no "Upgrade" in its Connection field')
        if _single(values, "Sec-WebSocket-Accept").encode("latin-1") != accept_key(self._key):
            raise InvalidHandshake("the 101 response has a Sec-WebSocket-Accept that does not answer our key")
        self.protocol = self._check_protocol(values)
        if "sec-websocket-extensions" in values:
            self._check_extensions(", ".join(values["sec-websocket-extensions"]))

    def _check_protocol(self, values: Mapping[str, list[str]]) -> str:
        if "sec-websocket-protocol" not in values:
            if self._protocols:
                # Rule P6, stricter than RFC 6455: the browser's WebSocket does not go on without a protocol either.
                raise InvalidHandshake(
                    f"the server chose none of the protocols we offered ({', '.join(self._protocols):.100})"
                )
            return ""
        protocol = _single(values, "Sec-WebSocket-Protocol")
        if protocol not in self._protocols:
            raise InvalidHandshake(
                f'the server chose the protocol "{_show(protocol)}", which we did not offer'
            )
        return protocol

    def _check_extensions(self, value: str) -> None:
        value = value.strip(" \t,")
        if not value:  # an empty list says as much as no field (RFC 9110 5.6.1)
            return
        try:
            self.deflate = accept_answer(value, self._compression)
        except NegotiationError as error:
            raise InvalidHandshake(
                f"the server's Sec-WebSocket-Extensions is not acceptable: {error}"
            ) from error
        self.extensions = value

    def _receive_body(self, data: bytes) -> None:
        kept = data[: self._body_room]
        self._body_room -= len(kept)
        # An empty piece means "end of stream" to h11, so it only asks what is there when the head came alone.
        if self._feed_body(kept) if kept else self._drain_body():
            self._reject(truncated=False)
        if len(data) > len(kept):
            self._reject(truncated=True)

    def _feed_body(self, data: bytes) -> bool:
        self._http.receive_data(data)
        return self._drain_body()

    def _drain_body(self) -> bool:
        """Collect what h11 has of the body; return whether that was its end."""
        while True:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError:
                self._reject(truncated=True)
            if not isinstance(event, h11.Data):
                return isinstance(event, h11.EndOfMessage)
            self._body += event.data

    def _reject(self, *, truncated: bool) -> NoReturn:
        assert self._rejection is not None
        rejection = self._rejection
        raise HandshakeRejected(
            Response(rejection.status, rejection.reason, rejection.headers, bytes(self._body), truncated)
        ) from None


def _check_origin(origin: str | None) -> Fields:
    if origin is None:
        return []
    if not isinstance(origin, str):
        raise TypeError(f"origin must be a str or None, not {type(origin).__name__}")
    if not origin:
        raise ValueError("origin is empty; None leaves the header out")
    return [(b"Origin", check_value("Origin", origin))]


def _check_status_line(line: bytes, complete: bool) -> None:
    if complete and _STATUS_LINE.fullmatch(line):
        return
    may_become_one = line.startswith(b"HTTP/"[: len(line)])
    may_become_tls = any(record.startswith(line) for record in TLS_RECORDS)
    if not complete and (may_become_one or may_become_tls):
        return
    if line.startswith(TLS_RECORDS):
        raise InvalidHandshake("the server speaks TLS on this port: use wss:// instead of ws://")
    if complete and (version := _SOME_HTTP.match(line)) and version[0] not in (b"HTTP/1.0", b"HTTP/1.1"):
        raise InvalidHandshake(f"the server answered in {excerpt(version[0])}; WebSocket needs HTTP/1.1")
    raise InvalidHandshake(
        f'the server did not answer in HTTP but with "{excerpt(line)}"; is a WebSocket server listening on this port?'
    )


def _single(values: Mapping[str, list[str]], name: str) -> str:
    """Return the value of a field that must be there exactly once."""
    found = values.get(name.lower(), ())
    if len(found) != 1:
        raise InvalidHandshake(f"the 101 response has {'more than one' if found else 'no'} {name} field")
    return found[0]


def _show(value: str) -> str:
    return excerpt(value.encode("latin-1"))
