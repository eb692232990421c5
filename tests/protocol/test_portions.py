"""A message encoded in portions is the frame that it would have been in one go, and others get a turn meanwhile."""

from __future__ import annotations

import os
import random
import sys
import zlib
from collections.abc import Iterator
from itertools import islice

import pytest
from codec_kit import BINARY, RSV1, TEXT, Kit, drain, inflates_in_c, read_frames, send
from hypothesis import given, settings, strategies as st

from websocketstream._protocol import deflate as deflate_module
from websocketstream._protocol.codec import Codec, Message, Outgoing, Ping, Pong
from websocketstream._protocol.deflate import PerMessageDeflate
from websocketstream._protocol.negotiation import Compression, DeflateParameters
from websocketstream._protocol.wsproto_codec import WsprotoCodec

TAKEOVER = DeflateParameters()
NO_TAKEOVER = DeflateParameters(server_no_context_takeover=True, client_no_context_takeover=True)
MODES = [pytest.param(TAKEOVER, id="takeover"), pytest.param(NO_TAKEOVER, id="no-takeover")]
EVERYTHING = Compression(threshold=0)
PORTION = 32 * 1024
# It fits into the window, so that a second one consists of nothing but references to the first.
RNG = random.Random(1)
WORDS = b" ".join(RNG.randbytes(20).hex().encode() for _ in range(70))
NOISE = RNG.randbytes(3 * PORTION)
LONG = b"".join(WORDS + b"%d" % i for i in range(40))


def portions(codec: Codec, message: Message | Outgoing) -> bytes:
    """Encode a message in portions and return its frame."""
    *steps, last = codec.send_in_portions(message)
    assert not any(steps)
    return b"".join(last)


def value(message: Message | Outgoing) -> Message:
    if not isinstance(message, Outgoing):
        return message
    return message.payload.decode() if message.text else message.payload


SIZES = [0, 1, 3, 4, PORTION - 1, PORTION, PORTION + 1, 3 * PORTION + 5]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("deflate", [None, TAKEOVER, NO_TAKEOVER], ids=["plain", "takeover", "no-takeover"])
@pytest.mark.parametrize("compress", [True, False])
def test_a_message_of_any_size_is_one_frame_as_if_it_had_been_encoded_at_once(kit, size, deflate, compress):
    options = {"deflate": deflate, "compression": Compression(threshold=0)}
    for payload, text in ((NOISE + NOISE, False), (b"0123456789" * 20_000, True), (LONG, True)):
        message = Outgoing(payload[:size], text, compress=compress)
        (frame,) = read_frames(portions(kit.codec(**options), message))
        (expected,) = read_frames(b"".join(kit.codec(**options).send_messages([message])))
        assert (frame.opcode, frame.fin, frame.rsv) == (TEXT if text else BINARY, True, expected.rsv)
        assert bool(frame.key) is kit.client
        assert drain(kit.peer.codec(**options), portions(kit.codec(**options), message)) == [value(message)]


@pytest.mark.parametrize("message", ["x" * 100_000, b"x" * 100_000, Outgoing("€😀".encode() * 9000, True)])
def test_bare_strings_and_bytes_are_encoded_like_what_they_stand_for(kit, message):
    assert drain(kit.peer.codec(), portions(kit.codec(), message)) == [value(message)]


def test_a_message_below_the_threshold_is_not_compressed_in_portions_either(kit):
    codec = kit.codec(deflate=TAKEOVER, compression=Compression(threshold=100))
    frames = [*read_frames(portions(codec, "x" * 99)), *read_frames(portions(codec, "x" * 100))]
    assert [frame.rsv for frame in frames] == [0, RSV1]


@pytest.mark.parametrize("level", [0, 1, 6, 7, 9])
def test_a_step_compresses_no_more_than_a_portion(kit, level, monkeypatch):
    if inflates_in_c(kit.engine):
        pytest.skip("it cannot be watched there; the number of steps is tested below")
    work: list[int] = []

    class Spy:
        def __init__(self, *settings: int) -> None:
            self._zlib = zlib.compressobj(*settings)

        def compress(self, data: bytes) -> bytes:
            work[-1] += len(data)
            return self._zlib.compress(data)

        def flush(self, mode: int) -> bytes:
            return self._zlib.flush(mode)

    class Zlib:
        DEFLATED, Z_SYNC_FLUSH, compressobj = zlib.DEFLATED, zlib.Z_SYNC_FLUSH, Spy

    monkeypatch.setattr(deflate_module, "zlib", Zlib)
    codec = kit.codec(deflate=TAKEOVER, compression=Compression(level=level))
    assert codec.portion == (PORTION if level < 7 else PORTION // 4)
    iterator = codec.send_in_portions(NOISE)
    done = False
    while not done:
        work.append(0)
        done = bool(next(iterator))
    assert sum(work) == len(NOISE)
    assert max(work) == codec.portion


def test_a_step_masks_no_more_than_a_portion(engine):
    codec = Kit(engine, client=True).codec()
    *steps, frame = codec.send_in_portions(bytes(5 * codec.portion))
    assert len(steps) == 5
    assert max(map(len, frame)) == codec.portion
    (sent,) = read_frames(b"".join(frame))
    assert sent.payload == bytes(5 * codec.portion)


def test_what_is_masked_in_vain_counts_as_work_too(kit):
    codec = kit.codec(max_message_size=None, deflate=TAKEOVER)
    plain = kit.codec().portion if kit.client else sys.maxsize
    noise = os.urandom(min(2 * plain, 2**20) + 1)
    *steps, frame = codec.send_in_portions(noise)
    assert not any(steps)
    assert len(steps) == -(-len(noise) // PORTION) + 1 + -(-len(noise) // plain)
    assert [sent.rsv for sent in read_frames(b"".join(frame))] == [0]


def test_only_what_takes_time_is_worth_portions(kit):
    if kit.client:
        assert kit.codec().portion == (256 * 1024 if kit.engine is WsprotoCodec else 2 * 2**20)
    else:
        assert kit.codec().portion > 2**30
    assert kit.codec(deflate=TAKEOVER).portion == PORTION


def test_a_large_message_of_a_server_is_not_copied_in_portions_either(engine):
    kit = Kit(engine, client=False)
    payload = bytes(2**20)
    for codec in (kit.codec(), kit.codec(deflate=TAKEOVER)):
        *_, (_, buffer) = codec.send_in_portions(Outgoing(payload, False, compress=False))
        assert buffer is payload


def test_every_frame_of_a_client_has_a_key_of_its_own_in_portions_too(kit):
    codec = kit.codec()
    wire = b"".join(portions(codec, bytes(100)) for _ in range(50))
    keys = {frame.key for frame in read_frames(wire)}
    assert len(keys) == (50 if kit.client else 1)


@pytest.mark.parametrize("deflate", MODES)
def test_control_frames_may_be_encoded_and_leave_between_any_two_steps(kit, deflate):
    ours, peers = kit.codec(deflate=deflate), kit.peer.codec(deflate=deflate)
    for message in (LONG, NOISE, LONG):
        wire = b""
        count = 0
        for buffers in ours.send_in_portions(message):
            wire += ours.send_ping(b"p") + ours.send_pong(b"q") + b"".join(buffers)
            count += 1
        assert drain(peers, wire) == [*[Ping(b"p"), Pong(b"q")] * count, message]


def test_messages_before_and_behind_one_in_portions_share_its_context(kit):
    codec = kit.codec(deflate=TAKEOVER)
    peer = kit.peer.codec(deflate=TAKEOVER)
    sizes = []
    for encode in (send, portions, send, portions, portions):
        wire = encode(codec, WORDS)
        sizes.append(len(wire))
        assert drain(peer, wire) == [WORDS]
    assert max(sizes[1:]) < sizes[0] / 10


def test_without_context_takeover_every_message_in_portions_starts_anew(kit):
    codec = kit.codec(deflate=NO_TAKEOVER)
    sizes = {len(portions(codec, LONG)), len(portions(codec, LONG)), len(send(codec, LONG))}
    assert len(sizes) == 1


@pytest.mark.parametrize("deflate", MODES)
def test_what_does_not_get_shorter_in_portions_is_sent_as_it_is_and_does_not_spoil_the_next(kit, deflate):
    codec, peer = kit.codec(deflate=deflate), kit.peer.codec(deflate=deflate)
    for message in (WORDS, NOISE, WORDS, NOISE + WORDS, NOISE[-5000:] + WORDS, LONG):
        wire = portions(codec, message)
        (frame,) = read_frames(wire)
        assert frame.rsv == (0 if message is NOISE else RSV1)
        assert len(frame.payload) <= len(message)
        assert drain(peer, wire) == [message]
        follower = message[-3000:]
        assert drain(peer, send(codec, follower)) == [follower]


def test_what_gets_neither_longer_nor_shorter_is_sent_as_it_is_and_does_not_spoil_the_next(kit):
    even = 0
    for repeats in range(20):
        message = NOISE[:10] + b"x" * repeats
        pieces = PerMessageDeflate(TAKEOVER, EVERYTHING, client=True).compress_in_portions(message)
        even += sum(map(len, pieces)) == len(message)
        codec, peer = kit.codec(deflate=TAKEOVER, compression=EVERYTHING), kit.peer.codec(deflate=TAKEOVER)
        for _ in range(2):
            assert drain(peer, portions(codec, message)) == [message]
    assert even


def test_an_empty_message_in_portions_leaves_the_context_as_it_is(kit):
    codec, peer = kit.codec(deflate=TAKEOVER, compression=EVERYTHING), kit.peer.codec(deflate=TAKEOVER)
    assert drain(peer, portions(codec, WORDS) + portions(codec, b"")) == [WORDS, b""]
    wire = portions(codec, WORDS)
    assert len(wire) < 100
    assert drain(peer, wire) == [WORDS]


@pytest.mark.parametrize("deflate", MODES)
@pytest.mark.parametrize("close", [True, False], ids=["closed", "dropped"])
def test_a_message_given_up_at_any_step_leaves_nothing_behind(kit, deflate, close):
    codec, peer = kit.codec(deflate=deflate), kit.peer.codec(deflate=deflate)
    for payload in (LONG, NOISE):
        for count in range(len(list(kit.codec(deflate=deflate).send_in_portions(payload)))):
            assert drain(peer, send(codec, WORDS)) == [WORDS]
            iterator: Iterator[object] = codec.send_in_portions(payload)
            assert not any(islice(iterator, count))
            if close:
                iterator.close()  # type: ignore[attr-defined]
            del iterator
            again = payload[-1500:] + WORDS
            assert drain(peer, send(codec, again)) == [again]
            assert drain(peer, portions(codec, again)) == [again]


def test_no_other_message_may_be_compressed_meanwhile(kit):
    codec, peer = kit.codec(deflate=TAKEOVER), kit.peer.codec(deflate=TAKEOVER)
    iterator = codec.send_in_portions(LONG)
    next(iterator)
    with pytest.raises(RuntimeError, match="another message is being compressed"):
        send(codec, WORDS)
    with pytest.raises(RuntimeError, match="another message is being compressed"):
        next(codec.send_in_portions(WORDS))
    *_, frame = iterator
    assert drain(peer, b"".join(frame)) == [LONG]
    assert drain(peer, send(codec, LONG)) == [LONG]


payloads = st.one_of(
    st.integers(0, 3 * PORTION).map(lambda size: LONG[:size]),
    st.integers(0, 3 * PORTION).map(lambda size: NOISE[:size]),
    st.integers(0, 3 * PORTION).map(bytes),
    st.binary(max_size=50),
)


@settings(deadline=None, max_examples=60)
@given(
    steps=st.lists(
        st.tuples(payloads, st.booleans(), st.one_of(st.none(), st.integers(0, 5))), min_size=1, max_size=8
    ),
    parameters=st.builds(
        DeflateParameters,
        server_no_context_takeover=st.booleans(),
        client_no_context_takeover=st.booleans(),
        server_max_window_bits=st.integers(8, 15),
        client_max_window_bits=st.integers(8, 15),
    ),
    threshold=st.sampled_from([0, 1024]),
    client=st.booleans(),
)
def test_any_mixture_of_whole_portioned_and_abandoned_messages_arrives(
    engine, steps, parameters, threshold, client
):
    kit = Kit(engine, client)
    ours = kit.codec(deflate=parameters, compression=Compression(threshold=threshold))
    peers = kit.peer.codec(deflate=parameters)
    for payload, compress, count in steps:
        message = Outgoing(payload, False, compress)
        if count is None:
            assert drain(peers, b"".join(ours.send_messages([message]))) == [payload]
            continue
        wire = b"".join(buffer for step in islice(ours.send_in_portions(message), count) for buffer in step)
        assert drain(peers, wire) == ([payload] if wire else [])
