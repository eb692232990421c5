"""What both sides of the opening handshake share: header fields, limits, and the two heads as values."""

from __future__ import annotations

import codecs
import hashlib
import re
from binascii import b2a_base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from .arguments import check_size, is_collection, is_token
from .cookies import parse_set_cookies
from .url import for_display

HeadersLike: TypeAlias = Mapping[str, str] | Iterable[tuple[str, str]]
Fields: TypeAlias = list[tuple[bytes, bytes]]

# RFC 9110 5.5: every control character but the tab is invalid in a value; CR, LF and NUL are how heads get split.
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_SECRET = frozenset({"authorization", "cookie", "proxy-authorization", "set-cookie"})
_URLS = frozenset({"location", "referer"})
TLS_RECORDS = (b"\x15\x03", b"\x16\x03")  # how one begins who speaks TLS where we did not expect it
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 1.3


@dataclass(frozen=True, slots=True)
class HandshakeLimits:
    """Bounds on what the peer may send before the connection is open; sizes in bytes.

    :raises TypeError: one of them is no int
    :raises ValueError: one of them is negative, or zero where nothing could be opened then
    """

    head_size: int = 16384  # one head: start line, header fields and line ends
    line_size: int = 8192  # one line of it, without the line end
    header_count: int = 128  # header fields of one head
    interim_responses: int = 8  # 1xx answers before the final one
    rejection_body: int = 65536  # body of a refusal, as it is on the wire

    def __post_init__(self) -> None:
        for name in ("head_size", "line_size", "header_count"):
            check_size(name, getattr(self, name))
        for name in ("interim_responses", "rejection_body"):
            check_size(name, getattr(self, name), zero=True)


DEFAULT_LIMITS = HandshakeLimits()


def check_limits(limits: object) -> None:
    """Insist on a :class:`HandshakeLimits`.

    :raises TypeError: it is something else
    """
    if not isinstance(limits, HandshakeLimits):
        raise TypeError(
            f"handshake_limits must be a HandshakeLimits, not {type(limits).__name__}: "
            "write handshake_limits=HandshakeLimits(head_size=32768)"
        )


class Headers(Mapping[str, str]):
    """Header fields as they were received, looked up without regard to case.

    ``headers["x"]`` joins repeated fields with ``", "`` (RFC 9110 section 5.3); :meth:`get_all` keeps them apart, which
    ``Set-Cookie`` needs. Iteration gives lower-case names. Values are decoded as latin-1. Cookies and credentials are
    not shown by ``repr``.
    """

    __slots__ = ("_block", "_fields", "_index")

    def __init__(self, raw: Iterable[tuple[bytes, bytes]] = (), *, block: bytes | None = None) -> None:
        # Kept as they came, lines of a head that was checked: a server has them for as long as the connection lives, and hardly
        # looks at them again.
        self._block = block or b""
        self._fields: tuple[tuple[bytes, bytes], ...] | None = None
        if block is None:  # of an ASGI server, whose values may have line ends in them
            self._fields = tuple((name, value.strip(b" \t")) for name, value in raw)
        self._index: dict[str, list[str]] | None = None

    @property
    def raw(self) -> tuple[tuple[bytes, bytes], ...]:
        """The fields in order, names in the case that was received."""
        if self._fields is not None:
            return self._fields
        split = (line.partition(b":") for line in self._block.splitlines())
        # RFC 9112 5: optional white space is no part of the value.
        return tuple((name, value.strip(b" \t")) for name, _, value in split)

    @property
    def by_name(self) -> Mapping[str, list[str]]:
        """All values by lower-case names, not to be changed: for who looks for many."""
        if self._index is None:
            self._index = _index_block(self._block) if self._fields is None else _index(self._fields)
        return self._index

    def pack(self) -> None:
        """Keep them in as little memory as possible until they are looked at again."""
        self._index = None

    def get_all(self, name: str) -> list[str]:
        """Return the values of every field of that name, in order; an empty list when there is none."""
        return list(self.by_name.get(name.lower(), ()))

    def __getitem__(self, name: str) -> str:
        return ", ".join(self.by_name[name.lower()])

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self.by_name

    def __iter__(self) -> Iterator[str]:
        return iter(self.by_name)

    def __len__(self) -> int:
        return len(self.by_name)

    def __repr__(self) -> str:
        shown = {name: self._shown(name) for name in self}
        return f"{type(self).__name__}({shown!r})"

    def _shown(self, name: str) -> str:
        if name in _SECRET:
            return "..."
        return for_display(self[name]) if name in _URLS else self[name]


def _index(fields: Iterable[tuple[bytes, bytes]]) -> dict[str, list[str]]:
    index: dict[str, list[str]] = {}
    for name, value in fields:
        index.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    return index


def _index_block(block: bytes) -> dict[str, list[str]]:
    index: dict[str, list[str]] = {}
    if block:
        for line in block.decode("latin-1").split("\r\n"):
            name, _, value = line.partition(":")
            index.setdefault(name.lower(), []).append(value.strip(" \t"))
    return index


@dataclass(frozen=True, slots=True)
class Response:
    """A server's answer to the opening handshake."""

    status: int
    reason: str
    headers: Headers
    body: bytes = field(default=b"", repr=False)
    truncated: bool = False  # the body went on

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies that the server sets by name, the last of each, without their attributes.

        Also those that are to be deleted, which have an attribute that says so; the fields are in
        ``headers.get_all("set-cookie")``.
        """
        return parse_set_cookies(self.headers.get_all("Set-Cookie"))


@dataclass(frozen=True, slots=True)
class Request:
    """A client's opening handshake, checked (RFC 6455 section 4.2.1); ``repr`` does not show the query."""

    target: str  # path and query as received, not decoded
    headers: Headers
    protocols: tuple[str, ...] = ()  # what the client offers, in its order of preference
    origin: str | None = None

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(target={for_display(self.target)!r}, headers={self.headers!r}, "
            f"protocols={self.protocols!r}, origin={self.origin!r})"
        )

    @property
    def path(self) -> str:
        """The target up to the question mark, not decoded."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        """The target behind the question mark, not decoded; empty when there is none."""
        return self.target.partition("?")[2]


def check_headers(headers: HeadersLike, reserved: frozenset[str]) -> Fields:
    """Validate header fields of an application and return them as bytes, latin-1 encoded.

    ``reserved`` holds lower-case names, those that end in ``*`` as prefixes. Messages name the field and never show its
    value, which may be a secret.

    :raises TypeError: this is no mapping or iterable of pairs of str
    :raises ValueError: a name or value cannot stand in a head, or the name is reserved
    """
    if headers in ((), []):
        return []
    return [_check_field(name, value, reserved) for name, value in header_pairs(headers)]


def header_pairs(headers: object) -> Iterator[tuple[str, str]]:
    """Yield header fields of an application as pairs.

    :raises TypeError: this is no mapping or iterable of pairs of str
    """
    if not is_collection(headers):
        raise TypeError(f"headers must be a mapping or (name, value) pairs, not {type(headers).__name__}")
    for item in headers.items() if isinstance(headers, Mapping) else headers:
        if not isinstance(item, tuple | list) or len(item) != 2:
            raise TypeError("headers must be a mapping or (name, value) pairs of str")
        name, value = item
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(f"header {name!r:.100} must have a str for a name and a str for a value")
        yield name, value


def _check_field(name: str, value: str, reserved: frozenset[str]) -> tuple[bytes, bytes]:
    if not is_token(name):
        raise ValueError(f"header name {name[:100]!a} is not an HTTP token")
    lower = name.lower()
    if lower in reserved or any(lower.startswith(entry[:-1]) for entry in reserved if entry.endswith("*")):
        raise ValueError(f"header {name} belongs to the handshake and cannot be set")
    return name.encode("ascii"), check_value(name, value)


def check_value(name: str, value: str) -> bytes:
    """Validate the value of the field ``name`` and encode it as latin-1.

    :raises ValueError: it has a line break or another control character, outer space, or a character beyond latin-1
    """
    if _CONTROL.search(value):
        raise ValueError(f"header {name} has a line break, NUL or another control character in its value")
    if value != value.strip(" \t"):
        raise ValueError(f"header {name} has a value with leading or trailing space")
    try:
        return value.encode("latin-1")
    except UnicodeEncodeError:
        raise ValueError(
            f"header {name} has a value with characters beyond latin-1; encode it first"
        ) from None


def check_protocols(protocols: Sequence[str]) -> tuple[str, ...]:
    """Validate a list of subprotocols (rules P1-P4) and return it as a tuple.

    :raises TypeError: it is a single str, or has something else than str in it
    :raises ValueError: one is not an HTTP token, or occurs twice without regard to case
    """
    if protocols == ():
        return ()
    checked = _strings(protocols)
    seen: set[str] = set()
    for protocol in checked:
        if not is_token(protocol):
            raise ValueError(f"protocol {protocol[:100]!a} is not an HTTP token: no spaces, commas or quotes")
        if protocol.lower() in seen:
            raise ValueError(f"protocol {protocol[:100]!r} occurs twice (letter case does not count)")
        seen.add(protocol.lower())
    return checked


def _strings(protocols: object) -> tuple[str, ...]:
    if not is_collection(protocols):
        raise TypeError(f"protocols must be a list of str, not {type(protocols).__name__}")
    checked = tuple(protocols)
    for protocol in checked:
        if not isinstance(protocol, str):
            raise TypeError(f"protocols must be a list of str, with no {type(protocol).__name__} in it")
    return checked


def list_elements(values: Iterable[str]) -> list[str]:
    """Split the values of a list-based field into elements; empty ones do not count (RFC 9110 section 5.6.1)."""
    elements = (element.strip(" \t") for value in values for element in value.split(","))
    return [element for element in elements if element]


def accept_key(key: bytes) -> bytes:
    """Return the ``Sec-WebSocket-Accept`` that answers a ``Sec-WebSocket-Key`` (RFC 6455 section 4.2.2)."""
    return b2a_base64(hashlib.sha1(key + _GUID, usedforsecurity=False).digest(), newline=False)


def serialise_head(beginning: bytes, fields: Fields) -> bytes:
    """Return a head in wire form: the start line, perhaps with fields behind it, and more fields; all was checked before."""
    return b"\r\n".join([beginning, *map(b": ".join, fields), b"", b""])


def excerpt(data: bytes | bytearray) -> str:
    """Show foreign bytes in a message: escaped, at most 100 characters."""
    text = repr(bytes(data[:100]))[2:-1]
    return text if len(text) <= 100 and len(data) <= 100 else f"{text[:97]}..."


def quoted(text: str) -> str:
    """Show foreign text in a message: in quotes, escaped where it is not printable, at most 100 characters."""
    shown = repr(text[:101])[1:-1].replace("\\'", "'").replace('"', '\\"')
    return f'"{shown}"' if len(shown) <= 100 else f'"{shown[:97]}..."'


def text_of(response: Response) -> str:
    """Return the beginning of a body as one line; nothing where it is no text."""
    if response.headers.get("content-encoding", "identity") != "identity":
        return ""
    beginning = response.body[:400]
    try:
        # What is cut in the middle of a character is still text.
        text = codecs.getincrementaldecoder("utf-8")().decode(beginning, final=len(beginning) < 400)
    except UnicodeDecodeError:
        return ""
    return " ".join(text.split())
