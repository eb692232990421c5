"""Connected sockets to byte streams, on each event loop its own kind."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from functools import cache

from . import asyncio_transport, socket_calls
from .asyncio_loop import AsyncioLoop, current_asyncio_loop
from .asyncio_transport import AsyncioStream
from .direct_stream import DirectStream
from .event_loop import EventLoop
from .loop import current_event_loop
from .selector_transport import SelectorStream

_INTERNET = (int(socket.AF_INET), int(socket.AF_INET6))
# What `socket.family` returns, without the call that makes a member of an Enum of the number.
_family_of: Callable[[socket.socket], int] = socket.SocketType.family.__get__


class AcceptedSocket(socket.socket):
    """One that is as we want it already: it does not block, and sends small segments at once."""

    __slots__ = ()


def connections_of(listening: socket.socket) -> Callable[[], socket.socket]:
    """Return what accepts the next connection of a listening socket that does not block.

    Where the system is called directly, the listening socket is given what Linux lets its connections have from it, and they
    need nothing more.
    """
    accept = socket_calls.accept
    if accept is None or listening.gettimeout() != 0:
        return lambda: listening.accept()[0]
    _send_small_segments_at_once(listening)
    # Numbers: to make members of an Enum of them, as `socket.accept` does, takes longer than to accept.
    family, kind, protocol = _family_of(listening), listening.type | socket.SOCK_NONBLOCK, listening.proto
    fileno = listening.fileno  # which knows when the socket has been closed

    def accept_directly() -> socket.socket:
        descriptor = accept(fileno())
        try:
            return AcceptedSocket(family, kind, protocol, descriptor)
        except BaseException:
            os.close(descriptor)
            raise

    return accept_directly


async def wrap_socket(connected: socket.socket, loop: EventLoop | None = None) -> DirectStream:
    """Return the byte stream of a connected socket, which belongs to it from now on.

    :param loop: the event loop that is running, for who knows it
    """
    try:
        if type(connected) is not AcceptedSocket:
            connected.setblocking(False)
            _send_small_segments_at_once(connected)
        loop = loop or current_event_loop()
        if not isinstance(loop, AsyncioLoop):
            return _trio_stream()(connected)
        if _watches_sockets(loop):
            return SelectorStream(connected, loop)
        return (await asyncio.get_running_loop().connect_accepted_socket(AsyncioStream, connected))[1]
    except BaseException:
        connected.close()
        raise


@cache
def _trio_stream() -> Callable[[socket.socket], DirectStream]:
    from .trio_transport import TrioStream

    return TrioStream


def watches_sockets() -> bool:
    """Tell whether asyncio's loop watches sockets for us."""
    return _watches_sockets(current_asyncio_loop())


def _watches_sockets(loop: AsyncioLoop) -> bool:
    return asyncio_transport.DIRECT_WRITES and loop.watches_sockets


def _send_small_segments_at_once(sock: socket.socket) -> None:
    # asyncio does this by itself only for sockets that were made with the protocol's number.
    if _family_of(sock) in _INTERNET:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
