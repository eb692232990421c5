"""The system calls of a socket: what happens for each read and each write, and nothing else."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Protocol

from anyio import ClosedResourceError

from .._network.socket_calls import part_of
from .._network.transport import BEHIND_BYTES, Buffer, Scratch, discard, lost
from .._network.turns import BUSY_BYTES
from .wakeups import Wakeups


class Owner(Protocol):
    """Whose socket it is."""

    def share(self) -> memoryview:
        """Return the part of the scratch that the next read may fill, after one that brought much."""
        ...

    def arrived_unasked(self) -> None:
        """There is something to read, and nobody to give it to."""
        ...

    def read_much(self) -> None:
        """A read has brought much, and that was handed on."""
        ...

    def read_nothing(self) -> None:
        """The peer has ended its direction."""
        ...

    def read_failed(self, error: Exception) -> None:
        """The socket cannot be read."""
        ...

    def keep_unsent(self, data: memoryview) -> int:
        """See to what the system did not take; return how much of it has left all the same."""
        ...

    def raise_if_barred(self) -> None:
        """Raise an error if nothing may be written, or the event loop has ended."""
        ...


class Nobody:
    """The owner of what was released."""

    def raise_if_barred(self) -> None:
        """See :class:`Owner`."""
        raise ClosedResourceError

    def ignore(self, *_: object) -> int:
        """Take note of whatever else there is."""
        return 0

    share = arrived_unasked = read_much = read_nothing = read_failed = keep_unsent = ignore


NOBODY: Any = Nobody()


class SystemCalls:
    """Reads into the event loop's scratch and hands that on; writes what is given.

    What is not always the same is left to the owner.

    :param receive: the system call that reads, where we are told when to; else the event loop reads
    :param send: the system call that writes; it may come later
    :param scratch: where to read into
    :param wakeups: who lets tasks go on at the end of the event loop's callbacks, if anybody
    :param running_loop: returns the event loop that is running; where it is not ``loop``, that may have ended
    """

    __slots__ = (
        "_loop",
        "_owner",
        "_receive",
        "_receive_both",
        "_running_loop",
        "_wakeups",
        "barred",
        "deliver",
        "filled",
        "got",
        "large",
        "many",
        "offer",
        "send",
        "small",
    )

    def __init__(
        self,
        owner: Owner,
        scratch: Scratch,
        *,
        send: Callable[[Buffer], int] | None = None,
        receive: Callable[[memoryview], Buffer] | None = None,
        receive_both: Callable[[memoryview, memoryview], int] | None = None,
        running_loop: Callable[[], object] | None = None,
        loop: object = None,
        wakeups: Wakeups | None = None,
    ) -> None:
        self._owner: Owner = owner
        self._receive = receive
        self._receive_both = receive_both
        self._running_loop = running_loop
        self._loop = loop
        self._wakeups: Wakeups | None = wakeups
        self.small: memoryview = scratch.small
        self.large: memoryview = scratch.large
        self.send: Callable[[Buffer], int] | None = send
        self.deliver: Callable[[Buffer], object] | None = None  # takes what has arrived
        # Where it may be put, and what takes it then: see `Receiver.room`.
        self.offer: Callable[[int], memoryview | None] | None = None
        self.filled: Callable[[int, Buffer], object] | None = None
        self.got: int = 0  # bytes, by the last read
        self.many: int = BUSY_BYTES  # a read that brings so many is a large one
        self.barred: bool = False  # nothing may be written

    def release(self) -> None:
        """Let go of everything, so that the garbage collector is not needed for it; whoever writes is told."""
        self.barred = True
        self.deliver = discard
        self.many = sys.maxsize  # nobody has to be asked where to read into
        self._owner = NOBODY
        self.offer = self.filled = None
        self.send = self._receive = self._receive_both = self._running_loop = self._loop = None

    # --- reading, where we are told when to

    def on_readable(self) -> None:
        """Read, and hand on what has arrived."""
        wakeups = self._wakeups
        if wakeups is None:
            self._read()
            return
        wakeups.begin()
        try:
            self._read()
        finally:
            wakeups.end()

    def _read(self) -> None:
        deliver = self.deliver
        if deliver is None:
            self._owner.arrived_unasked()
            return
        if self.got < self.many:
            room = self.small
        else:
            room = self._owner.share()
            into = self.offer(len(room))  # type: ignore[misc]
            if into is not None:
                self._read_into(into, room)
                return
            if self._receive is None:  # released meanwhile
                return
        try:
            data = self._receive(room)  # type: ignore[misc]
        except BlockingIOError:
            return
        except OSError as exc:
            self._owner.read_failed(exc)
            return
        self.got = len(data)
        if self.got:
            deliver(data)
        else:
            self._owner.read_nothing()

    def _read_into(self, into: memoryview, room: memoryview) -> None:
        """Read the rest of a message to where it shall stay, and a little of what is behind."""
        size = len(into)
        behind = room[: min(len(room) - size, BEHIND_BYTES)]
        try:
            got = self._receive_both(into, behind)  # type: ignore[misc]
        except BlockingIOError:
            return
        except OSError as exc:
            self._owner.read_failed(exc)
            return
        self.got = got
        if got:
            self.filled(min(got, size), behind[: max(got - size, 0)])  # type: ignore[misc]
        else:
            self._owner.read_nothing()

    # --- reading, where the event loop does it

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        """Return where to read into."""
        return self.small if self.got < self.many else self._owner.share()

    def buffer_updated(self, nbytes: int) -> None:
        """Hand on what was read."""
        self.got = nbytes
        if nbytes >= self.many:
            # The event loop may read on at once: who is woken waits for the next pass, as everybody else does.
            self.deliver(self.large[:nbytes])  # type: ignore[misc]
            self._owner.read_much()
            return
        wakeups = self._wakeups
        wakeups.begin()  # type: ignore[union-attr]
        try:
            self.deliver(part_of(self.large, nbytes))  # type: ignore[misc]
        finally:
            wakeups.end()  # type: ignore[union-attr]

    # --- writing

    def write(self, data: Buffer) -> int:
        """See :meth:`Transport.write`."""
        # A task that goes on in the event loop's own callback is in that.
        if self.barred or (
            self._running_loop is not None
            and not (self._wakeups is not None and self._wakeups.is_going_on)
            and self._is_elsewhere()
        ):
            self._owner.raise_if_barred()
        try:
            sent = self.send(data)  # type: ignore[misc]
        except BlockingIOError:
            sent = 0
        except OSError as exc:
            raise lost(exc) from exc
        if sent < len(data):
            sent += self._owner.keep_unsent(memoryview(data)[sent:])
        return sent

    def _is_elsewhere(self) -> bool:
        try:
            return self._running_loop() is not self._loop  # type: ignore[misc]
        except RuntimeError:  # there is none
            return True
