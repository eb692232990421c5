"""A socket's system calls: by Python's sockets, or by ``_sockets.pyx`` where it was built, in less time."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from socket import socket
from typing import TYPE_CHECKING

from .._protocol.engine import ENGINE
from .transport import Buffer


class SocketCalls:
    """Sends and receives by a socket that does not block."""

    __slots__ = ("_receive_into", "_receive_parts", "send")

    def __init__(self, connected: socket) -> None:
        self._receive_into = connected.recv_into
        self._receive_parts = getattr(connected, "recvmsg_into", None)  # not on Windows
        self.send: Callable[[Buffer], int] = connected.send

    def receive(self, room: memoryview) -> Buffer:
        """Receive into a buffer; return the part of it that was filled, or a copy of that.

        :raises BlockingIOError: nothing has arrived
        :raises OSError: the socket has failed
        """
        return room[: self._receive_into(room)]

    def receive_both(self, room: memoryview, behind: memoryview) -> int:
        """Receive into two buffers, or into the first; return how many bytes, and raise as :meth:`receive`."""
        if self._receive_parts is None:
            return self._receive_into(room)
        return self._receive_parts([room, behind])[0]  # type: ignore[no-any-return]


def sender_of(connected: socket) -> Callable[[Buffer], int]:
    """Return what sends by the socket of an event loop's transport; not on Windows, where that is no file."""
    return partial(os.write, connected.fileno())


# Accepts a connection that does not block, without asking whose it is, and returns its descriptor; None where only Python's
# sockets can.
accept: Callable[[int], int] | None = None


def part_of(room: memoryview, size: int) -> Buffer:
    """Return the first bytes of a buffer, or a copy of them."""
    return room[:size]


if not TYPE_CHECKING and ENGINE == "compiled":
    with suppress(ImportError):  # it was not built, as on Windows
        from ._sockets import SocketCalls, part_of, sender_of  # noqa: F401

        if sys.platform == "linux":  # others have no such system call
            from ._sockets import accept  # noqa: F401
