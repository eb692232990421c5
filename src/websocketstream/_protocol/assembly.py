"""From frames to messages: the rules of RFC 6455 that lie above a single frame, and the limits."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator

from .close import CloseCode, is_valid_on_the_wire
from .codec import Chunk, Close, CodecLimits, Message
from .deflate import InflatedTooLarge, InflateError, PerMessageDeflate

CONTINUATION, TEXT, CLOSE, PING = (
    0x0,
    0x1,
    0x8,
    0x9,
)  # RFC 6455 5.2; opcodes from CLOSE upwards are control frames

# Empty fragments bring no byte nearer to any size limit, so they have one of their own.
_MAX_EMPTY_FRAGMENTS = 128
# What take() charges for inflating: 16 KiB that come out are as much work as 8 frames. But data that is nothing but tables
# of codes takes twenty times as long as text does, so what goes in may count instead.
_BYTES_PER_UNIT = 2048
_COMPRESSED_BYTES_PER_UNIT = 128
_COMPRESSED_AT_ONCE = 8 * 1024
_new_utf8_decoder = codecs.getincrementaldecoder("utf-8")


class Violation(Exception):
    """The peer broke a rule or a limit; becomes a :class:`~.codec.Failure`."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Assembler:
    """Checks the frames of one direction, in order, and joins their payloads to messages.

    For every frame: :meth:`check` as soon as the length is known, :meth:`begin` when the header is complete, then
    :meth:`take` for its payload, in as many pieces as it arrives in.
    """

    def __init__(self, limits: CodecLimits, deflate: PerMessageDeflate | None) -> None:
        self._limits = limits
        self._deflate = deflate
        self._opcode: int | None = None  # of the message in progress
        self._compressed = False
        self._announced = 0  # payload bytes that the headers of this message have announced
        self._fragments = 0
        self._empty_fragments = 0
        self._joined = _Joiner(limits.max_message_size)
        self._utf8 = _new_utf8_decoder()
        self._in_chunks = False
        self.discarding = False
        self.inflating = False  # in the middle of a payload: there is work to do without new data

    def read_in_chunks(self) -> None:
        """Hand messages out in chunks from now on, the one in progress included."""
        self._in_chunks = True
        self._limits = CodecLimits(max_message_size=None, max_fragments=None)
        if self._deflate is not None:
            self._deflate.lift_limit()
        self._joined.lift_limit()
        self._utf8.reset()  # it has checked what is to be decoded

    def discard(self) -> None:
        """Drop what is here of an unfinished message, and all data to come."""
        self.discarding = True
        self.inflating = False
        self._joined.clear()

    def check(self, opcode: int, rsv1: bool, rsv23: bool, length: int) -> None:
        """Check a header; this may happen more than once for the same one.

        :raises Violation: this frame may not come now, or is too much
        """
        starts_message = CONTINUATION < opcode < CLOSE
        # RFC 7692 6: RSV1 is set on the first frame of a compressed message and on no other.
        if rsv23 or (rsv1 and (self._deflate is None or not starts_message)):
            raise Violation(1002, "reserved bit set, and no extension gives it a meaning (RFC 6455 5.2)")
        if opcode == CONTINUATION and self._opcode is None:
            raise Violation(1002, "continuation frame without a message in progress (RFC 6455 5.4)")
        if starts_message and self._opcode is not None:
            raise Violation(
                1002, "new message before the last fragment of the one in progress (RFC 6455 5.4)"
            )
        if opcode < CLOSE and not self.discarding:
            self._check_limits(length, compressed=rsv1 or self._compressed)

    def _check_limits(self, length: int, *, compressed: bool) -> None:
        size = self._limits.max_message_size
        if size is not None:
            # Of compressed data, the inflater counts what counts. But a compressor adds a few bytes to a block and not
            # an eighth of it, so a frame of 2**62 bytes is refused by its header, compressed or not.
            allowed = size + size // 8 + 1024 if compressed else size
            if self._announced + length > allowed:
                raise self._too_large()
        if self._fragments == self._limits.max_fragments:
            raise Violation(1008, f"message has more than {self._fragments} fragments (limit: max_fragments)")
        if not length and self._empty_fragments == _MAX_EMPTY_FRAGMENTS:
            raise Violation(
                1008,
                f"more than {_MAX_EMPTY_FRAGMENTS} empty fragments in a row, which is a limit beside max_fragments",
            )

    def _too_large(self) -> Violation:
        size = self._limits.max_message_size
        return Violation(1009, f"message is larger than {size} bytes (limit: max_message_size)")

    def begin(self, opcode: int, rsv1: bool, length: int) -> None:
        """The header of a data frame is complete, and :meth:`check` had nothing against it."""
        if opcode != CONTINUATION:
            self._opcode, self._compressed = opcode, rsv1
            if self._deflate is not None and rsv1:
                self._deflate.begin(self._limits.max_message_size)
        self._announced += length
        self._fragments += 1
        self._empty_fragments = 0 if length else self._empty_fragments + 1

    def take(self, payload: bytes, *, last: bool) -> Iterator[tuple[int, Message | Chunk | None]]:
        """Take payload of the frame that was begun; ``last`` when the message ends with it.

        Yields for every step of work how much it was, in units of about one small frame, and the message when it is
        complete. The caller may take a break after each step.

        :raises Violation: the message is too large, or not what it claims to be
        """
        if self.discarding:
            yield 1, None
        elif self._compressed:
            yield from self._inflate(payload, last=last)
        elif last:
            yield 1, self._complete(payload)
        else:
            self._append(payload)
            yield 1, None
        if last:
            self._opcode, self._compressed = None, False
            self._announced = self._fragments = self._empty_fragments = 0

    def _inflate(self, payload: bytes, *, last: bool) -> Iterator[tuple[int, Message | Chunk | None]]:
        assert self._deflate is not None  # check() has seen to it
        self.inflating = True
        try:
            for start in range(0, max(1, len(payload)), _COMPRESSED_AT_ONCE):
                part = payload[start : start + _COMPRESSED_AT_ONCE]
                least = len(part) // _COMPRESSED_BYTES_PER_UNIT
                for piece in self._deflate.inflate(part, last=last and start + len(part) == len(payload)):
                    if self.discarding:  # decided while the caller took a break
                        return
                    self._append(piece)
                    units = 1 + max(len(piece) // _BYTES_PER_UNIT, least)
                    least = 0
                    del piece  # before there is another one
                    yield units, None
        except InflatedTooLarge:
            raise self._too_large() from None
        except InflateError as exc:
            raise Violation(CloseCode.INVALID_PAYLOAD, str(exc)) from exc
        self.inflating = False
        if last:
            yield 1, self._complete(b"")

    def _append(self, piece: bytes) -> None:
        if self._opcode == TEXT and not self._in_chunks:
            # Only to fail at the first bad byte (RFC 6455 8.1): what is kept is the bytes, because a str may need
            # four times as much.
            try:
                self._utf8.decode(piece)
            except UnicodeDecodeError as exc:
                raise _not_utf8("text message", exc) from None
        self._joined.add(piece)

    def chunk(self) -> Chunk | None:
        """Return what has come together of a message that is read in chunks; None when that is nothing.

        :raises Violation: it is not UTF-8
        """
        if not self._in_chunks:
            return None
        chunk = self._chunk(self._joined.finish(b""), last=False)
        return chunk if chunk.data else None

    def _chunk(self, data: bytes, *, last: bool) -> Chunk:
        if self._opcode != TEXT:
            return Chunk(data, last)
        try:
            return Chunk(self._utf8.decode(data, last), last)
        except UnicodeDecodeError as exc:
            raise _not_utf8("text message", exc) from None

    def _complete(self, payload: bytes) -> Message | Chunk:
        data = self._joined.finish(payload)
        if self._in_chunks:
            return self._chunk(data, last=True)
        if self._opcode != TEXT:
            return data
        self._utf8.reset()
        try:
            return data.decode()
        except UnicodeDecodeError as exc:
            raise _not_utf8("text message", exc) from None


def read_close(payload: bytes) -> Close:
    """Read the body of a Close frame (RFC 6455 sections 5.5.1 and 7.4).

    :raises Violation: it has one byte, a code that may not be sent, or a reason that is not UTF-8
    """
    if not payload:
        return Close()
    if len(payload) == 1:
        raise Violation(1002, "close frame with half a code (RFC 6455 5.5.1)")
    code = int.from_bytes(payload[:2], "big")
    if not is_valid_on_the_wire(code):
        raise Violation(1002, f"close frame with code {code}, which is not for the wire (RFC 6455 7.4)")
    try:
        return Close(code, payload[2:].decode())
    except UnicodeDecodeError as exc:
        raise _not_utf8("close reason", exc) from None


def _not_utf8(what: str, exc: UnicodeDecodeError) -> Violation:
    return Violation(CloseCode.INVALID_PAYLOAD, f"{what} is not UTF-8: {exc.reason} (RFC 6455 8.1)")


class _Joiner:
    """Joins the pieces of one message in one buffer: linear, and without a copy at the end.

    (``BytesIO.getvalue`` hands out the buffer itself.)
    """

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self.clear()

    def clear(self) -> None:
        self._io: io.BytesIO | None = None
        self._size = self._capacity = 0

    def lift_limit(self) -> None:
        self._limit = None

    def add(self, piece: bytes) -> None:
        if self._io is None:
            self._io = io.BytesIO()
        end = self._size + len(piece)
        if end > self._capacity:
            self._grow(self._io, end)
        self._io.write(piece)
        self._size = end

    def finish(self, piece: bytes) -> bytes:
        """Return everything with ``piece`` at its end, and be empty again."""
        if self._io is None:
            return piece
        self.add(piece)
        self._io.truncate(self._size)
        data = self._io.getvalue()
        self.clear()
        return data

    def _grow(self, buffer: io.BytesIO, needed: int) -> None:
        # Left alone, BytesIO takes an eighth more than it was asked for, and goes past the limit with it. It takes
        # exactly what it is asked for when that is far more than it has, so ask for the limit, half of it, a quarter...
        if self._limit is None:
            return
        self._capacity = self._limit
        while self._capacity // 2 >= needed:
            self._capacity //= 2
        buffer.seek(self._capacity - 1)
        buffer.write(b"\0")
        buffer.seek(self._size)
