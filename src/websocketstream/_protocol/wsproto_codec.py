"""The portable codec engine: frames are wsproto's business, everything above and around them is ours.

wsproto's parser conforms to RFC 6455 section 5.2, but it bounds nothing, loses the deflate state of a message when a
control frame comes in between, and goes on after an error. So of wsproto only the parser of frames is used.
"""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Iterator, Sequence
from sys import getsizeof

from wsproto.frame_protocol import (
    FrameDecoder,
    Opcode,
    ParseFailed,
    RsvBits,
    XorMaskerNull,
    XorMaskerSimple,
)

from .assembly import Assembler, Violation, read_close
from .close import is_valid_on_the_wire, truncate_reason
from .codec import Chunk, Close, CodecLimits, Event, Failure, Message, Outgoing, Ping, Pong, without_old_pings
from .deflate import PerMessageDeflate
from .negotiation import Compression, DeflateParameters

# What one call of receive_data() may do: 128 frames, or about 256 KiB inflated or 16 KiB of compressed data, or a mixture.
# Measured with CPython 3.11 on two shared cores: a small frame of any kind takes 7-12 us, so that either takes one or two
# milliseconds. What follows is less: 0.3 us to push and receive a message, 2.5 us to handle and answer a ping.
_BUDGET = 128

# A payload from here on is handed out in a buffer of its own; below, a copy is cheaper than a second write.
_LARGE = 64 * 1024
# Masking so much takes 0.7 ms.
_MASKED_AT_ONCE = 256 * 1024
_MAX_CONTROL_PAYLOAD = 125  # RFC 6455 5.5


class WsprotoCodec:
    """A :class:`~.codec.Codec` on wsproto's frame parser."""

    def __init__(
        self,
        *,
        client: bool,
        limits: CodecLimits,
        deflate: DeflateParameters | None = None,
        compression: Compression | None = None,
    ) -> None:
        self._client = client
        self._deflate: PerMessageDeflate | None = None
        if deflate is not None:
            self._deflate = PerMessageDeflate(deflate, compression or Compression(), client=client)
        self._decoder: _Decoder | None = _Decoder(client, Assembler(limits, self._deflate))
        self._pending = False
        self.message_bytes: int = 0  # memory of the messages that the last call of receive_data() returned

    @property
    def deflate(self) -> PerMessageDeflate | None:
        """The compressor and the inflater, None without compression."""
        return self._deflate

    @property
    def pending(self) -> bool:
        """Whether ``receive_data(b"")`` has more to decode of what was already given."""
        return self._pending

    def receive_data(self, data: bytes | bytearray | memoryview) -> list[Event]:
        """Decode what arrived into events, up to 128 frames, 16 KiB of compressed data or 256 KiB inflated in one call."""
        self.message_bytes = 0
        if self._decoder is None:
            return []
        events: list[Event] = []
        try:
            self._pending = self._decoder.decode(data, events)
        except Violation as exc:
            events.append(Failure(exc.code, exc.message))
        except ParseFailed as exc:
            events.append(Failure(int(exc.code), f"{exc} (RFC 6455 5.2)"))
        if events and isinstance(events[-1], Close | Failure):
            self._decoder = None  # and with it everything that was received
            self._pending = False
        events = without_old_pings(events)
        self.message_bytes = sum(map(_memory_of, events))
        return events

    def room(self, most: int) -> None:
        """There is none: a message is put together when all of it is there."""

    def receive_in_room(self, size: int, data: bytes | bytearray | memoryview) -> list[Event]:  # noqa: ARG002
        """Decode what arrived, for there was no room."""
        return self.receive_data(data)

    @property
    def only_messages(self) -> bool:
        """Never sure here: telling events apart costs little beside decoding them."""
        return False

    @property
    def whole_bytes(self) -> int:
        """Never sure either."""
        return -1

    def read_in_chunks(self) -> None:
        """Hand messages out in chunks from now on, the one in progress included."""
        if self._decoder is not None:
            self._decoder.assembler.read_in_chunks()

    def discard_data(self) -> None:
        """Drop data frames unread from now on; control frames are still events and framing is still checked."""
        if self._decoder is not None:
            self._decoder.assembler.discard()

    def send_message(self, message: Message | Outgoing) -> bytes | bytearray:
        """Encode one message or part into one piece."""
        header, payload = self._encode_message(Outgoing.of(message))
        return header + payload

    def send_messages(self, messages: Sequence[Message | Outgoing]) -> list[bytes | bytearray | memoryview]:
        """Encode messages or parts of one, a frame each; small ones share a buffer, large ones of a server are not copied."""
        buffers: list[bytes | bytearray | memoryview] = []
        shared = bytearray()
        for message in messages:
            header, payload = self._encode_message(Outgoing.of(message))
            shared += header
            if len(payload) < _LARGE:
                shared += payload
            else:
                buffers += shared, payload
                shared = bytearray()
        if shared:
            buffers.append(shared)
        return buffers

    @property
    def portion(self) -> int:
        """How many bytes of payload are encoded in about a millisecond or two."""
        if self._deflate is not None:
            return self._deflate.portion
        return _MASKED_AT_ONCE if self._client else sys.maxsize

    def send_in_portions(self, message: Message | Outgoing) -> Iterator[list[bytes | bytearray | memoryview]]:
        """Encode a message step by step, and yield empty lists until its frame is there."""
        message = Outgoing.of(message)
        payload = message.payload
        key = os.urandom(4) if self._client else b""
        pieces: list[bytes | bytearray | memoryview] = []
        is_shorter = False
        if (compressor := self._compressor_for(message)) is not None:
            masker = _new_masker(key)
            for piece in compressor.compress_in_portions(payload):
                pieces.append(masker.process(piece))  # type: ignore[arg-type]  # it takes bytes too
                yield []
            is_shorter = sum(map(len, pieces)) < len(payload)
        if not is_shorter:
            pieces.clear()
            masker = _new_masker(key)
            step = _MASKED_AT_ONCE if key else max(1, len(payload))
            for start in range(0, len(payload), step):
                pieces.append(masker.process(payload[start : start + step]))  # type: ignore[arg-type]
                yield []
        first_byte = _first_byte(message, compressed=is_shorter)
        header = _header(first_byte, sum(map(len, pieces)), masked=self._client) + key
        yield [header, *(piece for piece in pieces if piece)]

    def send_ping(self, payload: bytes) -> bytes:
        """Encode a Ping frame.

        :raises ValueError: the payload is longer than 125 bytes
        """
        return self._encode_control(Opcode.PING, payload)

    def send_pong(self, payload: bytes) -> bytes:
        """Encode a Pong frame.

        :raises ValueError: the payload is longer than 125 bytes
        """
        return self._encode_control(Opcode.PONG, payload)

    def send_close(self, code: int | None = None, reason: str = "") -> bytes:
        """Encode a Close frame; without a code its body is empty, reason or not.

        :raises ValueError: the code is not one for the wire
        """
        if code is None:
            return self._encode_control(Opcode.CLOSE, b"")
        if not is_valid_on_the_wire(code):
            raise ValueError(f"close code {code} is not for the wire (RFC 6455 7.4)")
        return self._encode_control(Opcode.CLOSE, struct.pack("!H", code) + truncate_reason(reason).encode())

    def _encode_message(self, message: Outgoing) -> tuple[bytes, bytes | bytearray]:
        if not (message.begins and message.ends):
            return self._encode_part(message)
        compressor = self._compressor_for(message)
        compressed = None if compressor is None else compressor.compress(message.payload)
        payload = message.payload if compressed is None else compressed
        return self._encode(_first_byte(message, compressed=compressed is not None), payload)

    def _encode_part(self, part: Outgoing) -> tuple[bytes, bytes | bytearray]:
        # RFC 6455 5.4 and RFC 7692 6.1: the first frame has the opcode and RSV1, the last one the FIN bit.
        first_byte, payload = 0x80 if part.ends else 0x00, part.payload
        if part.begins:
            first_byte |= Opcode.TEXT if part.text else Opcode.BINARY
        if self._deflate is not None and part.compress:
            first_byte |= 0x40 if part.begins else 0x00
            payload = self._deflate.compress_part(payload, last=part.ends)
        return self._encode(first_byte, payload)

    def _compressor_for(self, message: Outgoing) -> PerMessageDeflate | None:
        deflate = self._deflate
        if deflate is None or not message.compress or len(message.payload) < deflate.threshold:
            return None
        return deflate

    def _encode_control(self, opcode: Opcode, payload: bytes) -> bytes:
        if len(payload) > _MAX_CONTROL_PAYLOAD:
            raise ValueError(f"a control frame carries at most 125 bytes, not {len(payload)} (RFC 6455 5.5)")
        header, payload_ = self._encode(0x80 | opcode, payload)
        return header + payload_

    def _encode(self, first_byte: int, payload: bytes) -> tuple[bytes, bytes | bytearray]:
        # Not wsproto's serialiser: it copies the payload five times and wants text as str.
        header = _header(first_byte, len(payload), masked=self._client)
        if not self._client:
            return header, payload
        # RFC 6455 5.3 and 10.3: a fresh key for every frame, from a source that nobody can predict.
        key = os.urandom(4)
        return header + key, XorMaskerSimple(key).process(payload)  # type: ignore[arg-type]  # it takes bytes too


def _memory_of(event: Event) -> int:
    if isinstance(event, Chunk):
        return getsizeof(event.data)
    return getsizeof(event) if isinstance(event, (str, bytes)) else 0


def _new_masker(key: bytes) -> XorMaskerNull | XorMaskerSimple:
    return XorMaskerSimple(key) if key else XorMaskerNull()


def _first_byte(message: Outgoing, *, compressed: bool) -> int:
    return (0xC0 if compressed else 0x80) | (Opcode.TEXT if message.text else Opcode.BINARY)


def _header(first_byte: int, length: int, *, masked: bool) -> bytes:
    mask_bit = 0x80 if masked else 0
    if length < 126:
        return struct.pack("!BB", first_byte, mask_bit | length)
    if length < 2**16:
        return struct.pack("!BBH", first_byte, mask_bit | 126, length)
    return struct.pack("!BBQ", first_byte, mask_bit | 127, length)


class _Decoder:
    """The receiving half: everything that is dropped when the peer has said its last word."""

    def __init__(self, client: bool, assembler: Assembler) -> None:
        self.assembler = assembler
        self._frames = _FrameParser(client, assembler)
        self._steps = _decode(self._frames, assembler)  # which does not know us: nobody is in a cycle

    def decode(self, data: bytes | bytearray | memoryview, events: list[Event]) -> bool:
        """Add what ``data`` brings to ``events``, and tell whether there is more to decode when the budget is spent."""
        self._frames.receive_bytes(data)  # type: ignore[arg-type]  # it only appends
        pending = self._decode_some(events)
        if (chunk := self.assembler.chunk()) is not None:
            events.append(chunk)
        return pending

    def _decode_some(self, events: list[Event]) -> bool:
        budget = _BUDGET
        while budget > 0:
            cost, event = next(self._steps)
            if not cost:
                return False
            budget -= cost
            if event is not None:
                events.append(event)
                if isinstance(event, Close):
                    return False
        return self.assembler.inflating or len(self._frames.buffer) > 0


def _decode(frames: _FrameParser, assembler: Assembler) -> Iterator[tuple[int, Event | None]]:
    """Yield what every step of work costs, and its event if it has one; no cost means that data is wanted."""
    while True:
        frame = frames.process_buffer()
        if frame is None:
            yield 0, None
            continue
        payload = frame.payload
        assert isinstance(payload, bytes)  # str and tuple are wsproto's next layer
        if frame.opcode.iscontrol():
            if (chunk := assembler.chunk()) is not None:
                yield 1, chunk
            yield 1, _control_event(frame.opcode, payload)
        else:
            # wsproto's message_finished is the FIN bit, also while the frame's payload is still arriving.
            yield from assembler.take(payload, last=frame.frame_finished and frame.message_finished)
        del payload  # an idle connection does not hold on to its last message


def _control_event(opcode: Opcode, payload: bytes) -> Ping | Pong | Close:
    if opcode is Opcode.CLOSE:
        return read_close(payload)
    return Ping(payload) if opcode is Opcode.PING else Pong(payload)


class _FrameParser(FrameDecoder):
    """wsproto's parser, with every refusal at the first byte that justifies it."""

    def __init__(self, client: bool, assembler: Assembler) -> None:
        super().__init__(client)
        self._assembler = assembler

    def parse_header(self) -> bool:
        # RFC 6455 5.1: the direction decides about the mask. wsproto looks only behind the extended length.
        start = self.buffer.buffer
        if len(start) >= 2 and bool(start[1] & 0x80) is self.client:
            kind = "masked frame from a server" if self.client else "unmasked frame from a client"
            raise Violation(1002, f"{kind} (RFC 6455 5.1)")
        if not super().parse_header():
            return False
        header = self.header
        assert header is not None
        if not header.opcode.iscontrol():
            self._assembler.begin(header.opcode, header.rsv.rsv1, header.payload_len)
            if self._assembler.discarding:
                self.masker = XorMaskerNull()  # nobody will look
        return True

    def extension_processing(self, opcode: Opcode, rsv: RsvBits, payload_len: int) -> None:
        """Check the header; wsproto calls this once the length is known, and again if the key is still to come."""
        self._assembler.check(opcode, rsv.rsv1, rsv.rsv2 or rsv.rsv3, payload_len)
