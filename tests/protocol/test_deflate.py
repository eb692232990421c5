"""permessage-deflate: the header's grammar, what is negotiated, and the compressor and inflater by themselves."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import tracemalloc
import zlib
from dataclasses import replace

import pytest
from codec_kit import DEFLATES, TAIL, Deflater
from hypothesis import given, strategies as st

from websocketstream._protocol.deflate import STEP, InflatedTooLarge, InflateError, PerMessageDeflate
from websocketstream._protocol.extensions import Extension, parse_extensions
from websocketstream._protocol.negotiation import (
    Compression,
    DeflateParameters,
    NegotiationError,
    accept_answer,
    negotiate,
    offer,
)

PLAIN = Compression(server_max_window_bits=15, client_max_window_bits=15)
NO_TAKEOVER = {"server_no_context_takeover": True, "client_no_context_takeover": True}
JSON = b'{"id": 17, "name": "sensor", "values": [1, 2, 3, 4, 5]}' * 40


@pytest.fixture(scope="module", params=DEFLATES)
def implementation(request):
    return DEFLATES[request.param]


def inflater(implementation: type[PerMessageDeflate], **parameters) -> PerMessageDeflate:
    return implementation(DeflateParameters(**parameters), Compression(), client=True)


def inflate(deflate: PerMessageDeflate, *fragments: bytes, limit: int | None = None) -> bytes:
    deflate.begin(limit)
    out = b""
    for i, fragment in enumerate(fragments, 1):
        out += b"".join(deflate.inflate(fragment, last=i == len(fragments)))
    return out


# --- the header ---


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", []),
        (" \t", []),
        (",", []),
        (" , ,\t,", []),
        ("a", [Extension("a")]),
        (
            ' a ; b = 1 ;c;d="e" , , a',
            [Extension("a", (("b", "1"), ("c", None), ("d", "e"))), Extension("a")],
        ),
        ('a;b="\\1\\0"', [Extension("a", (("b", "10"),))]),
        ("__class__;constructor=__init__", [Extension("__class__", (("constructor", "__init__"),))]),
    ],
)
def test_a_header_is_read_with_its_blanks_quotes_and_empty_elements(value, expected):
    assert parse_extensions(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        ";", "a;", "a;;b", "a b", "a;b=", "a;b=1 2", "a;=1", "=1", '"a"', 'a;b="', 'a;b="\\', 'a;b="1', 'a;b="\\"',
        'a;b=""', 'a;b="1,2"', 'a;b="x y"', 'a;b="1"2', "a/b", "\xe9", "a;b=\xe9", "a\x00", "a\r\nb", "ａ",
    ],
)  # fmt: skip
def test_a_header_against_the_grammar_is_an_error_that_says_where(value):
    with pytest.raises(NegotiationError, match=r"malformed Sec-WebSocket-Extensions: .* at character \d+"):
        parse_extensions(value)


@pytest.mark.parametrize("unit", ["\\c", '"', ",", " ", ";", "a;", 'a;b="\\c\\c', "a,", "=", "\t,"])
@pytest.mark.parametrize("start", ["", 'a;b="', "a;b=", "a"])
def test_64_KiB_of_punctuation_is_read_in_one_pass_ReDoS(start, unit):
    # A scanner that goes back would need hours; the test's timeout is the judge.
    value = start + unit * (2**16 // len(unit))
    with contextlib.suppress(NegotiationError):
        parse_extensions(value)


# --- options ---


@pytest.mark.parametrize(
    "option",
    [
        {"threshold": -1},
        {"level": -1},
        {"level": 10},
        {"mem_level": 0},
        {"mem_level": 10},
        {"server_max_window_bits": 8},
        {"server_max_window_bits": 16},
        {"client_max_window_bits": 8},
        {"client_max_window_bits": 16},
    ],
)
def test_an_option_out_of_range_is_named(option):
    with pytest.raises(ValueError, match=next(iter(option))):
        Compression(**option)


@pytest.mark.parametrize(
    "option",
    [
        {"threshold": None},
        {"level": True},
        {"level": "6"},
        {"server_max_window_bits": 12.0},
        {"server_no_context_takeover": 1},
        {"client_no_context_takeover": None},
    ],
)
def test_an_option_of_the_wrong_type_is_named(option):
    with pytest.raises(TypeError, match=next(iter(option))):
        Compression(**option)


# --- the client's side of the negotiation ---


def test_the_offer_names_what_the_options_ask_for():
    assert offer(PLAIN) == "permessage-deflate; client_max_window_bits"
    assert offer(Compression()) == "permessage-deflate; client_max_window_bits=12"
    assert offer(Compression(server_max_window_bits=9, client_max_window_bits=15, **NO_TAKEOVER)) == (
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover; "
        "server_max_window_bits=9; client_max_window_bits"
    )


@pytest.mark.parametrize("value", ["", " ", ",", " , "])
@pytest.mark.parametrize("compression", [None, PLAIN])
def test_an_answer_without_elements_is_no_extension(value, compression):
    assert accept_answer(value, compression) is None


@pytest.mark.parametrize(
    ("answer", "agreed"),
    [
        ("", {}),
        ("; server_no_context_takeover", {"server_no_context_takeover": True}),
        ("; client_no_context_takeover", {"client_no_context_takeover": True}),
        ("; server_max_window_bits=8", {"server_max_window_bits": 8}),
        ("; server_max_window_bits=15", {}),
        ('; server_max_window_bits="10"', {"server_max_window_bits": 10}),
        ("; client_max_window_bits=8", {"client_max_window_bits": 8}),
        ("; client_max_window_bits=9;server_max_window_bits=9", {"client_max_window_bits": 9, "server_max_window_bits": 9}),
    ],
)  # fmt: skip
def test_a_legal_answer_is_what_is_agreed_on(answer, agreed):
    assert accept_answer("permessage-deflate" + answer, PLAIN) == DeflateParameters(**agreed)


BAD_PARAMETERS = [
    "unknown",
    "unknown=1",
    "server_no_context_takeover; server_no_context_takeover",
    "server_max_window_bits=10; server_max_window_bits=10",
    "server_no_context_takeover=1",
    "client_no_context_takeover=true",
    "server_max_window_bits",
    *(
        f"{side}_max_window_bits={value}"
        for side in ("server", "client")
        for value in (
            "0",
            "7",
            "16",
            "20",
            "-1",
            "+10",
            "010",
            "08",
            "1_0",
            "1e1",
            "10x",
            "abc",
            '"7"',
            "9" * 5000,
        )
    ),
]


@pytest.mark.parametrize("parameters", [*BAD_PARAMETERS, "client_max_window_bits"])
def test_an_answer_with_a_bad_parameter_is_refused(parameters):
    with pytest.raises(NegotiationError, match="permessage-deflate: ") as info:
        accept_answer(f"permessage-deflate; {parameters}", PLAIN)
    assert len(str(info.value)) < 200


@pytest.mark.parametrize(
    "answer", ["x-other", "Permessage-Deflate", "permessage-deflate, x-other", "__class__"]
)
def test_an_answer_with_an_extension_that_was_not_offered_is_refused(answer):
    with pytest.raises(NegotiationError, match="not offered"):
        accept_answer(answer, PLAIN)


def test_an_answer_when_nothing_was_offered_is_refused():
    with pytest.raises(NegotiationError, match="not offered: permessage-deflate"):
        accept_answer("permessage-deflate", None)


def test_permessage_deflate_twice_is_refused():
    with pytest.raises(NegotiationError, match="2 times"):
        accept_answer("permessage-deflate, permessage-deflate", PLAIN)


def test_a_larger_server_window_than_offered_is_refused():
    with pytest.raises(NegotiationError, match="server_max_window_bits=13, more than the 12"):
        accept_answer("permessage-deflate; server_max_window_bits=13", Compression(server_max_window_bits=12))


def test_a_client_that_says_nothing_of_the_servers_window_takes_any():
    for bits in range(8, 16):
        parameters = accept_answer(f"permessage-deflate; server_max_window_bits={bits}", Compression())
        assert parameters == DeflateParameters(server_max_window_bits=bits, client_max_window_bits=12)


def test_a_server_that_ignores_the_offered_limits_may_use_the_largest_window():
    agreed = accept_answer("permessage-deflate", Compression(client_no_context_takeover=True))
    # Ours are hints that bind only ourselves: RFC 7692 7.1.1.2 and 7.1.2.2.
    assert agreed == DeflateParameters(client_max_window_bits=12, client_no_context_takeover=True)


def test_a_larger_client_window_than_ours_is_an_allowance_not_a_demand():
    agreed = accept_answer("permessage-deflate; client_max_window_bits=15", Compression())
    assert agreed is not None
    assert agreed.client_max_window_bits == 12


# --- the server's side of the negotiation ---


@pytest.mark.parametrize(
    ("offered", "answer"),
    [
        ("", ""),
        ("; client_max_window_bits", "; client_max_window_bits=15"),
        ("; client_max_window_bits=8", "; client_max_window_bits=8"),
        ('; client_max_window_bits="10"', "; client_max_window_bits=10"),
        ("; server_max_window_bits=8", "; server_max_window_bits=8"),
        ("; server_max_window_bits=15", "; server_max_window_bits=15"),
        ("; client_no_context_takeover", "; client_no_context_takeover"),
        ("; server_no_context_takeover", "; server_no_context_takeover"),
    ],
)
def test_an_acceptable_offer_is_answered(offered, answer):
    agreed = negotiate("permessage-deflate" + offered, PLAIN)
    assert agreed is not None
    assert agreed[1] == "permessage-deflate" + answer
    assert agreed[0] == accept_answer(agreed[1], PLAIN)


def test_the_servers_own_limits_are_in_its_answer():
    parameters, answer = negotiate(
        "permessage-deflate; client_max_window_bits", Compression(server_max_window_bits=12, **NO_TAKEOVER)
    ) or (0, "")
    assert answer == (
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover; "
        "server_max_window_bits=12; client_max_window_bits=12"
    )
    assert parameters == DeflateParameters(
        server_max_window_bits=12, client_max_window_bits=12, **NO_TAKEOVER
    )


def test_a_client_that_cannot_limit_its_window_is_not_asked_to():
    parameters, answer = negotiate("permessage-deflate", Compression(server_max_window_bits=11)) or (None, "")
    assert answer == "permessage-deflate; server_max_window_bits=11"
    assert parameters == DeflateParameters(server_max_window_bits=11, client_max_window_bits=15)


@pytest.mark.parametrize(
    ("offered", "answered", "bits"),
    [
        # coder/websocket, as a client, fails on any word of the server's window that it did not ask for.
        (
            "permessage-deflate; client_no_context_takeover",
            "permessage-deflate; client_no_context_takeover",
            12,
        ),
        (
            "permessage-deflate; server_max_window_bits=15",
            "permessage-deflate; server_max_window_bits=12",
            12,
        ),
        (
            "permessage-deflate; server_max_window_bits=10",
            "permessage-deflate; server_max_window_bits=10",
            10,
        ),
    ],
)
def test_by_default_a_server_limits_its_own_window_and_says_so_only_if_asked(offered, answered, bits):
    parameters, answer = negotiate(offered, Compression()) or (None, "")
    assert (answer, parameters.server_max_window_bits) == (answered, bits)


@pytest.mark.parametrize("parameters", BAD_PARAMETERS)
def test_an_offer_with_a_bad_parameter_is_declined(parameters):
    assert negotiate(f"permessage-deflate; {parameters}", PLAIN) is None


@pytest.mark.parametrize("declined", ["unknown", "server_max_window_bits=7", "server_max_window_bits"])
def test_nothing_leaks_from_a_declined_offer_into_the_next(declined):
    every = "client_no_context_takeover; server_no_context_takeover; client_max_window_bits=9; " + declined
    agreed = negotiate(f"x-a; b=1, permessage-deflate; {every}, permessage-deflate", PLAIN)
    assert agreed == (DeflateParameters(), "permessage-deflate")


def test_the_first_acceptable_of_800_offers_wins():
    offers = ["permessage-deflate; no", "x-other; permessage-deflate"] * 400
    value = ", ".join([*offers, "permessage-deflate; server_max_window_bits=9", "permessage-deflate"])
    agreed = negotiate(value, PLAIN)
    assert agreed is not None
    assert agreed[1] == "permessage-deflate; server_max_window_bits=9"


@pytest.mark.parametrize("value", ["", "x-webkit-deflate-frame", "__class__", "Permessage-deflate"])
def test_without_an_acceptable_offer_there_is_no_extension(value):
    assert negotiate(value, PLAIN) is None


def test_a_malformed_offer_is_an_error():
    with pytest.raises(NegotiationError):
        negotiate("permessage-deflate; server_max_window_bits=", PLAIN)


compressions = st.builds(
    Compression,
    server_max_window_bits=st.none() | st.integers(9, 15),
    client_max_window_bits=st.integers(9, 15),
    server_no_context_takeover=st.booleans(),
    client_no_context_takeover=st.booleans(),
)


@given(compressions, compressions)
def test_our_client_and_our_server_always_agree_on_the_same(client, server):
    agreed = negotiate(offer(client), server)
    assert agreed is not None
    understood = accept_answer(agreed[1], client)
    # A server may use a smaller window than it says.
    bits = agreed[0].server_max_window_bits
    assert bits <= understood.server_max_window_bits <= (client.server_max_window_bits or 15)
    assert replace(understood, server_max_window_bits=bits) == agreed[0]


# --- compressing ---


@pytest.mark.parametrize("bits", range(8, 16))
@pytest.mark.parametrize("takeover", [True, False])
@pytest.mark.parametrize("client", [True, False])
def test_what_one_side_compresses_the_other_side_inflates(implementation, bits, takeover, client):
    parameters = DeflateParameters(
        server_max_window_bits=bits,
        client_max_window_bits=bits,
        server_no_context_takeover=not takeover,
        client_no_context_takeover=not takeover,
    )
    sender = implementation(parameters, Compression(), client=client)
    receiver = implementation(parameters, Compression(), client=not client)
    sizes = []
    for message in (JSON, JSON, b"x", JSON, os.urandom(1000), JSON, bytes(300_000)):
        compressed = sender.compress(message)
        if compressed is not None:
            assert not compressed.endswith(TAIL)
            assert inflate(receiver, compressed) == message
            sizes.append(len(compressed))
    assert len(sizes) == 5
    if takeover and bits > 12:
        assert sizes[1] < sizes[0] / 3  # the second one consists of the first
    else:
        assert takeover or sizes[1] == sizes[0]


@pytest.mark.parametrize("level", range(10))
@pytest.mark.parametrize("mem_level", [1, 5, 9])
def test_a_window_of_8_bits_is_never_exceeded_although_zlib_compresses_with_9(
    implementation, level, mem_level
):
    # zlib says that it looks back at most 2**9 - 262 = 250 bytes. One byte of input at a time, so that the inflater
    # has nothing but its 256 bytes to look back into.
    sender = implementation(
        DeflateParameters(client_max_window_bits=8),
        Compression(level=level, mem_level=mem_level),
        client=True,
    )
    judge = zlib.decompressobj(-8)
    rng = random.Random(level)
    for _ in range(10):
        message = bytes(rng.choices(b"abcd", k=5000)) + b"abcd" * 500
        compressed = (sender.compress(message) or b"") + TAIL
        if compressed != TAIL:
            assert (
                b"".join(judge.decompress(compressed[i : i + 1]) for i in range(len(compressed))) == message
            )


def test_what_does_not_get_shorter_is_not_compressed_and_does_not_spoil_what_follows(implementation):
    sender, receiver = (
        inflater(implementation),
        implementation(DeflateParameters(), Compression(), client=False),
    )
    noise = os.urandom(5000)
    for message in (JSON, noise, noise + JSON, b"", b"a", JSON, b"", b"", JSON):
        compressed = sender.compress(message)
        if message in (noise, b"", b"a"):
            assert compressed is None
        else:
            assert compressed is not None
            assert len(compressed) < len(message)
            assert inflate(receiver, compressed) == message


# --- inflating ---


@pytest.mark.parametrize("takeover", [True, False])
@pytest.mark.parametrize("pad", [b"", b"\x00"], ids=["bare", "padded"])
def test_a_message_that_ends_with_a_last_block_is_followed_by_others(implementation, takeover, pad):
    deflate = inflater(implementation, server_no_context_takeover=not takeover)
    assert inflate(deflate, Deflater()(b"before")) == b"before"
    for message in (b"", b"first", JSON):
        assert inflate(deflate, Deflater().final(message) + pad) == message
    for message in (b"one", b"two", JSON):
        assert inflate(deflate, Deflater()(message)) == message


def test_the_window_outlives_a_last_block(implementation):
    deflate = inflater(implementation)
    assert inflate(deflate, Deflater().final(JSON)) == JSON
    compressed = Deflater(zdict=JSON)(JSON)  # nothing but references to the message before
    assert len(compressed) < 30
    assert inflate(deflate, compressed) == JSON


def test_the_window_that_outlives_a_last_block_is_the_negotiated_one(implementation):
    deflate = inflater(implementation, server_max_window_bits=9)
    history = os.urandom(3000)
    for i in range(0, len(history), 100):
        assert inflate(deflate, Deflater(9).final(history[i : i + 100])) == history[i : i + 100]
    assert inflate(deflate, Deflater(9, zdict=history[-512:])(history[-200:])) == history[-200:]


def test_a_last_block_in_the_middle_of_a_message_is_legal(implementation):
    assert inflate(
        inflater(implementation), Deflater().final(b"one ") + Deflater().final(b"two ") + Deflater()(b"three")
    ) == (b"one two three")
    assert (
        inflate(inflater(implementation), Deflater().final(b"one "), Deflater().final(b"two")) == b"one two"
    )


@pytest.mark.parametrize(
    "empty", [b"", b"\x00", b"\x02\x00", b"\x03\x00", b"\x03\x00\x00", b"\x00" + TAIL + b"\x00"]
)
@pytest.mark.parametrize("takeover", [True, False])
def test_every_way_to_write_an_empty_message_is_understood(implementation, empty, takeover):
    deflate = inflater(implementation, server_no_context_takeover=not takeover)
    compress = Deflater()
    assert inflate(deflate, compress(JSON)) == JSON
    assert inflate(deflate, empty) == b""
    assert inflate(deflate, b"", empty, b"") == b""
    assert inflate(deflate, (compress if takeover else Deflater())(JSON)) == JSON


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\xff" * 10, id="garbage"),
        pytest.param(b"\x07", id="invalid-block-type"),
        pytest.param(zlib.compress(b"hello"), id="zlib-header"),
        pytest.param(b"\x00\x05\x00\x00\x00hello", id="stored-block-with-bad-NLEN"),
        pytest.param(Deflater(zdict=JSON)(JSON), id="distance-beyond-the-start"),
        pytest.param(Deflater()(JSON)[:-1], id="truncated"),
        pytest.param(Deflater()(JSON)[:20], id="truncated-early"),
        pytest.param(Deflater().final(JSON)[:-1], id="truncated-last-block"),
        pytest.param(b"\x00\x09\x00\xf6\xffhello", id="stored-block-takes-the-tail-for-data"),
        pytest.param(b"\x01\x09\x00\xf6\xffhello", id="last-stored-block-takes-the-tail-for-data"),
        pytest.param(Deflater().final(JSON) + b"\xff", id="data-behind-the-last-block"),
        pytest.param(Deflater().final(JSON) + b"\x00\x00", id="zeros-behind-the-last-block"),
        pytest.param(Deflater()(JSON) + TAIL + b"\x01", id="unfinished-block"),
    ],
)
def test_what_is_not_deflate_data_is_an_error(implementation, data):
    for fragments in ((data,), [data[i : i + 1] for i in range(len(data))]):
        with pytest.raises(InflateError, match="RFC 7692"):
            inflate(inflater(implementation), *fragments)


def test_a_context_that_should_not_have_been_kept_is_an_error(implementation):
    deflate, compress = inflater(implementation, server_no_context_takeover=True), Deflater()
    assert inflate(deflate, compress(JSON)) == JSON
    with pytest.raises(InflateError):
        inflate(deflate, compress(JSON))


def test_a_distance_beyond_the_negotiated_window_is_an_error(implementation):
    noise = os.urandom(20_000)
    compressed = Deflater(15)(noise + noise[:1000])
    with pytest.raises(InflateError):
        inflate(
            inflater(implementation, server_max_window_bits=9),
            *(compressed[i : i + 100] for i in range(0, len(compressed), 100)),
        )


@pytest.mark.parametrize("size", [STEP - 1, STEP, STEP + 1, 2 * STEP - 1, 2 * STEP, 5 * STEP, 5 * STEP + 1])
@pytest.mark.parametrize("final", [True, False])
def test_pieces_have_a_bounded_size_and_lose_nothing_at_their_edges(implementation, size, final):
    message = random.Random(size).randbytes(100) * (size // 100 + 1)
    for data in (message[:size], bytes(size)):
        deflate = inflater(implementation)
        deflate.begin(size)
        compressed = Deflater().final(data) if final else Deflater()(data)
        pieces = list(deflate.inflate(compressed, last=True))
        assert b"".join(pieces) == data
        assert max(map(len, pieces)) <= STEP
        assert inflate(deflate, Deflater()(b"next")) == b"next"


@pytest.mark.parametrize("limit", [0, 1, 1000, STEP - 1, STEP, STEP + 1, 3 * STEP])
def test_the_limit_counts_inflated_bytes_exactly(implementation, limit):
    assert inflate(inflater(implementation), Deflater()(bytes(limit)), limit=limit) == bytes(limit)
    with pytest.raises(InflatedTooLarge):
        inflate(inflater(implementation), Deflater()(bytes(limit + 1)), limit=limit)


def test_the_limit_runs_over_the_fragments_of_a_message_and_starts_anew_with_the_next(implementation):
    deflate, compress = inflater(implementation), Deflater()
    for _ in range(3):
        data = compress(bytes(1000))
        assert inflate(deflate, *(data[i : i + 1] for i in range(len(data))), limit=1000) == bytes(1000)
    data = compress(bytes(1001))
    with pytest.raises(InflatedTooLarge):
        inflate(deflate, *(data[i : i + 1] for i in range(len(data))), limit=1000)


def test_input_that_inflates_to_nothing_still_lets_the_caller_take_breaks(implementation):
    blocks = b"\x00" + TAIL  # an empty stored block
    for data in (blocks * 20_000 + b"\x00", b"\x03\x00" * 5000):
        deflate = inflater(implementation)
        deflate.begin(0)
        steps = list(deflate.inflate(data, last=True))
        assert set(steps) == {b""}
        assert len(steps) >= len(data) // 2 // 8192


def test_a_bomb_needs_no_memory_beyond_a_few_steps(implementation):
    bomb = Deflater(level=9)(bytes(64 * 2**20))
    deflate = inflater(implementation)
    tracemalloc.start()
    try:
        deflate.begin(None)
        total = sum(len(piece) for piece in deflate.inflate(bomb, last=True))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert total == 64 * 2**20
    assert peak < 256 * 1024


@pytest.mark.parametrize(("takeover", "bound"), [(True, 60 * 1024), (False, 4 * 1024)])
def test_without_context_takeover_nothing_is_kept_between_messages(implementation, takeover, bound):
    parameters = DeflateParameters(
        server_max_window_bits=12,
        client_max_window_bits=12,
        server_no_context_takeover=not takeover,
        client_no_context_takeover=not takeover,
    )
    data = Deflater(12)(JSON * 10)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        deflate = implementation(parameters, Compression(), client=True)
        assert deflate.compress(JSON) is not None
        assert inflate(deflate, data) == JSON * 10
        kept = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert kept < bound
    assert takeover is (kept > 30 * 1024)


@given(st.binary(max_size=300), st.booleans(), st.lists(st.integers(0, 300), max_size=3))
def test_random_bytes_inflate_or_are_an_error_but_nothing_else(implementation, data, takeover, cuts):
    deflate = inflater(implementation, server_no_context_takeover=not takeover)
    edges = itertools.pairwise([0, *sorted(cuts), len(data)])
    with contextlib.suppress(InflateError, InflatedTooLarge):
        assert len(inflate(deflate, *(data[start:end] for start, end in edges), limit=10_000)) <= 10_000
