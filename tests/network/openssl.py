"""What Python's ssl module has no word for: key updates and renegotiations, asked for by OpenSSL's own functions."""

from __future__ import annotations

import ctypes
import platform
import ssl
import struct
from functools import cache
from typing import Any

import pytest

REQUESTED = 1  # SSL_KEY_UPDATE_REQUESTED


def key_update(tls: ssl.SSLObject) -> None:
    """Send a KeyUpdate that wants to be answered by one (RFC 8446 section 4.6.3)."""
    _call("SSL_key_update", tls, REQUESTED)
    tls.do_handshake()


def ask_for_renegotiation(tls: ssl.SSLObject) -> None:
    """Begin a renegotiation: a server sends a HelloRequest (RFC 5246 section 7.4.1.1)."""
    _call("SSL_renegotiate", tls)
    tls.do_handshake()


def _call(name: str, tls: ssl.SSLObject, *arguments: int) -> None:
    try:
        function = getattr(_openssl(), name)
    except (AttributeError, OSError):
        pytest.skip(f"OpenSSL's {name} cannot be called from here")
    function.argtypes = [ctypes.c_void_p, *[ctypes.c_int] * len(arguments)]
    assert function(_pointer(tls), *arguments) == 1


@cache
def _openssl() -> Any:
    import _ssl

    if platform.python_implementation() != "CPython" or struct.calcsize("P") != 8:
        raise OSError("another layout of objects")
    return ctypes.CDLL(_ssl.__file__)


def _pointer(tls: ssl.SSLObject) -> int:
    # A PySSLSocket begins with its object's head, and a weak reference to a socket; then comes the SSL*.
    inner: Any = tls._sslobj  # type: ignore[attr-defined]
    head = object.__basicsize__
    return ctypes.c_void_p.from_address(id(inner) + head + ctypes.sizeof(ctypes.c_void_p)).value or 0
