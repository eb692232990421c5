"""Messages in chunks: what arrives bit by bit is handed out bit by bit, and what is sent in parts is one message."""

from __future__ import annotations

import random
import zlib

import pytest
from codec_kit import BINARY, CLOSE, PING, RSV1, TEXT, Deflater, Kit, drain, feed, read_frames, single_bytes
from hypothesis import given, settings, strategies as st

from websocketstream._protocol.codec import Chunk, Close, Failure, Outgoing, Ping
from websocketstream._protocol.negotiation import Compression, DeflateParameters

TAKEOVER = DeflateParameters()
NO_TAKEOVER = DeflateParameters(server_no_context_takeover=True, client_no_context_takeover=True)
EVERYTHING = Compression(threshold=0)
NOISE = random.Random(7).randbytes(300_000)
TEXTS = "ASCII, größer, ロボット, 🎉 " * 3


def in_chunks(kit: Kit, **options):
    codec = kit.codec(**options)
    codec.read_in_chunks()
    return codec


def joined(events):
    """Join the chunks of each message; what else there was stays where it was."""
    out: list = []
    parts: list = []
    for event in events:
        if not isinstance(event, Chunk):
            out.append(event)
            continue
        assert event.data or event.last, "an empty chunk is for nobody"
        parts.append(event.data)
        if event.last:
            assert len(set(map(type, parts))) == 1
            out.append(parts[0][:0].join(parts))
            parts = []
    return out, parts


def test_a_message_is_handed_out_as_it_arrives(kit):
    codec = in_chunks(kit)
    data = kit.frame(BINARY, b"0123456789")
    assert codec.receive_data(data[:-7]) == [Chunk(b"012", False)]
    assert codec.message_bytes
    assert codec.receive_data(data[-7:-7]) == []
    assert codec.receive_data(data[-7:]) == [Chunk(b"3456789", True)]
    assert codec.receive_data(kit.frame(TEXT, b"whole")) == [Chunk("whole", True)]
    assert codec.receive_data(kit.frame(TEXT) + kit.frame(BINARY)) == [Chunk("", True), Chunk(b"", True)]


def test_text_comes_in_whole_characters(kit):
    codec = in_chunks(kit)
    events = feed(codec, single_bytes(kit.frame(TEXT, "aß🎉".encode())))
    assert events == [Chunk("a", False), Chunk("ß", False), Chunk("🎉", True)]
    events = feed(codec, single_bytes(kit.message(TEXT, "🎉".encode()[:1], "🎉".encode()[1:], b"")))
    assert joined(events) == (["🎉"], [])


@pytest.mark.parametrize("deflate", [None, TAKEOVER], ids=["plain", "deflate"])
def test_text_that_is_not_utf8_fails_where_it_is_met(kit, deflate):
    codec = in_chunks(kit, deflate=deflate)
    good = drain(codec, kit.message(TEXT, "ß".encode(), b"\xc3", b"x")[: -len(kit.frame(TEXT, b"x"))])
    assert good == [Chunk("ß", False)]
    (failure,) = drain(codec, kit.message(TEXT, b"", b"x")[len(kit.frame(TEXT, b"")) :])
    assert isinstance(failure, Failure)
    assert failure.code == 1007
    assert drain(codec, kit.frame(TEXT, b"x")) == []
    assert drain(in_chunks(kit), kit.frame(TEXT, b"\xc3"))[0].code == 1007  # cut off


def test_control_frames_come_behind_what_was_before_them(kit):
    data = kit.message(TEXT, b"ab", b"cd", between=kit.frame(PING, b"!"))
    assert drain(in_chunks(kit), data) == [Chunk("ab", False), Ping(b"!"), Chunk("cd", True)]
    data = kit.frame(BINARY, b"ab", fin=False) + kit.frame(CLOSE, b"\x03\xe8")
    assert drain(in_chunks(kit), data) == [Chunk(b"ab", False), Close(1000)]
    data = kit.frame(BINARY, b"ab", fin=False) + kit.frame(CLOSE, b"\x03")
    chunk, failure = drain(in_chunks(kit), data)
    assert (chunk, failure.code) == (Chunk(b"ab", False), 1002)


@pytest.mark.parametrize("deflate", [None, TAKEOVER], ids=["plain", "deflate"])
def test_the_limits_of_a_message_do_not_hold(kit, deflate):
    codec = in_chunks(kit, max_message_size=10, max_fragments=3, deflate=deflate)
    payload = bytes(100_000)
    if deflate is None:
        data = kit.message(BINARY, *([payload[:1000]] * 100))
    else:
        compressed = Deflater()(payload)
        data = kit.message(BINARY, *(compressed[i : i + 1] for i in range(len(compressed))), rsv=RSV1)
    assert joined(drain(codec, data)) == ([payload], [])
    announced = kit.frame(BINARY, b"start", length=2**62)
    assert drain(codec, announced) == [Chunk(b"start", False)]
    empty = kit.message(BINARY, *([b""] * 200))
    assert drain(in_chunks(kit), empty)[-1].code == 1008  # which is a limit of its own


@pytest.mark.parametrize("deflate", [None, TAKEOVER], ids=["plain", "deflate"])
def test_the_message_in_progress_goes_on_in_chunks(kit, deflate):
    """Without its limit, and with what has come of it already."""
    for text in (False, True):
        codec = kit.codec(max_message_size=2000, max_fragments=3, deflate=deflate)
        payload = ("ß🎉" * 1000).encode()
        compressed = payload if deflate is None else Deflater()(payload)
        step = -(-len(compressed) // 7)
        parts = [compressed[i : i + step] for i in range(0, len(compressed), step)]
        data = kit.message(TEXT if text else BINARY, *parts, rsv=0 if deflate is None else RSV1)
        cut = len(data) // 7 + 5
        if deflate is not None:
            cut = 9  # hardly anything: the rest would be too large
        assert drain(codec, data[:cut]) == []
        codec.read_in_chunks()
        assert joined(drain(codec, data[cut:])) == ([payload.decode() if text else payload], [])


def test_what_is_discarded_is_no_chunk(kit):
    codec = in_chunks(kit)
    assert drain(codec, kit.frame(BINARY, b"ab", fin=False)) == [Chunk(b"ab", False)]
    codec.discard_data()
    assert drain(codec, kit.frame(0, b"cd") + kit.frame(PING, b"x") + kit.frame(TEXT, b"\xff")) == [
        Ping(b"x")
    ]
    codec.read_in_chunks()
    assert drain(codec, kit.frame(CLOSE) + kit.frame(TEXT)) == [Close()]
    codec.read_in_chunks()  # when all is over, this is nothing


@given(
    messages=st.lists(st.text(max_size=20) | st.binary(max_size=300), max_size=6),
    cuts=st.lists(st.integers(1, 60), min_size=1, max_size=5),
    compress=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_chunks_joined_are_the_messages(engine, messages, cuts, compress):
    for client in (True, False):
        kit = Kit(engine, client)
        deflate = TAKEOVER if compress else None
        sender = kit.peer.codec(deflate=deflate, compression=EVERYTHING)
        wire = b"".join(
            b"".join(
                sender.send_messages([Outgoing(m.encode() if isinstance(m, str) else m, isinstance(m, str))])
            )
            for m in messages
        )
        codec, events, at, turn = in_chunks(kit, deflate=deflate), [], 0, 0
        while at < len(wire):
            step = cuts[turn % len(cuts)]
            events += drain(codec, wire[at : at + step])
            at, turn = at + step, turn + 1
        assert joined(events) == (messages, [])


# --- sending


def parts_of(payload: bytes, sizes, *, text: bool, compress: bool = True):
    """Cut a payload into the parts of one message, with an empty one at the end."""
    parts, at = [], 0
    for size in sizes:
        parts.append(payload[at : at + size])
        at += size
    parts += [payload[at:], b""]
    last = len(parts) - 1
    return [
        Outgoing(part, text, compress, begins=number == 0, ends=number == last)
        for number, part in enumerate(parts)
    ]


@pytest.mark.parametrize("text", [False, True], ids=["binary", "text"])
@pytest.mark.parametrize("mode", [None, TAKEOVER, NO_TAKEOVER], ids=["plain", "takeover", "no-takeover"])
def test_parts_are_the_frames_of_one_message(kit, text, mode):
    options = {"deflate": mode, "compression": EVERYTHING}
    sender, receiver = kit.codec(**options), kit.peer.codec(**options)
    payload = b"0123456789" * 500
    for compress in (True, False, True):  # the context goes on
        wire = b"".join(
            sender.send_messages(parts_of(payload, [1, 2000, 1500], text=text, compress=compress))
        )
        frames = list(read_frames(wire))
        assert [frame.opcode for frame in frames] == [TEXT if text else BINARY, 0, 0, 0, 0]
        assert [frame.fin for frame in frames] == [False, False, False, False, True]
        is_compressed = mode is not None and compress
        assert [frame.rsv for frame in frames] == [RSV1 if is_compressed else 0, 0, 0, 0, 0]
        assert all(bool(frame.key) is kit.client for frame in frames)
        assert drain(receiver, wire) == [payload.decode() if text else payload]
        assert len(wire) < len(payload) or not is_compressed
    wire = b"".join(sender.send_messages([Outgoing(payload, text)]))
    assert drain(receiver, wire) == [payload.decode() if text else payload]


def test_a_part_can_be_inflated_when_it_has_arrived(kit):
    options = {"deflate": TAKEOVER, "compression": EVERYTHING}
    sender, receiver = kit.codec(**options), kit.peer.codec(**options)
    receiver.read_in_chunks()
    *parts, last = parts_of(NOISE, [1, 50_000, 100_000], text=False)
    for part in parts:
        wire = b"".join(sender.send_messages([part]))
        events = drain(receiver, wire + receiver_ping(kit))
        assert events.pop() == Ping(b"")
        assert b"".join(chunk.data for chunk in events) == part.payload
        assert not any(chunk.last for chunk in events)
    assert drain(receiver, b"".join(sender.send_messages([last]))) == [Chunk(b"", True)]


def receiver_ping(kit: Kit) -> bytes:
    return kit.peer.frame(PING)


def test_zlib_itself_agrees(kit):
    sender = kit.codec(deflate=TAKEOVER, compression=EVERYTHING)
    wire = b"".join(sender.send_messages(parts_of(NOISE, [10, 0, 99_999], text=False)))
    data = b"".join(frame.payload for frame in read_frames(wire))
    assert zlib.decompressobj(-15).decompress(data + b"\x00\x00\xff\xff") == NOISE


def test_no_other_message_is_compressed_between_the_parts(kit):
    sender = kit.codec(deflate=TAKEOVER, compression=EVERYTHING)
    first, *_ = parts_of(b"abc", [1], text=False)
    sender.send_messages([first])
    with pytest.raises(RuntimeError, match="another message"):
        sender.send_messages([Outgoing(b"in between", False)])
    assert sender.send_ping(b"")
    assert sender.send_close(1000)
