"""Close codes, the result of a closing handshake, and what an application may put into a Close frame."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from .arguments import is_collection

MAX_REASON_BYTES = 123  # RFC 6455 5.5: a control frame carries 125 bytes, two of which are the code.


class CloseCode(enum.IntEnum):
    """The registered close codes (RFC 6455 section 7.4.1 and the IANA registry)."""

    NORMAL_CLOSURE = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    NO_STATUS_RECEIVED = 1005
    ABNORMAL_CLOSURE = 1006
    INVALID_PAYLOAD = 1007
    POLICY_VIOLATION = 1008
    MESSAGE_TOO_BIG = 1009
    MANDATORY_EXTENSION = 1010
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    TRY_AGAIN_LATER = 1013
    BAD_GATEWAY = 1014
    TLS_HANDSHAKE = 1015


# RFC 6455 7.4.1: these three describe what happened; they are never written into a Close frame.
_NEVER_ON_THE_WIRE = frozenset({1005, 1006, 1015})
_REGISTERED = frozenset(CloseCode) - _NEVER_ON_THE_WIRE


# What a connection that was of use ends with: done, the peer goes away, or nothing was said. 1000 and 1001 are what browsers
# and servers send by themselves, 1005 is a bare `close()`.
OK_CODES = (CloseCode.NORMAL_CLOSURE, CloseCode.GOING_AWAY, CloseCode.NO_STATUS_RECEIVED)


# The one that makes what `raise_for_code` raises: an error that anyio's users handle can only be made by those who know anyio.
MAKERS_OF_ERRORS: list[Callable[[CloseInfo], Exception]] = []


@dataclass(frozen=True, slots=True)
class CloseInfo:
    """How a connection ended, as the peer said it.

    ``code`` is 1005 when the peer's Close frame had no code and 1006 when there was no Close frame at all (RFC 6455
    sections 7.1.5 and 7.1.6). ``clean`` is true when both Close frames were exchanged and nothing we had promised to
    send was left unsent.
    """

    code: int
    reason: str = ""
    clean: bool = True

    def raise_for_code(self, ok: Iterable[int] = OK_CODES) -> None:
        """Raise unless the connection ended cleanly, and with a code that says that all went well.

        Iteration ends at any Close frame, as in the browser: a server that breaks down in the middle of a download sends one
        as well. ``(await conn.closed).raise_for_code()`` behind the loop tells the two ends apart.

        :param ok: the codes that are no error: by default 1000, 1001 (the peer goes away) and 1005 (none was given)
        :raises ConnectionClosed: the peer closed with another code
        :raises ConnectionBroken: it ended without a complete closing handshake
        :raises TypeError: ``ok`` is no collection of int
        """
        codes = check_codes(ok)
        if not self.clean or self.code not in codes:
            raise MAKERS_OF_ERRORS[0](self)


def check_codes(ok: Iterable[int]) -> frozenset[int]:
    """Return the codes that are no error.

    :raises TypeError: they are no collection of int
    """
    if not is_collection(ok):
        raise TypeError(f"ok must be a collection of close codes, not {ok!r:.100}")
    codes = frozenset(ok)
    for code in codes:
        if not isinstance(code, int):
            raise TypeError(f"ok must be a collection of close codes, and {code!r:.100} is none")
    return codes


def is_valid_on_the_wire(code: int) -> bool:
    """Tell whether a peer may send this code (RFC 6455 section 7.4; 1014 is registered with IANA)."""
    return code in _REGISTERED or 3000 <= code <= 4999


def check_close(code: int | None, reason: str, *, server: bool = False) -> tuple[int | None, str]:
    """Validate what an application wants to say in a Close frame and return it in normal form (rules V1-V6).

    A client may use 1000 and 3000-4999, as in the browser; a server may also use the registered codes.

    :raises TypeError: the code is not an int, or the reason is not a str
    :raises ValueError: the code is not one an application may send, or the reason is longer than 123 bytes of UTF-8
    """
    if code is not None and (isinstance(code, bool) or not isinstance(code, int)):
        raise TypeError(f"close code must be an int or None, not {type(code).__name__}")
    if not isinstance(reason, str):
        raise TypeError(f"close reason must be a str, not {type(reason).__name__}")
    if code is not None and not _may_send(code, server):
        allowed = "1000, 1001, 1003, 1007-1014 or 3000-4999" if server else "1000 or 3000-4999"
        raise ValueError(f"close code {code} is not for an application to send: use {allowed}")
    # USVString conversion of the web API: a lone surrogate becomes U+FFFD.
    encoded = reason.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()
    if len(encoded) > MAX_REASON_BYTES:
        raise ValueError(
            f"close reason is {len(encoded)} bytes of UTF-8; a Close frame has room for {MAX_REASON_BYTES}"
        )
    if encoded and code is None:
        code = CloseCode.NORMAL_CLOSURE
    return code, encoded.decode()


def _may_send(code: int, server: bool) -> bool:
    if code == CloseCode.NORMAL_CLOSURE or 3000 <= code <= 4999:
        return True
    # 1002 is ours to send when the peer breaks the protocol; 1010 is a client's word (RFC 6455 7.4.1).
    return server and is_valid_on_the_wire(code) and code not in (1002, 1010)


def truncate_reason(reason: str) -> str:
    """Cut a reason to what fits a Close frame, on a character and not on a byte (RFC 6455 section 5.5)."""
    return reason.encode("utf-8", "replace")[:MAX_REASON_BYTES].decode("utf-8", "ignore")


def describe(info: CloseInfo) -> str:
    """Say a close code and reason in words that are safe to print."""
    if info.code == CloseCode.NO_STATUS_RECEIVED:
        return "no code"
    return f"code {info.code}" + (f" and reason {info.reason!r}" if info.reason else "")
