"""zlib by its C interface does what it does by Python's, to the byte and the word, and leaves no memory behind."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from codec_kit import BINARY, NO_ZLIB, RSV1, TAIL, TEXT, CompiledCodec, Deflater, Kit, drain
from hypothesis import given, settings, strategies as st

from websocketstream._protocol import deflate as in_python
from websocketstream._protocol.deflate import STEP, InflatedTooLarge, InflateError, PerMessageDeflate
from websocketstream._protocol.negotiation import Compression, DeflateParameters

in_c = pytest.importorskip("websocketstream._protocol._zlib", reason=NO_ZLIB, exc_type=ImportError)

READ_AT_ONCE = 8 * 1024
RNG = random.Random(7)
NOISE = RNG.randbytes(40_000)
JSON = b'{"id": 17, "name": "sensor", "values": [1, 2, 3, 4, 5]}' * 40


def parameters(bits: int = 15, *, takeover: bool = True) -> DeflateParameters:
    return DeflateParameters(
        server_max_window_bits=bits,
        client_max_window_bits=bits,
        server_no_context_takeover=not takeover,
        client_no_context_takeover=not takeover,
    )


def both(agreed: DeflateParameters, compression: Compression | None = None) -> list[PerMessageDeflate]:
    compression = compression or Compression()
    return [kind(agreed, compression, client=True) for kind in (in_c.PerMessageDeflate, PerMessageDeflate)]


# --- the same as Python's ---

contents = st.one_of(
    st.binary(max_size=40),
    st.integers(0, 3 * STEP).map(bytes),
    st.sampled_from([STEP - 1, STEP, STEP + 1, 2 * STEP, 2 * STEP + 1]).map(bytes),
    st.tuples(st.integers(0, 30_000), st.integers(0, 9_000)).map(lambda cut: NOISE[cut[0] : sum(cut)]),
    st.integers(0, len(JSON)).map(lambda size: JSON[:size]),
)


@st.composite
def compressed(draw: Any, compress: Deflater, bits: int) -> bytes:
    """Draw a message's payload: legal with last blocks and without, or with mistakes."""
    parts = [
        Deflater(bits, draw(st.sampled_from([0, 1, 6]))).final(draw(contents))
        for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2])))
    ]
    if not parts or draw(st.booleans()):
        parts.append(compress(draw(contents)))
    data = b"".join(parts)
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        match draw(st.sampled_from(["change", "cut", "insert", "pad"])):
            case "change":
                data = data[:at] + draw(st.binary(min_size=1, max_size=2)) + data[at + 1 :]
            case "cut":
                data = data[:at]
            case "insert":
                data = data[:at] + draw(st.sampled_from([b"\x03\x00", b"\x00" + TAIL, b"\x00"])) + data[at:]
            case "pad":
                data += draw(st.sampled_from([TAIL, b"\x00", b"\x01", b"\xff"]))
    return data


def outcome(deflate: PerMessageDeflate, limit: int | None, parts: list[bytes]) -> tuple[bytes, str]:
    out = b""
    try:
        deflate.begin(limit)
        for i, part in enumerate(parts, 1):
            for piece in deflate.inflate(part, last=i == len(parts)):
                out += piece
    except (InflatedTooLarge, InflateError) as exc:
        return out, f"{type(exc).__name__}: {exc}"
    return out, ""


@settings(deadline=None, max_examples=600)
@given(
    data=st.data(),
    bits=st.integers(9, 15),
    takeover=st.booleans(),
    cuts=st.lists(st.one_of(st.integers(0, 60), st.integers(0, 40_000)), max_size=5),
)
def test_both_inflate_the_same_or_fail_with_the_same_words(data, bits, takeover, cuts):
    ours, oracle = both(parameters(bits, takeover=takeover))
    compress = Deflater(bits)
    for _ in range(data.draw(st.integers(1, 4))):
        payload = data.draw(compressed(compress, bits))
        edges = [0, *sorted(min(cut, len(payload)) for cut in cuts), len(payload)]
        parts = [payload[start:end] for start, end in pairwise(edges)]
        whole, _ = outcome(PerMessageDeflate(parameters(), Compression(), client=True), 2**20, parts)
        limit = data.draw(st.sampled_from([None, 2**70, 0, 1, len(whole), max(0, len(whole) - 1), STEP]))
        made, expected = outcome(ours, limit, parts), outcome(oracle, limit, parts)
        if max(map(len, parts)) > READ_AT_ONCE and made[1] and expected[1]:
            # Behind a last block they read on at different places, so that one may see a mistake sooner.
            assert made[0].startswith(expected[0]) or expected[0].startswith(made[0])
            break
        assert made == expected
        if expected[1]:
            break
        if not takeover:
            compress = Deflater(bits)


@settings(deadline=None, max_examples=200)
@given(payload=st.binary(max_size=60), limit=st.sampled_from([None, 0, 1, 10, 1000]), step=st.integers(1, 61))
def test_both_make_the_same_of_noise(payload, limit, step):
    ours, oracle = both(parameters())
    parts = [payload[i : i + step] for i in range(0, len(payload), step)] or [b""]
    for _ in range(2):
        expected = outcome(oracle, limit, parts)
        assert outcome(ours, limit, parts) == expected
        if expected[1]:
            break


@pytest.mark.parametrize("kind", [zlib.Z_DEFAULT_STRATEGY, zlib.Z_FIXED, zlib.Z_HUFFMAN_ONLY])
def test_both_make_the_same_of_a_message_cut_short_anywhere(kind):
    for level in (0, 6):
        compress = zlib.compressobj(level, zlib.DEFLATED, -15, 8, kind)
        payload = compress.compress(JSON[:300] + NOISE[:40]) + compress.flush(zlib.Z_SYNC_FLUSH)
        for size in range(len(payload)):
            for limit in (None, 340, 339, 100):
                ours, oracle = both(parameters())
                assert outcome(ours, limit, [payload[:size]]) == outcome(oracle, limit, [payload[:size]])


@settings(deadline=None, max_examples=150)
@given(
    steps=st.lists(
        st.tuples(contents, st.sampled_from(["whole", "portions", "given-up", "dropped"])),
        min_size=1,
        max_size=8,
    ),
    bits=st.integers(8, 15),
    takeover=st.booleans(),
    level=st.integers(0, 9),
    mem_level=st.integers(1, 9),
)
def test_both_compress_to_the_same_bytes(steps, bits, takeover, level, mem_level):
    ours, oracle = both(parameters(bits, takeover=takeover), Compression(level=level, mem_level=mem_level))
    assert ours.portion == oracle.portion
    for payload, how in steps:
        if how == "whole":
            assert ours.compress(payload) == oracle.compress(payload)
            continue
        iterators = [each.compress_in_portions(payload * 4) for each in (ours, oracle)]
        if how == "portions":
            pieces = [list(iterator) for iterator in iterators]
            assert len(pieces[0]) == len(pieces[1])
            made, expected = map(b"".join, pieces)
            if level:  # where CPython's output fills its buffer, zlib makes the tail twice
                assert expected in {made, made + TAIL + b"\x00"}
            else:  # stored blocks are as large as the buffers that zlib is given, and nothing gets shorter
                assert len(made) >= len(payload * 4) <= len(expected)
            continue
        for iterator in iterators:
            next(iterator, None)
            if how == "given-up":
                iterator.close()  # type: ignore[attr-defined]
        del iterators, iterator


def test_a_last_portion_has_one_tail_even_where_zlibs_output_fills_a_buffer():
    for size in range(200, 300):
        ours, oracle = both(parameters())
        made, expected = (
            b"".join(each.compress_in_portions(NOISE[:size] + bytes(100))) for each in (ours, oracle)
        )
        assert made == expected


def test_a_second_message_meanwhile_is_refused():
    ours, oracle = both(parameters())
    for deflate in (ours, oracle):
        iterator = deflate.compress_in_portions(JSON * 100)
        next(iterator)
        with pytest.raises(RuntimeError, match="another message is being compressed in portions"):
            deflate.compress(JSON)
        with pytest.raises(RuntimeError, match="another message is being compressed in portions"):
            next(deflate.compress_in_portions(JSON))
        assert b"".join(iterator)
        assert deflate.compress(JSON)


# --- memory ---


def after(action: Callable[[], object], repeats: int) -> int:
    """Return the memory that is there after so many repetitions and was not after a few."""
    tracemalloc.start()
    try:
        for _ in range(3):
            action()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(repeats):
            action()
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()


def inflate_and_drop(payload: bytes, *, last: bool, limit: int | None = None) -> None:
    deflate, _ = both(parameters())
    deflate.begin(limit)
    try:
        for _ in deflate.inflate(payload, last=last):
            pass
    except (InflateError, InflatedTooLarge):
        pass


def stop_in_the_middle() -> None:
    deflate, _ = both(parameters())
    next(iter(deflate.inflate(Deflater()(bytes(100_000)), last=True)))
    next(deflate.compress_in_portions(JSON * 100))


def compress_and_drop(payload: bytes, *, takeover: bool) -> None:
    deflate, _ = both(parameters(takeover=takeover))
    for _ in range(3):
        deflate.compress(payload)


@pytest.mark.parametrize(
    "action",
    [
        pytest.param(lambda: inflate_and_drop(Deflater()(JSON), last=True), id="whole"),
        pytest.param(lambda: inflate_and_drop(Deflater()(JSON), last=False), id="half"),
        pytest.param(lambda: inflate_and_drop(Deflater().final(JSON) * 3, last=True), id="last-blocks"),
        pytest.param(lambda: inflate_and_drop(Deflater()(JSON)[:-5], last=True), id="truncated"),
        pytest.param(lambda: inflate_and_drop(b"\xff" * 10, last=True), id="broken"),
        pytest.param(lambda: inflate_and_drop(Deflater()(JSON), last=True, limit=9), id="too-large"),
        pytest.param(stop_in_the_middle, id="stopped"),
        pytest.param(lambda: compress_and_drop(JSON, takeover=True), id="compressed"),
        pytest.param(lambda: compress_and_drop(JSON, takeover=False), id="compressed-without-takeover"),
        pytest.param(lambda: compress_and_drop(NOISE, takeover=True), id="in-vain"),
    ],
)
def test_however_it_ends_no_memory_is_left(action):
    assert after(action, 20) < 4000  # a compressor or an inflater would be more


def test_an_inflater_takes_the_memory_that_zlib_needs_and_no_more():
    message = JSON * 10
    payload = Deflater(12)(message)
    taken = {}
    for name, kind in (("c", in_c.PerMessageDeflate), ("python", PerMessageDeflate)):
        deflates = [kind(parameters(12), Compression(), client=True) for _ in range(20)]
        tracemalloc.start()
        try:
            for deflate in deflates:
                assert outcome(deflate, None, [payload]) == (message, "")
            taken[name] = tracemalloc.get_traced_memory()[0] // 20
        finally:
            tracemalloc.stop()
    assert taken["c"] < 12 * 1024
    assert taken["c"] < taken["python"] - 4000  # Python cannot ask zlib for its window, and needs another one


def test_a_bomb_takes_one_buffer_of_what_is_allowed():
    if CompiledCodec is None:
        pytest.skip(NO_ZLIB)
    kit, limit = Kit(CompiledCodec, client=True), 2**20
    wire = kit.frame(BINARY, Deflater(level=9)(bytes(64 * 2**20)), rsv=RSV1)
    codec = kit.codec(max_message_size=limit, deflate=parameters())
    tracemalloc.start()
    try:
        (failure,) = drain(codec, wire)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert failure.code == 1009  # type: ignore[union-attr]
    assert peak < limit + 64 * 1024


def test_a_small_message_takes_one_object_of_its_size():
    if CompiledCodec is None:
        pytest.skip(NO_ZLIB)
    kit = Kit(CompiledCodec, client=True)
    for opcode, text in ((TEXT, JSON.decode()), (BINARY, JSON)):
        compress = Deflater()
        codec = kit.codec(deflate=parameters())
        drain(codec, kit.frame(opcode, compress(JSON), rsv=RSV1))
        wire = kit.frame(opcode, compress(JSON), rsv=RSV1)
        tracemalloc.start()
        try:
            assert codec.receive_data(wire) == [text]
            assert tracemalloc.get_traced_memory()[1] < len(JSON) + 1000
        finally:
            tracemalloc.stop()


def attempts(make: Callable[[], Any], use: Callable[[Any], object]) -> int:
    """Use what is made with one allocation after the other failing, until none does; return how many did."""
    testcapi = pytest.importorskip("_testcapi", reason="CPython's own tests are not installed")
    if sys.gettrace() is not None:
        pytest.skip("coverage's tracer does not survive that there is no memory")
    for n in range(500):
        made = make()
        testcapi.set_nomemory(n, n + 1)
        try:
            use(made)
        except MemoryError:
            continue
        else:
            return n
        finally:
            testcapi.remove_mem_hooks()
            del made
    raise AssertionError("never done")


@pytest.mark.parametrize("takeover", [True, False])
def test_without_memory_it_is_a_MemoryError_and_neither_a_crash_nor_a_leak(takeover):
    agreed = parameters(takeover=takeover)
    payload = Deflater().final(JSON) + Deflater()(JSON)

    def compress(deflate: PerMessageDeflate) -> None:
        deflate.compress(JSON)
        for _ in deflate.compress_in_portions(JSON * 20):
            pass

    def inflate(deflate: PerMessageDeflate) -> None:
        deflate.begin(None)
        for _ in deflate.inflate(payload, last=True):
            pass

    def all_attempts() -> None:
        for use in (compress, inflate):
            assert attempts(lambda: both(agreed)[0], use) > 4

    assert after(all_attempts, 2) < 4000


@pytest.mark.parametrize("kind", [in_c.PerMessageDeflate, PerMessageDeflate])
def test_what_was_not_sent_for_want_of_memory_is_not_referred_to(kind):
    def new_pair() -> tuple[PerMessageDeflate, Any]:
        deflate, inflate = kind(parameters(), Compression(), client=True), zlib.decompressobj(-15)
        assert inflate.decompress(deflate.compress(NOISE[:100] * 2) + TAIL)
        pairs.append((deflate, inflate))
        return deflate, inflate

    pairs: list[tuple[PerMessageDeflate, Any]] = []
    assert attempts(new_pair, lambda pair: pair[0].compress(JSON)) > 0
    for deflate, inflate in pairs[:-1]:  # the last attempt was none that failed
        assert inflate.decompress(deflate.compress(JSON) + TAIL) == JSON


@pytest.mark.skipif(CompiledCodec is None, reason=NO_ZLIB)
@pytest.mark.parametrize("client", [True, False])
def test_a_codec_without_memory_gives_up_and_does_not_crash(client):
    kit = Kit(CompiledCodec, client)
    compress = Deflater()
    wire = kit.message(TEXT, compress(JSON), b"", TAIL, compress(bytes(40_000)), rsv=RSV1)

    def receive(codec: Any) -> None:
        try:
            while codec.receive_data(wire) == [] and codec.pending:
                pass
        except MemoryError:
            assert not codec.pending
            raise

    assert attempts(lambda: kit.codec(deflate=parameters()), receive) > 4


# --- what may be given ---


def test_what_is_no_inflater_or_no_buffer_is_an_error_and_not_a_crash():
    deflate, _ = both(parameters())
    for nonsense in ("text", None, 5):
        with pytest.raises(TypeError):
            list(deflate.inflate(nonsense, last=True))  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            deflate.compress(nonsense)  # type: ignore[arg-type]
    for kind in (in_c.Compressor, in_c.Inflater):
        with pytest.raises(TypeError):
            kind()
    with pytest.raises(TypeError):
        in_c.Inflater.__new__(in_c.Inflater)
    inflater = in_c.Inflater(12, True)
    inflater.__init__(9, False)  # type: ignore[misc]
    assert b"".join(inflater.inflate(Deflater()(JSON), last=True)) == JSON


@pytest.mark.skipif(CompiledCodec is None, reason=NO_ZLIB)
def test_a_codec_whose_inflater_is_something_else_refuses_to_work():
    from websocketstream._protocol import _compiled

    class Impostor(in_python.PerMessageDeflate):
        inflater = "none"

    kit = Kit(CompiledCodec, client=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_compiled, "PerMessageDeflate", Impostor)
        codec = kit.codec(deflate=parameters())
    with pytest.raises(TypeError):
        codec.receive_data(kit.frame(BINARY, Deflater()(os.urandom(10)), rsv=RSV1))


OTHER_BUILD = """
import ctypes, sys, types

new = ctypes.pythonapi.PyCapsule_New
new.restype, new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
name = b"websocketstream._protocol._zlib.CALLS 0"
module = types.ModuleType("websocketstream._protocol._zlib")
module.CALLS, module.PerMessageDeflate = new(id(module), name, None), object
sys.modules[module.__name__] = module

from websocketstream._protocol import _compiled
print(_compiled.PerMessageDeflate.__module__)
"""


@pytest.mark.skipif(CompiledCodec is None, reason=NO_ZLIB)
def test_a_module_of_another_build_is_not_used():
    done = subprocess.run(
        [sys.executable, "-c", OTHER_BUILD],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.stdout.strip() == "websocketstream._protocol.deflate"
