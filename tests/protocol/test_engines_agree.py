"""Both engines make the same of the same bytes: legal ones, broken ones, and cut anywhere."""

from __future__ import annotations

import random
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import pytest
from codec_kit import (
    BINARY,
    CLOSE,
    CONTINUATION,
    NOT_BUILT,
    PING,
    PONG,
    RSV1,
    TEXT,
    CompiledCodec,
    Deflater,
    Kit,
    drain,
    encode,
    read_frames,
)
from hypothesis import given, settings, strategies as st

from websocketstream._protocol.codec import Failure, Outgoing, without_old_pings
from websocketstream._protocol.negotiation import Compression, DeflateParameters
from websocketstream._protocol.wsproto_codec import WsprotoCodec

pytestmark = pytest.mark.skipif(CompiledCodec is None, reason=NOT_BUILT)

TAKEOVER = DeflateParameters()
NO_TAKEOVER = DeflateParameters(server_no_context_takeover=True, client_no_context_takeover=True)

texts = st.one_of(
    st.text(max_size=40).map(str.encode),
    st.sampled_from(
        [b"\xe2\x82", b"\xac", b"\xf0\x9f\x98\x80", b"\xed\xa0\x80", b"\xc0\xaf", b"\xff", b"x" * 200]
    ),
)
payloads = st.one_of(
    st.binary(max_size=30), texts, st.integers(0, 400).map(bytes), st.integers(65530, 65540).map(bytes)
)


@st.composite
def frames(draw: Any, client: bool) -> bytes:
    """Draw a frame: mostly one that may be sent."""
    opcode = draw(st.sampled_from([TEXT, BINARY, CONTINUATION, CONTINUATION, PING, PONG, TEXT, BINARY]))
    payload = draw(texts if opcode == TEXT else payloads)
    rsv = 0
    if opcode in {TEXT, BINARY} and draw(st.booleans()):
        payload, rsv = Deflater()(payload), RSV1
    return encode(
        opcode,
        payload[:125] if opcode > CLOSE else payload,
        masked=not client,
        fin=draw(st.booleans()) or opcode > CLOSE,
        rsv=rsv,
    )


@st.composite
def messages(draw: Any, client: bool) -> bytes:
    """Draw a message in fragments, with pings in between."""
    kit = Kit(None, client)
    compressed = draw(st.booleans())
    data = draw(payloads)
    data = Deflater()(data) if compressed else data
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=4)))
    parts = [data[start:end] for start, end in pairwise([0, *cuts, len(data)])]
    opcode = draw(st.sampled_from([TEXT, BINARY]))
    between = kit.frame(PING, b"between") if draw(st.booleans()) else b""
    return kit.message(opcode, *parts, rsv=RSV1 if compressed else 0, between=between)


@st.composite
def wires(draw: Any, client: bool) -> bytes:
    """Draw what a peer may send, and then break some of it."""
    closes = st.binary(max_size=6).map(lambda body: encode(CLOSE, body, masked=not client))
    good_closes = st.sampled_from([b"", b"\x03\xe8", b"\x03\xe9bye", b"\x0f\xa0\xe2\x82\xac"]).map(
        lambda body: encode(CLOSE, body, masked=not client)
    )
    parts = draw(st.lists(st.one_of(messages(client), messages(client), frames(client)), max_size=6))
    wire = b"".join(parts) + draw(st.one_of(st.just(b""), good_closes, closes)) + draw(st.binary(max_size=4))
    for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
        at = draw(st.integers(0, max(0, min(len(wire), 200) - 1)))
        wire = wire[:at] + draw(st.binary(max_size=2)) + wire[at + draw(st.integers(0, 2)) :]
    return wire


def agree(ours: Any, oracle: Any, chunk: bytes) -> bool:
    """Compare what two codecs make of some bytes; False when that was the end of it."""
    # They take different breaks, so that one of them may have counted pings as old that the other has not.
    events, expected = (without_old_pings(drain(codec, chunk)) for codec in (ours, oracle))
    before, late = (
        events[:-1],
        Failure(1007, "text message is not UTF-8: invalid continuation byte (RFC 6455 8.1)"),
    )
    if events[-1:] == [late] and expected[: len(before)] == before:
        # The first two bytes of a surrogate are enough to know. CPython's incremental decoder waits for the third, which
        # may never come, or behind a ping.
        assert not any(isinstance(event, str | bytes) for event in expected[len(before) :])
        return False
    assert events == expected
    assert ours.receive_data(b"") == []
    return not (events and isinstance(events[-1], Failure))


def chunks_of(wire: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(min(cut, len(wire)) for cut in cuts), len(wire)]
    return [wire[start:end] for start, end in pairwise(edges)]


def compare(client: bool, options: dict[str, Any], chunks: Iterable[bytes], discard_at: int | None) -> None:
    """Give both engines the same reads until one of them has failed, and discard at the same time."""
    ours, oracle = (Kit(engine, client).codec(**options) for engine in (CompiledCodec, WsprotoCodec))
    for i, chunk in enumerate(chunks):
        if i == discard_at:
            ours.discard_data()
            oracle.discard_data()
        if not agree(ours, oracle, chunk):
            break


@settings(deadline=None, max_examples=300)
@given(
    data=st.data(),
    client=st.booleans(),
    deflate=st.sampled_from([None, TAKEOVER, NO_TAKEOVER]),
    limit=st.sampled_from([None, 2**20, 65536, 100, 10, 0]),
    fragments=st.sampled_from([None, 4096, 3, 1, 0]),
    cuts=st.lists(st.one_of(st.integers(0, 60), st.integers(0, 70_000)), max_size=8),
    discard_at=st.one_of(st.none(), st.integers(0, 8)),
)
def test_both_engines_make_the_same_events_of_the_same_bytes(
    data, client, deflate, limit, fragments, cuts, discard_at
):
    wire = data.draw(wires(client))
    options = {"deflate": deflate, "max_message_size": limit, "max_fragments": fragments}
    compare(client, options, chunks_of(wire, cuts), discard_at)


# More than one step of inflating, more than one call, and exactly as much.
large = st.one_of(
    st.sampled_from([16384, 16385, 32767, 65536, 13 * 16384, 14 * 16384, 15 * 16384 + 1]).map(bytes),
    st.integers(0, 300_000).map(lambda size: b"0123456789abcde\n" * (size // 16)),
    st.integers(0, 20_000).map(lambda size: "€ and 😀, ".encode() * (size // 14)),
    st.integers(0, 40_000).map(lambda size: random.Random(size).randbytes(size)),
)


@settings(deadline=None, max_examples=150)
@given(
    payloads=st.lists(large, min_size=1, max_size=4),
    options=st.data(),
    client=st.booleans(),
    takeover=st.booleans(),
    cuts=st.lists(st.one_of(st.integers(0, 2000), st.integers(0, 40_000)), max_size=6),
    discard_at=st.one_of(st.none(), st.none(), st.integers(0, 6)),
)
def test_both_engines_make_the_same_events_of_large_compressed_messages(
    payloads, options, client, takeover, cuts, discard_at
):
    kit = Kit(None, client)
    compress, wire = Deflater(), b""
    for payload in payloads:
        data = compress(payload) if options.draw(st.booleans()) or takeover else Deflater().final(payload)
        if not takeover:
            compress = Deflater()
        if options.draw(st.sampled_from([False, False, False, True])):
            at = options.draw(st.integers(0, len(data) - 1))
            data = data[:at] + options.draw(st.binary(max_size=1)) + data[at + 1 :]
        edges = [0, *sorted(options.draw(st.lists(st.integers(0, len(data)), max_size=2))), len(data)]
        parts = [data[start:end] for start, end in pairwise(edges)]
        opcode = options.draw(st.sampled_from([TEXT, BINARY]))
        wire += kit.message(opcode, *parts, rsv=RSV1, between=kit.frame(PING, b"between"))
    size = len(payloads[-1])
    limit = options.draw(st.sampled_from([None, 2**20, size, size - 1, size + 1]))
    settings_ = {
        "deflate": TAKEOVER if takeover else NO_TAKEOVER,
        "max_message_size": None if limit is None else max(0, limit),
    }
    compare(client, settings_, chunks_of(wire, cuts), discard_at)


@settings(deadline=None, max_examples=200)
@given(wire=st.binary(max_size=300), client=st.booleans(), cuts=st.lists(st.integers(0, 300), max_size=5))
def test_both_engines_make_the_same_events_of_noise(wire, client, cuts):
    deflate = DeflateParameters()
    ours, oracle = (Kit(engine, client).codec(deflate=deflate) for engine in (CompiledCodec, WsprotoCodec))
    for chunk in chunks_of(wire, cuts):
        if not agree(ours, oracle, chunk):
            break


@settings(deadline=None, max_examples=200)
@given(text=st.binary(max_size=12), cuts=st.lists(st.integers(0, 20), max_size=4), client=st.booleans())
def test_both_engines_refuse_the_same_text_at_the_same_byte(text, cuts, client):
    kit = Kit(None, client)
    wire = kit.frame(TEXT, b"x" * 40 + text, fin=False) + kit.frame(CONTINUATION)
    ours, oracle = (Kit(engine, client).codec() for engine in (CompiledCodec, WsprotoCodec))
    for chunk in chunks_of(wire, [cut + 40 for cut in cuts]):
        if not agree(ours, oracle, chunk):
            break


SECOND_BYTES = [byte | mask for mask in (0, 128) for byte in (0, 1, 125, 126, 127)]


def test_both_engines_refuse_every_header_alike():
    for client in (True, False):
        for first in range(256):
            for second in SECOND_BYTES:
                codecs = [
                    Kit(engine, client).codec(max_message_size=1000)
                    for engine in (CompiledCodec, WsprotoCodec)
                ]
                for chunk in (bytes([first, second]), b"\x00\x7e", b"\x00\x00\x00\x00\x00\x01\x00\x00"):
                    ours, oracle = (drain(codec, chunk) for codec in codecs)
                    assert ours == oracle, (first, second)
                    if ours:
                        break


outgoing = st.builds(
    lambda message, compress: Outgoing(
        message.encode() if isinstance(message, str) else message, isinstance(message, str), compress
    ),
    st.one_of(st.text(max_size=300), st.binary(max_size=300), st.integers(65530, 65540).map(bytes)),
    st.booleans(),
)
sendable = st.one_of(
    outgoing, st.text(st.characters(max_codepoint=127), max_size=200), st.binary(max_size=200)
)


@settings(deadline=None)
@given(
    batches=st.lists(st.lists(sendable, max_size=5), max_size=4),
    client=st.booleans(),
    compressed=st.booleans(),
    close=st.sampled_from([None, 1000, 1011, 4999]),
    reason=st.text(max_size=130),
)
def test_both_engines_send_the_same(batches, client, compressed, close, reason):
    options = {
        "deflate": DeflateParameters() if compressed else None,
        "compression": Compression(threshold=20),
    }
    wires = []
    for engine in (CompiledCodec, WsprotoCodec):
        codec = Kit(engine, client).codec(**options)
        wire = b"".join(b"".join(codec.send_messages(batch)) + codec.send_ping(b"p") for batch in batches)
        wires.append(wire + codec.send_pong(b"q") + codec.send_close(close, reason))
    if client:  # all but the key
        wires = [[(f.opcode, f.payload, f.fin, f.rsv) for f in read_frames(wire)] for wire in wires]
    assert wires[0] == wires[1]
