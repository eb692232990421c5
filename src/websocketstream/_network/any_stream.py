"""What every layer above does with a byte stream that may be of any kind."""

from __future__ import annotations

import ssl
from contextlib import suppress

from anyio import (
    BrokenResourceError,
    BusyResourceError,
    ClosedResourceError,
    aclose_forcefully,
    move_on_after,
)
from anyio.abc import AnyByteStream, ByteReceiveStream
from anyio.lowlevel import cancel_shielded_checkpoint

from .transport import DirectStream

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


async def send_all(stream: AnyByteStream, data: bytes) -> None:
    """Send bytes without yielding to the event loop for no reason: the caller waits for an answer anyway."""
    if isinstance(stream, DirectStream):
        sent = stream.try_send(data)
        if sent < len(data):
            await stream.finish_send(memoryview(data)[sent:])
    else:
        await stream.send(data)


async def release(stream: AnyByteStream) -> None:
    """Drop a byte stream; this cannot fail, and takes a second at the most."""
    if isinstance(stream, DirectStream):
        stream.drop()
        await cancel_shielded_checkpoint()  # asyncio lets go of the socket in its next pass
    else:
        with move_on_after(1, shield=True), suppress(Exception):
            await aclose_forcefully(stream)


async def half_close(stream: AnyByteStream) -> None:
    """Send the end of our direction and leave the other one open, where the transport can."""
    try:
        await stream.send_eof()
    except NotImplementedError:
        # TLS has no half-close in anyio; after the Close frames its transport's will do.
        transport = getattr(stream, "transport_stream", None)
        if transport is not None:
            await transport.send_eof()
