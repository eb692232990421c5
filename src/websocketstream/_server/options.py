"""The options of a server, checked where they enter."""

from __future__ import annotations

import inspect
import socket
import ssl
from dataclasses import dataclass
from functools import partial
from typing import Any

from anyio.abc import Listener

from .._protocol.forwarded import TrustedProxies
from .._protocol.http import HandshakeLimits
from .._protocol.negotiation import Compression
from .._protocol.trace import Hook, check_trace
from .._streams.options import StreamOptions, check_seconds, check_size

_MAX_PORT = 65535


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """What a server needs to know for each connection."""

    stream: StreamOptions
    compression: Compression | None
    protocols: tuple[str, ...]
    origins: frozenset[str | None] | None  # as normal_origin() gives them; None admits all
    ssl_context: ssl.SSLContext | None
    open_timeout: float | None
    limits: HandshakeLimits
    trusted_proxies: TrustedProxies
    proxy_protocol: bool
    trace: Hook | None

    def __post_init__(self) -> None:
        if self.ssl_context is not None:
            _check_ssl_context(self.ssl_context)
        if self.open_timeout is not None:
            check_seconds("open_timeout", self.open_timeout)
        if not isinstance(self.limits, HandshakeLimits):
            raise TypeError(f"handshake_limits must be a HandshakeLimits, not {type(self.limits).__name__}")
        if not isinstance(self.trusted_proxies, TrustedProxies):
            raise TypeError(
                f"trusted_proxies must be a TrustedProxies, not {type(self.trusted_proxies).__name__}"
            )
        if not isinstance(self.proxy_protocol, bool):
            raise TypeError(f"proxy_protocol must be a bool, not {type(self.proxy_protocol).__name__}")
        if self.proxy_protocol and not self.trusted_proxies:
            raise ValueError("proxy_protocol is for connections of trusted_proxies, and there are none")
        check_trace(self.trace)


def check_capacity(shutdown_timeout: object, max_connections: object) -> None:
    """Insist on bounds that make sense for the server as a whole.

    :raises TypeError: one has the wrong type
    :raises ValueError: one is out of its range
    """
    check_seconds("shutdown_timeout", shutdown_timeout)
    if max_connections is not None:
        check_size("max_connections", max_connections)


def check_handler(handler: object) -> None:
    """Insist on an async function; what a lambda returns shows only when it is called.

    :raises TypeError: it is something else
    """
    if not callable(handler):
        raise TypeError(f"handler must be an async function, not {type(handler).__name__}")
    function: Any = handler
    while isinstance(function, partial):
        function = function.func
    function = inspect.unwrap(function)
    if not inspect.isroutine(function):
        function = type(function).__call__
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        raise TypeError(f"handler must be an async function, but {_name(handler)} has a yield in it")
    is_written_in_python = getattr(function, "__code__", None) is not None
    if is_written_in_python and not inspect.iscoroutinefunction(function) and function.__name__ != "<lambda>":
        raise TypeError(f"handler must be an async function: write `async def` for {_name(handler)}")


def check_place(host: object, port: object, listener: object, reuse_port: object) -> None:
    """Insist on an address, or on a listener instead.

    :raises TypeError: one has the wrong type
    :raises ValueError: the port is out of range, there are both, or the system cannot share ports
    """
    if not isinstance(reuse_port, bool):
        raise TypeError(f"reuse_port must be a bool, not {type(reuse_port).__name__}")
    if reuse_port and not hasattr(socket, "SO_REUSEPORT"):
        raise ValueError("reuse_port: this system lets no two processes listen on one port")
    if host is not None and not isinstance(host, str):
        raise TypeError(f"host must be a str or None, not {type(host).__name__}")
    if isinstance(port, bool) or not isinstance(port, int):
        raise TypeError(f"port must be an int, not {type(port).__name__}")
    if not 0 <= port <= _MAX_PORT:
        raise ValueError(f"port must be a number from 0 to {_MAX_PORT}, not {port}")
    if listener is None:
        return
    if not isinstance(listener, Listener):
        raise TypeError(
            f"listener must be an anyio Listener, not {type(listener).__name__}; for a socket, "
            "`await anyio.abc.SocketListener.from_socket(socket)` makes one"
        )
    if host is not None or port or reuse_port:
        raise ValueError(
            "a listener has its address already: pass either listener, or host and port, and reuse_port"
        )


def _check_ssl_context(context: object) -> None:
    if not isinstance(context, ssl.SSLContext):
        raise TypeError(
            f"ssl_context must be an ssl.SSLContext, not {type(context).__name__}: a server needs one with its "
            "certificate, from `ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)` and `load_cert_chain()`"
        )
    if context.protocol == ssl.PROTOCOL_TLS_CLIENT:
        raise ValueError(
            "this ssl_context is a client's: `ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)` makes a server's"
        )


def _name(function: object) -> str:
    return getattr(function, "__qualname__", None) or repr(function)
