"""Hostile input at the codec seam: every test names the row of the catalogue of hostile input that it stands for.

W: what wsproto leaves to us, C: frames, D: fragments, E: control frames, F: close, G: UTF-8, H: compression.
"""

from __future__ import annotations

import gc
import os
import random
import struct
import sys
import tracemalloc
from itertools import product

import pytest
from codec_kit import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    RSV1,
    RSV2,
    RSV3,
    TABLES,
    TEXT,
    Deflater,
    Kit,
    drain,
    feed,
    single_bytes,
)
from hypothesis import given, strategies as st

from websocketstream._protocol.codec import Close, Codec, Event, Failure, Ping, Pong
from websocketstream._protocol.negotiation import DeflateParameters

BITS_15 = DeflateParameters()
LENGTHS = [2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**32 + 1, 2**62, 2**63 - 1]


def failure(codec: Codec, data: bytes) -> Failure:
    """Give a codec bytes that make it fail, and nothing else."""
    (event,) = drain(codec, data)
    assert isinstance(event, Failure)
    return event


def assert_dead(kit: Kit, codec: Codec) -> None:
    for data in (b"", kit.frame(TEXT, b"late"), kit.frame(CLOSE), b"\xff" * 100):
        assert codec.receive_data(data) == []
        assert not codec.pending


# --- frames ---


@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
@pytest.mark.parametrize("fin", [True, False])
@pytest.mark.parametrize("length", [0, 5, 126, 2**40])
def test_a_reserved_opcode_is_refused_before_its_payload(kit, opcode, fin, length):
    head = kit.frame(opcode, fin=fin, length=length)[:2]
    assert failure(kit.codec(), head).code == 1002


@pytest.mark.parametrize("rsv", range(1, 8))
@pytest.mark.parametrize("opcode", [TEXT, BINARY, CLOSE, PING, PONG])
def test_reserved_bits_are_refused_without_an_extension(kit, opcode, rsv):
    refused = failure(kit.codec(), kit.frame(opcode, rsv=rsv))
    assert refused == Failure(1002, "reserved bit set, and no extension gives it a meaning (RFC 6455 5.2)")


@pytest.mark.parametrize("rsv", range(1, 8))
@pytest.mark.parametrize("opcode", [CONTINUATION, CLOSE, PING, PONG])
def test_compression_gives_no_meaning_to_rsv_bits_of_control_and_continuation_frames(kit, opcode, rsv):
    codec = kit.codec(deflate=BITS_15)
    assert drain(codec, kit.frame(TEXT, Deflater()(b"x"), fin=False, rsv=RSV1)) == []
    assert failure(codec, kit.frame(opcode, rsv=rsv)).code == 1002


@pytest.mark.parametrize("rsv", [RSV2, RSV3, RSV1 | RSV2, RSV1 | RSV3, RSV2 | RSV3, 7])
def test_compression_gives_a_meaning_to_rsv1_only(kit, rsv):
    assert failure(kit.codec(deflate=BITS_15), kit.frame(TEXT, rsv=rsv)).code == 1002


@pytest.mark.parametrize("opcode", [TEXT, BINARY, PING, CLOSE])
@pytest.mark.parametrize("length", [0, 5, 126, 2**16, 2**63 - 1])
def test_a_mask_in_the_wrong_direction_is_refused_at_the_second_byte(kit, opcode, length):
    head = kit.frame(opcode, masked=kit.client, length=length)[:2]
    codec = kit.codec()
    assert codec.receive_data(head[:1]) == []
    kind = "masked frame from a server" if kit.client else "unmasked frame from a client"
    assert failure(codec, head[1:2]) == Failure(1002, f"{kind} (RFC 6455 5.1)")
    assert_dead(kit, codec)


@pytest.mark.parametrize(
    ("length", "width"), [(0, 2), (1, 2), (125, 2), (0, 8), (1, 8), (125, 8), (126, 8), (65535, 8)]
)
def test_a_length_in_more_bytes_than_needed_is_refused(kit, length, width):
    refused = failure(kit.codec(), kit.frame(BINARY, length=length, width=width))
    assert refused.code == 1002
    assert "would have sufficed" in refused.message


@pytest.mark.parametrize("length", [2**63, 2**64 - 1, 2**63 + 5])
def test_a_length_with_the_highest_bit_is_refused(kit, length):
    assert failure(kit.codec(max_message_size=None), kit.frame(BINARY, length=length)).code == 1002


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("rsv", [0, RSV1], ids=["plain", "compressed"])
def test_a_length_over_the_limit_is_refused_at_its_last_byte(kit, length, rsv):
    head = kit.frame(BINARY, length=length, rsv=rsv)[:10]
    codec = kit.codec(deflate=BITS_15)
    assert drain(codec, head[:-1]) == []
    assert failure(codec, head[-1:]) == Failure(
        1009, "message is larger than 1048576 bytes (limit: max_message_size)"
    )


@pytest.mark.parametrize("length", LENGTHS)
def test_an_announced_length_is_not_allocated_no_prealloc(kit, length):
    codec = kit.codec(max_message_size=None)
    wire = kit.frame(BINARY, length=length) + b"0123456789"
    tracemalloc.start()
    try:
        assert drain(codec, wire) == []
        assert tracemalloc.get_traced_memory()[1] < 64 * 1024
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("limit", [0, 1, 125, 126, 1000, 65536])
def test_the_limit_is_the_last_size_that_passes(kit, opcode, limit):
    for size in {max(limit - 1, 0), limit}:
        assert drain(kit.codec(max_message_size=limit), kit.frame(opcode, b"x" * size)) == [
            "x" * size if opcode == TEXT else b"x" * size
        ]
    assert failure(kit.codec(max_message_size=limit), kit.frame(opcode, b"x" * (limit + 1))).code == 1009


def test_the_limit_counts_bytes_and_not_characters(kit):
    text = "\u20ac" * 100
    assert drain(kit.codec(max_message_size=300), kit.frame(TEXT, text.encode())) == [text]
    assert failure(kit.codec(max_message_size=299), kit.frame(TEXT, text.encode())).code == 1009


def count_lines(function) -> int:
    """Count the lines of Python that run: a measure of work that does not depend on the machine."""
    lines = 0

    def trace(frame, event, arg):
        nonlocal lines
        lines += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(before)
    return lines


def test_single_byte_reads_cost_the_same_for_every_byte(kit):
    def read(size: int) -> int:
        codec = kit.codec()
        wire = list(single_bytes(kit.frame(BINARY, bytes(size))))
        return count_lines(lambda: feed(codec, wire))

    assert read(4000) < 2.2 * read(2000)


def test_a_large_frame_in_single_byte_reads_is_delivered(kit):
    data = os.urandom(2**17)
    codec = kit.codec()
    receive = codec.receive_data
    events: list[Event] = []
    for byte in single_bytes(kit.frame(BINARY, data)):
        events += receive(byte)
    assert events == [data]


@pytest.mark.parametrize("frame", [(TEXT, b""), (BINARY, b""), (BINARY, b"x"), (PONG, b"p")], ids=str)
def test_one_call_decodes_a_bounded_number_of_frames(kit, frame):
    codec = kit.codec()
    sizes = [len(codec.receive_data(kit.frame(*frame) * 10_000))]
    while codec.pending:
        sizes.append(len(codec.receive_data(b"")))
    assert sum(sizes) == 10_000
    assert max(sizes) <= kit.frames_per_call


@pytest.mark.parametrize("size", [0, 1, 125])
def test_one_call_decodes_fewer_control_frames_for_what_follows_each_of_them(kit, size):
    frames = 2 * kit.controls_per_call + 1
    codec = kit.codec()
    sizes = [len(codec.receive_data(kit.frame(PONG, bytes(size)) * frames))]
    while codec.pending:
        sizes.append(len(codec.receive_data(b"")))
    assert sizes == [kit.controls_per_call] * 2 + [1]


def test_pings_cost_what_pongs_cost_although_most_of_them_make_no_event(kit):
    codec = kit.codec()
    wire = kit.frame(PING, b"p") * (kit.controls_per_call - 1) + kit.frame(PONG) + kit.frame(PING, b"next")
    assert codec.receive_data(wire) == [Ping(b"p")] * 16 + [Pong()]
    assert codec.pending
    assert codec.receive_data(b"") == [Ping(b"next")]
    assert not codec.pending


def test_any_mixture_of_small_frames_fits_into_one_budget(kit):
    mixture = kit.frame(PING) + kit.frame(TEXT) + kit.frame(PONG) + kit.message(BINARY, b"", b"x", b"")
    codec = kit.codec()
    data, messages, pongs, calls = mixture * 5000, 0, 0, 0
    while data or codec.pending:
        events = codec.receive_data(data)
        data = b""
        assert sum(isinstance(event, Ping) for event in events) <= 16
        assert sum(isinstance(event, Pong) for event in events) <= kit.controls_per_call // 2
        assert len(events) <= kit.frames_per_call
        messages += sum(isinstance(event, str | bytes) for event in events)
        pongs += events.count(Pong())
        calls += 1
    assert (messages, pongs) == (10_000, 5000)
    assert calls >= 10_000 // kit.controls_per_call


def test_compressed_data_costs_something_although_nothing_comes_out(kit):
    codec = kit.codec(deflate=DeflateParameters())
    data, calls = kit.frame(BINARY, TABLES * 10_000 + b"\x00", rsv=RSV1), 0
    while data or codec.pending:
        events = codec.receive_data(data)
        data = b""
        calls += 1
    assert events == [b""]
    assert calls >= 590_000 // (32 * 1024)


def test_of_the_pings_of_one_call_the_last_are_events_in_their_order_among_the_others(kit):
    def ping(i: int) -> bytes:
        return kit.frame(PING, b"%d" % i)

    wire = kit.frame(PONG) + b"".join(map(ping, range(10))) + kit.frame(TEXT, b"text")
    wire += b"".join(map(ping, range(10, 18))) + kit.frame(PONG, b"x") + ping(18) + kit.frame(CLOSE)
    pings = [Ping(b"%d" % i) for i in range(19)]
    codec = kit.codec()
    expected = [Pong(), *pings[3:10], "text", *pings[10:18], Pong(b"x"), pings[18], Close()]
    assert codec.receive_data(wire) == expected
    assert not codec.only_messages
    assert codec.message_bytes == sys.getsizeof("text")


def test_as_many_pings_as_anybody_answers_are_all_events(kit):
    codec = kit.codec()
    for _ in range(3):
        wire = b"".join(kit.frame(PING, b"%d" % i) for i in range(16))
        assert codec.receive_data(wire) == [Ping(b"%d" % i) for i in range(16)]
        assert codec.receive_data(kit.frame(PING, b"first") + wire) == [Ping(b"%d" % i) for i in range(16)]


def test_pending_is_false_when_the_last_frame_was_the_last_of_the_budget(kit):
    codec = kit.codec()
    assert len(codec.receive_data(kit.frame(PONG) * kit.controls_per_call)) == kit.controls_per_call
    assert not codec.pending
    assert len(codec.receive_data(kit.frame(TEXT) * kit.frames_per_call)) == kit.frames_per_call
    assert not codec.pending


def test_empty_fragments_count_for_the_budget_although_they_make_no_event(kit):
    codec = kit.codec(max_fragments=None)
    empty, single = (kit.frame(CONTINUATION, part, fin=False) for part in (b"", b"y"))
    calls, data = 1, kit.frame(BINARY, b"x", fin=False) + (empty + single) * 2 * kit.frames_per_call
    while codec.receive_data(data) == [] and codec.pending:
        calls, data = calls + 1, b""
    assert calls >= 4


def test_more_data_may_be_given_while_some_is_pending(kit):
    codec = kit.codec()
    wire = b"".join(kit.frame(BINARY, b"%d" % i) for i in range(1000))
    events = [event for i in range(0, len(wire), 500) for event in codec.receive_data(wire[i : i + 500])]
    assert events + drain(codec) == [b"%d" % i for i in range(1000)]


def test_the_work_for_a_large_read_is_linear(kit):
    def read(frames: int) -> int:
        codec, wire = kit.codec(), kit.frame(BINARY, b"x") * frames
        return count_lines(lambda: drain(codec, wire))

    assert read(4000) < 2.2 * read(2000)


@pytest.mark.parametrize("bad", [b"\xff\xff", b"\x83\x00", b"\x03\x80"])
def test_nothing_is_kept_and_nothing_is_delivered_after_a_failure(kit, bad):
    codec = kit.codec()
    wire = (
        kit.frame(TEXT, b"good")
        + kit.frame(BINARY, b"half", fin=False)
        + bad
        + kit.frame(TEXT, b"late") * 500
    )
    events = drain(codec, wire)
    assert events[0] == "good"
    assert isinstance(events[1], Failure)
    assert len(events) == 2
    assert_dead(kit, codec)
    noise = bytes(64 * 1024)
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(100):
            assert codec.receive_data(noise) == []
        assert tracemalloc.get_traced_memory()[0] - before < 4096
    finally:
        tracemalloc.stop()


def test_nothing_is_delivered_after_a_close_frame(kit):
    codec = kit.codec()
    late = kit.frame(TEXT, b"late") + kit.frame(PING) + kit.frame(CLOSE, b"\x03\xe8") + b"\xff\xff"
    assert drain(codec, kit.frame(CLOSE, b"\x0f\xa0") + late * 500) == [Close(4000)]
    assert_dead(kit, codec)


def test_an_end_on_the_last_frame_of_the_budget_leaves_nothing_pending(kit):
    codec = kit.codec()
    wire = kit.frame(PING) * (kit.controls_per_call - 1) + kit.frame(CLOSE) + kit.frame(PING) * 100
    assert codec.receive_data(wire)[-1] == Close()
    assert_dead(kit, codec)


def test_an_idle_codec_does_not_hold_on_to_its_last_message(kit):
    wire = kit.frame(BINARY, os.urandom(2**20))
    codec = kit.codec()
    tracemalloc.start()
    try:
        for data in (wire, wire):
            feed(codec, (data[i : i + 2**16] for i in range(0, len(data), 2**16)))
            drain(codec, data)
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] < 100 * 1024
    finally:
        tracemalloc.stop()


def test_the_peers_close_and_our_own_failure_are_not_confused(kit):
    text = "reserved bit set, and no extension gives it a meaning (RFC 6455 5.2)"
    assert drain(kit.codec(), kit.frame(CLOSE, b"\x03\xea" + text.encode())) == [Close(1002, text)]
    assert drain(kit.codec(), kit.frame(TEXT, rsv=1)) == [Failure(1002, text)]


garbage = st.one_of(
    st.binary(max_size=200),
    st.lists(
        st.builds(
            lambda first, second, rest: bytes([first, second]) + rest,
            st.integers(0, 255),
            st.integers(0, 255),
            st.binary(max_size=20),
        ),
        max_size=10,
    ).map(b"".join),
)


@given(
    data=garbage,
    client=st.booleans(),
    compressed=st.booleans(),
    cut=st.integers(0, 200),
    limit=st.integers(0, 50),
)
def test_garbage_makes_events_and_never_an_exception(engine, data, client, compressed, cut, limit):
    kit = Kit(engine, client)
    options = {"deflate": BITS_15 if compressed else None, "max_message_size": limit, "max_fragments": 3}
    whole = drain(kit.codec(**options), data)
    for event in whole[:-1]:
        assert isinstance(event, str | bytes | Ping | Pong)
    if whole and isinstance(whole[-1], Failure):
        assert whole[-1].code in (1002, 1007, 1008, 1009)
        assert 10 < len(whole[-1].message) < 200
    assert feed(kit.codec(**options), [data[:cut], data[cut:]]) == whole


def test_64_KiB_of_garbage_make_events_and_never_an_exception(kit):
    for seed in range(300):
        rng = random.Random(seed)
        # A legal start gets further than pure noise.
        wire = b"".join(
            kit.frame(rng.choice([1, 2, 9, 10]), rng.randbytes(rng.randrange(20))) for _ in range(3)
        )
        data = rng.choice([b"", wire]) + rng.randbytes(65536)
        for deflate in (None, BITS_15):
            feed(kit.codec(deflate=deflate), (data[i : i + 16384] for i in range(0, len(data), 16384)))


# --- fragments ---


@pytest.mark.parametrize("fin", [True, False])
@pytest.mark.parametrize("before", [b"", b"message"])
def test_a_continuation_without_a_start_is_refused(kit, fin, before):
    codec = kit.codec()
    if before:
        assert drain(codec, kit.message(BINARY, before, b"")) == [before]
    assert failure(codec, kit.frame(CONTINUATION, b"x", fin=fin)) == Failure(
        1002, "continuation frame without a message in progress (RFC 6455 5.4)"
    )


@pytest.mark.parametrize(("first", "second"), list(product([TEXT, BINARY], repeat=2)))
@pytest.mark.parametrize("fin", [True, False])
def test_a_new_message_inside_of_another_is_refused(kit, first, second, fin):
    codec = kit.codec()
    assert drain(codec, kit.frame(first, b"x", fin=False)) == []
    assert failure(codec, kit.frame(second, b"y", fin=fin)) == Failure(
        1002, "new message before the last fragment of the one in progress (RFC 6455 5.4)"
    )


def test_a_message_may_have_max_fragments_and_no_more(kit):
    parts = [b"x"] * 100
    codec = kit.codec(max_fragments=100)
    assert drain(codec, kit.message(BINARY, *parts)) == [b"x" * 100]
    assert drain(codec, kit.message(BINARY, *parts)) == [b"x" * 100]
    assert failure(codec, kit.message(BINARY, *parts, b"")) == Failure(
        1008, "message has more than 100 fragments (limit: max_fragments)"
    )
    assert drain(kit.codec(max_fragments=None), kit.message(BINARY, *[b"x"] * 10_000)) == [b"x" * 10_000]


@pytest.mark.parametrize("rsv", [0, RSV1])
@pytest.mark.parametrize("max_fragments", [None, 4096])
def test_endless_empty_fragments_are_refused(kit, rsv, max_fragments):
    codec = kit.codec(max_fragments=max_fragments, deflate=BITS_15)
    assert drain(codec, kit.frame(TEXT, b"\x00"[:rsv], rsv=rsv, fin=False)) == []
    refused = failure(codec, kit.frame(CONTINUATION, fin=False) * 5000)
    assert refused.code == 1008
    assert "empty fragments in a row" in refused.message


def test_empty_messages_are_no_empty_fragments(kit):
    assert drain(kit.codec(), kit.frame(BINARY) * 1000) == [b""] * 1000


def test_single_byte_fragments_take_the_memory_of_their_bytes_tiny_fragments(kit):
    codec = kit.codec(max_fragments=None)
    data = kit.frame(BINARY, b"x", fin=False) + kit.frame(CONTINUATION, b"x", fin=False) * 20_000
    chunks = [data[i : i + 4096] for i in range(0, len(data), 4096)]
    tracemalloc.start()
    try:
        assert feed(codec, chunks) == []
        assert tracemalloc.get_traced_memory()[0] < 2 * 20_000 + 16 * 1024
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("sizes", [(500, 501), (1001,), (1, 1000), (1000, 0, 1), (0, 1001), (999, 1, 2**62)])
def test_fragments_are_refused_by_the_header_that_crosses_the_limit(kit, sizes):
    codec = kit.codec(max_message_size=1000)
    for i, size in enumerate(sizes[:-1]):
        assert drain(codec, kit.frame(CONTINUATION if i else BINARY, bytes(size), fin=False)) == []
    head = kit.frame(CONTINUATION if sizes[:-1] else BINARY, length=sizes[-1], masked=False)
    head = head[:1] + bytes([head[1] | (0 if kit.client else 128)]) + head[2:]
    assert failure(codec, head).code == 1009


def test_joining_fragments_is_linear_D_linear_reassembly(kit):
    def join(fragments: int) -> int:
        codec, wire = kit.codec(), kit.message(TEXT, *[b"x"] * fragments)
        return count_lines(lambda: drain(codec, wire))

    assert join(4000) < 2.2 * join(2000)


def test_frames_cut_at_every_byte_are_linear(kit):
    def cut(frames: int) -> int:
        codec, wire = kit.codec(), kit.frame(TEXT, b"a message") * frames
        return count_lines(lambda: [codec.receive_data(wire[i : i + 1]) for i in range(len(wire))])

    assert cut(400) < 2.2 * cut(200)


# --- control frames ---


@pytest.mark.parametrize("opcode", [PING, PONG])
def test_a_flood_of_control_frames_is_linear(kit, opcode):
    def flood(frames: int) -> int:
        codec, wire = kit.codec(), kit.frame(opcode, b"x") * frames
        return count_lines(lambda: drain(codec, wire))

    assert flood(4000) < 2.2 * flood(2000)


@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
@pytest.mark.parametrize("length", [126, 127, 65535, 65536, 2**40])
def test_long_control_frames_are_refused_at_the_second_byte(kit, opcode, length):
    assert failure(kit.codec(), kit.frame(opcode, length=length)[:2]).code == 1002


@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
def test_fragmented_control_frames_are_refused(kit, opcode):
    assert failure(kit.codec(), kit.frame(opcode, fin=False)).code == 1002


# --- close ---


def test_half_a_close_code_is_refused(kit):
    assert failure(kit.codec(), kit.frame(CLOSE, b"\x03")).code == 1002


@pytest.mark.parametrize("code", [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535])
def test_close_codes_that_are_not_for_the_wire_are_refused(kit, code):
    refused = failure(kit.codec(), kit.frame(CLOSE, struct.pack("!H", code) + b"bye"))
    assert refused == Failure(1002, f"close frame with code {code}, which is not for the wire (RFC 6455 7.4)")


@pytest.mark.parametrize("reason", [b"\xff", b"ok\xe2\x82", b"\xed\xa0\x80", b"\xc0\xaf"])
def test_a_close_reason_that_is_not_utf8_is_refused(kit, reason):
    refused = failure(kit.codec(), kit.frame(CLOSE, b"\x03\xe8" + reason))
    assert refused.code == 1007
    assert refused.message.startswith("close reason is not UTF-8: ")


# --- UTF-8 ---


def utf8_verdicts_differ(kit: Kit, data: bytes) -> bool:
    """Compare with CPython: the whole message in one piece, and byte by byte in fragments."""
    try:
        expected = data.decode()
    except UnicodeDecodeError:
        expected = None
    for wire in (kit.frame(TEXT, data), kit.message(TEXT, b"", *single_bytes(data))):
        (event,) = drain(kit.codec(), wire)
        if event != expected and not (expected is None and isinstance(event, Failure) and event.code == 1007):
            return True
    return False


def test_all_sequences_of_one_byte_are_judged_as_by_cpython(kit):
    assert [i for i in range(256) if utf8_verdicts_differ(kit, bytes([i]))] == []


def test_all_sequences_of_two_bytes_are_judged_as_by_cpython(engine):
    # Two ASCII bytes and the other role tell nothing new.
    kit = Kit(engine, client=True)
    pairs = (bytes(pair) for pair in product(range(256), repeat=2) if max(pair) > 127)
    assert [pair.hex() for pair in pairs if utf8_verdicts_differ(kit, pair)] == []


def test_sampled_sequences_of_three_and_four_bytes_are_judged_as_by_cpython(kit):
    rng = random.Random(6455)
    edges = [0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF]
    edges += [0xE0, 0xE1, 0xEC, 0xED, 0xEE, 0xEF, 0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xF8, 0xFE, 0xFF]
    heads = [byte for byte in edges if byte >= 0xE0]
    samples = [bytes(t) for t in product(heads, edges, (0x7F, 0x80, 0xBF, 0xC0))]
    samples += [bytes((rng.choice(heads), *rng.choices(edges, k=3))) for _ in range(3000)]
    assert [sample.hex() for sample in samples if utf8_verdicts_differ(kit, sample)] == []


INVALID = ["ff", "fe", "c0af", "c1bf", "f5808080", "e08080", "f0808080", "eda080", "edbfbf", "f4908080", "80", "c3", "e282", "f09f98"]  # fmt: skip


@pytest.mark.parametrize("sequence", INVALID)
@pytest.mark.parametrize("compressed", [False, True])
def test_invalid_text_is_refused_wherever_it_stands(kit, sequence, compressed):
    for data in (bytes.fromhex(sequence), b"x" * 100_000 + bytes.fromhex(sequence)):
        wire = kit.frame(TEXT, Deflater()(data), rsv=RSV1) if compressed else kit.frame(TEXT, data)
        refused = failure(kit.codec(deflate=BITS_15), wire)
        assert refused.code == 1007
        assert refused.message.startswith("text message is not UTF-8: ")


@pytest.mark.parametrize("sequence", ["ff", "c0", "80", "e08080", "eda080", "f490"])
@pytest.mark.parametrize("compressed", [False, True])
def test_invalid_text_is_refused_before_the_message_ends(kit, sequence, compressed):
    data = b"good " + bytes.fromhex(sequence)
    data, rsv = (Deflater()(data), RSV1) if compressed else (data, 0)
    assert failure(kit.codec(deflate=BITS_15), kit.frame(TEXT, data, fin=False, rsv=rsv)).code == 1007
    # ... and not even its frame has to be complete.
    wire = kit.frame(TEXT, data + bytes(1000), fin=False, rsv=rsv)
    assert failure(kit.codec(deflate=BITS_15), wire[:-1000]).code == 1007


def test_the_bad_text_of_one_message_is_forgotten_with_it(kit):
    codec = kit.codec()
    assert drain(codec, kit.frame(TEXT, b"\xe2\x82", fin=False)) == []
    assert failure(codec, kit.frame(CONTINUATION, b"")).code == 1007
    codec = kit.codec()
    assert drain(codec, kit.message(TEXT, b"\xe2\x82", b"\xac")) == ["\u20ac"]
    assert drain(codec, kit.message(TEXT, b"\xe2", b"\x82", b"\xac")) == ["\u20ac"]


@pytest.mark.parametrize("compressed", [False, True])
def test_the_size_is_judged_before_the_text(kit, compressed):
    data = b"x" * 100 + b"\xff"
    data, rsv = (Deflater()(data), RSV1) if compressed else (data, 0)
    assert (
        failure(kit.codec(deflate=BITS_15, max_message_size=100), kit.frame(TEXT, data, rsv=rsv)).code == 1009
    )


# --- compression ---


@pytest.mark.parametrize("limit", [0, 100, 128, 4095, 2**20 - 1])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_the_limit_is_one_of_inflated_bytes_limit_is_inflated(kit, limit, opcode):
    fits, exceeds = (Deflater()(b"x" * size) for size in (limit, limit + 1))
    options = {"deflate": BITS_15, "max_message_size": limit}
    assert drain(kit.codec(**options), kit.frame(opcode, fits, rsv=RSV1)) == [
        "x" * limit if opcode == TEXT else b"x" * limit
    ]
    assert failure(kit.codec(**options), kit.frame(opcode, exceeds, rsv=RSV1)) == Failure(
        1009, f"message is larger than {limit} bytes (limit: max_message_size)"
    )
    parts = kit.message(opcode, *single_bytes(exceeds), rsv=RSV1)
    assert failure(kit.codec(**options), parts).code == 1009


@pytest.fixture(scope="module")
def bomb() -> bytes:
    return Deflater(level=9)(bytes(64 * 2**20))


@pytest.mark.parametrize("limit", [2**20, 3_000_000])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("fragment", [2**16, 1000])
def test_a_bomb_takes_no_more_memory_than_the_limit_allows(kit, bomb, limit, opcode, fragment):
    read = 2**16
    wire = kit.message(opcode, *(bomb[i : i + fragment] for i in range(0, len(bomb), fragment)), rsv=RSV1)
    codec = kit.codec(deflate=BITS_15, max_message_size=limit)
    chunks = [wire[i : i + read] for i in range(0, len(wire), read)]
    # zlib's window and ours belong to the connection, not to the bomb.
    assert drain(codec, kit.frame(BINARY, Deflater()(b"x" * 100_000), rsv=RSV1)) == [b"x" * 100_000]
    gc.collect()
    tracemalloc.start()
    try:
        events = feed(codec, chunks)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [event.code for event in events] == [1009]
    assert peak < limit + read + 64 * 1024  # what was read is there in a copy


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_inflating_is_done_in_steps_so_that_others_get_a_turn(kit, opcode):
    codec = kit.codec(deflate=BITS_15, max_message_size=None)
    wire = kit.frame(opcode, Deflater()(bytes(8 * 2**20)), rsv=RSV1)
    calls, events = 1, codec.receive_data(wire)
    while not events:
        assert codec.pending
        calls, events = calls + 1, codec.receive_data(b"")
    assert len(events[0]) == 8 * 2**20
    assert calls >= 32  # 256 KiB each


@pytest.mark.parametrize(
    "data", [b"\xff" * 10, Deflater()(b"hello" * 10)[:-1], Deflater().final(b"x") + b"\xff"]
)
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_broken_compressed_data_is_refused(kit, data, opcode):
    refused = failure(kit.codec(deflate=BITS_15), kit.frame(opcode, data, rsv=RSV1))
    assert refused.code == 1007
    assert refused.message.startswith("compressed data ")
    codec = kit.codec(deflate=BITS_15)
    assert failure(codec, kit.message(opcode, *single_bytes(data), rsv=RSV1)).code == 1007
    assert_dead(kit, codec)


def test_compression_that_was_not_agreed_on_is_refused(kit):
    assert failure(kit.codec(), kit.frame(TEXT, Deflater()(b"x"), rsv=RSV1)).code == 1002


def test_endless_last_blocks_are_inflated_within_the_budget(kit):
    codec = kit.codec(deflate=BITS_15)
    calls, data = 1, kit.frame(BINARY, b"\x03\x00" * 5000, rsv=RSV1)
    while (events := codec.receive_data(data)) == []:
        calls, data = calls + 1, b""
    assert events == [b""]
    assert calls >= 5000 // 512  # what zlib does without putting anything out is more work than a frame
