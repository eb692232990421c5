"""From wherever data is dropped, the rest of the stream is understood: control frames are events, the Close the last."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import pytest
from codec_kit import BINARY, CLOSE, CONTINUATION, PING, RSV1, TEXT, Deflater, Kit, drain, inflates_in_c
from hypothesis import given, settings, strategies as st

from websocketstream._protocol.codec import Close, Codec, Event, Ping
from websocketstream._protocol.deflate import PerMessageDeflate
from websocketstream._protocol.negotiation import DeflateParameters

MODES = {
    "takeover": DeflateParameters(),
    "no-takeover": DeflateParameters(server_no_context_takeover=True, client_no_context_takeover=True),
}
END = [Ping(b"end"), Close(1000)]
TEXT_DATA = "€ and some more \U0001f600".encode() * 3
# Neither engine inflates so much in one call, in none of its fragments.
BOMB = bytes(2**21)


def end(kit: Kit) -> bytes:
    return kit.frame(PING, b"end") + kit.frame(CLOSE, b"\x03\xe8")


def fragments(data: bytes, shape: str) -> list[bytes]:
    third = len(data) // 3
    return {
        "whole": [data],
        "fragmented": [data[:third], data[third : 2 * third], data[2 * third :]],
        "with-empty-fragments": [b"", data[:third], b"", data[third:], b""],
    }[shape]


def message(kit: Kit, shape: str, *, compressed: bool, opcode: int = TEXT, data: bytes = TEXT_DATA) -> bytes:
    payload = Deflater()(data) if compressed else data
    return kit.message(
        opcode, *fragments(payload, shape), rsv=RSV1 if compressed else 0, between=kit.frame(PING, b"in")
    )


def discard_after(codec: Codec, start: bytes, calls: int, rest: bytes) -> tuple[list[Event], list[Event]]:
    """Return the events before and after; ``calls`` more calls happen before, where there is something to do."""
    before = codec.receive_data(start)
    while codec.pending and calls:
        before += codec.receive_data(b"")
        calls -= 1
    codec.discard_data()
    return before, drain(codec, rest)


@lru_cache(maxsize=1)
def count_pings(kit: Kit, wire: bytes) -> int:
    return drain(kit.codec(deflate=MODES["takeover"], max_message_size=None), wire).count(Ping(b"in"))


def check(kit: Kit, codec: Codec, wire: bytes, cut: int, calls: int, chunk: int | None = None) -> None:
    """Discard after ``cut`` bytes of ``wire``, give the rest, and expect every control frame and nothing else."""
    before, after = discard_after(codec, wire[:cut], calls, wire[cut : chunk and cut + chunk])
    if chunk is not None:
        after += drain(codec, wire[cut + chunk :])
    after += drain(codec, end(kit))
    assert not any(isinstance(event, str | bytes) for event in after)
    assert after[-2:] == END
    assert after[:-2] == [Ping(b"in")] * (count_pings(kit, wire) - before.count(Ping(b"in")))
    assert not codec.pending


SHAPES = ["whole", "fragmented", "with-empty-fragments"]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "compressed"])
def test_data_may_be_dropped_from_any_byte_of_a_message_on(kit, shape, compressed):
    wire = message(kit, shape, compressed=compressed) + message(kit, "fragmented", compressed=compressed)
    for cut in range(len(wire) + 1):
        check(kit, kit.codec(deflate=MODES["takeover"]), wire, cut, 0)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_data_may_be_dropped_at_any_time_while_a_message_is_inflated(kit, mode, shape, opcode):
    wire = message(kit, shape, compressed=True, opcode=opcode, data=BOMB)
    wire += message(kit, "fragmented", compressed=True)
    steps = 0
    codec = kit.codec(deflate=MODES[mode], max_message_size=None)
    codec.receive_data(wire)
    while codec.pending:
        codec.receive_data(b"")
        steps += 1
    assert steps > 4
    for calls in range(steps + 1):
        check(kit, kit.codec(deflate=MODES[mode], max_message_size=None), wire, len(wire), calls)


@pytest.mark.parametrize("shape", SHAPES)
def test_data_may_be_dropped_at_any_byte_with_inflating_still_to_do(kit, shape):
    wire = message(kit, shape, compressed=True, opcode=BINARY, data=BOMB)
    pending = 0
    for cut in range(0, len(wire), 97):
        codec = kit.codec(deflate=MODES["takeover"], max_message_size=None)
        codec.receive_data(wire[:cut])
        pending += codec.pending
        check(kit, kit.codec(deflate=MODES["takeover"], max_message_size=None), wire, cut, 0)
    assert pending > 4


def test_the_framing_is_still_checked_behind_a_message_dropped_while_it_was_inflated(kit):
    codec = kit.codec(deflate=MODES["takeover"], max_message_size=None)
    codec.receive_data(message(kit, "whole", compressed=True, data=BOMB))
    codec.discard_data()
    (failure,) = drain(codec, kit.frame(CONTINUATION, b"x"))
    assert "continuation frame without a message" in failure.message


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("yielded", range(4))
def test_data_may_be_dropped_by_somebody_who_gets_a_turn_while_zlib_works(kit, shape, yielded, monkeypatch):
    if inflates_in_c(kit.engine):
        pytest.skip("nobody gets a turn there")
    codec = kit.codec(deflate=MODES["takeover"])
    inflate = PerMessageDeflate.inflate
    turns = 0

    def interrupted(self: PerMessageDeflate, data: bytes, *, last: bool) -> Iterator[bytes]:
        nonlocal turns
        for piece in inflate(self, data, last=last):
            yield piece
            turns += 1
            if turns > yielded:
                codec.discard_data()
                yield b"\xff"  # of a text message it would be a failure

    monkeypatch.setattr(PerMessageDeflate, "inflate", interrupted)
    wire = message(kit, shape, compressed=True, data=b"x" * 100_000)
    wire += message(kit, shape, compressed=True, data=b"\xff" * 100)
    events = drain(codec, wire + end(kit))
    assert turns == yielded + 1
    assert [event for event in events if event != Ping(b"in")] == END
    assert events.count(Ping(b"in")) == {"whole": 0, "fragmented": 4, "with-empty-fragments": 8}[shape]


def test_pending_is_exact_behind_a_message_dropped_while_it_was_inflated(kit):
    codec = kit.codec(deflate=MODES["takeover"], max_message_size=None)
    codec.receive_data(message(kit, "whole", compressed=True, data=BOMB))
    assert codec.pending
    codec.discard_data()
    assert drain(codec) == []
    codec.receive_data(kit.frame(PING) * kit.controls_per_call)
    assert not codec.pending


def test_nothing_is_inflated_any_more_once_data_is_dropped(kit):
    codec = kit.codec(deflate=MODES["takeover"], max_message_size=100)
    codec.discard_data()
    # Each of them would be a failure: too large, no DEFLATE data at all, and no UTF-8.
    wire = message(kit, "whole", compressed=True, data=BOMB) + kit.frame(BINARY, b"\xff" * 50, rsv=RSV1)
    wire += kit.frame(TEXT, Deflater()(b"\xff" * 50), rsv=RSV1) + kit.frame(TEXT, b"\xff" * 50)
    assert drain(codec, wire + end(kit)) == END


@settings(deadline=None, max_examples=150)
@given(
    parts=st.lists(
        st.tuples(
            st.sampled_from(SHAPES), st.booleans(), st.sampled_from([TEXT, BINARY]),
            st.sampled_from([b"", TEXT_DATA, BOMB[:1000], BOMB]),
        ),
        min_size=1, max_size=4,
    ),
    data=st.data(),
    client=st.booleans(),
    calls=st.integers(0, 6),
)  # fmt: skip
def test_wherever_data_is_dropped_the_close_frame_is_the_last_event(
    engine: Any, parts: Any, data: Any, client: bool, calls: int
):
    kit = Kit(engine, client)
    wire = b"".join(
        # A compressor of its own for each message refers to nothing before it.
        message(kit, shape, compressed=compressed or len(payload) > 1000, opcode=opcode, data=payload)
        for shape, compressed, opcode, payload in parts
    )
    cut = data.draw(st.one_of(st.just(len(wire)), st.integers(0, len(wire))))
    chunk = data.draw(st.one_of(st.none(), st.integers(0, len(wire) - cut)))
    check(kit, kit.codec(deflate=MODES["takeover"], max_message_size=None), wire, cut, calls, chunk)
