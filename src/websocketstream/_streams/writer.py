"""The writer: everything that leaves goes through here, whole frames in one order.

It never waits. It writes from whatever task or callback gives it something to write, as long as the transport takes it;
then the transport says when it goes on. What one turn leaves over, another one does in the event loop's next pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from .._network.any_stream import TRANSPORT_ERRORS
from .._network.loop import EventLoop, Handle
from .._network.transport import Buffer, Transport
from .._protocol.codec import Codec, Encoded, Outgoing
from .._protocol.life import Life
from .budget import Budget
from .send_buffer import Queued, Sendable, SendBuffer, prepare, size_of

# Ten pings want ten pongs, but a peer that pings and does not read gets no endless queue: beyond this many unsent
# pongs the oldest is dropped, as RFC 6455 section 5.5.3 allows.
MAX_QUEUED_PONGS = 16
BATCH_BYTES = 65536  # how much payload of small messages is encoded and written in one go
SHORT_BATCH_BYTES = 4096  # ... where it counts how much cannot be taken back any more
# One write: between two of them senders, and the keepalive, learn how much is left.
WRITE_BYTES = 2**18
DIRECT_WRITE_BYTES = 2**19  # a fifth less CPU time for 1 MiB; without waiting, senders learn it soon enough
BUSY_BYTES = 2**15  # who writes so many in one go takes a good part of the event loop's pass
NOT_YET = -1  # what :meth:`Writer.accept` returns for a message that it has not taken
TURN_BYTES = 2**20  # so much is written in one go, if the system takes it, before it is the turn of others

NO_CHUNKS: Iterator[Buffer] = iter(())  # one for all: it is used up


class PacedPings(Protocol):
    """Who watches how much is under way to the peer."""

    @property
    def is_full(self) -> bool:
        """Whether nothing more should be written before the peer has read more."""
        ...

    def written(self, total: int) -> bytes | None:
        """So many bytes were ever written: return the payload of a ping if one has to follow them."""
        ...


class Writer:
    """Writes control frames first, then messages in order, then the Close frame, which is the last of all."""

    __slots__ = (
        "_batch_bytes",
        "_budget",
        "_buffer",
        "_call",
        "_calls",
        "_changed",
        "_chunks",
        "_codec",
        "_has_closed",
        "_in_portions",
        "_in_transport",
        "_life",
        "_loop",
        "_pace",
        "_pings",
        "_pongs",
        "_portions",
        "_send_message",
        "_transport",
        "_transport_write",
        "_turn",
        "_unsent",
        "_write_bytes",
        "written",
    )

    def __init__(
        self,
        transport: Transport,
        codec: Codec,
        buffer: SendBuffer,
        life: Life,
        *,
        budget: Budget,
        loop: EventLoop,
        changed: Callable[[], None],
        pace: PacedPings | None = None,
    ) -> None:
        self._transport = transport
        self._transport_write = transport.write  # found once, as it is called for each message
        self._codec = codec
        self._send_message = codec.send_message  # likewise
        self._buffer = buffer
        self._life = life
        self._budget = budget
        self._loop = loop
        self._calls = loop.calls
        self._changed: Callable[[], None] | None = (
            changed  # to be called when the life has changed; None when it is over
        )
        self._write_bytes = DIRECT_WRITE_BYTES if transport.keeps_last_words else WRITE_BYTES
        self._batch_bytes = min(BATCH_BYTES if pace is None else SHORT_BATCH_BYTES, codec.portion)
        self._pace = pace  # where it counts how much is under way
        self._turn = -1  # the sender's turn in which a message was written at once
        self._call: Handle | None = None  # the turn to come
        self._pongs: tuple[bytes, ...] = ()
        self._pings: tuple[bytes, ...] = ()
        self._portions: Iterator[list[Buffer]] | None = None  # a message that is encoded bit by bit
        self._in_portions = 0  # bytes of that message
        self._chunks: Iterator[Buffer] = NO_CHUNKS  # encoded, and not yet given to the transport
        self._unsent = 0  # bytes of the chunks, and of what the transport has not sent yet
        self._in_transport = 0  # of these, those that the transport has
        self._has_closed = False  # the Close frame is among what was encoded, and nothing comes after it
        self.written: int = 0  # bytes that were ever encoded

    # --- what there is to write

    @property
    def has_work(self) -> bool:
        """Whether there is something to give to the transport: this alone decides between sleeping and waking."""
        return self._has_work()

    def _has_work(self) -> bool:
        return self._changed is not None and not (
            self._unsent <= self._in_transport
            and (self._is_paced() if self._buffer.queue else self._life.farewell is None)
            and self._portions is None
            and not self._pongs
            and not self._pings
        )

    @property
    def has_unsent(self) -> bool:
        """Whether something of ours waits on this side of the network."""
        return self._unsent > 0 or bool(self._buffer.queue) or self._has_work()

    def _is_paced(self) -> bool:
        """Whether messages should wait until the peer has read more; its pong lets them go on."""
        return self._pace is not None and self._portions is None and self._pace.is_full

    def accept(self, message: Sendable, compress: bool) -> int:
        """Take a message over unless its sender has to yield first: then return :data:`NOT_YET`.

        Otherwise return 0, or, if its sender has to wait for room, the bytes for which the message is charged.
        """
        buffer = self._buffer
        kind = type(message)
        is_ready = compress and (kind is bytes or (kind is str and message.isascii()))  # type: ignore[union-attr]
        if is_ready and (buffer.credit > 0 or (buffer.is_fetched and buffer.renew_credit())):
            buffer.credit -= 1
            size = len(message) or 1  # as size_of()
            buffer.append(message, size)  # type: ignore[arg-type]
            if buffer.free <= 0:
                self.flush()
            return size if buffer.free <= 0 else 0
        if buffer.parts is not None or not self._budget.allows():
            self.flush()
            return NOT_YET
        # Not before it is its turn: whoever has to yield first copies it then.
        queued: Queued = message if is_ready else prepare(message, compress)  # type: ignore[assignment]
        buffer.raise_if_ended()
        size = self.put(queued)
        return size if buffer.free <= 0 else 0

    def put(self, item: Queued) -> int:
        """Take a message over, room or not, and return the bytes for which it is charged.

        The first message of its sender's turn is written at once: a request that waits for its answer goes out without a
        pass of the event loop. Of a burst, all others up to the sender's next checkpoint share one write.
        """
        # size_of(item), for the sake of speed
        size = len(item.payload if type(item) is Outgoing else item) or 1  # type: ignore[arg-type]
        buffer = self._buffer
        at_once = self._turn != self._budget.turn and not self._calls.are_late()
        self._turn = self._budget.turn
        if (
            at_once
            and self._pace is None
            and size < self._batch_bytes
            and not (self._changed is None or self._unsent or self._has_work())
        ):
            self._write_alone(item)
            return size
        buffer.append(item, size)
        if at_once or buffer.free <= 0:
            self.flush()
        elif self._changed is not None:
            buffer.is_fetched = True
            self._wake()
        if self._changed is None:
            buffer.raise_if_ended()
        return size

    def put_frame(self, item: Encoded) -> bool:
        """Take over a frame that was made for many if there is room for it, and write it at once if nothing is before it."""
        buffer = self._buffer
        # Not by has_room, for the sake of speed.
        if buffer.free <= 0 or buffer.parts is not None or buffer.end is not None:
            return False
        if (
            self._pace is None
            and len(item.frame) < self._batch_bytes
            and not (self._changed is None or self._unsent or self._has_work())
        ):
            try:
                self._pass_by(item)
                self._write_frame(item, item.frame)
            except Exception as exc:  # noqa: BLE001  (nobody who is to blame is here)
                self.fail(exc)
        else:
            self.append_frame(item)
            self.flush()
        return True

    def append_frame(self, item: Encoded) -> None:
        """Take over a frame that was made for many, room or not; :meth:`flush` is the caller's, for there may be more."""
        self._buffer.append(item, len(item.frame))
        self._buffer.encoded += 1

    def continue_burst(self) -> None:
        """Let the next message wait for others, although the sender's turn is new."""
        self._turn = self._budget.turn

    def pong(self, payload: bytes) -> None:
        """Queue the answer to a ping; :meth:`flush` is the caller's, for there may be more."""
        self._pongs = (*self._pongs, payload)[-MAX_QUEUED_PONGS:]

    def ping(self, payload: bytes) -> None:
        """Send a ping."""
        self._pings = (*self._pings, payload)
        self.flush()

    def take_back_ping(self, payload: bytes) -> None:
        """Forget a ping that nobody waits for any more, unless it has left."""
        self._pings = tuple(ping for ping in self._pings if ping != payload)

    # --- writing

    def flush(self) -> None:
        """Write what there is, as far as that is possible without waiting; the rest follows by itself.

        When the event loop's pass has taken long enough, all of it follows.
        """
        if self._calls.are_late():
            self._wake()
        else:
            self._write_on()

    def _write_on(self) -> None:
        handed = 0
        try:
            while self._changed is not None and not self._transport.congested and handed < TURN_BYTES:
                chunk = next(self._chunks, None)
                if chunk is not None:
                    handed += len(chunk)
                    self._write(chunk)
                elif not self._encode_next():
                    break
        except Exception as exc:  # noqa: BLE001  (the sender has done nothing wrong: it meets the end of the connection)
            self.fail(exc)
        if handed >= BUSY_BYTES:
            self._calls.took_much()
        self._wake()

    def flushed(self) -> None:
        """Go on: what the transport was given has left."""
        self._unsent -= self._in_transport
        self._in_transport = 0
        self._took()
        self.flush()

    def discard(self) -> tuple[int, int]:
        """Drop the messages of which no byte has been written, and return how many they were, and of how many bytes."""
        begun = 0 if self._portions is None else 1
        size = self._in_portions
        self.drop_portions()
        messages, more = self._buffer.discard()
        self._wake()  # the Close frame may have waited behind them
        return begun + messages, size + more

    def drop_portions(self) -> None:
        """Forget the message that is being encoded, of which no byte has left."""
        if self._portions is not None:
            size, self._portions, self._in_portions = self._in_portions, None, 0
            self._buffer.dropped(size)

    def stop(self) -> None:
        """Write nothing more: the transport has been let go."""
        self._changed = None
        if self._call is not None:
            self._call.cancel()
            self._call = None
        self.drop_portions()
        self._chunks = NO_CHUNKS
        self._unsent = self._in_transport = 0
        self._buffer.stop()

    def _wake(self) -> None:
        """See to it that somebody comes for what there is to write: the transport when it can, or we in the next pass."""
        if self._call is None and not self._transport.congested and self._has_work():
            try:
                self._call = self._loop.call_soon(self._take_turn)
            except OSError as exc:  # the event loop has ended
                self.fail(exc)

    def _take_turn(self) -> None:
        self._call = None
        self._write_on()

    def _write_alone(self, item: Queued) -> None:
        try:
            self._write_frame(item, self._send_message(item))  # type: ignore[arg-type]  # no Encoded comes here
        except Exception as exc:  # noqa: BLE001  (as above)
            self.fail(exc)
            self._buffer.raise_if_ended()

    def _write_frame(self, item: Queued, frame: Buffer) -> None:
        size = len(frame)
        self.written += size
        size -= self._transport_write(frame)
        self._unsent = self._in_transport = size  # what is left
        self._buffer.passed_by(item, self._unsent)

    def _write(self, chunk: Buffer) -> None:
        sent = self._transport_write(chunk)
        self._unsent -= sent
        self._in_transport = len(chunk) - sent
        self._took()

    def _took(self) -> None:
        """Take note of what has left."""
        self._buffer.left_to_send(self._unsent + self._in_portions)
        if not self._unsent:
            self._chunks = NO_CHUNKS  # what has given the last of them still holds the message
        if self._has_closed and not self._unsent and self._changed is not None:
            self._life.close_written(self._loop.clock())
            self._end()

    def fail(self, error: Exception) -> None:
        """Take note that the transport takes no more, or that there is a bug."""
        now = self._loop.clock()
        if isinstance(error, TRANSPORT_ERRORS):
            self._life.write_failed(error.with_traceback(None), now)  # which would hold us, as we hold it
            self._end()
        else:
            self._portions, self._in_portions = None, 0
            self._buffer.lost()
            self._life.broke_down(error, now)
            if self._changed is not None:
                self._changed()

    def _end(self) -> None:
        """Nothing more can be written, or has to be."""
        changed, self._changed = self._changed, None
        if changed is not None:
            changed()

    # --- encoding

    def _encode_next(self) -> bool:
        """Encode what goes out next; false when there is nothing, or nothing more in this turn."""
        buffers: list[Buffer] = []
        self._encode_controls(buffers)
        if self._portions is None and self._buffer.queue and not self._is_paced():
            self._encode_batch(buffers)
        if self._portions is not None and not buffers:
            buffers += next(self._portions)
            if buffers:
                self._portions, self._in_portions = None, 0
        elif self._portions is None and not self._buffer.queue and self._life.farewell is not None:
            buffers.append(self._codec.send_close(*self._life.farewell))
            self._life.close_begun()
            self._has_closed = True
        if not buffers:
            return False
        size = sum(map(len, buffers))
        self.written += size
        if self._pace is not None and (ping := self._pace.written(self.written)) is not None:
            self._pings = (*self._pings, ping)
        self._unsent = size
        self._chunks = coalesce(buffers, size, self._write_bytes)
        self._buffer.left_to_send(size + self._in_portions)
        return True

    def _encode_controls(self, buffers: list[Buffer]) -> None:
        if self._pongs or self._pings:
            buffers += map(self._codec.send_pong, self._pongs)
            buffers += map(self._codec.send_ping, self._pings)
            self._pongs = self._pings = ()

    def _encode_batch(self, buffers: list[Buffer]) -> None:
        batch = self._buffer.take_batch(self._batch_bytes)
        if batch and size_of(batch[-1]) > self._codec.portion and type(batch[-1]) is not Encoded:
            self._in_portions = size_of(batch[-1])
            self._portions = self._codec.send_in_portions(batch.pop())  # type: ignore[arg-type]
        if self._buffer.encoded:
            self._encode_mixture(batch, buffers)
        elif batch:
            buffers += self._codec.send_messages(batch)  # type: ignore[arg-type]

    def _encode_mixture(self, batch: list[Queued], buffers: list[Buffer]) -> None:
        """Encode messages, among which are frames that were made for many."""
        own: list[Any] = []
        for item in batch:
            if type(item) is Encoded:
                if own:
                    buffers += self._codec.send_messages(own)
                    own = []
                self._buffer.encoded -= 1
                self._pass_by(item)
                buffers.append(item.frame)
            else:
                own.append(item)
        if own:
            buffers += self._codec.send_messages(own)

    def _pass_by(self, item: Encoded) -> None:
        """Take note of a frame that goes past the codec."""
        if item.compressed:
            # The peer's window has it, and the one that our codec compresses with has not.
            self._codec.deflate.forget()  # type: ignore[union-attr]


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
