"""Checks of what users give: numbers and the like, where each says which argument is wrong and what it should be."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from typing import Any, TypeGuard

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_FINGERPRINT = re.compile("[0-9a-fA-F]{64}|[0-9a-fA-F]{2}(?::[0-9a-fA-F]{2}){31}")


def check_size(name: str, value: object, *, zero: bool = False) -> None:
    """Insist on a positive int.

    :raises TypeError: it is no int
    :raises ValueError: it is negative (or zero, where that makes no sense)
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    if value < (0 if zero else 1):
        raise ValueError(f"{name} must be at least {0 if zero else 1}, not {value}")


def check_seconds(name: str, value: object, *, zero: bool = True) -> None:
    """Insist on a finite number of seconds.

    :raises TypeError: it is no number
    :raises ValueError: it is negative, infinite or not a number (or zero, where that makes no sense)
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number of seconds, not {type(value).__name__}")
    if not 0 <= value <= sys.float_info.max or (value == 0 and not zero):
        raise ValueError(
            f"{name} must be a finite number of seconds, {'0 or more' if zero else 'above 0'}, not {value}"
        )


def check_fingerprint(value: object) -> bytes:
    """Read the SHA-256 fingerprint of a certificate: 64 hexadecimal digits, with colons between the bytes or without.

    :raises TypeError: it is no str
    :raises ValueError: it is something else, such as a shorter hash
    """
    if not isinstance(value, str):
        raise TypeError(f"fingerprint must be a str or None, not {type(value).__name__}")
    if not _FINGERPRINT.fullmatch(value):
        raise ValueError(
            "fingerprint must be a SHA-256 in 64 hexadecimal digits, with or without colons, as from "
            "`openssl x509 -noout -fingerprint -sha256`"
        )
    return bytes.fromhex(value.replace(":", ""))


def is_collection(value: object) -> TypeGuard[Iterable[Any]]:
    """Tell whether this is a collection of values, and not one text that was given where several were meant."""
    return isinstance(value, Iterable) and not isinstance(value, (str, bytes))


def is_token(text: str) -> bool:
    """Tell whether this is a token of RFC 9110 section 5.6.2."""
    return _TOKEN.fullmatch(text) is not None
