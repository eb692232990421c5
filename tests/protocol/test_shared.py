"""A frame that is made once for many, between what each connection compresses by itself; zlib by itself is the judge."""

from __future__ import annotations

import os
import zlib
from typing import Any

import pytest
from codec_kit import BINARY, TAIL, TEXT, read_frames, send

from websocketstream._protocol.codec import CodecLimits, Outgoing
from websocketstream._protocol.negotiation import Compression, DeflateParameters
from websocketstream._protocol.shared import Encoder, SharedMessage

JSON = b'{"id": 17, "name": "sensor", "values": [1, 2, 3, 4, 5]}' * 40


def shared(payload: bytes, *, text: bool = False, compress: bool = True) -> SharedMessage:
    return SharedMessage(Outgoing(payload, text, compress), None, 0.0)


class Judge:
    """A peer that inflates what it gets by zlib, and keeps its context or does not."""

    def __init__(self, bits: int, *, takeover: bool) -> None:
        self._bits = bits
        self._takeover = takeover
        self._zlib = zlib.decompressobj(-bits)

    def read(self, wire: bytes) -> list[bytes]:
        return [self._payload(sent) for sent in read_frames(wire)]

    def _payload(self, sent: Any) -> bytes:
        if not sent.rsv:
            return bytes(sent.payload)
        # One byte at a time, so that it has nothing but its window to look back into.
        data = b"".join(self._zlib.decompress(bytes([byte])) for byte in bytes(sent.payload) + TAIL)
        if not self._takeover:
            self._zlib = zlib.decompressobj(-self._bits)
        return data


@pytest.mark.parametrize("payload", [b"", b"x" * 125, b"x" * 126, b"x" * 2**16, os.urandom(2**20)], ids=len)
@pytest.mark.parametrize("text", [True, False])
def test_without_compression_it_is_one_plain_frame(payload: bytes, text: bool) -> None:
    frame = shared(payload, text=text).frame(Encoder(None))
    assert not frame.compressed
    assert len(frame) == len(frame.frame)
    (sent,) = read_frames(frame.frame)
    assert (sent.opcode, sent.rsv, sent.payload) == (TEXT if text else BINARY, 0, payload)


def test_it_is_made_once_for_each_encoder() -> None:
    message, plain, deflating = shared(JSON), Encoder(None), Encoder((12, Compression()))
    assert message.frame(plain) is message.frame(plain)
    assert message.frame(deflating) is message.frame(deflating) is not message.frame(plain)
    assert message.frame(deflating).compressed


@pytest.mark.parametrize(
    "message",
    [shared(b"short" * 200), shared(os.urandom(5000)), shared(JSON, compress=False)],
    ids=["below the threshold", "noise", "not wanted"],
)
def test_what_is_not_worth_it_or_not_wanted_is_not_compressed(message: SharedMessage) -> None:
    assert not message.frame(Encoder((15, Compression()))).compressed


def test_a_large_message_is_compressed_in_steps() -> None:
    message, encoder = shared(JSON * 100), Encoder((12, Compression()))
    assert sum(1 for _ in message.make_frame(encoder)) > len(JSON * 100) // 2**15
    assert Judge(12, takeover=False).read(message.frame(encoder).frame) == [JSON * 100]


def test_a_message_may_be_wanted_at_once_while_another_one_is_half_done() -> None:
    encoder = Encoder((12, Compression()))
    first, second = shared(JSON * 100), shared(JSON * 101)
    steps = first.make_frame(encoder)
    next(steps)
    assert Judge(12, takeover=False).read(second.frame(encoder).frame) == [JSON * 101]
    assert Judge(12, takeover=False).read(first.frame(encoder).frame) == [JSON * 100]
    assert [*steps]
    assert Judge(12, takeover=False).read(first.frame(encoder).frame) == [JSON * 100]


def test_an_empty_message_is_charged_as_well() -> None:
    assert [shared(payload).size for payload in (b"", b"a", b"ab")] == [100, 101, 102]


@pytest.mark.parametrize("bits", range(8, 16))
@pytest.mark.parametrize("takeover", [True, False])
def test_the_peer_understands_it_whatever_was_compressed_before_and_whatever_follows(
    engine: Any, bits: int, takeover: bool
) -> None:
    compression = Compression(threshold=0)
    agreed = DeflateParameters(server_max_window_bits=bits, server_no_context_takeover=not takeover)
    codec = engine(client=False, limits=CodecLimits(), deflate=agreed, compression=compression)
    assert codec.deflate.form == (bits, compression)
    encoder = Encoder(codec.deflate.form)
    judge = Judge(bits, takeover=takeover)
    noise = os.urandom(2**bits)
    # The shared ones push out of the peer's window what our own compressor would still refer to.
    for number, payload in enumerate([JSON, JSON, noise + JSON, JSON, JSON, noise + JSON, JSON, JSON]):
        if number % 3 == 2:
            frame = shared(payload).frame(encoder)
            assert frame.compressed
            codec.deflate.forget()
            assert judge.read(frame.frame) == [payload]
        else:
            assert judge.read(send(codec, payload)) == [payload]


def test_the_context_is_kept_from_one_own_message_to_the_next(engine: Any) -> None:
    codec = engine(client=False, limits=CodecLimits(), deflate=DeflateParameters(), compression=Compression())
    first, second = len(send(codec, JSON)), len(send(codec, JSON))
    codec.deflate.forget()
    assert (len(send(codec, JSON)), len(send(codec, JSON))) == (first, second)
    assert second < first


def test_nothing_is_forgotten_in_the_middle_of_a_message(engine: Any) -> None:
    codec = engine(client=False, limits=CodecLimits(), deflate=DeflateParameters(), compression=Compression())
    codec.deflate.forget()  # nothing is there yet
    steps = codec.send_in_portions(Outgoing(JSON * 100, text=False))
    next(steps)
    with pytest.raises(RuntimeError, match="in portions"):
        codec.deflate.forget()


def test_without_compression_there_is_nothing_to_forget(engine: Any) -> None:
    assert engine(client=False, limits=CodecLimits()).deflate is None
