"""What is read straight into the memory of a message makes the same events as what is read and then given."""

from __future__ import annotations

import random
import sys
import tracemalloc
from itertools import pairwise
from typing import Any

import pytest
from codec_kit import (
    BINARY,
    CLOSE,
    CONTINUATION,
    NOT_BUILT,
    PING,
    RSV1,
    TEXT,
    CompiledCodec,
    Deflater,
    Kit,
    drain,
)
from hypothesis import given, settings, strategies as st

from websocketstream._protocol.codec import Chunk, Close, Codec, Event, Failure, Ping
from websocketstream._protocol.negotiation import DeflateParameters
from websocketstream._protocol.trace import TracedCodec, Tracer
from websocketstream._protocol.wsproto_codec import WsprotoCodec

pytestmark = pytest.mark.skipif(CompiledCodec is None, reason=NOT_BUILT)

KIB = 2**10
MIB = 2**20
DIRECT = 256 * KIB  # from which on there is room
SERVER, CLIENT = Kit(CompiledCodec, False), Kit(CompiledCodec, True)
both = pytest.mark.parametrize("kit", [SERVER, CLIENT], ids=["server", "client"])

# Around the size from which there is room, and the one that is the most to be taken ahead.
sizes = st.one_of(
    st.integers(0, 300),
    st.integers(DIRECT - 2, DIRECT + 2),
    st.integers(MIB - 2, MIB + 2),
    st.integers(65530, 1_500_000),
)


def put(codec: Codec, data: bytes) -> list[Event]:
    """Give a codec one read as a transport does that can read straight into a message."""
    room = codec.room(len(data)) if data else None
    if room is None:
        return drain(codec, data)
    size = min(len(room), len(data))
    room[:size] = data[:size]
    events = codec.receive_in_room(size, data[size:])
    while codec.pending:
        events += codec.receive_data(b"")
    return events


def begun(kit: Kit, size: int = 2 * MIB, arrived: int = MIB, **options: Any) -> tuple[Codec, bytes]:
    """Return a codec in the middle of a message, and what is still to come of that."""
    codec = kit.codec(max_message_size=None, **options)
    wire = kit.frame(BINARY, random.Random(1).randbytes(size))
    assert drain(codec, wire[:arrived]) == []
    return codec, wire[arrived:]


@st.composite
def wires(draw: Any, kit: Kit) -> bytes:
    """Draw some messages, most of them large, and what may stand between and behind them."""
    wire = b""
    for _ in range(draw(st.integers(1, 3))):
        opcode = draw(st.sampled_from([TEXT, BINARY]))
        size = draw(sizes)
        if opcode == BINARY:
            data = random.Random(size).randbytes(size)
        else:
            data = draw(st.sampled_from(["a", "ä€😀", "abcdefgh" * 40_000 + "€"])).encode()
            data = (data * (size // len(data) + 1))[: size - size % len(data) or None]
            if draw(st.sampled_from([False, False, False, True])):
                at = draw(st.integers(0, len(data)))
                data = data[:at] + draw(st.sampled_from([b"\xff", b"\xed\xa0\x80", b"\xe2\x82"])) + data[at:]
        edges = sorted(draw(st.lists(st.integers(0, len(data)), max_size=2)))
        parts = [data[start:end] for start, end in pairwise([0, *edges, len(data)])]
        between = kit.frame(PING, b"between") if draw(st.booleans()) else b""
        wire += kit.message(opcode, *parts, between=between) + between
    return wire + draw(
        st.sampled_from([b"", kit.frame(CLOSE, b"\x03\xe8bye"), kit.frame(CONTINUATION, b"x")])
    )


def joined(events: list[Event]) -> list[Event]:
    """Put the chunks of each message together."""
    out: list[Event] = []
    for event in events:
        if isinstance(event, Chunk) and out and isinstance(before := out[-1], Chunk) and not before.last:
            out[-1] = Chunk(before.data + event.data, event.last)  # type: ignore[operator]
        else:
            out.append(event)
    return out


@settings(deadline=None, max_examples=150)
@given(
    data=st.data(),
    client=st.booleans(),
    limit=st.sampled_from([None, 2 * MIB, MIB, DIRECT]),
    cuts=st.lists(st.integers(0, 3 * MIB), max_size=8),
    turn=st.sampled_from(["discard_data", "read_in_chunks", None, None]),
    turn_at=st.integers(0, 6),
)
def test_both_ways_make_the_same_events_of_the_same_bytes(data, client, limit, cuts, turn, turn_at):
    kit = Kit(CompiledCodec, client)
    wire = data.draw(wires(kit))
    ours, plain, oracle = (
        Kit(engine, client).codec(max_message_size=limit)
        for engine in (CompiledCodec, CompiledCodec, WsprotoCodec)
    )
    made: list[list[Event]] = [[], [], []]
    edges = [0, *sorted(min(cut, len(wire)) for cut in cuts), len(wire)]
    for number, (start, end) in enumerate(pairwise(edges)):
        for codec in (ours, plain, oracle):
            if turn is not None and number == turn_at:
                getattr(codec, turn)()
        read = wire[start:end]
        made[0] += put(ours, read)
        made[1] += drain(plain, read)
        made[2] += drain(oracle, read)
        assert joined(made[0]) == joined(made[1])
    assert not oracle.room(MIB)
    if not any(isinstance(event, Failure) for event in made[2]):  # else see test_engines_agree.py
        assert joined(made[0]) == joined(made[2])


@both
@pytest.mark.parametrize("text", [False, True])
def test_a_large_message_goes_straight_to_where_it_stays(kit, text):
    size = 4 * MIB
    payload = b"a" * size if text else random.Random(2).randbytes(size)
    codec = kit.codec(max_message_size=None)
    wire = kit.frame(TEXT if text else BINARY, payload)
    events, at, reads, direct = drain(codec, wire[: 256 * KIB]), 256 * KIB, 0, 0
    while at < len(wire):
        room = codec.room(MIB)
        assert room is not None
        size_of_read = len(room)
        room[:] = wire[at : at + size_of_read]
        events += codec.receive_in_room(size_of_read, b"")
        at += size_of_read
        reads += 1
        direct += size_of_read
    assert events == [payload.decode() if text else payload]
    assert reads < 10


@both
def test_what_is_behind_the_message_in_the_same_read_is_decoded_too(kit):
    codec, rest = begun(kit)
    assert put(codec, rest + kit.frame(PING, b"?") + kit.frame(CLOSE))[1:] == [Ping(b"?"), Close(None)]
    assert codec.room(MIB) is None


@both
def test_room_is_no_more_than_what_is_left_of_the_frame_and_than_was_asked_for(kit):
    codec, rest = begun(kit, arrived=2 * MIB - 1000)
    assert len(codec.room(MIB)) == len(rest)
    assert len(codec.room(100)) == 100


@both
def test_there_is_room_in_the_middle_of_a_large_plain_frame_only(kit):
    codec = kit.codec(deflate=DeflateParameters(), max_message_size=None)
    assert codec.room(MIB) is None
    assert drain(codec, kit.frame(BINARY, bytes(MIB))[: 10 if kit.client else 14]) == []
    assert codec.room(MIB) is None  # nothing has arrived of it
    for opcode, payload, rsv in [
        (BINARY, bytes(DIRECT - 1), 0),
        (BINARY, Deflater(level=0)(bytes(MIB)), RSV1),
        (PING, b"12345678", 0),
    ]:
        codec = kit.codec(deflate=DeflateParameters(), max_message_size=None)
        wire = kit.frame(opcode, payload, rsv=rsv)
        assert drain(codec, wire[:-5]) == []
        assert codec.room(MIB) is None


@both
@pytest.mark.parametrize("turn", ["discard_data", "read_in_chunks"])
def test_there_is_no_room_where_nobody_wants_the_message_as_a_whole(kit, turn):
    codec, rest = begun(kit)
    assert codec.room(MIB)
    getattr(codec, turn)()
    assert codec.room(MIB) is None
    events = drain(codec, rest + kit.frame(PING))
    assert events[-1] == Ping()


@both
@pytest.mark.parametrize("turn", ["discard_data", "read_in_chunks"])
def test_a_change_of_mind_while_somebody_reads_into_the_room_is_safe(kit, turn):
    codec, rest = begun(kit)
    room = codec.room(MIB)
    size = len(room)
    room[:] = rest[:size]
    getattr(codec, turn)()
    events = joined(codec.receive_in_room(size, b"") + drain(codec, rest[size:] + kit.frame(PING)))
    assert events[-1] == Ping()
    assert len(events) == (1 if turn == "discard_data" else 2)
    if turn == "read_in_chunks":
        assert events[0].data == random.Random(1).randbytes(2 * MIB)


@both
def test_room_that_nothing_was_put_into_is_taken_back(kit):
    codec, rest = begun(kit)
    room = codec.room(MIB)
    events = drain(codec, rest)
    assert events == [random.Random(1).randbytes(2 * MIB)]
    with pytest.raises(ValueError, match="released"):
        room[0] = 1


@both
def test_nothing_is_allocated_for_what_was_only_announced(kit):
    head = kit.frame(BINARY, length=2**40)[: 10 if kit.client else 14]
    codec = kit.codec(max_message_size=None)
    tracemalloc.start()
    try:
        arrived = 0
        for size in [1000, 1000, 50_000, 200_000, 400_000, 800_000]:
            data = bytes(size)
            assert put(codec, (b"" if arrived else head) + data) == []
            arrived += size
            assert tracemalloc.get_traced_memory()[0] - len(data) < 2 * arrived + 16 * KIB
            codec.room(MIB)
            assert tracemalloc.get_traced_memory()[0] - len(data) < 2 * arrived + 16 * KIB
    finally:
        tracemalloc.stop()


@both
@pytest.mark.parametrize(
    ("before", "most"),
    [(DIRECT - 1, 0), (DIRECT, DIRECT), (700_000, 700_000), (3 * MIB, MIB)],
)
@pytest.mark.parametrize("in_one_read", [False, True])
def test_no_more_is_allocated_ahead_than_the_message_before_had_and_than_a_large_read_brings(
    kit, before, most, in_one_read
):
    codec = kit.codec(max_message_size=None)
    wire = kit.frame(BINARY, bytes(before))
    cut = len(wire) if in_one_read else len(wire) // 2
    assert len(drain(codec, wire[:cut]) + put(codec, wire[cut:])) == 1
    head = kit.frame(BINARY, length=2**40)[: 10 if kit.client else 14] + bytes(100)
    tracemalloc.start()
    try:
        assert drain(codec, head) == []
        assert most <= tracemalloc.get_traced_memory()[0] <= most + 16 * KIB
    finally:
        tracemalloc.stop()


def check_that_nothing_is_allocated_ahead(kit, codec):
    """Let a frame begin that announces very much."""
    head = kit.frame(BINARY, length=2**40)[: 10 if kit.client else 14] + bytes(100)
    tracemalloc.start()
    try:
        assert drain(codec, head) == []
        assert tracemalloc.get_traced_memory()[0] < 16 * KIB
    finally:
        tracemalloc.stop()


@both
@pytest.mark.parametrize("small", [10, 1000])
def test_nothing_is_allocated_ahead_behind_a_small_message(kit, small):
    codec = kit.codec(max_message_size=None)
    drain(codec, kit.frame(BINARY, bytes(MIB)) + kit.frame(BINARY, bytes(small)))
    check_that_nothing_is_allocated_ahead(kit, codec)


@both
def test_nothing_is_allocated_ahead_behind_a_message_that_was_inflated(kit):
    codec = kit.codec(max_message_size=None, deflate=DeflateParameters())
    assert drain(codec, kit.frame(BINARY, Deflater()(bytes(MIB)), rsv=RSV1)) == [bytes(MIB)]
    check_that_nothing_is_allocated_ahead(kit, codec)


@both
def test_memory_that_somebody_still_holds_is_not_made_a_message(kit):
    codec, rest = begun(kit)
    part = codec.room(MIB)[10:]
    assert codec.room(MIB) is None
    with pytest.raises(BufferError):
        codec.receive_in_room(0, rest)
    part[:] = bytes(len(part))  # it is there as long as somebody holds it
    assert drain(codec, rest) == []


@both
def test_more_than_there_was_room_for_is_an_error_and_not_a_crash(kit):
    codec, _ = begun(kit)
    with pytest.raises(ValueError, match="no room"):
        codec.receive_in_room(1, b"")
    codec, _ = begun(kit)
    room = codec.room(MIB)
    with pytest.raises(ValueError, match="less room"):
        codec.receive_in_room(len(room) + 1, b"")


@both
def test_a_codec_that_has_gone_leaves_the_room_to_who_holds_it(kit):
    codec, _ = begun(kit)
    room = codec.room(MIB)
    references = sys.getrefcount(codec)
    del codec
    assert references == 2
    room[:] = bytes(len(room))


@both
def test_a_failure_behind_the_message_comes_behind_it(kit):
    codec, rest = begun(kit)
    events = put(codec, rest + kit.frame(CONTINUATION, b"x"))
    assert isinstance(events[0], bytes)
    assert isinstance(events[1], Failure)
    assert codec.receive_in_room(0, b"more") == []


@both
def test_what_is_read_straight_into_a_message_is_traced_too(kit):
    told = []
    codec, rest = begun(kit)
    assert len(put(TracedCodec(codec, Tracer("1", [told.append])), rest + kit.frame(PING))) == 2
    assert [(event.kind, event.size) for event in told] == [("binary", 2 * MIB), ("ping", 0)]
