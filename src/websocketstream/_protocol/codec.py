"""The seam between bytes and events: what a codec engine takes and gives.

An engine is sans-IO and serves one connection. It decodes what arrived into events and encodes what is to leave; it
knows frames, masks, fragments, UTF-8, permessage-deflate and the limits, and nothing of sockets, tasks or time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from .deflate import PerMessageDeflate

Message: TypeAlias = str | bytes


@dataclass(frozen=True, slots=True)
class Ping:
    """A Ping frame arrived (RFC 6455 section 5.5.2)."""

    payload: bytes = b""


@dataclass(frozen=True, slots=True)
class Pong:
    """A Pong frame arrived (RFC 6455 section 5.5.3)."""

    payload: bytes = b""


@dataclass(frozen=True, slots=True)
class Close:
    """A Close frame arrived; ``code`` is None when its body was empty (RFC 6455 section 5.5.1).

    It is the last event of a codec: what follows on the wire is ignored.
    """

    code: int | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """The peer broke the protocol or a limit: fail the connection with ``code`` (RFC 6455 section 7.1.7).

    It is the last event of a codec: what follows on the wire is ignored and nothing of it is kept.
    """

    code: int
    message: str


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of a message arrived, from :meth:`Codec.read_in_chunks` on; text comes in whole characters."""

    data: Message
    last: bool  # the message ends with it


# A whole message is its own event: str for text, bytes for binary. It is by far the most common event, and a wrapper
# object would cost more than a compiled engine needs to decode the message.
Event: TypeAlias = Message | Chunk | Ping | Pong | Close | Failure


# Of what arrived together, only the last pings want a pong (RFC 6455 section 5.5.3). Autobahn's case 2.10 sends ten pings
# and counts ten pongs.
PINGS_PER_CALL = 16


def without_old_pings(events: list[Event]) -> list[Event]:
    """Return the events of one call without the pings before the last ones, which need no answer."""
    surplus = sum(isinstance(event, Ping) for event in events) - PINGS_PER_CALL
    if surplus <= 0:
        return events
    kept: list[Event] = []
    for event in events:
        if surplus and isinstance(event, Ping):
            surplus -= 1
        else:
            kept.append(event)
    return kept


@dataclass(slots=True, eq=False)
class Outgoing:
    """A message on its way out, or a part of one, already validated: text as UTF-8.

    Between the part that begins a message and the one that ends it there may be no other message.
    """

    payload: bytes
    text: bool
    compress: bool = True
    begins: bool = True
    ends: bool = True

    @classmethod
    def of(cls, message: Message | Outgoing) -> Outgoing:
        """Return what is to be sent in this shape."""
        if isinstance(message, str):
            return cls(message.encode(), True)
        return cls(message, False) if isinstance(message, bytes) else message


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """A whole frame of a server, which was made once for many connections."""

    frame: bytes
    compressed: bool  # without any reference to what was sent before

    def __len__(self) -> int:
        return len(self.frame)


@dataclass(frozen=True, slots=True)
class CodecLimits:
    """Bounds on what one message may be. None switches a bound off."""

    max_message_size: int | None = 16 * 2**20  # bytes after inflation (UTF-8 bytes for text)
    max_fragments: int | None = 4096  # frames of one message


class Codec(Protocol):
    """One connection's engine."""

    @property
    def deflate(self) -> PerMessageDeflate | None:
        """The compressor and the inflater, None without compression."""
        ...

    def receive_data(self, data: bytes | bytearray | memoryview) -> list[Event]:
        """Take what arrived and return events in wire order.

        One call decodes a bounded number of frames, so that one peer cannot hold the event loop (two or three
        milliseconds of work, what follows each event included); while :attr:`pending` is true, call again with ``b""``
        for the rest. Of the pings of one call only the last 16 are events: the others need no answer. Errors of the
        peer are a :class:`Failure` event behind whatever was complete before; this method never raises on account of
        input.
        """
        ...

    def room(self, most: int) -> memoryview | None:
        """Return where the next bytes that arrive may be put, in the memory of the message that they belong to.

        They are no more than ``most``, and none behind the frame in progress; it is None where that is not worth the while.
        The next call of this codec takes the room back, whoever holds it.
        """
        ...

    def receive_in_room(self, size: int, data: bytes | bytearray | memoryview) -> list[Event]:
        """Take so many bytes that were put into the :meth:`room`, and what arrived behind them, as :meth:`receive_data` does."""
        ...

    @property
    def pending(self) -> bool:
        """Whether ``receive_data(b"")`` would decode more of what was already given."""
        ...

    @property
    def only_messages(self) -> bool:
        """Whether the last call of :meth:`receive_data` returned nothing but whole messages."""
        ...

    @property
    def whole_bytes(self) -> int:
        """:attr:`message_bytes` after a call that returned nothing but whole messages, and left nothing to decode; else -1."""
        ...

    @property
    def message_bytes(self) -> int:
        """The memory in bytes of the messages that the last call of :meth:`receive_data` returned."""
        ...

    def read_in_chunks(self) -> None:
        """From now on every message is :class:`Chunk` events, with what one call brought of it in each.

        The limits of a message hold no more, but for a number of empty fragments in a row.
        """
        ...

    def discard_data(self) -> None:
        """From now on drop data frames unread (their framing is still checked): nobody wants them while closing."""
        ...

    def send_message(self, message: Message | Outgoing) -> bytes | bytearray:
        """Encode one message or part as :meth:`send_messages` does, but in one piece: for small ones."""
        ...

    def send_messages(self, messages: Sequence[Message | Outgoing]) -> list[bytes | bytearray | memoryview]:
        """Encode queued messages or parts, one frame each, into the buffers to write in order; a bare str is ASCII."""
        ...

    @property
    def portion(self) -> int:
        """How many bytes of payload this codec encodes in about a millisecond or two.

        One call of :meth:`send_messages` should not be given much more, and a longer message is one for
        :meth:`send_in_portions`. Without compression and without masks it is as good as endless.
        """
        ...

    def send_in_portions(self, message: Message | Outgoing) -> Iterator[list[bytes | bytearray | memoryview]]:
        """Encode one message as :meth:`send_messages` does, in portions of about a millisecond or two.

        Every step yields a list: empty while there is more to do, at last with the buffers of the only frame. Until
        then control frames may be encoded and written, but no other message. An iterator that is closed (or dropped)
        before it has yielded the frame leaves the codec as if the message had never been given to it.
        """
        ...

    def send_ping(self, payload: bytes) -> bytes:
        """Encode a Ping frame; the payload is at most 125 bytes."""
        ...

    def send_pong(self, payload: bytes) -> bytes:
        """Encode a Pong frame; the payload is at most 125 bytes."""
        ...

    def send_close(self, code: int | None = None, reason: str = "") -> bytes:
        """Encode a Close frame, with an empty body when there is no code; the reason is cut to 123 bytes of UTF-8."""
        ...
