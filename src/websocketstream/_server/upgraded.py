"""Connections of an HTTP server that is not ours, nor ASGI's: it hands over the connection and the request's bytes."""

from __future__ import annotations

import socket
import ssl
from contextlib import AbstractAsyncContextManager
from functools import partial

from anyio import EndOfStream
from anyio.abc import AnyByteStream, ByteStream, ObjectStream
from anyio.streams.tls import TLSAttribute

from .._network.any_stream import TRANSPORT_ERRORS, send_all
from .._network.sockets import wrap_socket
from .._network.task_transport import release
from .._protocol.engine import make_codec
from .._protocol.http import DEFAULT_LIMITS, HandshakeLimits, HeadersLike, Request, check_limits
from .._protocol.negotiation import Compression
from .._protocol.server_handshake import ServerHandshake
from .._streams.block import StreamBlock
from .._streams.connection import Connection
from .._streams.errors import ConnectionBroken
from .._streams.options import StreamOptions, check_compression
from .._streams.stream import WebSocketStream


def accept_upgraded(
    stream: socket.socket | AnyByteStream,
    request: bytes,
    *,
    protocol: str | None = None,
    headers: HeadersLike = (),
    compression: bool | Compression = False,
    max_message_size: int | None = 2**20,
    max_fragments: int | None = None,
    read_buffer: int = 2**20,
    write_buffer: int = 2**16,
    ping_interval: float | None = 20,
    ping_timeout: float | None = 20,
    close_timeout: float = 10,
    handshake_limits: HandshakeLimits = DEFAULT_LIMITS,
) -> AbstractAsyncContextManager[WebSocketStream]:
    """Accept a WebSocket on a connection of any HTTP server, and own it for the length of an ``async with`` block.

    For servers that let one take over the connection of a request, which they must not touch any more. The opening handshake is
    answered here, with 101; nothing of an answer may have been written before. Whom to admit is for the caller to decide before: the
    ``Origin`` is in ``conn.request``, and in the request's own bytes.

    :param stream: a connected socket, or the stream of one, such as anyio's TLS. When the block is entered it becomes the
        connection's, which closes it in the end, also when entering fails
    :param request: the request as it has arrived: its head, and whatever has been read behind that
    :param protocol: one of the offered subprotocols, None for none
    :param headers: further header fields of the answer
    :raises InvalidHandshake: this is no WebSocket handshake that can be accepted; nothing was sent
    :raises ValueError: the request is not complete, the protocol was not offered, or an option or header field is not allowed
    :raises TypeError: an argument has the wrong type
    :raises ConnectionBroken: (when the block is entered) the client has gone away

    The other options are those of :func:`serve_websocket_streams`.
    """
    _check_stream(stream)
    check_limits(handshake_limits)
    options = StreamOptions(
        read_buffer=read_buffer,
        write_buffer=write_buffer,
        ping_interval=ping_interval,
        ping_timeout=ping_timeout,
        close_timeout=close_timeout,
        max_message_size=max_message_size,
        max_fragments=max_fragments,
    )
    deflate = check_compression(compression)
    handshake = ServerHandshake(limits=handshake_limits, compression=deflate)
    asked = handshake.receive_data(request)
    if asked is None:
        raise ValueError("the request is not complete: all of it is wanted, with the empty line at its end")
    answer = handshake.accept(protocol, headers)
    return StreamBlock(
        partial(_open, stream, handshake, asked, answer, options=options, compression=deflate),
        called="accept_upgraded(...)",
    )


def _check_stream(stream: object) -> None:
    if isinstance(stream, ssl.SSLSocket):
        raise TypeError("an ssl.SSLSocket cannot be taken over: wrap it into an anyio byte stream")
    if not isinstance(stream, socket.socket | ByteStream | ObjectStream):
        raise TypeError(f"stream must be a socket or an anyio byte stream, not {type(stream).__name__}")


async def _open(
    given: socket.socket | AnyByteStream,
    handshake: ServerHandshake,
    request: Request,
    answer: bytes,
    *,
    options: StreamOptions,
    compression: Compression | None,
) -> tuple[Connection, WebSocketStream]:
    try:
        stream = await wrap_socket(given) if isinstance(given, socket.socket) else given
    except OSError as exc:  # which has closed the socket
        raise ConnectionBroken("the client went away before it was answered") from exc
    try:
        await send_all(stream, answer)
    except (EndOfStream, *TRANSPORT_ERRORS) as exc:
        await release(stream)
        raise ConnectionBroken("the client went away before it was answered") from exc
    except BaseException:
        await release(stream)
        raise
    codec = make_codec(
        client=False, limits=options.limits, deflate=handshake.deflate, compression=compression
    )
    connection = Connection(stream, codec, server=True, options=options, early_data=handshake.trailing_data)
    scheme = "ws" if stream.extra(TLSAttribute.tls_version, None) is None else "wss"
    return connection, WebSocketStream(
        connection,
        url=f"{scheme}://{request.headers['host']}{request.target}",
        protocol=handshake.protocol,
        extensions=handshake.extensions,
        request=request,
    )
