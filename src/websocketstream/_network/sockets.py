"""Connected sockets to byte streams, on each event loop its own kind."""

from __future__ import annotations

import asyncio
import socket

from sniffio import current_async_library

from .asyncio_transport import AsyncioStream
from .direct_stream import DirectStream


async def wrap_socket(connected: socket.socket) -> DirectStream:
    """Return the byte stream of a connected socket, which belongs to it from now on."""
    try:
        connected.setblocking(False)
        _send_small_segments_at_once(connected)
        if current_async_library() == "asyncio":
            loop = asyncio.get_running_loop()
            return (await loop.connect_accepted_socket(AsyncioStream, connected))[1]
        from .trio_transport import TrioStream

        return TrioStream(connected)
    except BaseException:
        connected.close()
        raise


def _send_small_segments_at_once(sock: socket.socket) -> None:
    # asyncio does this by itself only for sockets that were made with the protocol's number.
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
