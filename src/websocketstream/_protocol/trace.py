"""What happens on a connection, as values for a hook: kinds, sizes and codes, never what is said."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import TypeAlias

from .close import CloseInfo
from .codec import Chunk, Close, Codec, Event, Message, Outgoing, Ping, Pong
from .deflate import PerMessageDeflate

logger = logging.getLogger("websocketstream")

Buffers: TypeAlias = list[bytes | bytearray | memoryview]

_numbers = count(1)


def next_id(*, server: bool) -> str:
    """Name a connection, for log lines: ``c`` or ``s`` for our role, and a number that this process has not used before."""
    return f"{'s' if server else 'c'}{next(_numbers)}"


@dataclass(frozen=True, slots=True)
class TraceEvent:
    """What a ``trace`` hook is called with; ``id`` is the connection's, as in :attr:`WebSocketStream.id` and in the log."""

    id: str


@dataclass(frozen=True, slots=True)
class ConnectionOpened(TraceEvent):
    """The opening handshake is complete; ``url`` is without user info and query, ``server`` is our role."""

    server: bool
    url: str
    protocol: str
    extensions: str


@dataclass(frozen=True, slots=True)
class FrameReceived(TraceEvent):
    """A frame has arrived; a message in fragments counts as one, unless it is read in chunks.

    ``kind`` is ``"text"``, ``"binary"``, ``"ping"``, ``"pong"`` or ``"close"``. ``size`` is that of the payload in bytes, after
    inflation. ``code`` is a Close frame's, None for one without.
    """

    kind: str
    size: int
    code: int | None = None


@dataclass(frozen=True, slots=True)
class FrameSent(TraceEvent):
    """A frame goes out; the fields are those of :class:`FrameReceived`, ``size`` is before compression."""

    kind: str
    size: int
    code: int | None = None


@dataclass(frozen=True, slots=True)
class ConnectionEnded(TraceEvent):
    """The connection is over: how, why if that was not clean, and after how many seconds."""

    close_info: CloseInfo
    error: str | None
    seconds: float


Hook: TypeAlias = Callable[[TraceEvent], object]


def check_trace(trace: object) -> None:
    """Insist on something that can be called, or None.

    :raises TypeError: it is something else
    """
    if trace is not None and not callable(trace):
        raise TypeError(f"trace must be a function or None, not {type(trace).__name__}")


def log_events(log: logging.Logger) -> Hook:
    """Return a hook that writes a line for each event at level ``DEBUG``."""

    def write(event: TraceEvent) -> None:
        match event:
            case FrameReceived() | FrameSent():
                way = "sent" if isinstance(event, FrameSent) else "received"
                code = "" if event.code is None else f", code {event.code}"
                log.debug("%s %s %s, %d bytes%s", event.id, way, event.kind, event.size, code)
            case ConnectionOpened():
                log.debug("%s opened %s", event.id, event.url)
            case ConnectionEnded():
                how = "ended" if event.close_info.clean else "broke"
                log.debug("%s %s, code %d, after %.3f s", event.id, how, event.close_info.code, event.seconds)

    return write


def tracer_of(id_: str, trace: Hook | None, log: logging.Logger) -> Tracer | None:
    """Return who tells of a connection; None when nobody wants to know, and then it costs nothing."""
    hooks = [] if trace is None else [trace]
    if log.isEnabledFor(logging.DEBUG):
        hooks.append(log_events(log))
    return Tracer(id_, hooks) if hooks else None


class Tracer:
    """Tells hooks of one connection; what they raise is logged, and changes nothing."""

    __slots__ = ("_hooks", "_id")

    def __init__(self, id_: str, hooks: Sequence[Hook]) -> None:
        self._id = id_
        self._hooks = hooks

    def opened(self, *, server: bool, url: str, protocol: str, extensions: str) -> None:
        """Tell that the connection is open."""
        shown = url.partition("?")[0]
        self._tell(ConnectionOpened(self._id, server, shown, protocol, extensions))

    def ended(self, info: CloseInfo, error: str | None, seconds: float) -> None:
        """Tell that it is over."""
        self._tell(ConnectionEnded(self._id, info, error, seconds))

    def received(self, event: Event) -> None:
        """Tell of what a codec has decoded; what it could not is told by the end."""
        match event:
            case str() | bytes():
                self._tell(FrameReceived(self._id, *_message(event)))
            case Chunk():
                self._tell(FrameReceived(self._id, *_message(event.data)))
            case Ping():
                self._tell(FrameReceived(self._id, "ping", len(event.payload)))
            case Pong():
                self._tell(FrameReceived(self._id, "pong", len(event.payload)))
            case Close():
                self._tell(FrameReceived(self._id, "close", *_close(event.code, event.reason)))

    def sent(self, message: Message | Outgoing) -> None:
        """Tell of a message on its way out."""
        self._tell(FrameSent(self._id, *_message(message)))

    def sent_control(self, kind: str, size: int, code: int | None = None) -> None:
        """Tell of another frame on its way out."""
        self._tell(FrameSent(self._id, kind, size, code))

    def _tell(self, event: TraceEvent) -> None:
        for hook in self._hooks:
            try:
                hook(event)
            except Exception:
                logger.exception("%s: a trace hook failed", self._id)


class TracedCodec:
    """A codec that tells of what it decodes and encodes."""

    def __init__(self, codec: Codec, tracer: Tracer) -> None:
        self._codec = codec
        self._tracer = tracer
        self.discard_data = codec.discard_data
        self.read_in_chunks = codec.read_in_chunks
        self.room = codec.room

    def receive_data(self, data: bytes | bytearray | memoryview) -> list[Event]:
        """Decode, and tell."""
        return self._tell(self._codec.receive_data(data))

    def receive_in_room(self, size: int, data: bytes | bytearray | memoryview) -> list[Event]:
        """Decode, and tell."""
        return self._tell(self._codec.receive_in_room(size, data))

    def _tell(self, events: list[Event]) -> list[Event]:
        for event in events:
            self._tracer.received(event)
        return events

    @property
    def deflate(self) -> PerMessageDeflate | None:
        """As the codec's."""
        return self._codec.deflate

    @property
    def pending(self) -> bool:
        """As the codec's."""
        return self._codec.pending

    @property
    def only_messages(self) -> bool:
        """As the codec's."""
        return self._codec.only_messages

    @property
    def whole_bytes(self) -> int:
        """As the codec's."""
        return self._codec.whole_bytes

    @property
    def message_bytes(self) -> int:
        """As the codec's."""
        return self._codec.message_bytes

    @property
    def portion(self) -> int:
        """As the codec's."""
        return self._codec.portion

    def send_message(self, message: Message | Outgoing) -> bytes | bytearray:
        """Encode, and tell."""
        frame = self._codec.send_message(message)
        self._tracer.sent(message)
        return frame

    def send_messages(self, messages: Sequence[Message | Outgoing]) -> Buffers:
        """Encode, and tell."""
        buffers = self._codec.send_messages(messages)
        for message in messages:
            self._tracer.sent(message)
        return buffers

    def send_in_portions(self, message: Message | Outgoing) -> Iterator[Buffers]:
        """Encode in portions, and tell when the frame is there."""
        for buffers in self._codec.send_in_portions(message):
            if buffers:
                self._tracer.sent(message)
            yield buffers

    def send_ping(self, payload: bytes) -> bytes:
        """Encode, and tell."""
        self._tracer.sent_control("ping", len(payload))
        return self._codec.send_ping(payload)

    def send_pong(self, payload: bytes) -> bytes:
        """Encode, and tell."""
        self._tracer.sent_control("pong", len(payload))
        return self._codec.send_pong(payload)

    def send_close(self, code: int | None = None, reason: str = "") -> bytes:
        """Encode, and tell."""
        self._tracer.sent_control("close", *_close(code, reason))
        return self._codec.send_close(code, reason)


def _message(message: Message | Outgoing) -> tuple[str, int]:
    if isinstance(message, Outgoing):
        return "text" if message.text else "binary", len(message.payload)
    if isinstance(message, bytes):
        return "binary", len(message)
    return "text", len(message) if message.isascii() else len(message.encode())


def _close(code: int | None, reason: str) -> tuple[int, int | None]:
    return 0 if code is None else 2 + len(reason.encode()), code
