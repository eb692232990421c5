"""A message for many connections: its frame is made once for all whose frames look alike."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import TypeAlias

from .codec import CodecLimits, Encoded, Outgoing
from .engine import make_codec
from .negotiation import Compression, DeflateParameters

# What a server's frames depend on: the window's bits and the options of what is compressed, None without compression.
Form: TypeAlias = tuple[int, Compression] | None

_COMPRESSED = 0x40  # RFC 7692 6: the bit RSV1 of a frame's first byte

# What a message is charged with beyond its payload: its place in the queue of one that it waits for takes 85-105 bytes, and
# without that there could be any number of small ones.
PLACE_BYTES = 100


class Encoder:
    """Makes frames for all connections of servers that have agreed on the same compression.

    A client's frames have a mask of their own (RFC 6455 5.3). A compressed frame refers to nothing that was sent before, so it
    fits whatever is in the peer's window (RFC 7692 7.2.1). What a connection compresses behind it must not refer to
    anything before that either: see :meth:`PerMessageDeflate.forget`.
    """

    __slots__ = ("_compression", "_deflate", "users")

    def __init__(self, form: Form) -> None:
        self.users: int = 0  # connections that want its frames
        self._deflate = self._compression = None
        if form is not None:
            bits, self._compression = form
            self._deflate = DeflateParameters(server_no_context_takeover=True, server_max_window_bits=bits)

    def encode(self, message: Outgoing) -> Iterator[bytes]:
        """Make a frame in steps of about a millisecond or two: all but the last one yield nothing yet."""
        # One for each, because another message may be wanted at once while this one is half done.
        codec = make_codec(
            client=False, limits=CodecLimits(), deflate=self._deflate, compression=self._compression
        )
        for buffers in codec.send_in_portions(message):
            yield b"".join(buffers)


class SharedMessage:
    """A message that is on its way to many, and its frames."""

    __slots__ = ("excluded", "frames", "key", "outgoing", "sent_at", "size")

    def __init__(self, outgoing: Outgoing, key: Hashable, sent_at: float, excluded: object = None) -> None:
        self.outgoing: Outgoing = outgoing
        self.excluded: object = excluded  # whom it does not go to
        self.key: Hashable = key  # what it is the latest of
        self.sent_at: float = sent_at  # seconds of the event loop's clock
        self.size: int = len(outgoing.payload) + PLACE_BYTES  # bytes for which it is charged
        self.frames: dict[Encoder | None, Encoded] = {}  # those that were made

    def frame(self, encoder: Encoder) -> Encoded:
        """Return the frame, which is made now if need be."""
        if encoder not in self.frames:
            for _ in self.make_frame(encoder):
                pass
        return self.frames[encoder]

    def make_frame(self, encoder: Encoder) -> Iterator[None]:
        """Make the frame in steps of about a millisecond or two."""
        frame = b""
        for made in encoder.encode(self.outgoing):
            frame = made
            yield
        self.frames[encoder] = Encoded(frame, bool(frame[0] & _COMPRESSED))
