"""Accepting connections from a listening socket."""

from __future__ import annotations

import socket

from anyio import ClosedResourceError, wait_readable


async def accept(listening: socket.socket, waiting: socket.socket) -> socket.socket:
    """Accept one connection, for :func:`.sockets.wrap_socket`; a checkpoint only where none is waiting.

    ``waiting`` is a duplicate of the listening socket. An event loop must not be left waiting for a descriptor that
    somebody else closes, and may by then be that of another socket.

    :raises OSError: the system could not accept
    :raises anyio.ClosedResourceError: the listening socket was closed
    """
    while listening.fileno() >= 0:
        try:
            return listening.accept()[0]
        except BlockingIOError:
            await wait_readable(waiting)
    raise ClosedResourceError
