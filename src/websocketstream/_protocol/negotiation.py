"""What permessage-deflate is to be like (RFC 7692): our wishes, the offer, the answer, and what both sides agreed on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from .extensions import Extension, NegotiationError, parse_extensions

__all__ = [
    "Compression",
    "DeflateParameters",
    "NegotiationError",
    "accept_answer",
    "negotiate",
    "offer",
]

_NAME = "permessage-deflate"
_FLAGS = ("server_no_context_takeover", "client_no_context_takeover")
_WINDOWS = ("server_max_window_bits", "client_max_window_bits")
# RFC 7692 7.1.2: a decimal integer from 8 to 15 without leading zeros. A table also refuses "+10", "1_0" and 5,000 digits.
_WINDOW_BITS = {str(bits): bits for bits in range(8, 16)}
_MAX_BITS = 15
# What a server compresses with where nobody says otherwise: 8 times less memory than 15 bits for a few percent of the ratio.
_SERVER_BITS = 12

_Parameters: TypeAlias = dict[str, int | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compression:
    """What to ask for and how to compress when permessage-deflate is negotiated (RFC 7692).

    Measured for one connection once messages flow: the defaults take 39 KiB to send, and to receive 16 KiB on a server and
    72 KiB on a client; zlib's own defaults (15 bits, memory level 8) 263 KiB and 72 KiB. A direction without context takeover
    takes nothing between messages, and compresses small messages less well. Compressing happens on the event loop, a large
    message in portions.

    ``threshold`` is in bytes: shorter messages go out as they are. ``level`` (0-9) and ``mem_level`` (1-9) are zlib's.
    The window sizes (9-15, as a power of two in bytes) are upper bounds: ``server_`` for what the server compresses,
    ``client_`` for what the client compresses, whichever side we are. ``server_max_window_bits=None`` says nothing of it to the
    peer, because some do not bear to hear of it: coder/websocket up to 1.8.7 (nhooyr's) refuses the whole handshake, as a server
    and as a client. Then a server compresses with 12 bits, which every client can inflate, and a client takes up to 15.

    :raises TypeError: an option has the wrong type
    :raises ValueError: an option is out of range
    """

    threshold: int = 1024
    level: int = 6
    mem_level: int = 5
    server_max_window_bits: int | None = None
    client_max_window_bits: int = 12
    server_no_context_takeover: bool = False
    client_no_context_takeover: bool = False

    def __post_init__(self) -> None:
        _check_int("threshold", self.threshold, 0, None)
        _check_int("level", self.level, 0, 9)
        _check_int("mem_level", self.mem_level, 1, 9)
        # 8 is what a peer may ask of us (see _new_compressor), but nothing that zlib can promise for itself.
        if self.server_max_window_bits is not None:
            _check_int("server_max_window_bits", self.server_max_window_bits, 9, _MAX_BITS)
        _check_int("client_max_window_bits", self.client_max_window_bits, 9, _MAX_BITS)
        for name in _FLAGS:
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name} must be True or False, not {type(getattr(self, name)).__name__}")


def _check_int(name: str, value: int, low: int, high: int | None) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    if value < low or (high is not None and value > high):
        allowed = f"at least {low}" if high is None else f"from {low} to {high}"
        raise ValueError(f"{name} must be {allowed}, not {value}")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeflateParameters:
    """What both sides agreed on (RFC 7692 section 7.1)."""

    server_no_context_takeover: bool = False
    client_no_context_takeover: bool = False
    server_max_window_bits: int = _MAX_BITS
    client_max_window_bits: int = _MAX_BITS


def offer(compression: Compression) -> str:
    """Return the value of the client's ``Sec-WebSocket-Extensions`` (RFC 7692 section 7.1)."""
    # client_max_window_bits is always there: it allows the server to limit our window, and says that ours is no larger.
    wanted: _Parameters = {name: None for name in _FLAGS if getattr(compression, name)}
    if (compression.server_max_window_bits or _MAX_BITS) < _MAX_BITS:
        wanted["server_max_window_bits"] = compression.server_max_window_bits
    has_limit = compression.client_max_window_bits < _MAX_BITS
    wanted["client_max_window_bits"] = compression.client_max_window_bits if has_limit else None
    return _header(wanted)


def accept_answer(value: str, compression: Compression | None) -> DeflateParameters | None:
    """Check the server's ``Sec-WebSocket-Extensions`` against what we offered; None when it uses no extension.

    :raises NegotiationError: the header is malformed, or names what we did not offer (RFC 6455 section 4.1,
        RFC 7692 section 7.1)
    """
    answers = parse_extensions(value)
    if not answers:
        return None
    for answer in answers:
        if compression is None or answer.name != _NAME:
            raise NegotiationError(f"the server uses an extension that was not offered: {answer.name[:80]}")
    if len(answers) > 1:
        raise NegotiationError(f"the server answered {_NAME} {len(answers)} times")
    assert compression is not None  # the loop above has seen to it
    return _agree_as_client(_parameters(answers[0], in_offer=False), compression)


def _agree_as_client(answer: _Parameters, compression: Compression) -> DeflateParameters:
    # RFC 7692 7.1 lists when a client must fail. A server that leaves our limit on its window out is not in the list
    # (gorilla's does so), and a window of 15 bits is one we can inflate; one that answers with a larger one is.
    server_bits = answer.get("server_max_window_bits") or _MAX_BITS
    offered_bits = compression.server_max_window_bits or _MAX_BITS
    if "server_max_window_bits" in answer and server_bits > offered_bits:
        raise NegotiationError(
            f"the server answered server_max_window_bits={server_bits}, more than the {offered_bits} that were offered"
        )
    client_bits = answer.get("client_max_window_bits") or _MAX_BITS
    return DeflateParameters(
        server_no_context_takeover="server_no_context_takeover" in answer,
        # RFC 7692 7.1.1.2: a client that asked not to keep its context may do so whatever the answer says.
        client_no_context_takeover="client_no_context_takeover" in answer
        or compression.client_no_context_takeover,
        server_max_window_bits=server_bits,
        client_max_window_bits=min(client_bits, compression.client_max_window_bits),
    )


def negotiate(value: str, compression: Compression) -> tuple[DeflateParameters, str] | None:
    """Choose the first offer that we can accept and return it with the server's answer; None when there is none.

    :raises NegotiationError: the header is malformed
    """
    for offered in parse_extensions(value):
        if offered.name == _NAME:
            try:
                wanted = _parameters(offered, in_offer=True)
            except NegotiationError:
                continue  # RFC 7692 7.1: a server declines an offer with an invalid parameter, and looks at the next.
            return _agree_as_server(wanted, compression)
    return None


def _agree_as_server(wanted: _Parameters, compression: Compression) -> tuple[DeflateParameters, str]:
    answer: _Parameters = {name: None for name in _FLAGS if name in wanted or getattr(compression, name)}
    our_bits = compression.server_max_window_bits
    server_bits = min(wanted.get("server_max_window_bits") or _MAX_BITS, our_bits or _SERVER_BITS)
    # RFC 7692 7.1.2.1: a server may say so unasked. It need not: whoever can inflate 15 bits can inflate fewer.
    if "server_max_window_bits" in wanted or (our_bits or _MAX_BITS) < _MAX_BITS:
        answer["server_max_window_bits"] = server_bits
    client_bits = _MAX_BITS
    # RFC 7692 7.1.2.2: only a client that says that it can may be limited.
    if "client_max_window_bits" in wanted:
        client_bits = min(wanted["client_max_window_bits"] or _MAX_BITS, compression.client_max_window_bits)
        answer["client_max_window_bits"] = client_bits
    parameters = DeflateParameters(
        server_no_context_takeover="server_no_context_takeover" in answer,
        client_no_context_takeover="client_no_context_takeover" in answer,
        server_max_window_bits=server_bits,
        client_max_window_bits=client_bits,
    )
    return parameters, _header(answer)


def _header(parameters: _Parameters) -> str:
    items = [name if value is None else f"{name}={value}" for name, value in parameters.items()]
    return "; ".join([_NAME, *items])


def _parameters(extension: Extension, *, in_offer: bool) -> _Parameters:
    parsed: _Parameters = {}
    for name, value in extension.parameters:
        if name in parsed:
            raise NegotiationError(f"{_NAME}: {name} appears twice")
        if name in _FLAGS:
            if value is not None:
                raise NegotiationError(f"{_NAME}: {name} takes no value")
            parsed[name] = None
        elif name in _WINDOWS:
            parsed[name] = _window_bits(
                name, value, may_be_bare=in_offer and name == "client_max_window_bits"
            )
        else:
            raise NegotiationError(f"{_NAME}: unknown parameter {name[:80]}")
    return parsed


def _window_bits(name: str, value: str | None, *, may_be_bare: bool) -> int | None:
    if value is None and may_be_bare:
        return None
    if value not in _WINDOW_BITS:
        raise NegotiationError(
            f"{_NAME}: {name} must be a number from 8 to 15, not {(value or 'nothing')[:20]!r}"
        )
    return _WINDOW_BITS[value]
