"""The reader: from bytes to messages in the receive buffer, as fast as the application takes them and no faster."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from anyio import EndOfStream, move_on_after
from anyio.abc import AnyByteStream
from anyio.lowlevel import checkpoint

from .._network.any_stream import receive_some
from .._network.transport import READ_BYTES, Buffer, DirectStream
from .._protocol.codec import Close, Codec, Event, Failure, Ping, Pong
from .heartbeat import Heartbeat
from .readable import ReadableStream
from .writable import WritableStream

# The peer's last word waits behind messages that the application has not read yet, so that these can still be answered;
# but not for longer than this (seconds), or a peer would wait for our Close frame in vain (rule X7).
LINGER_SECONDS = 1.0
# The peer may answer a message with its Close frame before our writer task has had its turn and knows that the message
# has left. So many passes of the event loop it gets, for all the layers of a transport.
WRITER_PASSES = 10
FEW = 4  # messages of one full read: they are large, and larger reads are better


class Reader:
    """Reads, decodes and delivers; what the peer says last is handed on when the application has come that far."""

    def __init__(
        self,
        stream: AnyByteStream,
        codec: Codec,
        readable: ReadableStream,
        writable: WritableStream,
        *,
        on_ping: Callable[[bytes], None],
        after_pings: Callable[[], None],
        on_pong: Callable[[bytes], None],
        on_last_word: Callable[[Close | Failure], None],
    ) -> None:
        self._stream = stream
        self._codec = codec
        self._readable = readable
        self._writable = writable
        self._on_ping = on_ping
        self._after_pings = after_pings
        self._on_pong = on_pong
        self._on_last_word = on_last_word
        self._last_word: Close | Failure | None = None  # decoded and not yet handed on
        self.heartbeat: Heartbeat | None = None

    def listen(self, early_data: bytes, *, stopped: Callable[[], object]) -> bool:
        """Begin to read without a task, where the transport calls us; false when :meth:`run` is needed at once.

        ``stopped`` is called when it is needed later.
        """
        if self._feed(early_data) or not isinstance(self._stream, DirectStream):
            return False
        return self._stream.listen(self._feed, stopped)

    async def run(self) -> None:
        """Read until the peer ends the transport.

        :raises anyio.BrokenResourceError: the transport failed (or its own error)
        """
        while True:
            while self._wants_attention():
                await self._attend()
            try:
                if isinstance(self._stream, DirectStream):
                    await self._stream.pump(self._feed)
                else:
                    self._feed(await receive_some(self._stream))
            except EndOfStream:
                return

    def _feed(self, data: Buffer) -> bool:
        """Deliver what arrived, and tell whether there is something to wait for before more is read."""
        if self.heartbeat is not None:
            self.heartbeat.heard()
        events = self._codec.receive_data(data)
        if len(data) >= READ_BYTES and isinstance(self._stream, DirectStream):
            self._stream.large_reads = len(events) <= FEW
        if self._codec.only_messages:
            self._readable._push(events, self._codec.message_bytes)  # type: ignore[arg-type]
        else:
            messages = [event for event in events if isinstance(event, (str, bytes))]
            self._readable._push(messages, self._codec.message_bytes)
            self._take_controls(events)
            if self._last_word is not None and self._may_conclude:
                self._take_last_word()
        return self._wants_attention()

    def _wants_attention(self) -> bool:
        return self._readable._full or self._codec.pending or self._last_word is not None

    def _take_controls(self, events: list[Event]) -> None:
        pinged = False
        for event in events:
            if isinstance(event, Ping):
                self._on_ping(event.payload)
                pinged = True
            elif isinstance(event, Pong):
                self._on_pong(event.payload)
            elif isinstance(event, (Close, Failure)):
                self._last_word = event
        if pinged:
            self._after_pings()

    async def _attend(self) -> None:
        """Wait for what keeps us from reading on, and go on decoding."""
        if self._last_word is not None:
            await self._conclude()
        elif self._readable._full:
            with self._clock_stopped():
                await self._readable._wait_for_room()
        else:
            await checkpoint()  # one peer must not hold the event loop: the codec works in portions
        if self._codec.pending:
            self._feed(b"")

    @property
    def _may_conclude(self) -> bool:
        """Whether nobody is left who could still answer what arrived before the peer's last word."""
        return self._readable._is_drained and not self._writable._has_held_senders

    async def _conclude(self) -> None:
        try:
            with self._clock_stopped(), move_on_after(LINGER_SECONDS):
                await self._readable._wait_until_drained()
                for _ in range(WRITER_PASSES):
                    if self._may_conclude:
                        break
                    await checkpoint()
        finally:
            self._take_last_word()

    def _take_last_word(self) -> None:
        last_word, self._last_word = self._last_word, None
        assert last_word is not None
        self._on_last_word(last_word)

    def _clock_stopped(self) -> AbstractContextManager[None]:
        return nullcontext() if self.heartbeat is None else self.heartbeat.paused()
