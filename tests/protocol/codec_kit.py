"""What the codec tests share: the engines, both roles, and frames made by hand (also those that nobody should make)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from websocketstream._protocol.codec import Codec, CodecLimits, Event, Outgoing
from websocketstream._protocol.deflate import PerMessageDeflate
from websocketstream._protocol.negotiation import Compression, DeflateParameters
from websocketstream._protocol.wsproto_codec import WsprotoCodec

try:
    from websocketstream._protocol import _compiled
    from websocketstream._protocol._compiled import CompiledCodec
except ImportError:  # it is optional, and its tests are skipped
    CompiledCodec = None  # type: ignore[assignment,misc]
try:
    from websocketstream._protocol import _zlib
except ImportError:  # likewise
    _zlib = None  # type: ignore[assignment]

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
RSV1, RSV2, RSV3 = 4, 2, 1
KEY = b"\xa5\x00\xff\x3c"
TAIL = b"\x00\x00\xff\xff"
# Two empty blocks with tables of 286 and 30 codes (RFC 1951 3.2.7): of all compressed data, the byte takes longest here.
TABLES = bytes.fromhex(
    "ec1d036018306cb66ddbb66ddbb66ddbb66ddbb66ddcb66ddb4c6adb78c4de31"
    "008601c366dbb66ddbb66ddbb66ddbb66ddbc66ddbb6cda4b68d47"
)

ENGINES: dict[str, Any] = {"wsproto": WsprotoCodec, "compiled": CompiledCodec}
NOT_BUILT = "the compiled engine is not built (python setup.py build_ext --inplace)"
NO_ZLIB = "zlib's C interface is not built in (its header and a C compiler are needed)"
# The implementations of permessage-deflate.
DEFLATES: dict[str, type[PerMessageDeflate]] = {"python": PerMessageDeflate}

if _zlib is not None:
    DEFLATES["c"] = _zlib.PerMessageDeflate
if _zlib is not None and CompiledCodec is not None:

    class WithPythonsZlib(CompiledCodec):
        """The compiled engine as where zlib's header is missing."""

        def __init__(self, **options: Any) -> None:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(_compiled, "PerMessageDeflate", PerMessageDeflate)
                super().__init__(**options)

    ENGINES["compiled-with-pythons-zlib"] = WithPythonsZlib


def inflates_in_c(engine: Any) -> bool:
    return engine is CompiledCodec and _zlib is not None


def mask(payload: bytes, key: bytes = KEY) -> bytes:
    return (
        bytes(byte ^ key[i % 4] for i, byte in enumerate(payload))
        if len(payload) < 4096
        else _mask(payload, key)
    )


def _mask(payload: bytes, key: bytes) -> bytes:
    repeated = (key * (len(payload) // 4 + 1))[: len(payload)]
    number = int.from_bytes(payload, "little") ^ int.from_bytes(repeated, "little")
    return number.to_bytes(len(payload), "little")


def encode(
    opcode: int,
    payload: bytes = b"",
    *,
    masked: bool,
    fin: bool = True,
    rsv: int = 0,
    length: int | None = None,
    width: int | None = None,
) -> bytes:
    """Make a frame; ``length`` is a lie about the payload's, ``width`` the bytes of the extended length (0, 2, 8)."""
    length = len(payload) if length is None else length
    if width is None:
        width = 0 if length < 126 else 2 if length < 2**16 else 8
    short = {0: length, 2: 126, 8: 127}[width]
    extended = {0: b"", 2: struct.pack("!H", length % 2**16), 8: struct.pack("!Q", length)}[width]
    head = bytes([fin << 7 | rsv << 4 | opcode, masked << 7 | short]) + extended
    return head + (KEY + mask(payload) if masked else payload)


@dataclass(frozen=True)
class Sent:
    opcode: int
    payload: bytes
    fin: bool
    rsv: int
    key: bytes | None


def read_frames(data: bytes) -> Iterator[Sent]:
    """Take apart what a codec has sent."""
    while data:
        first, second = data[:2]
        length, at = second & 127, 2
        if length == 126:
            (length,), at = struct.unpack_from("!H", data, 2), 4
        elif length == 127:
            (length,), at = struct.unpack_from("!Q", data, 2), 10
        key = None
        if second & 128:
            key = data[at : at + 4]
            at += 4
        payload = data[at : at + length]
        assert len(payload) == length
        yield Sent(first & 15, mask(payload, key) if key else payload, bool(first & 128), first >> 4 & 7, key)
        data = data[at + length :]


def drain(codec: Codec, data: bytes = b"") -> list[Event]:
    """Give a codec bytes and take all the events, in as many calls as its budget asks for."""
    events = codec.receive_data(data)
    while codec.pending:
        events += codec.receive_data(b"")
    return events


def feed(codec: Codec, chunks: Iterable[bytes]) -> list[Event]:
    return [event for chunk in chunks for event in drain(codec, chunk)]


def single_bytes(data: bytes) -> Iterator[bytes]:
    return (data[i : i + 1] for i in range(len(data)))


@dataclass(frozen=True)
class Kit:
    """One engine in one role, and how its peer makes frames."""

    engine: Any
    client: bool

    def codec(
        self,
        *,
        max_message_size: int | None = 2**20,
        max_fragments: int | None = 4096,
        deflate: DeflateParameters | None = None,
        compression: Compression | None = None,
    ) -> Codec:
        limits = CodecLimits(max_message_size, max_fragments)
        codec: Codec = self.engine(
            client=self.client, limits=limits, deflate=deflate, compression=compression
        )
        return codec

    @property
    def frames_per_call(self) -> int:
        """The budget of one call of receive_data()."""
        return 128 if self.engine is WsprotoCodec else 4096

    @property
    def controls_per_call(self) -> int:
        """How many control frames that is."""
        return 128 if self.engine is WsprotoCodec else 512

    @property
    def peer(self) -> Kit:
        return Kit(self.engine, not self.client)

    def frame(self, opcode: int, payload: bytes = b"", **options: Any) -> bytes:
        """Make a frame that this side may receive."""
        return encode(opcode, payload, **{"masked": not self.client, **options})

    def message(self, opcode: int, *fragments: bytes, rsv: int = 0, between: bytes = b"") -> bytes:
        """Make a fragmented message, with ``between`` between the fragments."""
        last = len(fragments) - 1
        return between.join(
            self.frame(0 if i else opcode, part, fin=i == last, rsv=0 if i else rsv)
            for i, part in enumerate(fragments)
        )


def send(codec: Codec, *messages: str | bytes, compress: bool = True) -> bytes:
    out = [
        Outgoing(m.encode() if isinstance(m, str) else m, isinstance(m, str), compress=compress)
        for m in messages
    ]
    return b"".join(codec.send_messages(out))


class Deflater:
    """A peer's compressor: what zlib makes, without the tail (RFC 7692 section 7.2.1)."""

    def __init__(self, bits: int = 15, level: int = 6, zdict: bytes = b"") -> None:
        options = {"zdict": zdict} if zdict else {}
        self._zlib = zlib.compressobj(level, zlib.DEFLATED, -bits, **options)

    def __call__(self, data: bytes) -> bytes:
        compressed = self._zlib.compress(data) + self._zlib.flush(zlib.Z_SYNC_FLUSH)
        assert compressed.endswith(TAIL)
        return compressed[:-4]

    def final(self, data: bytes) -> bytes:
        """Compress with a last block (BFINAL), after which this compressor is used up."""
        return self._zlib.compress(data) + self._zlib.flush(zlib.Z_FINISH)
