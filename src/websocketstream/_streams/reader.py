"""The reader: everything that arrives goes through here, from bytes to messages in the receive buffer.

It never waits, and it reads no more than the application keeps up with: a full buffer pauses the transport.
"""

from __future__ import annotations

import math
from typing import Protocol

from .._network.loop import EventLoop, Handle
from .._network.transport import FULL_READ_BYTES, Buffer, Transport
from .._protocol.codec import Chunk, Close, Codec, Event, Failure, Ping, Pong
from .._protocol.keepalive import Keepalive, Pings
from .._protocol.life import Life
from .receive_buffer import ReceiveBuffer
from .writer import Writer

MANY = 8  # messages or so, of one read: they take a good part of the event loop's pass
BUSY_BYTES = 2**16  # of one read: likewise
FEW = 1  # message of one full read: it is large, and is read to where it stays, the more at once the better
NOT_SINCE = -math.inf  # nothing has arrived that the keepalive does not know of


class Owner(Protocol):
    """Whose bytes they are."""

    def word_taken(self) -> None:
        """The peer has said its last word."""
        ...

    def lost(self, error: Exception) -> None:
        """The transport has failed, and all that it has brought before is in the buffer."""
        ...

    def broke_down(self, bug: Exception) -> None:
        """There is a bug."""
        ...

    def reading_changed(self) -> None:
        """We read on, perhaps."""
        ...


class Reader:
    """Decodes in portions, and delivers: messages to the buffer, pings to the writer, the last word to the life."""

    __slots__ = (
        "_buffer",
        "_call",
        "_calls",
        "_clock",
        "_codec",
        "_failure",
        "_heard_at",
        "_keepalive",
        "_life",
        "_loop",
        "_owner",
        "_pings",
        "_put_off",
        "_receive_data",
        "_transport",
        "_writer",
        "read",
    )

    def __init__(
        self,
        transport: Transport,
        codec: Codec,
        buffer: ReceiveBuffer,
        life: Life,
        *,
        writer: Writer,
        pings: Pings,
        loop: EventLoop,
        owner: Owner,
    ) -> None:
        self._transport = transport
        self._codec = codec
        self._receive_data = codec.receive_data  # found once, as it is called for each read
        self._buffer = buffer
        self._life = life
        self._writer = writer
        self._pings = pings
        self._loop = loop
        self._calls = loop.calls
        self._clock = loop.clock
        self._owner: Owner | None = owner  # None when it is over
        # Which wants to know when something arrives, and when we do not read.
        self._keepalive: Keepalive | None = None
        self._heard_at = NOT_SINCE  # when something arrived of which it does not know
        self._call: Handle | None = None  # the turn in which the codec goes on with what it was given
        self._put_off: Buffer = b""  # what arrived when the pass had taken long enough
        self._failure: Exception | None = None  # of the transport; the codec has to come so far
        self.read: int = 0  # bytes that have arrived

    @property
    def keepalive(self) -> Keepalive | None:
        """The keepalive, which is told only here when something has arrived: that is all that a read costs it."""
        keepalive = self._keepalive
        if keepalive is not None and self._heard_at != NOT_SINCE:
            keepalive.heard_at, self._heard_at = self._heard_at, NOT_SINCE
        return keepalive

    @keepalive.setter
    def keepalive(self, keepalive: Keepalive | None) -> None:
        self._keepalive = keepalive

    def put_off(self, data: bytes) -> None:
        """Take what arrived, perhaps before the transport was attached; it is decoded in the event loop's next pass."""
        self.read += len(data)
        self._put_off = data
        self._transport.pause()
        self.read_on()

    def data_received(self, data: Buffer) -> None:
        """Decode what arrived and deliver it."""
        if self._keepalive is not None:
            self._heard_at = self._clock()
        if self._calls.are_late():
            # Hundreds of peers together must not hold the event loop, either.
            self.put_off(bytes(data))
        else:
            self.read += len(data)
            self._decode(data)

    def room(self, most: int) -> memoryview | None:
        """Return where the next bytes may be put, in the memory of a message, if they may be decoded at once."""
        if self._put_off or self._calls.are_late():
            return None
        try:
            return self._codec.room(most)
        except Exception as exc:  # noqa: BLE001  (a bug of ours, or there is no memory)
            if self._owner is not None:
                self._owner.broke_down(exc)
            return None

    def room_filled(self, size: int, data: Buffer) -> None:
        """Deliver what is complete by the bytes that were put there, and what arrived behind them."""
        self.read += size + len(data)
        if self._keepalive is not None:
            self._heard_at = self._clock()
        self._decode(data, size)

    def failed(self, error: Exception) -> None:
        """Take note that the transport is no more; what it has brought before comes first."""
        if self._codec.pending or self._put_off:
            self._failure = error
            self._writer.fail(error)
        elif self._owner is not None:
            self._owner.lost(error)

    def read_on(self) -> None:
        """Go on with what is next, unless the application has to catch up first."""
        if self._buffer.full or self._life.word is not None or self._owner is None:
            return
        keepalive = self.keepalive
        if keepalive is not None:
            keepalive.resume(self._clock())
        if self._codec.pending or self._put_off:
            # One peer must not hold the event loop: the codec works in portions.
            if self._call is None:
                self._call = self._loop.call_soon(self._take_turn)
        elif self._failure is not None:
            self._owner.lost(self._failure)
        else:
            self._transport.resume()

    # --- called by the receive buffer

    def room_made(self) -> None:
        """See :class:`Filler`."""
        self.read_on()
        if self._owner is not None:
            self._owner.reading_changed()

    def caught_up(self) -> None:
        """See :class:`Filler`: now the peer's last word counts."""
        if self._buffer.is_last and self._life.word is not None and self._owner is not None:
            self._owner.word_taken()

    def stop(self) -> None:
        """Read nothing more: the transport has been let go."""
        self._owner = None
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _take_turn(self) -> None:
        self._call = None
        if self._codec.pending or self._put_off:
            data, self._put_off = self._put_off, b""
            self._decode(data)
        self.read_on()

    def _decode(self, data: Buffer, in_room: int = 0) -> None:
        codec = self._codec
        try:
            events = codec.receive_in_room(in_room, data) if in_room else self._receive_data(data)
        except Exception as exc:  # noqa: BLE001  (a bug of ours)
            if self._owner is not None:
                self._owner.broke_down(exc)
            return
        size = len(data) + in_room
        message_bytes = codec.whole_bytes
        pending = message_bytes < 0 and codec.pending
        if pending or len(events) > MANY or size > BUSY_BYTES:
            self._calls.took_much()
        if size >= FULL_READ_BYTES:
            self._transport.large_reads = len(events) <= FEW
        if message_bytes >= 0:
            self._buffer.push(events, message_bytes)  # type: ignore[arg-type]
        elif codec.only_messages:
            self._buffer.push(events, codec.message_bytes)  # type: ignore[arg-type]
        else:
            self._sort(events)
        if self._buffer.full or pending or (self._buffer.is_last and self._life.word is not None):
            self._hold_back()

    def _sort(self, events: list[Event]) -> None:
        self._buffer.push(
            [event for event in events if isinstance(event, (str, bytes, Chunk))],  # type: ignore[misc]
            self._codec.message_bytes,
        )
        writes = False
        for event in events:
            if isinstance(event, Ping):
                self._writer.pong(event.payload)
                writes = True
            elif isinstance(event, Pong):
                self._pings.pong(event.payload, self._loop.stopwatch())
                writes = True  # what had to wait until the peer has read more
            elif isinstance(event, (Close, Failure)):
                self._buffer.is_last = True
                self._life.take_word(event, self._clock())
        if writes:
            self._writer.flush()
        if self._life.word is not None and self._owner is not None:
            self._owner.word_taken()

    def _hold_back(self) -> None:
        """Read nothing more until the application has caught up, or the codec has."""
        self._transport.pause()
        keepalive = self.keepalive
        if keepalive is not None and (self._buffer.full or self._life.word is not None):
            keepalive.pause(self._clock())
        if self._buffer.full:
            self._writer.flush()  # what waits for an answer that we would not read
        self.read_on()
