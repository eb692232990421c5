"""A lean byte stream on trio: one system call and one pass of the scheduler for each read, and no task that only waits.

trio's own socket looks whether something has arrived, waits, and passes through the scheduler once more when it has.
"""

from __future__ import annotations

import select
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from socket import SHUT_WR, socket
from typing import Any, TypeVar

import trio
from anyio import BrokenResourceError, BusyResourceError, ClosedResourceError, EndOfStream
from anyio.abc import SocketAttribute
from trio.lowlevel import (
    RunVar,
    cancel_shielded_checkpoint,
    checkpoint,
    checkpoint_if_cancelled,
    notify_closing,
    spawn_system_task,
    wait_readable,
    wait_writable,
)

from .transport import SCRATCH, Buffer, DirectStream

T = TypeVar("T")


class TrioStream(DirectStream):
    """One end of a socket connection; it owns the socket, which does not block."""

    def __init__(self, connected: socket) -> None:
        self._socket = connected
        self._feed: Callable[[Buffer], bool] | None = None
        self._stopped: Callable[[], object] | None = None
        self._poller: _Poller | None = None  # which calls us
        self._error: Exception | None = None
        self._ended = False
        self._closed = False

    # --- reading

    def listen(self, feed: Callable[[Buffer], bool], stopped: Callable[[], object]) -> bool:
        """See :class:`DirectStream`."""
        poller = None if self._closed else _current_poller()
        if poller is None:
            return False
        self._feed, self._stopped, self._poller = feed, stopped, poller
        poller.add(self._socket.fileno(), self._arrived)
        return True

    def _arrived(self) -> None:
        """Feed what has arrived, or stop listening."""
        assert self._feed is not None
        assert self._stopped is not None
        try:
            count = self._socket.recv_into(self._room)
            self._ended = not count
            if count and not self._feed(SCRATCH.large[:count]):
                return
        except BlockingIOError:
            return
        except Exception as exc:  # noqa: BLE001  (it comes out where somebody reads)
            self._error = exc
        stopped = self._stopped
        self._stop_listening()
        stopped()

    def _stop_listening(self) -> None:
        if self._poller is not None:
            self._poller.remove(self._socket.fileno())
            self._feed = self._stopped = self._poller = None

    async def pump(self, feed: Callable[[Buffer], bool]) -> None:
        """See :class:`DirectStream`."""
        self._stop_listening()
        await checkpoint_if_cancelled()
        while True:
            room = self._room
            count = await self._receive(partial(self._socket.recv_into, room))
            if feed(SCRATCH.large[:count]) or self._closed:
                return
            if count == len(room):
                await checkpoint()  # there is more, but others want their turn
            else:
                await self._wait(wait_readable)

    @property
    def _room(self) -> memoryview:
        return SCRATCH.large if self.large_reads else SCRATCH.small

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Wait for bytes and return them. Cancelling is safe: nothing is lost.

        :raises anyio.EndOfStream: the peer has ended its direction
        :raises anyio.BrokenResourceError: the transport has failed
        :raises anyio.ClosedResourceError: this end was closed
        """
        await checkpoint()
        return await self._receive(partial(self._socket.recv, max_bytes))

    async def _receive(self, receive: Callable[[], T]) -> T:
        while not self._ended:
            self._check()
            try:
                received = receive()
            except BlockingIOError:
                await self._wait(wait_readable)
            except OSError as exc:
                self._error = exc
            else:
                if received:
                    return received
                self._ended = True
        raise EndOfStream

    # --- writing

    async def send(self, item: bytes) -> None:
        """Send bytes and wait until the system has taken them all.

        :raises anyio.BrokenResourceError: the transport has failed
        :raises anyio.ClosedResourceError: this end was closed
        """
        await checkpoint_if_cancelled()
        sent = self.try_send(item)
        if sent < len(item):
            await self.finish_send(memoryview(item)[sent:])
        else:
            await cancel_shielded_checkpoint()

    def try_send(self, data: Buffer) -> int:
        """See :class:`Sink`."""
        self._check()
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0
        except OSError as exc:
            raise BrokenResourceError("the connection was lost") from exc

    async def finish_send(self, rest: Buffer) -> None:
        """See :class:`Sink`. Cancelling may leave a part of it sent."""
        view = memoryview(rest)
        while view:
            await self._wait(wait_writable)
            view = view[self.try_send(view) :]

    def end_sending(self) -> None:
        """See :class:`DirectStream`."""
        if not self._closed:
            with suppress(OSError):  # it has failed, as whoever reads will learn
                self._socket.shutdown(SHUT_WR)

    # --- the end

    def drop(self) -> None:
        """See :class:`DirectStream`."""
        if not self._closed:
            self._stop_listening()
            self._closed = True
            notify_closing(self._socket)
            self._socket.close()

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """The attributes of the socket."""
        return {
            SocketAttribute.family: lambda: self._socket.family,
            SocketAttribute.local_address: self._socket.getsockname,
            SocketAttribute.remote_address: self._socket.getpeername,
            SocketAttribute.local_port: lambda: self._socket.getsockname()[1],
            SocketAttribute.remote_port: lambda: self._socket.getpeername()[1],
            SocketAttribute.raw_socket: lambda: self._socket,
        }

    async def _wait(self, until: Callable[[socket], Any]) -> None:
        try:
            await until(self._socket)
        except trio.ClosedResourceError:
            raise ClosedResourceError from None
        except trio.BusyResourceError as exc:
            raise BusyResourceError("reading from" if until is wait_readable else "writing to") from exc

    def _check(self) -> None:
        if self._closed:
            raise ClosedResourceError
        if self._error is not None:
            raise BrokenResourceError("the connection was lost") from self._error


class _Poller:
    """One task that waits for any number of sockets, and calls who is concerned; it ends with the last of them."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callable[[], None]] = {}
        self._scope = trio.CancelScope()

    def add(self, descriptor: int, callback: Callable[[], None]) -> None:
        self._callbacks[descriptor] = callback
        self._epoll.register(descriptor, select.EPOLLIN)

    def remove(self, descriptor: int) -> None:
        del self._callbacks[descriptor]
        self._epoll.unregister(descriptor)
        if not self._callbacks:
            _poller.set(None)
            self._scope.cancel()

    async def run(self) -> None:
        with self._epoll, self._scope:
            while True:
                await wait_readable(self._epoll)
                for descriptor, _ in self._epoll.poll(0, 64):  # then it is the turn of others
                    # A callback may have closed a connection whose turn has not come.
                    if descriptor in self._callbacks:
                        self._callbacks[descriptor]()


_poller: RunVar[_Poller | None] = RunVar("websocketstream poller", None)


def _current_poller() -> _Poller | None:
    """Return this run's poller, None where the system has nothing to wait with that trio can wait for."""
    if not hasattr(select, "epoll"):
        return None
    poller = _poller.get()
    if poller is None:
        poller = _Poller()
        spawn_system_task(poller.run, name="websocketstream poller")
        _poller.set(poller)
    return poller
