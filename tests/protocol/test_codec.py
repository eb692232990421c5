"""The codec seam: what every engine makes of legal input, and what it sends."""

from __future__ import annotations

import os
import random
import struct
from itertools import pairwise, product

import pytest
from codec_kit import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    RSV1,
    TEXT,
    Deflater,
    Kit,
    drain,
    feed,
    read_frames,
    send,
    single_bytes,
)
from hypothesis import given, settings, strategies as st

from websocketstream._protocol.codec import Close, CodecLimits, Failure, Outgoing, Ping, Pong
from websocketstream._protocol.engine import make_codec
from websocketstream._protocol.negotiation import Compression, DeflateParameters
from websocketstream._protocol.wsproto_codec import WsprotoCodec

BITS_15 = DeflateParameters()
TAKEOVER_MODES = [
    DeflateParameters(server_no_context_takeover=server, client_no_context_takeover=client)
    for server, client in product([True, False], repeat=2)
]
EVERYTHING = Compression(threshold=0)
SIZES = [0, 1, 2, 3, 4, 5, 124, 125, 126, 127, 128, 1000, 65534, 65535, 65536, 65537]
TEXTS = [
    "",
    "a",
    "\x00",
    "\ufeffBOM",
    "\ufffe\uffff",
    "e\u0301\u0302",
    "\u20ac\U0001f600",
    "\ud7ff\ue000\U0010ffff",
]


# --- messages ---


@pytest.mark.parametrize("size", SIZES)
def test_a_message_of_any_size_is_delivered_as_it_is(kit, size):
    data = random.Random(size).randbytes(size)
    assert drain(kit.codec(), kit.frame(BINARY, data)) == [data]
    assert drain(kit.codec(), kit.frame(TEXT, b"x" * size)) == ["x" * size]


@pytest.mark.parametrize("text", [*TEXTS, "\x00" * 2**20, "\ufeff" * 100_000, "\u0301" * 100_000])
def test_text_is_delivered_unchanged(kit, text):
    codec = kit.codec()
    data = text.encode()
    assert drain(codec, kit.frame(TEXT, data)) == [text]
    assert feed(codec, [kit.frame(TEXT, data)[:-1], kit.frame(TEXT, data)[-1:]]) == [text]


def test_text_and_binary_are_told_apart_and_binary_may_be_any_bytes(kit):
    wire = kit.frame(TEXT, b"one") + kit.frame(BINARY, b"two") + kit.frame(BINARY, b"\xff\xfe\x80")
    events = drain(kit.codec(), wire)
    assert events == ["one", b"two", b"\xff\xfe\x80"]
    assert [type(event) for event in events] == [str, bytes, bytes]


def test_nothing_arrived_is_nothing_new(kit):
    codec = kit.codec()
    assert codec.receive_data(b"") == []
    assert not codec.pending


def test_fragments_are_joined(kit):
    codec = kit.codec()
    assert drain(codec, kit.message(BINARY, b"a", b"", b"bc", b"", b"")) == [b"abc"]
    assert drain(codec, kit.message(TEXT, b"", b"a", b"bc")) == ["abc"]
    assert drain(codec, kit.message(TEXT, b"", b"")) == [""]
    assert drain(codec, kit.frame(BINARY, b"next")) == [b"next"]


def test_alternating_empty_and_single_byte_fragments_are_joined(kit):
    parts = [b"", b"x"] * 1000 + [b""]
    assert drain(kit.codec(), kit.message(TEXT, *parts)) == ["x" * 1000]


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_control_frames_between_fragments_are_events_of_their_own(kit, opcode):
    between = kit.frame(PING, b"p") + kit.frame(PONG, b"q")
    events = drain(kit.codec(), kit.message(opcode, b"one ", b"two ", b"three", between=between))
    assert events == [Ping(b"p"), Pong(b"q")] * 2 + ["one two three" if opcode == TEXT else b"one two three"]


def test_a_character_may_be_split_anywhere_between_fragments_and_reads(kit):
    text = "\u00e9\u20ac\U0001f600-\U0010ffff"
    data = text.encode()
    for i in range(len(data) + 1):
        for j in range(i, len(data) + 1):
            wire = kit.message(TEXT, data[:i], data[i:j], data[j:])
            assert drain(kit.codec(), wire) == [text]
    wire = kit.message(TEXT, *(data[i : i + 1] for i in range(len(data))), between=kit.frame(PING))
    assert [e for e in feed(kit.codec(), single_bytes(wire)) if e != Ping()] == [text]


def test_a_message_without_a_limit_may_be_large_and_come_in_pieces(kit):
    data = os.urandom(3 * 2**20)
    wire = kit.message(BINARY, data[: 2**20], data[2**20 :])
    chunks = (wire[i : i + 50_000] for i in range(0, len(wire), 50_000))
    assert feed(kit.codec(max_message_size=None, max_fragments=None), chunks) == [data]


# --- control frames ---


@pytest.mark.parametrize("size", [0, 1, 4, 125])
def test_pings_and_pongs_are_delivered_with_their_payload(kit, size):
    payload = os.urandom(size)
    wire = kit.frame(PING, payload) + kit.frame(PONG, payload)
    assert drain(kit.codec(), wire) == feed(kit.codec(), single_bytes(wire)) == [Ping(payload), Pong(payload)]


def test_a_close_frame_may_be_empty(kit):
    assert drain(kit.codec(), kit.frame(CLOSE)) == [Close(None, "")]


@pytest.mark.parametrize("code", [*range(1000, 1004), *range(1007, 1015), 3000, 3999, 4000, 4999])
def test_registered_and_private_close_codes_are_accepted(kit, code):
    assert drain(kit.codec(), kit.frame(CLOSE, struct.pack("!H", code))) == [Close(code)]


@pytest.mark.parametrize("reason", ["", "bye", "\x00\r\n\x1b[31m", "\u20ac" * 41, "x" * 123])
def test_a_close_reason_is_any_text_that_fits(kit, reason):
    assert drain(kit.codec(), kit.frame(CLOSE, b"\x03\xe8" + reason.encode())) == [Close(1000, reason)]


def test_a_close_frame_may_come_in_the_middle_of_a_message(kit):
    wire = kit.frame(TEXT, b"half a mess", fin=False) + kit.frame(CLOSE, b"\x03\xe9")
    assert drain(kit.codec(), wire) == [Close(1001)]


def test_only_messages_is_said_of_nothing_else(kit):
    codec = kit.codec()
    for wire in (
        kit.frame(TEXT, b"a") * 3,
        b"",
        kit.frame(TEXT, b"a") + kit.frame(PING),
        kit.frame(BINARY, b"b"),
        kit.frame(PONG)[:1],
        kit.frame(PONG)[1:],
        kit.frame(TEXT, b"c"),
        kit.frame(3),
    ):
        events = codec.receive_data(wire)
        assert not codec.only_messages or all(isinstance(event, str | bytes) for event in events)
        assert codec.whole_bytes in (-1, codec.message_bytes if codec.only_messages else -1)


def test_what_is_left_to_decode_is_no_whole(kit):
    codec = kit.codec()
    data = kit.frame(TEXT, b"a") * 20_000
    while data or codec.pending:
        events = codec.receive_data(data)
        assert codec.whole_bytes in (-1, codec.message_bytes)
        assert codec.whole_bytes < 0 or (events and not codec.pending)
        data = b""


# --- splits ---


def recorded_streams(kit: Kit):
    compress = Deflater()
    ping = kit.frame(PING, b"ping")
    yield (
        kit.frame(TEXT, "h\u00e9llo".encode())
        + ping
        + kit.frame(BINARY, b"\x00\x01\x02")
        + kit.frame(CLOSE, b"\x0f\xa0ok")
    )
    yield kit.message(TEXT, "\u20ac".encode()[:1], "\u20ac".encode()[1:], b"", between=ping) + kit.frame(
        CLOSE
    )
    yield kit.frame(BINARY, b"x" * 126) + kit.frame(PONG, b"y" * 125) + kit.frame(TEXT)
    euros = compress("\u20ac one".encode())
    yield (
        kit.message(TEXT, euros[:2], euros[2:], rsv=RSV1, between=ping)
        + kit.frame(BINARY, b"plain")
        + kit.frame(BINARY, compress(b"one one one"), rsv=RSV1)
    )
    yield kit.frame(TEXT, b"ok") + kit.frame(TEXT, b"\xff") + kit.frame(TEXT, b"never")
    yield kit.frame(TEXT, b"ok") + kit.frame(3) + kit.frame(TEXT, b"never")
    yield kit.frame(BINARY, b"ok") + kit.frame(BINARY, b"", length=2**20 + 1)
    yield kit.frame(BINARY, b"ok") + kit.frame(CLOSE, b"\x03\xe8bye") + kit.frame(TEXT, b"never")


def test_any_split_into_two_reads_gives_the_same_events(kit):
    for wire in recorded_streams(kit):
        options = {"deflate": BITS_15, "max_message_size": 2**20}
        whole = drain(kit.codec(**options), wire)
        assert whole
        assert feed(kit.codec(**options), single_bytes(wire)) == whole
        for cut in range(len(wire) + 1):
            assert feed(kit.codec(**options), [wire[:cut], wire[cut:]]) == whole


def test_any_split_into_three_reads_gives_the_same_events(kit):
    wire = kit.message(TEXT, b"\xe2", b"\x82\xac", between=kit.frame(PING, b"p")) + kit.frame(
        CLOSE, b"\x03\xe8"
    )
    whole = drain(kit.codec(), wire)
    for i in range(len(wire) + 1):
        for j in range(i, len(wire) + 1):
            assert feed(kit.codec(), [wire[:i], wire[i:j], wire[j:]]) == whole


# --- compressed messages ---


@pytest.mark.parametrize("parameters", TAKEOVER_MODES, ids=str)
def test_a_thousand_mixed_messages_arrive_as_they_were_sent(kit, parameters):
    rng = random.Random(7)
    ours = kit.codec(deflate=parameters, compression=Compression(threshold=20))
    peers = kit.peer.codec(deflate=parameters, compression=Compression(threshold=0))
    words = ["", "a", "hello ", "websocket ", "\u20ac", "{}", "\x00"]
    for _ in range(1000):
        message = rng.choice(
            [
                "".join(rng.choices(words, k=rng.randrange(60))),
                rng.randbytes(rng.randrange(300)),
                b"ab" * rng.randrange(300),
            ]
        )
        compress = rng.random() < 0.7
        assert drain(peers, send(ours, message, compress=compress)) == [message]
        assert drain(ours, send(peers, message, compress=compress)) == [message]


@pytest.mark.parametrize("parameters", [TAKEOVER_MODES[0], TAKEOVER_MODES[-1]], ids=str)
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_control_frames_at_any_place_in_a_compressed_message_leave_it_intact(kit, opcode, parameters):
    text = "\u20ac compressed \u20ac compressed " * 10
    expected = text if opcode == TEXT else text.encode()
    compress = Deflater()
    codec = kit.codec(deflate=parameters)
    for _ in range(3):
        data = (
            compress(text.encode())
            if not parameters.server_no_context_takeover
            else Deflater()(text.encode())
        )
        between = kit.frame(PING, b"p") + kit.frame(PONG)
        wire = between + kit.message(opcode, *single_bytes(data), rsv=RSV1, between=between) + between
        events = drain(codec, wire)
        assert events.pop(-3) == expected
        count = len(data) + 1
        last = min(count, 16)  # of more pings, only the last ones are events
        assert events[-2 * last :] == [Ping(b"p"), Pong()] * last
        assert [event for event in events if event != Ping(b"p")] == [Pong()] * count


def test_a_compressed_message_goes_on_in_plain_continuation_frames(kit):
    data = Deflater()(b"hello " * 10)
    assert drain(kit.codec(deflate=BITS_15), kit.message(TEXT, data[:3], data[3:], b"", rsv=RSV1)) == [
        "hello " * 10
    ]


def test_plain_messages_are_welcome_where_compression_was_agreed_on(kit):
    assert drain(kit.codec(deflate=BITS_15), kit.frame(TEXT, b"plain") + kit.frame(BINARY)) == ["plain", b""]


@pytest.mark.parametrize("pad", [b"", b"\x00"], ids=["bare", "padded"])
def test_messages_that_end_with_a_last_block_are_delivered_and_so_are_the_next(kit, pad):
    codec = kit.codec(deflate=BITS_15)
    wire = b"".join(kit.frame(TEXT, Deflater().final(b"%d" % i) + pad, rsv=RSV1) for i in range(4))
    assert drain(codec, wire) == ["0", "1", "2", "3"]
    assert drain(codec, kit.frame(TEXT, Deflater()(b"4"), rsv=RSV1)) == ["4"]


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x02\x00"])
def test_an_empty_compressed_message_is_an_empty_message(kit, data):
    assert drain(kit.codec(deflate=BITS_15), kit.frame(TEXT, data, rsv=RSV1)) == [""]


def test_data_that_shrinks_a_thousandfold_is_fine_below_the_limit(kit):
    compress = Deflater()
    codec = kit.codec(deflate=BITS_15, max_message_size=2**20)
    for _ in range(3):
        assert drain(codec, kit.frame(BINARY, compress(bytes(2**20)), rsv=RSV1)) == [bytes(2**20)]


def test_a_character_may_be_split_between_inflated_pieces(kit):
    text = "x" + "\u20ac\U0001f600" * 50_000
    assert drain(kit.codec(deflate=BITS_15), kit.frame(TEXT, Deflater()(text.encode()), rsv=RSV1)) == [text]


def test_an_incompressible_message_at_the_limit_may_be_longer_on_the_wire(kit):
    data = os.urandom(10_000)
    stored = Deflater(level=0)(data)
    assert len(stored) > len(data)
    assert drain(
        kit.codec(deflate=BITS_15, max_message_size=10_000), kit.frame(BINARY, stored, rsv=RSV1)
    ) == [data]


# --- sending ---


@pytest.mark.parametrize("size", [*SIZES, 2**20])
def test_a_sent_message_is_one_final_frame_and_masked_by_clients_only(kit, size):
    data = os.urandom(size)
    (frame,) = read_frames(send(kit.codec(), data))
    assert (frame.opcode, frame.payload, frame.fin, frame.rsv) == (BINARY, data, True, 0)
    assert (frame.key is not None) is kit.client
    assert drain(kit.peer.codec(), send(kit.codec(), data)) == [data]


def test_text_is_sent_as_text(kit):
    (frame,) = read_frames(send(kit.codec(), "\u20ac"))
    assert (frame.opcode, frame.payload) == (TEXT, "\u20ac".encode())


def test_a_batch_is_sent_in_order_in_few_buffers(kit):
    messages = ["a", b"b", "c" * 100_000, "d", b"e" * 100_000, b"f" * 100_000, "g"]
    out = [Outgoing(m.encode() if isinstance(m, str) else m, isinstance(m, str)) for m in messages]
    buffers = kit.codec().send_messages(out)
    assert len(buffers) <= 7  # four times what is small, thrice what is large
    assert drain(kit.peer.codec(), b"".join(buffers)) == messages
    assert kit.codec().send_messages([]) == []


@pytest.mark.parametrize("message", ["", "a", "\u20ac", b"", b"b" * 125, b"c" * 126, b"d" * 70_000])
def test_one_message_may_be_sent_in_one_piece(kit, message):
    codec, receiver = kit.codec(), kit.peer.codec()
    out = message if isinstance(message, bytes) or message.isascii() else Outgoing(message.encode(), True)
    for _ in range(2):
        frame = codec.send_message(out)
        assert drain(receiver, frame) == [message]
        assert len(frame) == len(b"".join(codec.send_messages([out])))


def test_a_large_message_of_a_server_is_not_copied(engine):
    payload = os.urandom(2**20)
    buffers = Kit(engine, client=False).codec().send_messages([Outgoing(payload, text=False)])
    assert any(buffer is payload for buffer in buffers)


def test_a_sent_payload_is_left_as_it_is(kit):
    payload = bytes(1000)
    kit.codec().send_messages([Outgoing(payload, text=False)])
    assert payload == bytes(1000)


def test_every_frame_of_a_client_has_a_key_of_its_own_from_the_operating_system(engine, monkeypatch):
    asked = []

    def urandom(size: int) -> bytes:
        asked.append(size)
        return struct.pack("!I", len(asked)) * (size // 4)

    if engine is not WsprotoCodec:
        pytest.skip("draws its keys in bulk: see test_compiled.py")
    codec = Kit(engine, client=True).codec()
    monkeypatch.setattr(os, "urandom", urandom)
    wire = (
        send(codec, "a", b"b", b"c" * 100_000)
        + codec.send_ping(b"d")
        + codec.send_pong(b"e")
        + codec.send_close()
    )
    assert len({frame.key for frame in read_frames(wire)}) == len(asked) == 6


def test_pings_and_pongs_carry_up_to_125_bytes(kit):
    codec = kit.codec()
    for payload in (b"", b"x", bytes(125)):
        wire = codec.send_ping(payload) + codec.send_pong(payload)
        assert drain(kit.peer.codec(), wire) == [Ping(payload), Pong(payload)]


@pytest.mark.parametrize("size", [126, 1000, 70_000])
def test_longer_pings_and_pongs_are_refused_before_anything_is_made(kit, size):
    codec = kit.codec()
    for send_control in (codec.send_ping, codec.send_pong):
        with pytest.raises(ValueError, match="at most 125 bytes"):
            send_control(bytes(size))


def test_a_close_without_a_code_has_an_empty_body(kit):
    for wire in (kit.codec().send_close(), kit.codec().send_close(None, "dropped")):
        (frame,) = read_frames(wire)
        assert (frame.opcode, frame.payload, frame.fin, frame.rsv) == (CLOSE, b"", True, 0)


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1007, 1009, 1011, 1014, 3000, 4999])
def test_a_close_with_a_code_and_a_reason_arrives_as_such(kit, code):
    assert drain(kit.peer.codec(), kit.codec().send_close(code, "\u20ac")) == [Close(code, "\u20ac")]


@pytest.mark.parametrize(
    ("reason", "kept"),
    [
        ("x" * 124, "x" * 123),
        ("\u20ac" * 42, "\u20ac" * 41),
        ("x" + "\u20ac" * 42, "x" + "\u20ac" * 40),
        ("xx" + "\U0001f600" * 42, "xx" + "\U0001f600" * 30),
    ],
)
def test_a_long_close_reason_is_cut_between_characters(kit, reason, kept):
    assert drain(kit.peer.codec(), kit.codec().send_close(1011, reason)) == [Close(1011, kept)]


@pytest.mark.parametrize("code", [-1, 0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535, 65536, 70000])
def test_codes_that_are_not_for_the_wire_are_never_sent(kit, code):
    with pytest.raises(ValueError, match=f"close code {code} is not for the wire"):
        kit.codec().send_close(code)


def test_a_message_is_compressed_from_the_threshold_on_and_unless_it_opts_out(kit):
    codec = kit.codec(deflate=BITS_15, compression=Compression(threshold=100))
    assert [frame.rsv for frame in read_frames(send(codec, "x" * 99, "x" * 100))] == [0, RSV1]
    assert [frame.rsv for frame in read_frames(send(codec, "x" * 1000, compress=False))] == [0]
    assert [frame.rsv for frame in read_frames(send(kit.codec(), "x" * 10_000))] == [0]


def test_the_default_threshold_is_1024_bytes(kit):
    assert [f.rsv for f in read_frames(send(kit.codec(deflate=BITS_15), "x" * 1023, "x" * 1024))] == [0, RSV1]


def test_control_frames_are_never_compressed(kit):
    codec = kit.codec(deflate=BITS_15, compression=EVERYTHING)
    wire = codec.send_ping(bytes(125)) + codec.send_pong(bytes(125)) + codec.send_close(1000, "x" * 100)
    assert [frame.rsv for frame in read_frames(wire)] == [0, 0, 0]


@pytest.mark.parametrize("parameters", TAKEOVER_MODES, ids=str)
def test_compression_never_makes_a_frame_longer_nor_spoils_the_next(kit, parameters):
    ours = kit.codec(deflate=parameters, compression=EVERYTHING)
    peers = kit.peer.codec(deflate=parameters)
    noise = os.urandom(3000)
    for message in (
        "hello " * 50,
        noise,
        "hello " * 50 + "!",
        b"",
        "",
        "x",
        noise + b"hello " * 50,
        "hello " * 50,
    ):
        wire = send(ours, message)
        assert len(wire) <= len(send(kit.codec(), message))
        assert drain(peers, wire) == [message]


def test_the_engine_is_chosen_for_you(engine):
    codec = make_codec(client=True, limits=CodecLimits(), deflate=BITS_15, compression=EVERYTHING)
    assert drain(codec, b"\x81\x02hi\x88\x00") == ["hi", Close()]


# --- round trips ---


messages = st.one_of(st.text(max_size=300), st.binary(max_size=300), st.builds(bytes, st.integers(0, 70_000)))
parameters_ = st.one_of(
    st.none(),
    st.builds(
        DeflateParameters,
        server_no_context_takeover=st.booleans(),
        client_no_context_takeover=st.booleans(),
        server_max_window_bits=st.integers(8, 15),
        client_max_window_bits=st.integers(8, 15),
    ),
)


@settings(deadline=None)
@given(
    batches=st.lists(st.lists(st.tuples(messages, st.booleans()), max_size=5), max_size=5),
    parameters=parameters_,
    client=st.booleans(),
    chunk=st.integers(1, 100_000),
)
def test_what_one_codec_sends_another_one_receives(engine, batches, parameters, client, chunk):
    kit = Kit(engine, client)
    ours = kit.codec(deflate=parameters, compression=Compression(threshold=10))
    peers = kit.peer.codec(deflate=parameters)
    wire = b""
    expected = []
    for batch in batches:
        wire += b"".join(
            send(ours, message, compress=compress) for message, compress in batch
        ) + ours.send_ping(b"!")
        expected += [*(message for message, _ in batch), Ping(b"!")]
    wire += ours.send_close(1000, "done")
    chunk = max(chunk, len(wire) // 1000)
    assert feed(peers, (wire[i : i + chunk] for i in range(0, len(wire), chunk))) == [
        *expected,
        Close(1000, "done"),
    ]


@settings(deadline=None)
@given(
    message=st.one_of(st.text(max_size=200), st.binary(max_size=200)),
    cuts=st.lists(st.integers(0, 300), max_size=6),
    reads=st.lists(st.integers(0, 1000), max_size=6),
    pings=st.booleans(),
    compressed=st.booleans(),
    client=st.booleans(),
)
def test_however_a_message_is_cut_into_fragments_and_reads_it_arrives_whole(
    engine, message, cuts, reads, pings, compressed, client
):
    kit = Kit(engine, client)
    data = message.encode() if isinstance(message, str) else message
    data = Deflater()(data) if compressed else data
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    parts = [data[start:end] for start, end in pairwise(edges)]
    wire = kit.message(
        TEXT if isinstance(message, str) else BINARY,
        *parts,
        rsv=RSV1 if compressed else 0,
        between=kit.frame(PING, b"p") if pings else b"",
    )
    ends = [0, *sorted(min(read, len(wire)) for read in reads), len(wire)]
    events = feed(kit.codec(deflate=BITS_15), [wire[start:end] for start, end in pairwise(ends)])
    assert events == [Ping(b"p")] * (len(parts) - 1) * pings + [message]


# --- discarding ---


def test_discarding_drops_data_and_keeps_control_frames(kit):
    codec = kit.codec(max_message_size=10, max_fragments=2, deflate=BITS_15)
    codec.discard_data()
    wire = kit.frame(TEXT, b"\xff not UTF-8 and too long") + kit.frame(PING, b"p") + kit.frame(PONG)
    wire += kit.message(BINARY, *[b""] * 300, between=kit.frame(PING))
    wire += kit.frame(BINARY, b"\xff not DEFLATE", rsv=RSV1) + kit.frame(CLOSE, b"\x03\xe8bye")
    # In one call or more, the last pings are there.
    events = drain(codec, wire)
    assert [event for event in events if not isinstance(event, Ping)] == [Pong(), Close(1000, "bye")]
    assert events[-17:-1] == [Ping()] * 16


def test_discarding_may_start_in_the_middle_of_a_frame_of_a_message(kit):
    for rsv, data in ((0, b"x" * 1000), (RSV1, Deflater()(os.urandom(1000)))):
        codec = kit.codec(deflate=BITS_15)
        wire = kit.message(BINARY, data[:500], data[500:], rsv=rsv) + kit.frame(PING)
        assert drain(codec, wire[:300]) == []
        codec.discard_data()
        assert drain(codec, wire[300:]) == [Ping()]
        assert drain(codec, kit.frame(CONTINUATION, b"x")) == [
            Failure(1002, "continuation frame without a message in progress (RFC 6455 5.4)")
        ]


def test_discarding_may_start_while_a_message_is_being_inflated(kit):
    codec = kit.codec(deflate=BITS_15, max_message_size=None)
    wire = kit.frame(BINARY, Deflater()(bytes(2**22)), rsv=RSV1) + kit.frame(PING)
    assert codec.receive_data(wire) == []
    assert codec.pending
    codec.discard_data()
    assert codec.receive_data(b"") == [Ping()]
    assert not codec.pending


def test_discarding_still_checks_the_framing(kit):
    for bad in (
        kit.frame(3),
        kit.frame(TEXT, rsv=1),
        kit.frame(TEXT, masked=kit.client),
        kit.frame(PING, fin=False),
    ):
        codec = kit.codec()
        codec.discard_data()
        (failure,) = drain(codec, bad)
        assert isinstance(failure, Failure)
        assert failure.code == 1002


def test_discarding_after_the_end_changes_nothing(kit):
    codec = kit.codec()
    assert drain(codec, kit.frame(CLOSE)) == [Close()]
    codec.discard_data()
    assert drain(codec, kit.frame(TEXT, b"x")) == []


def test_the_portable_engine_has_no_room_and_takes_what_arrives_all_the_same():
    codec = Kit(WsprotoCodec, client=True).codec()
    wire = send(Kit(WsprotoCodec, client=False).codec(), bytes(2**19))
    assert codec.receive_data(wire[:-1000]) == []
    assert codec.room(1000) is None
    assert codec.receive_in_room(0, wire[-1000:]) == [bytes(2**19)]
