"""What has arrived is decrypted as soon as there is a whole record, however the network has cut the records.

So it is by OpenSSL's own functions and by Python's ssl module, which is asked only then.
"""

from __future__ import annotations

import random
import ssl
from contextlib import suppress
from itertools import chain
from typing import TYPE_CHECKING, Any

import pytest
from transport_kit import tls_contexts

from websocketstream._network import openssl, tls_calls, tls_records
from websocketstream._network.hot import TLSCalls, TLSRecords
from websocketstream._network.tls_calls import FEW_RECORDS_BYTES, MAX_CIPHERTEXT_BYTES, RECORD_BYTES
from websocketstream._network.transport import LARGE_READ_BYTES, Scratch

if TYPE_CHECKING:
    from collections.abc import Iterator

# Those that use Python's ssl module: one where nothing is compiled.
BY_PYTHON = {"chosen": (TLSRecords, TLSCalls)} | {"portable": (tls_records.TLSRecords, tls_calls.TLSCalls)}
KINDS = [*BY_PYTHON] if openssl.own is None else [*BY_PYTHON, "openssl"]
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
MOST_OF_TLS_1_2 = RECORD_BYTES + 2048  # of a record, with its header (RFC 5246 section 6.2.3)
SIZES = [0, 1, 4, 64, 1000, RECORD_BYTES - 1, RECORD_BYTES]


class SSLModule:
    """What Python's ssl module does, with a note of each time when it was asked too early."""

    def __init__(self, tls: ssl.SSLObject) -> None:
        self._tls = tls
        self.asked = 0
        self.too_early = 0

    def read(self, size: int, room: memoryview | None = None) -> Any:
        self.asked += 1
        try:
            return self._tls.read(size) if room is None else self._tls.read(size, room)
        except ssl.SSLWantReadError:
            self.too_early += 1
            raise

    def write(self, data: bytes) -> int:
        return self._tls.write(data)


class Incoming:
    """OpenSSL's buffer, with a note of the most that it had to hold."""

    def __init__(self, buffer: ssl.MemoryBIO) -> None:
        self._buffer = buffer
        self.most = 0

    def write(self, data: bytes) -> int:
        size = self._buffer.write(data)
        self.most = max(self.most, self.pending)
        return size

    @property
    def pending(self) -> int:
        return self._buffer.pending


class Owner:
    """Takes note of what it is told, and is all that is below."""

    congested = False

    def __init__(self) -> None:
        self.told: list[Any] = []

    def write(self, data: bytes) -> int:
        return len(data)

    def arrived(self, data: Any) -> None:
        self.told.append(bytes(data))

    def decrypted(self) -> None:
        self.told.append("decrypted")


class Ends:
    """A client's records, and the server whose records they are."""

    calls: Any
    records: Any

    def __init__(self, kind: str, version: ssl.TLSVersion) -> None:
        client, server = tls_contexts(version)
        server.num_tickets = 0
        self._sent = ssl.MemoryBIO()
        self.owner = Owner()
        self.received = bytearray()
        if kind == "openssl":
            tls, self.calls = openssl.wrap(client, False, "localhost", None)
            assert not isinstance(self.calls, TLSCalls)
            self.records = TLSRecords(self.owner, self.owner, self.calls, Scratch())
        else:
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = client.wrap_bio(incoming, outgoing, server_hostname="localhost")
            self.module = SSLModule(tls)
            self.incoming = Incoming(incoming)
            make_records, make_calls = BY_PYTHON[kind]
            self.calls = make_calls(self.module, self.incoming, outgoing)
            self.records = make_records(self.owner, self.owner, self.calls, Scratch())
        self.records.deliver = self.received.extend
        asked = self.answer = ssl.MemoryBIO()  # what the server reads
        self.server = server.wrap_bio(asked, self._sent, server_side=True)
        done = False
        while not done:
            done = True
            for end in (tls, self.server):
                try:
                    end.do_handshake()
                except ssl.SSLWantReadError:
                    done = False
                asked.write(self.calls.take())
                self.calls.feed(self._sent.read())
        self.records.read()
        if kind != "openssl":
            self.module.asked = self.module.too_early = 0
        self.records.may_read = self.records.may_write = True

    def encrypted(self, *texts: bytes) -> bytes:
        for text in texts:
            self.server.write(text)
        return self._sent.read()

    def check_asked(self, times: int) -> None:
        """Check that Python's ssl module, if it is used, was asked so often, and never too early."""
        module = getattr(self, "module", None)
        if module is not None:
            assert (module.too_early, module.asked) == (0, times)

    def arrive(self, data: bytes, cuts: Iterator[int]) -> None:
        """Let the data arrive in pieces of these sizes, and check that nothing is held back."""
        view = memoryview(data)
        while view:
            size = next(cuts)
            self.records.data_received(view[:size])
            view = view[size:]


@pytest.fixture(
    params=[(kind, version) for kind in KINDS for version in VERSIONS],
    ids=lambda each: f"{each[0]}-{each[1].name}",
)
def ends(request: pytest.FixtureRequest) -> Ends:
    return Ends(*request.param)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 6, 1000, 2**14, 2**16, 10**6])
def test_records_cut_into_equal_pieces(ends: Ends, size: int) -> None:
    some = random.Random(size)
    texts = [some.randbytes(length) for length in [*SIZES, *SIZES[::-1]] if length]
    ends.arrive(ends.encrypted(*texts), iter(lambda: size, None))
    assert ends.received == b"".join(texts)
    ends.check_asked(len(texts))


@pytest.mark.parametrize("seed", range(20))
def test_records_cut_anywhere(ends: Ends, seed: int) -> None:
    some = random.Random(seed)
    texts = [some.randbytes(some.choice([1, 2, 64, 300, 5000, RECORD_BYTES])) for _ in range(100)]
    ends.arrive(
        ends.encrypted(*texts),
        iter(lambda: some.choice([1, 2, 4, 5, 7, 100, 3000, 20_000, LARGE_READ_BYTES]), None),
    )
    assert ends.received == b"".join(texts)
    ends.check_asked(len(texts))


def test_a_record_is_handed_on_with_its_last_byte(ends: Ends) -> None:
    for text in (b"a", b"b" * 10_000):
        records = ends.encrypted(text, b"next")
        next_record = ends.encrypted(b"next")
        cut = len(records) - len(next_record) + 3  # in the middle of a header
        ends.records.data_received(records[: cut - 4])
        assert not ends.received
        ends.records.data_received(records[cut - 4 : cut])
        assert ends.received == text
        ends.records.data_received(records[cut:] + next_record)
        assert ends.received == text + b"nextnext"
        ends.received.clear()


def test_what_holds_no_text_is_seen_to_all_the_same(ends: Ends) -> None:
    with suppress(ssl.SSLWantReadError):
        ends.server.unwrap()
    goodbye = ends.encrypted()
    ends.arrive(goodbye, iter(lambda: 1, None))
    assert ends.calls.ended
    assert ends.owner.told == ["decrypted"]


@pytest.mark.parametrize("size", [1, 1000, 5000])
def test_what_arrives_while_tls_has_something_to_say_is_there_for_the_owner(ends: Ends, size: int) -> None:
    text = random.Random(size).randbytes(size)
    ends.records.is_waiting = True
    ends.records.data_received(ends.encrypted(text))
    assert ends.owner.told == ["decrypted"]
    assert not ends.received
    assert (ends.records.filled, bytes(ends.records.take())) == (size, text)
    ends.records.is_waiting = False
    ends.records.data_received(ends.encrypted(b"next"))
    assert ends.received == b"next"


@pytest.mark.parametrize(
    "no_record",
    [
        b"HTTP/1.1 400 Bad Request\r\n",
        bytes([19, 3, 3, 0, 40]) + bytes(40),
        bytes([24, 3, 3, 0, 40]) + bytes(40),
        b"\x17\x03\x03" + (MOST_OF_TLS_1_2 + 1).to_bytes(2, "big"),
        b"\x17\x02\x03\x00\x28",
        # OpenSSL reads the whole of it first with TLS 1.2; what is in it looks like the beginnings of long ones.
        bytes([24, 3, 3, 0, 40]) + 8 * b"\x17\x03\x03\x40\x00",
    ],
)
@pytest.mark.parametrize("pieces", [1, 4, 5, 100])
@pytest.mark.parametrize("before", [b"", b"text"])
def test_what_is_no_record_fails_as_soon_as_openssl_says_so(
    ends: Ends, no_record: bytes, pieces: int, before: bytes
) -> None:
    data = (ends.encrypted(before) if before else b"") + no_record
    ends.arrive(data, iter(lambda: pieces, None))
    assert ends.owner.told[0] == "decrypted"
    assert isinstance(ends.calls.error, ssl.SSLError)
    # What came before may still be in the scratch, for the owner to take.
    assert bytes(ends.received) + bytes(ends.records.take()) == before


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_what_only_an_older_version_allows_is_left_to_openssl(kind: Any, version: ssl.TLSVersion) -> None:
    ends = Ends(kind, version)
    ends.records.data_received(b"\x17\x03\x03" + (MAX_CIPHERTEXT_BYTES + 1).to_bytes(2, "big"))
    fails_at_once = version is ssl.TLSVersion.TLSv1_3
    assert bool(ends.owner.told) is fails_at_once
    ends.records.data_received(bytes(MAX_CIPHERTEXT_BYTES))
    assert bool(ends.owner.told) is fails_at_once
    ends.records.data_received(bytes(1))
    assert isinstance(ends.calls.error, ssl.SSLError)


class Another:
    """Takes bytes without records for text, as OpenSSL may after a greeting of SSL 2's form."""

    def __init__(self, incoming: ssl.MemoryBIO) -> None:
        self._incoming = incoming

    def read(self, size: int, room: memoryview | None = None) -> Any:
        data = self._incoming.read(size)
        if not data:
            raise ssl.SSLWantReadError
        if room is None:
            return data
        room[: len(data)] = data
        return len(data)

    write = read


@pytest.mark.parametrize("kind", BY_PYTHON)
@pytest.mark.parametrize("pieces", [1, 3, 5, 7, 100])
def test_behind_what_is_no_record_openssl_is_asked_each_time(kind: str, pieces: int) -> None:
    incoming, owner, received = ssl.MemoryBIO(), Owner(), bytearray()
    make_records, make_calls = BY_PYTHON[kind]
    calls: Any = make_calls(Another(incoming), incoming, ssl.MemoryBIO())  # type: ignore[arg-type]
    records: Any = make_records(owner, owner, calls, Scratch())  # type: ignore[arg-type]
    records.deliver = received.extend
    records.may_read = True
    greeting = b"\x80\x2e\x01\x03\x03"
    for start in range(0, len(greeting), pieces):
        calls.feed(greeting[start : start + pieces])
    incoming.read()
    text = 100 * b"\x17\x03\x03\x40\x00"
    for start in range(0, len(text), pieces):
        records.data_received(text[start : start + pieces])
        assert received == text[: start + pieces]


@pytest.mark.parametrize("kind", BY_PYTHON)
@pytest.mark.parametrize("size", [100, 5000, 17_000, 50_000, LARGE_READ_BYTES])
def test_openssl_never_holds_more_than_one_large_record(kind: str, size: int) -> None:
    ends = Ends(kind, ssl.TLSVersion.TLSv1_3)
    text = random.Random(size).randbytes(RECORD_BYTES)
    texts = [text, text[:100]] * 20 + [text] * 20 + [text[:20]] * 2000
    ends.arrive(ends.encrypted(*texts), iter(lambda: size, None))
    assert ends.received == b"".join(texts)
    assert ends.incoming.most <= FEW_RECORDS_BYTES


@pytest.mark.parametrize("kind", BY_PYTHON)
@pytest.mark.parametrize("version", VERSIONS)
def test_openssl_holds_no_more_where_it_knows_better_than_we(kind: str, version: ssl.TLSVersion) -> None:
    ends = Ends(kind, version)
    ends.records.decrypt(bytes([24, 3, 3, 0, 40]) + bytes(10**6))
    assert ends.incoming.most <= FEW_RECORDS_BYTES


@pytest.mark.parametrize("begun", [0, 1, 4, 5, 6, 10_000])
def test_the_most_that_is_read_in_one_go_fits_into_the_scratch(ends: Ends, begun: int) -> None:
    text = random.Random(begun).randbytes(RECORD_BYTES)
    records = ends.encrypted(*[text] * (LARGE_READ_BYTES // RECORD_BYTES + 1))
    ends.records.data_received(records[:begun])
    rest = records[begun:]
    ends.records.data_received(rest[:LARGE_READ_BYTES])
    ends.records.data_received(rest[LARGE_READ_BYTES:])
    assert ends.received == text * (LARGE_READ_BYTES // RECORD_BYTES + 1)
    assert not ends.owner.told


def test_what_may_not_fit_is_the_owners(ends: Ends) -> None:
    data = bytes(ends.records.space())
    ends.records.data_received(data)
    assert ends.owner.told == [data]


@pytest.mark.parametrize("size", [0, 1, RECORD_BYTES, RECORD_BYTES + 1, 2**15 + 1, 200_000])
def test_much_is_encrypted_in_records_of_the_largest_size(ends: Ends, size: int) -> None:
    text = random.Random(size).randbytes(200_000)
    records = ends.records.encrypt_some(memoryview(text), size)
    assert ends.records.encrypted == size
    assert all(len(piece) <= 2**15 + 200 for piece in records)
    ends.answer.write(b"".join(records))
    decrypted = bytearray()
    while ends.answer.pending:
        decrypted += ends.server.read(RECORD_BYTES)
    assert decrypted == text[:size]


def offer_rooms(ends: Ends, sizes: Iterator[int | None]) -> list[int]:
    """Let there be room of these sizes, one after the other; return how much was put into each, in the end."""
    target = memoryview(b"")
    put: list[int] = []

    def offer(most: int) -> memoryview | None:
        nonlocal target
        size = next(sizes)
        if size is None:
            return None
        target = memoryview(bytearray(min(size, most)))
        return target

    def fill(size: int, data: Any) -> None:
        ends.received.extend(target[:size])
        ends.received.extend(data)
        put.append(size)

    ends.records.offer, ends.records.fill = offer, fill
    return put


@pytest.mark.parametrize("seed", range(20))
def test_text_goes_to_where_there_is_room_and_what_is_behind_follows_it(ends: Ends, seed: int) -> None:
    some = random.Random(seed)
    sizes = iter(lambda: some.choice([None, 1, 300, RECORD_BYTES, RECORD_BYTES + 1, 200_000]), 0)
    put = offer_rooms(ends, chain([300], sizes))
    texts = [some.randbytes(some.choice([1, 300, 5000, RECORD_BYTES])) for _ in range(200)]
    cuts = iter(lambda: some.choice([100, 20_000, 70_000, 300_000, LARGE_READ_BYTES]), None)
    ends.arrive(ends.encrypted(*texts), chain([100_000], cuts))
    assert ends.received == b"".join(texts)
    assert sum(put)


def test_what_came_before_something_that_is_no_record_is_handed_on_although_there_was_more_room(
    ends: Ends,
) -> None:
    offer_rooms(ends, iter([2**20]))
    text = random.Random(1).randbytes(100_000)
    data = ends.encrypted(text) + b"HTTP/1.1 400 Bad Request\r\n"
    ends.arrive(data, iter(lambda: len(data), None))
    assert isinstance(ends.calls.error, ssl.SSLError)
    assert ends.received == text


def test_the_end_of_the_peers_direction_comes_behind_what_was_put_into_a_room(ends: Ends) -> None:
    offer_rooms(ends, iter([2**20]))
    text = random.Random(1).randbytes(100_000)
    with suppress(ssl.SSLWantReadError):
        ends.server.write(text)
        ends.server.unwrap()
    data = ends.encrypted()
    ends.arrive(data, iter(lambda: len(data), None))
    assert ends.received == text
    assert ends.calls.ended
    assert ends.owner.told == ["decrypted"]


def test_who_lets_go_while_text_is_handed_on_is_given_no_more(ends: Ends) -> None:
    offer_rooms(ends, iter([100, 100]))
    fill = ends.records.fill
    assert fill is not None

    def fill_and_release(size: int, data: Any) -> None:
        fill(size, data)
        ends.records.release()

    ends.records.fill = fill_and_release
    data = ends.encrypted(bytes(300_000))
    ends.arrive(data, iter(lambda: len(data), None))
    assert ends.received == bytes(100 + RECORD_BYTES)  # what was behind is there already
    assert not ends.owner.told


def test_who_lets_go_when_asked_for_room_is_given_nothing(ends: Ends) -> None:
    ends.records.offer = lambda _: ends.records.release()  # type: ignore[func-returns-value]
    data = ends.encrypted(bytes(300_000))
    ends.arrive(data, iter(lambda: len(data), None))
    assert not ends.received
    assert not ends.owner.told
