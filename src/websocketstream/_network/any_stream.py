"""What is done with a byte stream of any kind before it is a transport."""

from __future__ import annotations

import ssl
from contextlib import suppress

from anyio import (
    BrokenResourceError,
    BusyResourceError,
    ClosedResourceError,
    EndOfStream,
    move_on_after,
)
from anyio.abc import AnyByteStream, ByteReceiveStream

from .direct_stream import BelowAttribute, DirectStream
from .stream_transport import is_stream_transport

READ_BYTES = 65536
# After the last byte of ours, how long (seconds) the peer may take to end the transport before we do. RFC 6455
# section 7.1.1 wants the server to end it first; an end with unread data would reset it and destroy our Close frame.
DRAIN_SECONDS = 1.0

TRANSPORT_ERRORS = (BrokenResourceError, ClosedResourceError, BusyResourceError, OSError, ssl.SSLError)


async def receive_some(stream: AnyByteStream) -> bytes:
    """Receive what has arrived.

    :raises anyio.EndOfStream: the peer has ended the stream
    """
    if isinstance(stream, ByteReceiveStream):
        return await stream.receive(READ_BYTES)
    return await stream.receive()


async def receive_head(stream: AnyByteStream) -> bytes:
    """As :func:`receive_some`, without yielding to the event loop for no reason: for what has a limit, and is soon over."""
    if is_stream_transport(stream):
        return await stream.receive_some(READ_BYTES)
    return await receive_some(stream)


async def send_all(stream: AnyByteStream, data: bytes) -> None:
    """Send bytes without yielding to the event loop for no reason: the caller waits for an answer anyway."""
    if is_stream_transport(stream):
        await stream.send_all(data)
    else:
        await stream.send(data)


async def half_close(stream: AnyByteStream) -> None:
    """Send the end of our direction and leave the other one open, where the stream can."""
    try:
        await stream.send_eof()
    except NotImplementedError:
        # anyio's TLS has no half-close; after the Close frames its transport's will do.
        transport = getattr(stream, "transport_stream", None)
        if transport is not None:
            await transport.send_eof()


async def say_and_drain(stream: AnyByteStream, last_words: bytes) -> None:
    """Write the last bytes and let the peer read them: an immediate close could reset the connection before that."""
    with move_on_after(DRAIN_SECONDS), suppress(EndOfStream, *TRANSPORT_ERRORS):
        await stream.send(last_words)
        await half_close(stream)
        while True:
            await receive_some(stream)


def socket_below(stream: AnyByteStream) -> DirectStream | None:
    """Return the socket below layers such as TLS: it can be let go without a task."""
    with suppress(Exception):  # it may be anybody's code
        return stream.extra(BelowAttribute.direct_stream, None)
    return None
