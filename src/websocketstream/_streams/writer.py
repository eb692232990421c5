"""The writer: everything that leaves goes through here, whole frames in one order.

Where the transport allows it, the sender's own task writes, without waiting; what does not fit is left to the writer
task, which completes it whatever becomes of the sender.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from anyio.abc import AnyByteStream
from anyio.lowlevel import checkpoint

from .._network.backend import Backend, Waiter
from .._network.transport import Buffer, sink_of
from .._protocol.codec import Codec
from .budget import Budget
from .writable import Queued, WritableStream

# Ten pings want ten pongs, but a peer that pings and does not read gets no endless queue: beyond this many unsent
# pongs the oldest is dropped, as RFC 6455 section 5.5.3 allows.
MAX_QUEUED_PONGS = 16
# One write: between two of them senders, and the keepalive, learn how much is left.
WRITE_BYTES = 2**18
DIRECT_WRITE_BYTES = 2**19  # a fifth less CPU time for 1 MiB; without waiting, senders learn it soon enough
TURN_BYTES = 2**20  # so much is written in one go, if the system takes it, before it is the turn of others


class Writer:
    """Writes control frames first, then messages in order, then the Close frame, which is the last of all."""

    def __init__(
        self,
        stream: AnyByteStream,
        codec: Codec,
        budget: Budget,
        backend: Backend,
        *,
        on_progress: Callable[[bool], None],
        on_end: Callable[[Exception | None], None],
        start_task: Callable[[], bool],
    ) -> None:
        self._stream = stream
        self._sink = sink_of(stream)
        self._write_bytes = WRITE_BYTES if self._sink is None else DIRECT_WRITE_BYTES
        self._codec = codec
        self._backend = backend
        self._writable: WritableStream
        self._budget = budget
        self._turn = -1  # the sender's turn in which a message was written at once
        self._on_progress = on_progress
        self._on_end = on_end
        self._start_task = start_task
        self._running = False
        self._over = False
        self.close_written = False  # that is, it has left
        self._pongs: list[bytes] = []
        self._pings: list[bytes] = []
        self._close: tuple[int | None, str] | None = None
        self._work: Waiter | None = None
        self._chunks: Iterator[Buffer] = iter(())
        self._chunk: Buffer | None = None  # on its way, and waited for: nothing else may be written before it
        self._left = 0  # bytes of the chunk and those behind it
        self._with_ping = False
        self._last = False  # whether the chunks end with the Close frame

    def serve(self, writable: WritableStream) -> None:
        """Take messages from this stream."""
        self._writable = writable

    def wake(self) -> None:
        """Let the writer task write what there is; it is started when first needed, and then it stays."""
        if self._work is not None:
            self._work.set()
        elif not self._running and not self._over:
            self._running = self._start_task()

    def flush(self) -> None:
        """Write what there is at once if that is possible without waiting, or leave it to the writer task."""
        if not self.write_now():
            self.wake()

    def begins_turn(self) -> bool:
        """Tell whether a message may be written at once, being the first of its sender's turn.

        A request that waits for its answer goes out without a pass of the event loop; of a burst, all messages up to
        the sender's next checkpoint share one write.
        """
        if self._sink is None or self._turn == self._budget.turn:
            return False
        self._turn = self._budget.turn
        return True

    def write_alone(self, item: Queued) -> bool:
        """Write a message past the queue, or what of it can leave at once; false when something else comes first."""
        if self._left or self._pings or self._pongs or self._over or self._close is not None:
            return False
        assert self._sink is not None
        (frame,) = self._codec.send_messages((item,))
        try:
            sent = self._sink.try_send(frame)
        except Exception as exc:  # noqa: BLE001  (the sender has done nothing wrong: it meets the end of the connection)
            self._end(exc)
            return True
        if sent < len(frame):
            self._chunk, self._left, self._with_ping = frame, len(frame), False
            self._took(sent)
            self._continue_later()
        return True

    def continue_burst(self) -> None:
        """Let the next message wait for others, although the sender's turn is new."""
        self._turn = self._budget.turn

    def pong(self, payload: bytes) -> None:
        """Queue the answer to a ping; :meth:`flush` is the caller's, for there may be more."""
        self._pongs.append(payload)
        del self._pongs[:-MAX_QUEUED_PONGS]

    def ping(self, payload: bytes) -> None:
        """Queue a ping."""
        self._pings.append(payload)
        self.flush()

    def take_back_ping(self, payload: bytes) -> None:
        """Forget a ping that nobody waits for any more, unless it has left."""
        if payload in self._pings:
            self._pings.remove(payload)

    def close(self, code: int | None, reason: str) -> None:
        """Queue the Close frame; a later call replaces it unless it has been written."""
        self._close = (code, reason)
        self.flush()

    async def run(self) -> None:
        """Write until the Close frame has been written, or writing has failed."""
        try:
            while not self._over:
                chunk = self._next_chunk() if self._sink is None else self._chunk
                if chunk is not None:
                    await self._send(chunk)
                elif self._sink is None or self._has_written_all():
                    self._work = self._backend.waiter()
                    await self._work.wait()
                    self._work = None
                elif self._chunk is None:
                    await checkpoint()
        finally:
            self._over = True

    def _end(self, error: Exception | None) -> None:
        """Write nothing more: the Close frame has left, or the transport has failed."""
        self._over = True
        self.close_written = error is None
        self._on_end(error)
        if self._work is not None:
            self._work.set()

    async def _send(self, chunk: Buffer) -> None:
        """Send what did not leave at once."""
        try:
            if self._sink is None:
                # Always bytes: that is all anyio's byte streams promise to take.
                await self._stream.send(bytes(chunk))
            else:
                await self._sink.finish_send(chunk)
        except Exception as exc:  # noqa: BLE001  (the connection knows what follows)
            self._end(exc)
        else:
            self._took(len(chunk))

    def _has_written_all(self) -> bool:
        self.write_now()
        return not self._left

    def write_now(self) -> bool:
        """Write what there is without waiting; false when that has to happen later."""
        if self._sink is None or self._chunk is not None:
            return False
        written = 0
        try:
            while not self._over and written < TURN_BYTES and (chunk := self._next_chunk()) is not None:
                sent = self._sink.try_send(chunk)
                written += sent
                if not self._took(sent):
                    break
        except Exception as exc:  # noqa: BLE001  (the sender has done nothing wrong: it meets the end of the connection)
            self._end(exc)
        self._continue_later()
        return True

    def _continue_later(self) -> None:
        if self._left and not self._over and not self._waits_for_callback():
            self.wake()

    def _waits_for_callback(self) -> bool:
        return self._chunk is not None and self._sink is not None and self._sink.call_when_sent(self._sent)

    def _sent(self) -> None:
        """Go on: what was on its way has left, or the transport has failed."""
        if self._over or self._chunk is None:
            return
        assert self._sink is not None
        try:
            self._sink.try_send(b"")  # raises if it has failed
        except Exception as exc:  # noqa: BLE001  (the connection knows what follows)
            self._end(exc)
        else:
            self._took(len(self._chunk))
            self.write_now()

    def stop(self) -> None:
        """Write nothing more: the transport has been let go."""
        self._over = True

    def _next_chunk(self) -> Buffer | None:
        """Return what is to be written next, None when there is nothing."""
        if self._chunk is None:
            self._chunk = next(self._chunks, None)
            if self._chunk is None and not self._last and self._load():
                self._chunk = next(self._chunks)
        return self._chunk

    def _took(self, count: int) -> bool:
        """Take note of what has left of the chunk, and tell whether that was all of it."""
        chunk = self._chunk
        assert chunk is not None
        self._chunk = None if count == len(chunk) else memoryview(chunk)[count:]
        self._left -= count
        self._writable._progress(self._left)
        self._on_progress(self._with_ping and not self._left)
        if self._last and not self._left:
            self._end(None)
        return self._chunk is None

    def _load(self) -> bool:
        """Encode what goes out next; false when there is nothing."""
        buffers: list[Buffer] = []
        self._with_ping = bool(self._pings)
        if self._pongs or self._pings:
            self._encode_controls(buffers)
        batch = self._writable._take_batch()
        if batch:
            buffers += self._codec.send_messages(batch)
        elif self._close is not None:
            buffers.append(self._codec.send_close(*self._close))
            self._last = True
        if not buffers:
            return False
        self._left = sum(map(len, buffers))
        self._chunks = coalesce(buffers, self._left, self._write_bytes)
        self._writable._progress(self._left)
        return True

    def _encode_controls(self, buffers: list[Buffer]) -> None:
        buffers += map(self._codec.send_pong, self._pongs)
        buffers += map(self._codec.send_ping, self._pings)
        self._pongs.clear()
        self._pings.clear()


def coalesce(buffers: Sequence[Buffer], total: int, limit: int) -> Iterator[Buffer]:
    """Return what to write in one call each: small buffers joined, large ones cut; ``limit`` is about the size."""
    if len(buffers) <= 1 and total <= limit:
        return iter(buffers)
    if total <= limit:
        return iter([b"".join(buffers)])
    return _cut(buffers, limit)


def _cut(buffers: Sequence[Buffer], limit: int) -> Iterator[Buffer]:
    small: list[Buffer] = []
    size = 0
    for buffer in buffers:
        large = len(buffer) >= limit // 4
        if small and (large or size + len(buffer) > limit):
            yield b"".join(small)
            small, size = [], 0
        if large:
            view = memoryview(buffer)
            while len(view) > limit + limit // 4:  # a short rest is not worth a write of its own
                yield view[:limit]
                view = view[limit:]
            yield view
        else:
            small.append(buffer)
            size += len(buffer)
    if small:
        yield b"".join(small)
