"""Sockets on trio: one system call and one pass of the scheduler for each read.

trio's own socket looks whether something has arrived, waits, and passes through the scheduler once more when it has.
"""

from __future__ import annotations

from socket import socket

import trio
from anyio import BusyResourceError, ClosedResourceError
from trio.lowlevel import notify_closing, wait_readable

from .trio_loop import TrioLoop, current_trio_loop
from .watched_stream import WatchedStream


class TrioStream(WatchedStream):
    """A socket that our system task watches."""

    loop: TrioLoop

    def __init__(self, connected: socket) -> None:
        super().__init__(current_trio_loop(), connected)

    async def _wait_readable(self) -> None:
        try:
            await wait_readable(self._socket)
        except trio.ClosedResourceError:
            raise ClosedResourceError from None
        except trio.BusyResourceError as exc:
            raise BusyResourceError("reading from") from exc

    async def wait_released(self) -> None:
        """See :class:`Transport`."""
        await self.loop.wait_idle()

    def _close(self) -> None:
        notify_closing(self._socket)
        self._socket.close()
