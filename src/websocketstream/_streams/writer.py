"""The writer task: everything that leaves goes through here, whole frames in one order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence

from anyio import Event
from anyio.abc import AnyByteStream

from .._protocol.codec import Codec
from .writable import WritableStream

# Ten pings want ten pongs, but a peer that pings and does not read gets no endless queue: beyond this many unsent
# pongs the oldest is dropped, as RFC 6455 section 5.5.3 allows.
MAX_QUEUED_PONGS = 16
WRITE_BYTES = 2**18  # one write; between two of them senders learn how much is left

Buffer = bytes | bytearray | memoryview


class Writer:
    """Writes control frames first, then messages in order, then the Close frame, which is the last of all."""

    def __init__(
        self,
        stream: AnyByteStream,
        codec: Codec,
        writable: WritableStream,
        on_progress: Callable[[bool], None],
    ) -> None:
        self._stream = stream
        self._codec = codec
        self._writable = writable
        self._on_progress = on_progress
        self._pongs: deque[bytes] = deque(maxlen=MAX_QUEUED_PONGS)
        self._pings: deque[bytes] = deque()
        self._close: tuple[int | None, str] | None = None
        self._work: Event | None = None

    def wake(self) -> None:
        """Tell the writer task that there is something to write."""
        if self._work is not None:
            self._work.set()

    def pong(self, payload: bytes) -> None:
        """Queue the answer to a ping."""
        self._pongs.append(payload)
        self.wake()

    def ping(self, payload: bytes) -> None:
        """Queue a ping."""
        self._pings.append(payload)
        self.wake()

    def take_back_ping(self, payload: bytes) -> None:
        """Forget a ping that nobody waits for any more, unless it has left."""
        if payload in self._pings:
            self._pings.remove(payload)

    def close(self, code: int | None, reason: str) -> None:
        """Queue the Close frame; a later call replaces it unless it has been written."""
        self._close = (code, reason)
        self.wake()

    async def run(self) -> None:
        """Write until the Close frame has been written.

        :raises anyio.BrokenResourceError: the transport failed (or its own error)
        """
        finished = False
        while not finished:
            buffers, with_ping, finished = self._next()
            if buffers:
                await self._write(buffers, with_ping)
            elif not finished:
                self._work = Event()
                await self._work.wait()
                self._work = None

    def _next(self) -> tuple[list[Buffer], bool, bool]:
        """Encode what goes out next: the buffers, whether a ping is among them, and whether that was the last."""
        buffers: list[Buffer] = []
        while self._pongs:
            buffers.append(self._codec.send_pong(self._pongs.popleft()))
        with_ping = bool(self._pings)
        while self._pings:
            buffers.append(self._codec.send_ping(self._pings.popleft()))
        batch = self._writable._take_batch()
        if batch:
            buffers += self._codec.send_messages(batch)
        elif self._close is not None:
            buffers.append(self._codec.send_close(*self._close))
            return buffers, with_ping, True
        return buffers, with_ping, False

    async def _write(self, buffers: list[Buffer], with_ping: bool) -> None:
        left = sum(map(len, buffers))
        self._writable._progress(left)
        for chunk in coalesce(buffers, left):
            await self._stream.send(chunk)
            left -= len(chunk)
            self._writable._progress(left)
            self._on_progress(with_ping and not left)


def coalesce(buffers: Sequence[Buffer], total: int) -> Iterator[bytes]:
    """Yield what to write in one call each: small buffers joined, large ones cut.

    Always bytes: that is all anyio's byte streams promise to take.
    """
    if total <= WRITE_BYTES:
        yield bytes(buffers[0]) if len(buffers) == 1 else b"".join(buffers)
        return
    small: list[Buffer] = []
    for buffer in buffers:
        if len(buffer) < WRITE_BYTES // 4:
            small.append(buffer)
            continue
        if small:
            yield b"".join(small)
            small.clear()
        view = memoryview(buffer)
        for start in range(0, len(view), WRITE_BYTES):
            yield bytes(view[start : start + WRITE_BYTES])
    if small:
        yield b"".join(small)
