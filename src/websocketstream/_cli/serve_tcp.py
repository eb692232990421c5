"""``serve --tcp HOST:PORT``: each client gets a TCP connection of its own, its bytes in binary messages."""

from __future__ import annotations

import argparse
import logging

from anyio import BrokenResourceError, connect_tcp, fail_after
from anyio.abc import SocketStream

from .._protocol.close import CloseCode
from .._server.request import WebSocketRequest
from .._server.visit import Handler
from .._streams.byte_stream import HalfClose, as_byte_stream, relay

logger = logging.getLogger("websocketstream.server")

CONNECT_SECONDS = 5.0
_MAX_PORT = 65535


def host_and_port(text: str) -> tuple[str, int]:
    """Read where to connect to: ``localhost:5432``, ``[::1]:22``.

    :raises argparse.ArgumentTypeError: it is no such place
    """
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise argparse.ArgumentTypeError(
            f"{text!r} has too many colons: an IPv6 address stands in brackets, [::1]:22"
        )
    if not (colon and host and port.isascii() and port.isdigit() and 0 < int(port) <= _MAX_PORT):
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT, such as localhost:5432 or [::1]:22")
    return host, int(port)


def make_handler(host: str, port: int, eof: HalfClose = "close") -> Handler:
    """Return a handler that bridges to a TCP server; a client is refused with 502 or 504 where that cannot be reached.

    :param eof: how the end of one direction is said, as for :func:`as_byte_stream`
    """

    async def handle(request: WebSocketRequest) -> None:
        try:
            with fail_after(CONNECT_SECONDS):
                tcp = await connect_tcp(host, port)
        except OSError as exc:  # a TimeoutError, too
            logger.warning(
                "%s cannot connect to %s port %d: %s", request.id, host, port, str(exc) or "no answer"
            )
            status = 504 if isinstance(exc, TimeoutError) else 502
            await request.reject(status, body="The server behind this one cannot be reached.\n")
            return
        async with tcp:
            await _bridge(request, tcp, eof)

    return handle


async def _bridge(request: WebSocketRequest, tcp: SocketStream, eof: HalfClose) -> None:
    async with request.accept() as conn:
        try:
            await relay(as_byte_stream(conn, eof=eof), tcp)
        except BrokenResourceError as exc:
            if conn.end_error is not None:
                raise  # the server knows what to make of that
            logger.info("%s the bridge broke: %s", request.id, exc)
            conn.close(CloseCode.BAD_GATEWAY, "the TCP connection behind failed")
