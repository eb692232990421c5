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
from queue import SimpleQueue

from anyio import Event, from_thread
from anyio.lowlevel import EventLoopToken, current_token

from .exit_codes import ExitCode
from .failures import CommandFailed

READ_SIZE = 2**18  # bytes asked for at once; a pipe has 64 KiB at the most


class _Worker:
    """Does one blocking call at a time for the event loop: in a daemon thread, or on the spot if it is one on a file."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._calls: SimpleQueue[tuple[bytes, Event, EventLoopToken]] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        self._result = b""
        self._error: OSError | None = None

    def _begin(self, data: bytes) -> Event:
        """Have the next call done; return the event of its end."""
        done = Event()
        if self._is_file:
            self._attempt(data)
            done.set()
            return done
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, daemon=True)
            self._thread.start()
        self._calls.put((data, done, current_token()))
        return done

    def _work(self) -> None:
        while True:
            data, done, token = self._calls.get()
            self._attempt(data)
            try:
                from_thread.run_sync(done.set, token=token)
            except RuntimeError:
                return  # the event loop has ended meanwhile

    def _attempt(self, data: bytes) -> None:
        try:
            self._result = self._call(data)
        except OSError as exc:
            self._error = exc

    def _call(self, data: bytes) -> bytes:
        raise NotImplementedError


class InputStream(_Worker):
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
            self._reading = self._begin(b"")
        await self._reading.wait()
        self._reading = None
        if self._error is not None:
            raise CommandFailed(f"standard input cannot be read: {self._error.strerror}", ExitCode.USAGE)
        return self._result

    def _call(self, _data: bytes) -> bytes:
        while True:
            try:
                return os.read(self._descriptor, READ_SIZE)
            except BlockingIOError:  # whoever shares the descriptor made it so
                select.select([self._descriptor], [], [])


class OutputStream(_Worker):
    """The way to a descriptor."""

    def __init__(self, descriptor: int = 1) -> None:
        super().__init__(descriptor)

    async def send(self, data: bytes) -> None:
        """Write all bytes and wait until the system has taken them. When this is cancelled, some may be missing.

        :raises BrokenPipeError: nobody reads them
        :raises CommandFailed: they cannot be written for another reason
        """
        await self._begin(data).wait()
        if isinstance(self._error, BrokenPipeError):
            raise self._error
        if self._error is not None:
            raise CommandFailed(f"standard output cannot be written: {self._error.strerror}")

    def _call(self, data: bytes) -> bytes:
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:
                select.select([], [self._descriptor], [])
        return b""
