"""permessage-deflate at work (RFC 7692 section 7.2): the compressor and the inflater of one connection."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from .negotiation import Compression, DeflateParameters

__all__ = ["STEP", "InflateError", "InflatedTooLarge", "PerMessageDeflate"]

# Bytes that one call of the inflater may put out. Above 32 KiB CPython's zlib joins several blocks, and for a moment needs
# twice the memory; below 16 KiB the calls begin to cost more than what they do.
STEP = 16 * 1024
# Bytes that one call of the inflater gets in. zlib hands the unread rest back as a copy, so a large input that
# inflates 1000:1 in steps would be copied again and again: 16 GiB of copies for 1 MiB.
_INPUT_STEP = 8 * 1024
# Bytes that are compressed in one step of a large message. Measured on two shared cores: at level 6, 32 KiB of text, JSON or
# base64 take 0.8-2 ms, noise 1.5-2.8 ms, and four letters at random, the worst that was found, 3-4.5 ms; at level 9, 8 KiB
# take 0.2-0.8 ms and at worst 5.5 ms. A pass of the event loop costs 2 % of that.
_PORTION = 32 * 1024
_PORTION_OF_HIGH_LEVELS = 8 * 1024
_TAIL = b"\x00\x00\xff\xff"  # RFC 7692 7.2.1: cut from every message by the sender, put back by the receiver
# What ends a message whose parts had their tails: together with the one that the receiver puts back, an empty block.
LAST_PART = b"\x00"
_FINAL_BLOCK = b"\x03\x00"  # RFC 1951 3.2.6: an empty last block


class InflateError(Exception):
    """The peer's message is not DEFLATE data, or ends inside of it: close code 1007."""


class InflatedTooLarge(Exception):
    """The peer's message inflates to more than the limit: close code 1009."""


class PerMessageDeflate:
    """Compressor and inflater of one connection; both are created when they are first needed."""

    def __init__(self, parameters: DeflateParameters, compression: Compression, *, client: bool) -> None:
        by_server = parameters.server_max_window_bits, not parameters.server_no_context_takeover
        by_client = parameters.client_max_window_bits, not parameters.client_no_context_takeover
        ours, theirs = (by_client, by_server) if client else (by_server, by_client)
        new_compressor, new_inflater = self._parts()
        self._compressor = new_compressor(*ours, compression)
        self._inflater = new_inflater(*theirs)
        self.threshold: int = compression.threshold
        self.portion: int = self._compressor.portion
        self.form: tuple[int, Compression] = (ours[0], compression)  # what we compress fits who has the same

    @staticmethod
    def _parts() -> tuple[type[_Compressor], type[_Inflater]]:
        return _Compressor, _Inflater  # _zlib.pyx has others

    def compress(self, payload: bytes) -> bytes | None:
        """Return the payload of a message's only frame, or None when compressing does not make it shorter.

        :raises RuntimeError: another message is still being compressed in portions
        """
        return self._compressor.compress(payload)

    def compress_in_portions(self, payload: bytes) -> Iterator[bytes]:
        """Compress ``portion`` bytes in every step, and yield the payload of a message's only frame piece by piece.

        Pieces may be empty. Together they are no shorter than the payload when compressing does not make it shorter:
        then they must not be sent. An iterator that is not used up leaves nothing behind, and neither may its pieces.

        :raises RuntimeError: another message is still being compressed in portions
        """
        return self._compressor.compress_in_portions(payload)

    def compress_part(self, payload: bytes, *, last: bool) -> bytes:
        """Return the payload of a frame of a message that comes part by part, and has no other frames in between.

        A receiver can inflate each part when it has arrived. A message whose last part never comes can be followed by no other.
        """
        return self._compressor.compress_part(payload, last=last)

    def forget(self) -> None:
        """Refer to nothing that was sent before: the peer's window has moved by a message that ours does not have.

        :raises RuntimeError: another message is still being compressed in portions
        """
        self._compressor.forget()

    def begin(self, limit: int | None) -> None:
        """A compressed message starts, of which at most ``limit`` inflated bytes are wanted."""
        self._inflater.begin(limit)

    def lift_limit(self) -> None:
        """From now on, any number of bytes of the message in progress is wanted."""
        self._inflater.lift_limit()

    def inflate(self, data: bytes, *, last: bool) -> Iterator[bytes]:
        """Yield what the next bytes of the message inflate to; ``last`` when it ends with them.

        A piece is at most 16 KiB and may be empty: the caller may take a break after each. Every iterator has to be
        used up before the next one is asked for.

        :raises InflatedTooLarge: the message is larger than its limit
        :raises InflateError: the data is not what RFC 7692 section 7.2.2 describes
        """
        return self._inflater.inflate(data, last=last)


def portion_of(level: int) -> int:
    """Return how many bytes are compressed in one step."""
    return _PORTION if level <= 6 else _PORTION_OF_HIGH_LEVELS


class _Compressor:
    def __init__(self, bits: int, takeover: bool, compression: Compression) -> None:
        # zlib cannot compress raw data with 8 bits. With 9 it never looks back further than 512 - 262 = 250 bytes
        # (its MAX_DIST), so what it makes is also legal for the 256 bytes that 8 bits stand for.
        self._settings = compression.level, zlib.DEFLATED, -max(bits, 9), compression.mem_level
        self._takeover = takeover
        self._deflate: zlib._Compress | None = None
        self._in_portions = False
        self._in_parts: zlib._Compress | None = None  # a message that comes part by part
        self.portion = portion_of(compression.level)

    def compress(self, payload: bytes) -> bytes | None:
        if not payload:
            return None  # a second flush without data in between is nothing at all, not even an empty block
        deflate = self._take()
        data = deflate.compress(payload) + deflate.flush(zlib.Z_SYNC_FLUSH)
        if len(data) - len(_TAIL) >= len(payload):
            return None
        data = data[: -len(_TAIL)]
        self._keep(deflate)  # now that nothing can fail any more
        return data

    def compress_in_portions(self, payload: bytes) -> Iterator[bytes]:
        if not payload:
            return
        deflate = self._take()
        self._in_portions = True
        size = 0
        try:
            for piece in self._run(deflate, memoryview(payload)):
                size += len(piece)
                yield piece
        finally:
            self._in_portions = False
        if size < len(payload):
            self._keep(deflate)

    def compress_part(self, payload: bytes, *, last: bool) -> bytes:
        deflate = self._in_parts if self._in_parts is not None else self._take()
        data = deflate.compress(payload) + deflate.flush(zlib.Z_SYNC_FLUSH) if payload else b""
        if last:
            self._keep(deflate)
        self._in_parts = None if last else deflate
        return data + LAST_PART if last else data

    def _run(self, deflate: zlib._Compress, payload: memoryview) -> Iterator[bytes]:
        for start in range(0, len(payload), self.portion):
            yield deflate.compress(payload[start : start + self.portion])
        yield deflate.flush(zlib.Z_SYNC_FLUSH)[: -len(_TAIL)]

    def forget(self) -> None:
        self._check_free()
        self._deflate = None

    def _check_free(self) -> None:
        if self._in_portions or self._in_parts is not None:
            # It would leave first, and then its data would lie in the peer's window and not in the other's.
            raise RuntimeError("another message is being compressed in portions")

    def _take(self) -> zlib._Compress:
        self._check_free()
        # Data that is thrown away has moved our window and not the peer's, so nothing may refer to it: unless it is
        # kept, the next message starts with an empty window, which RFC 7692 7.2.1 allows at any time.
        deflate, self._deflate = self._deflate, None
        return deflate or zlib.compressobj(*self._settings)

    def _keep(self, deflate: zlib._Compress) -> None:
        if self._takeover:
            self._deflate = deflate


class _Inflater:
    def __init__(self, bits: int, takeover: bool) -> None:
        self._bits = bits
        self._takeover = takeover
        self._zlib: zlib._Decompress | None = None
        # What a decompressor needs to know when the one before it met a last block. zlib has the same bytes inside,
        # and Python no way to ask for them.
        self._window = bytearray()
        self._between_streams = True
        self._room: int | None = None

    def begin(self, limit: int | None) -> None:
        self._room = limit
        self._between_streams = True  # nothing of this message has been read

    def lift_limit(self) -> None:
        self._room = None

    def inflate(self, data: bytes, *, last: bool) -> Iterator[bytes]:
        view = memoryview(data)
        try:
            for start in range(0, len(view), _INPUT_STEP):
                yield from self._feed(view[start : start + _INPUT_STEP])
            if last:
                self._finish()
        except zlib.error as exc:
            raise InflateError(f"compressed data is broken: {exc} (RFC 7692 7.2.2)") from exc

    def _finish(self) -> None:
        # A message may end with a block marked as the last one, and then nothing is missing (RFC 7692 7.2.3.4). The
        # same goes for a message without any data, which some senders make although RFC 7692 7.2.3.6 wants one byte.
        # Otherwise the tail ends a block that is empty; when something comes out, it was taken for data.
        if not self._between_streams and (any(self._feed(_TAIL)) or not self._at_block_boundary()):
            raise InflateError("compressed data ends inside of a block (RFC 7692 7.2.2)")
        if not self._takeover:
            self._zlib = None
            self._window.clear()

    def _at_block_boundary(self) -> bool:
        # zlib does not tell, but a copy of it says "end of stream" if, and only if, it takes a last block here.
        if self._zlib is None:
            return False
        probe = self._zlib.copy()
        try:
            return not probe.decompress(_FINAL_BLOCK, 1) and probe.eof and not probe.unused_data
        except zlib.error:  # in the middle of a code
            return False

    def _feed(self, data: bytes | memoryview) -> Iterator[bytes]:
        more = True
        while more:
            stream = self._zlib = self._zlib or self._new_stream()
            piece = stream.decompress(data, self._step())
            self._account(piece)
            full = len(piece) == STEP
            yield piece
            del piece  # before there is another one
            self._between_streams = stream.eof
            if stream.eof:
                # RFC 7692 7.2.1 allows a "last" block anywhere in a message; the next one starts at the next byte.
                self._zlib = None
                data = stream.unused_data
                more = bool(data)
            else:
                data = stream.unconsumed_tail
                more = bool(data) or full  # a full step may have left something inside of zlib

    def _new_stream(self) -> zlib._Decompress:
        if self._window:
            return zlib.decompressobj(-self._bits, zdict=bytes(self._window))
        return zlib.decompressobj(-self._bits)

    def _step(self) -> int:
        return STEP if self._room is None else min(STEP, self._room + 1)

    def _account(self, piece: bytes) -> None:
        if self._room is not None:
            self._room -= len(piece)
            if self._room < 0:
                raise InflatedTooLarge
        self._remember(memoryview(piece)[-(1 << self._bits) :])

    def _remember(self, piece: memoryview) -> None:
        surplus = len(self._window) + len(piece) - (1 << self._bits)
        if surplus > 0:
            # Moved by hand: deleted from the front, a bytearray is copied to a second one when it grows again.
            kept = len(self._window) - surplus
            with memoryview(self._window) as window:
                window[:kept] = window[surplus:]
            del self._window[kept:]
        self._window += piece
