"""The origins of web pages, as the ``origins`` option lists them and as browsers send them (RFC 6454, WHATWG HTML)."""

from __future__ import annotations

import re

from .._protocol.arguments import is_collection
from .._protocol.host import bracketed, normalise_host
from .._protocol.url import parse_port

_DEFAULT_PORTS = {"http": 80, "https": 443}
_PAGES_OF = {"ws": "http", "wss": "https"}  # a page that opens a WebSocket has come over these
_PARTS = re.compile(r"(?:([a-z][a-z0-9+.\-]*):(?=//))?/*(?:[^/?#]*@)?([^/?#]*)")
_AUTHORITY = re.compile(r"(\[[^\]]*\]|[^:]*)(?::([0-9]*))?")
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def check_origins(origins: object) -> frozenset[str | None] | None:
    """Return the ``origins`` option in the form that :func:`normal_origin` gives, None for everybody.

    :raises TypeError: it is no collection of str and None
    :raises ValueError: one could not be what a browser sends; the message shows what to write
    """
    if origins is None:
        return None
    if not is_collection(origins):
        raise TypeError(f"origins must be a list of origins or None, not {type(origins).__name__}")
    return frozenset(None if origin is None else _check(origin) for origin in origins)


def normal_origin(origin: str) -> str:
    """Return an origin in lower case and without its scheme's own port: equal ones are equal then."""
    origin = origin.lower()
    scheme, _, _ = origin.partition("://")
    port = _DEFAULT_PORTS.get(scheme)
    return origin if port is None else origin.removesuffix(f":{port}")


def _check(origin: object) -> str:
    if not isinstance(origin, str):
        raise TypeError(f"an origin must be a str or None, not {type(origin).__name__}")
    normal = normal_origin(origin)
    if normal == "null":  # what browsers send for sandboxed frames, files and the like
        return normal
    if "*" in origin:
        raise ValueError(
            f"origin {origin[:100]!a} is a pattern, and origins are compared as a whole: "
            "list each of them, or pass origins=None, which admits everybody"
        )
    if not origin:
        raise ValueError(
            'an origin must not be empty; None stands for "no Origin", which browsers never send'
        )
    wanted = _wanted_form(normal.strip())
    if wanted != normal:
        advice = f"write {wanted!a:.100}" if wanted else 'write it like "https://a.com"'
        raise ValueError(f"origin {origin[:100]!a} is not what a browser sends: {advice}")
    return normal


def _wanted_form(text: str) -> str | None:
    """Return the origin that somebody probably meant, None where that is anybody's guess."""
    match = _PARTS.match(text)
    assert match is not None  # it matches everything
    authority: str = match[2]
    scheme: str | None = match[1]
    scheme = _PAGES_OF.get(scheme or "", scheme)
    if scheme is not None and scheme not in _DEFAULT_PORTS:
        return f"{scheme}://{authority}"  # an app's or an extension's own, such as chrome-extension://
    try:
        return _web_origin(scheme, authority)
    except ValueError:
        return None


def _web_origin(scheme: str | None, authority: str) -> str:
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        raise ValueError("no host and port")
    host = normalise_host(match[1])
    scheme = scheme or ("http" if host in _LOOPBACK else "https")
    origin = f"{scheme}://{bracketed(host)}"
    if not match[2] or parse_port(match[2]) == _DEFAULT_PORTS[scheme]:
        return origin
    return f"{origin}:{parse_port(match[2])}"
