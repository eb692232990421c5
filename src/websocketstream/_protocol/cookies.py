"""Cookies as mappings: those of a request, read and written, and those that a response sets (RFC 6265)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from .arguments import is_token

# What would end the value or the field, or be lost on the way; browsers send everything else as they have got it.
_NO_VALUE = re.compile(r"[\x00-\x1f\x7f;]|[^\x00-\x7f]|^ | $")


def cookie_field(cookies: Mapping[str, str]) -> str:
    """Return the value of the ``Cookie`` field, "" for no cookies (section 4.2.1). No message shows a cookie's value.

    :raises TypeError: this is no mapping of str to str
    :raises ValueError: a name is no token, or a value cannot stand in the field
    """
    if not isinstance(cookies, Mapping):
        raise TypeError(f"cookies must be a mapping of names to values, not {type(cookies).__name__}")
    return "; ".join(_pair(name, value) for name, value in cookies.items())


def _pair(name: object, value: object) -> str:
    if not isinstance(name, str) or not isinstance(value, str):
        raise TypeError(f"cookie {name!r:.100} must have a str for a name and a str for a value")
    if not is_token(name):
        raise ValueError(f"cookie name {name[:100]!a} is not an HTTP token")
    if _NO_VALUE.search(value):
        raise ValueError(
            f"cookie {name:.100} has a value with a semicolon, a control character, outer space or a character beyond ASCII; "
            "encode it first"
        )
    return f"{name}={value}"


def parse_cookies(fields: Iterable[str]) -> dict[str, str]:
    """Return the cookies of a request by name, the first of each: browsers send the more specific one first (section 5.4).

    Values are as the browser sends them, without the quotes that may stand around one (section 4.1.1); what is no cookie is
    left out.

    :param fields: the values of the ``Cookie`` fields
    """
    cookies: dict[str, str] = {}
    for field in fields:
        for pair in field.split(";"):
            name, equals, value = (part.strip(" \t") for part in pair.partition("="))
            if name and equals:
                if len(value) > 1 and value[0] == value[-1] == '"':
                    value = value[1:-1]
                cookies.setdefault(name, value)
    return cookies


def parse_set_cookies(fields: Iterable[str]) -> dict[str, str]:
    """Return the cookies that a response sets by name, the last of each, without their attributes (section 5.2).

    :param fields: the values of the ``Set-Cookie`` fields
    """
    cookies: dict[str, str] = {}
    for field in fields:
        name, equals, value = (part.strip(" \t") for part in field.partition(";")[0].partition("="))
        if name and equals:
            cookies[name] = value
    return cookies
