"""Standard input and output without blocking the event loop, and without holding up the exit.

A thread for each does the blocking calls, on every system and for whatever the descriptor is: a terminal, a pipe, a device. What
waits in such a call for ever is abandoned with its thread. anyio's own threads would be waited for. A file makes nobody wait for long,
and with threads it would take twice as long to move one; so there are none for files.
"""

from __future__ import annotations

import os
import select
import stat
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue

from anyio import Event, from_thread, move_on_after
from anyio.lowlevel import EventLoopToken, current_token

from .exit_codes import ExitCode
from .failures import CommandFailed

READ_SIZE = 2**18  # bytes asked for at once; a pipe has 64 KiB at the most
MOST_OFFERED = 16  # calls that nobody waits for
FLUSH_SECONDS = 1.0  # for them in the end

Call = Callable[[], bytes | None]


class Worker:
    """Does one blocking call at a time for the event loop: in a daemon thread, or on the spot if it is one on a file."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._calls: SimpleQueue[tuple[Call, Event, EventLoopToken]] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        self._result: bytes | None = None
        self._error: OSError | None = None
        self._most_offered = MOST_OFFERED
        self._offered: deque[Event] = deque()

    async def flush(self) -> None:
        """Wait until what was offered is done, for a moment at the most."""
        with move_on_after(FLUSH_SECONDS, shield=True):
            for done in self._offered:
                await done.wait()

    def _offer(self, call: Call) -> None:
        """Have a call done some time soon, or drop it if others wait already: nobody waits for it."""
        while self._offered and self._offered[0].is_set():
            self._offered.popleft()
        if len(self._offered) < self._most_offered:
            self._offered.append(self._begin(call))

    def _begin(self, call: Call) -> Event:
        """Have the next call done; return the event of its end."""
        done = Event()
        if self._is_file:
            self._attempt(call)
            done.set()
            return done
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, daemon=True)
            self._thread.start()
        self._calls.put((call, done, current_token()))
        return done

    def _work(self) -> None:
        while True:
            call, done, token = self._calls.get()
            self._attempt(call)
            try:
                from_thread.run_sync(done.set, token=token)
            except RuntimeError:
                return  # the event loop has ended meanwhile

    def _attempt(self, call: Call) -> None:
        try:
            self._result = call()
        except OSError as exc:
            self._error = exc


class InputStream(Worker):
    """The bytes of a descriptor. The next ones are read when they are asked for, so whoever writes them is held back."""

    def __init__(self, descriptor: int = 0) -> None:
        super().__init__(descriptor)
        self._reading: Event | None = None

    async def receive(self) -> bytes:
        """Wait for bytes and return them, ``b""`` at the end.

        Cancelling is safe: what is read meanwhile is what the next call returns.

        :raises CommandFailed: they cannot be read
        """
        if self._reading is None:
            self._reading = self._begin(self._read)
        await self._reading.wait()
        self._reading = None
        if self._error is not None:
            raise CommandFailed(f"standard input cannot be read: {self._error.strerror}", ExitCode.USAGE)
        return self._result or b""

    def _read(self) -> bytes:
        while True:
            try:
                return os.read(self._descriptor, READ_SIZE)
            except BlockingIOError:  # whoever shares the descriptor made it so
                select.select([self._descriptor], [], [])


class Writer(Worker):
    """Something that is written to, by whatever call does so."""

    async def _finish(self, call: Call) -> None:
        """Wait for the end of a call.

        :raises BrokenPipeError: nobody reads what is written
        :raises CommandFailed: it cannot be written for another reason
        """
        await self._begin(call).wait()
        if isinstance(self._error, BrokenPipeError):
            raise self._error
        if self._error is not None:
            raise CommandFailed(f"standard output cannot be written: {self._error.strerror}")


class OutputStream(Writer):
    """The way to a descriptor."""

    def __init__(self, descriptor: int = 1, *, most_offered: int = MOST_OFFERED) -> None:
        super().__init__(descriptor)
        self._most_offered = most_offered

    async def send(self, data: bytes) -> None:
        """Write all bytes and wait until the system has taken them. When this is cancelled, some may be missing.

        :raises BrokenPipeError: nobody reads them
        :raises CommandFailed: they cannot be written for another reason
        """
        await self._finish(partial(write_all, self._descriptor, data))

    def offer(self, data: bytes) -> None:
        """Write all bytes some time soon, or none of them where much waits already. That they cannot be written is no error."""
        self._offer(partial(write_all, self._descriptor, data))


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write all bytes; this blocks, also where whoever shares the descriptor has made it non-blocking."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:
            select.select([], [descriptor], [])


def takes_more(descriptor: int) -> bool:
    """Wait a moment until something can be written without waiting, and tell whether it can; True where the system does not say."""
    if not hasattr(select, "poll"):
        return True
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return bool(poll.poll(FLUSH_SECONDS * 1000))
