"""OpenSSL's own functions do what Python's ssl module does with them, on the SSL object of a Python object that is ours."""

from __future__ import annotations

import gc
import random
import ssl
import subprocess
import sys
import threading
import weakref
from contextlib import suppress
from functools import cache
from itertools import accumulate
from typing import Any

import pytest
from openssl import ask_for_renegotiation, key_update
from transport_kit import new_tls_contexts

from websocketstream._network import openssl
from websocketstream._network.hot import TLSCalls

pytestmark = pytest.mark.skipif(openssl.own is None, reason="OpenSSL's functions are not there")

SIZES = [0, 1, 15, 16, 17, 64, 300, 2**14 - 1, 2**14, 2**14 + 1, 40_000]


@cache
def contexts(version: ssl.TLSVersion, ciphers: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    client, server = new_tls_contexts(version)
    server.num_tickets = 0
    if ciphers:
        client.set_ciphers(ciphers)
        server.set_ciphers(ciphers)
    return client, server


class Pair:
    """A client whose calls are tested, and a server of Python's."""

    def __init__(
        self, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3, ciphers: str = "", *, by_python: bool = False
    ) -> None:
        client, server = contexts(version, ciphers)
        self.asked, self._answers = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.server = server.wrap_bio(self.asked, self._answers, server_side=True)
        self.tls: ssl.SSLObject
        self.calls: Any
        if by_python:
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            self.tls = client.wrap_bio(incoming, outgoing, server_hostname="localhost")
            self.calls = TLSCalls(self.tls, incoming, outgoing)
        else:
            self.tls, self.calls = openssl.wrap(client, False, "localhost", None)
            assert isinstance(self.calls, openssl.own.OpenSSLCalls)

    def shake_hands(self) -> Pair:
        done = False
        while not done:
            done = True
            for end in (self.tls, self.server):
                with suppress(ssl.SSLWantReadError):
                    end.do_handshake()
                    continue
                done = False
            self.exchange()
        return self

    def exchange(self) -> None:
        self.asked.write(self.calls.take())
        self.calls.feed(self._answers.read())

    def said(self, *texts: bytes) -> bytes:
        """Return the records of the server's."""
        for text in texts:
            if text:
                self.server.write(text)
        return self._answers.read()

    def understood(self, records: bytes) -> bytes:
        """Return what the server makes of the client's records."""
        self.asked.write(records)
        text = b""
        with suppress(ssl.SSLWantReadError):
            while some := self.server.read(2**14):
                text += some
        return text


CIPHERS = [
    pytest.param(ssl.TLSVersion.TLSv1_3, "", id="1.3"),
    pytest.param(ssl.TLSVersion.TLSv1_2, "ECDHE+AESGCM", id="1.2-gcm"),
    pytest.param(ssl.TLSVersion.TLSv1_2, "ECDHE+CHACHA20", id="1.2-chacha"),
    # How much larger the record is than its text depends on the text.
    pytest.param(ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-SHA:ECDHE-RSA-AES128-SHA", id="1.2-cbc"),
]


@pytest.mark.parametrize(("version", "ciphers"), CIPHERS)
def test_what_is_encrypted_is_understood_whatever_its_size(version: ssl.TLSVersion, ciphers: str) -> None:
    pair = Pair(version, ciphers).shake_hands()
    some = random.Random(1)
    for size in [*SIZES, *SIZES[::-1], *range(100)]:
        text = some.randbytes(size)
        assert pair.understood(pair.calls.encrypt(memoryview(text))) == text
        assert pair.calls.encrypted == size


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize(("version", "ciphers"), CIPHERS)
def test_what_arrives_is_decrypted_however_it_is_asked_for(
    version: ssl.TLSVersion, ciphers: str, seed: int
) -> None:
    pair = Pair(version, ciphers).shake_hands()
    some = random.Random(seed)
    texts = [some.randbytes(some.choice(SIZES)) for _ in range(40)]
    records = pair.said(*texts)
    cuts = list(accumulate(some.choice([1, 5, 90, 3000, 70_000]) for _ in range(1000)))
    received = bytearray()
    for start, end in zip([0, *cuts], cuts, strict=False):
        portion = records[start:end]
        if not portion:
            break
        if len(portion) <= 2048 and some.random() < 0.5:
            received += pair.calls.decrypt(portion)
            continue
        pair.calls.give(memoryview(portion))
        while True:
            room = memoryview(bytearray(some.choice([1, 100, 2**14, 100_000])))
            filled = pair.calls.read(room)
            received += room[:filled]
            if filled < len(room):
                break
        assert pair.calls.left == 0
    assert received == b"".join(texts)
    assert not pair.calls.has_news


def damaged(records: bytes) -> bytes:
    """Return records whose last one is not what it was, whatever it was."""
    return records[:-1] + bytes([records[-1] ^ 1])


NO_TLS = {
    "damaged": lambda pair: damaged(pair.said(b"text")),
    "unknown": lambda _: bytes([99, 3, 3, 0, 40]) + bytes(40),
    "HTTP": lambda _: b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "alert": lambda _: bytes([21, 3, 3, 0, 2, 2, 40]),
    "too large": lambda _: b"\x17\x03\x03\xff\xff" + bytes(2**16),
}


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("kind", NO_TLS)
@pytest.mark.parametrize("ask", ["decrypt", "read"])
def test_an_error_is_that_of_the_ssl_module(version: ssl.TLSVersion, kind: str, ask: str) -> None:
    def error_of(pair: Pair) -> ssl.SSLError:
        data = NO_TLS[kind](pair.shake_hands())
        if ask == "decrypt":
            assert pair.calls.decrypt(data) == b""
        else:
            pair.calls.give(data)
            assert pair.calls.read(memoryview(bytearray(2**15))) == 0
        assert pair.calls.ended
        assert pair.calls.left == 0
        error = pair.calls.error
        assert isinstance(error, ssl.SSLError)
        return error

    ours, theirs = error_of(Pair(version)), error_of(Pair(version, by_python=True))
    assert (type(ours), ours.args, ours.reason, ours.library) == (
        type(theirs),
        theirs.args,
        theirs.reason,
        theirs.library,
    )


@pytest.mark.parametrize("by_python", [False, True])
@pytest.mark.parametrize("ask", ["decrypt", "read"])
@pytest.mark.parametrize("clean", [True, False])
def test_an_error_that_somebody_else_has_left_for_the_thread_is_not_taken_for_ours(
    ask: str, clean: bool, by_python: bool
) -> None:
    pair = Pair(by_python=by_python).shake_hands()
    records = pair.said(b"text")
    if clean:
        with suppress(ssl.SSLWantReadError):
            pair.server.unwrap()
        last = pair.said()
    else:
        last = damaged(pair.said(b"text"))
    for portion, text in ((records[:10], b""), (records[10:], b"text")):
        with suppress(ValueError):
            ssl._ASN1Object("no name of an object")  # type: ignore[attr-defined]
        if ask == "decrypt":
            assert pair.calls.decrypt(portion) == text
        else:
            pair.calls.give(portion)
            room = memoryview(bytearray(100))
            assert bytes(room[: pair.calls.read(room)]) == text
        assert not pair.calls.ended
    with suppress(ValueError):
        ssl._ASN1Object("no name of an object")  # type: ignore[attr-defined]
    assert pair.calls.decrypt(last) == b""
    assert pair.calls.ended
    assert (pair.calls.error is None) is clean
    if not clean:
        assert pair.calls.error.reason == "DECRYPTION_FAILED_OR_BAD_RECORD_MAC"


@pytest.mark.parametrize("library", ["ASN1", "SSL"])
@pytest.mark.parametrize("by_python", [False, True])
@pytest.mark.parametrize("ask", ["decrypt", "read"])
def test_where_there_is_no_text_an_error_of_somebody_elses_is_not_taken_for_ours(
    ask: str, by_python: bool, library: str
) -> None:
    pair = Pair(by_python=by_python).shake_hands()
    key_update(pair.server)
    records = pair.said()
    with suppress(ValueError, AssertionError):
        if library == "SSL":
            ask_for_renegotiation(pair.server)  # which TLS 1.3 does not know
        ssl._ASN1Object("no name of an object")  # type: ignore[attr-defined]
    if ask == "decrypt":
        assert pair.calls.decrypt(records) == b""
    else:
        pair.calls.give(records)
        assert pair.calls.read(memoryview(bytearray(100))) == 0
    assert pair.calls.error is None
    assert not pair.calls.ended
    assert pair.understood(pair.calls.take()) == b""
    assert pair.calls.decrypt(pair.said(b"text")) == b"text"


@pytest.mark.parametrize("ask", ["decrypt", "read"])
@pytest.mark.parametrize("clean", [True, False])
def test_text_before_an_error_and_before_the_end_is_not_lost(clean: bool, ask: str) -> None:
    pair = Pair().shake_hands()
    data = pair.said(b"text")
    if clean:
        with suppress(ssl.SSLWantReadError):
            pair.server.unwrap()
        data += pair.said()
    else:
        data += b"HTTP/1.1 400 Bad Request\r\n\r\n"
    room = memoryview(bytearray(2**15))
    if ask == "decrypt":
        assert pair.calls.decrypt(data) == b"text"
    else:
        pair.calls.give(data)
        assert bytes(room[: pair.calls.read(room)]) == b"text"
    assert pair.calls.ended
    assert (pair.calls.error is None) is clean
    assert pair.calls.decrypt(b"more") == b""
    assert pair.calls.read(room) == 0


@pytest.mark.parametrize("by_python", [False, True])
def test_an_alert_behind_the_handshake_is_an_error(by_python: bool) -> None:
    _, server = contexts(ssl.TLSVersion.TLSv1_3, "")
    server.verify_mode = ssl.CERT_REQUIRED
    try:
        pair = Pair(by_python=by_python)
        with pytest.raises(ssl.SSLError, match="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
            pair.shake_hands()
    finally:
        server.verify_mode = ssl.CERT_NONE
    assert pair.calls.decrypt(pair.said()) == b""
    assert pair.calls.ended
    assert "CERTIFICATE_REQUIRED" in pair.calls.error.reason


def test_what_is_written_behind_our_end_is_refused_as_by_the_ssl_module() -> None:
    said = []
    for by_python in (False, True):
        pair = Pair(by_python=by_python).shake_hands()
        with suppress(ssl.SSLError):
            pair.tls.unwrap()
        with pytest.raises(ssl.SSLError) as refused:
            pair.calls.encrypt(b"text")
        said.append(refused.value.args)
        assert pair.understood(pair.calls.take()) == b""
    assert said[0] == said[1]


@pytest.mark.parametrize("text", [b"text", bytes(40_000)])
def test_records_of_tls_itself_leave_before_those_of_what_is_written_behind_them(text: bytes) -> None:
    pair = Pair().shake_hands()
    key_update(pair.tls)
    assert pair.calls.has_news
    assert pair.calls.pending
    assert pair.understood(pair.calls.encrypt(text)) == text
    assert (pair.calls.has_news, pair.calls.pending) == (False, 0)


@pytest.mark.parametrize("size", [10, 40_000])
def test_what_has_to_wait_for_a_handshake_is_not_taken_and_leaves_behind_it(size: int) -> None:
    pair = Pair(ssl.TLSVersion.TLSv1_2).shake_hands()
    text = random.Random(size).randbytes(size)
    ask_for_renegotiation(pair.server)
    pair.calls.decrypt(pair.said())
    with pytest.raises(ssl.SSLWantReadError):
        pair.calls.encrypt(text)
    assert pair.calls.encrypted == 0
    while pair.calls.pending:
        assert pair.understood(pair.calls.take()) == b""
        assert pair.calls.decrypt(pair.said()) == b""
    assert pair.understood(pair.calls.encrypt(text)) == text


@pytest.mark.parametrize("size", [3000, 2**14])
@pytest.mark.parametrize("by_python", [False, True])
def test_what_is_written_in_the_middle_of_reading_waits_for_a_handshake_too(
    by_python: bool, size: int
) -> None:
    pair = Pair(ssl.TLSVersion.TLSv1_2, by_python=by_python).shake_hands()
    ask_for_renegotiation(pair.server)
    asked, text = pair.said(), random.Random(size).randbytes(40 * size)
    pair.calls.give(asked + pair.said(*[text[start : start + size] for start in range(0, len(text), size)]))
    room = memoryview(bytearray(len(text)))
    middle = 20 * size + 100
    assert pair.calls.read(room[:middle]) == middle
    with pytest.raises(ssl.SSLWantReadError):
        pair.calls.encrypt(b"answer")
    assert pair.calls.encrypted == 0
    assert pair.calls.read(room[middle:]) == len(text) - middle
    assert room == text
    while pair.calls.pending:
        assert pair.understood(pair.calls.take()) == b""
        assert pair.calls.decrypt(pair.said()) == b""
    assert pair.understood(pair.calls.encrypt(b"answer")) == b"answer"


def test_a_context_whose_object_is_not_the_last_one_goes_by_the_ssl_module() -> None:
    client, _ = contexts(ssl.TLSVersion.TLSv1_3, "")

    class Elsewhere(ssl.SSLContext):
        def wrap_bio(self, incoming: Any, outgoing: Any, *_: Any) -> ssl.SSLObject:  # type: ignore[override]
            tls = client.wrap_bio(incoming, outgoing, server_hostname="localhost")
            client.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="another")
            return tls

    tls, calls = openssl.wrap(Elsewhere(ssl.PROTOCOL_TLS_CLIENT), False, "localhost", None)
    assert isinstance(calls, TLSCalls)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    assert calls.pending


@pytest.mark.parametrize("another", [None, object()])
def test_a_context_that_makes_something_else_goes_by_the_ssl_module(another: Any) -> None:
    class Another(ssl.SSLContext):
        def wrap_bio(self, *_: Any) -> Any:  # type: ignore[override]
            tls = ssl.SSLObject.__new__(ssl.SSLObject)
            tls._sslobj = another  # type: ignore[attr-defined]
            return tls

    with pytest.raises(AttributeError):  # which is not the first to look for what makes the calls
        openssl.wrap(Another(ssl.PROTOCOL_TLS_CLIENT), False, "localhost", None)


def test_an_object_that_another_thread_makes_meanwhile_is_not_taken_for_ours() -> None:
    client, _ = contexts(ssl.TLSVersion.TLSv1_3, "")

    class Interrupted(ssl.SSLContext):
        def wrap_bio(self, incoming: Any, outgoing: Any, *_: Any) -> ssl.SSLObject:  # type: ignore[override]
            tls = client.wrap_bio(incoming, outgoing, server_hostname="localhost")
            thread = threading.Thread(
                target=client.wrap_bio, args=(ssl.MemoryBIO(), ssl.MemoryBIO()), kwargs=named
            )
            thread.start()
            thread.join()
            return tls

    named = {"server_hostname": "another"}
    _, calls = openssl.wrap(Interrupted(ssl.PROTOCOL_TLS_CLIENT), False, "localhost", None)
    assert isinstance(calls, openssl.own.OpenSSLCalls)


def test_pythons_object_outlives_the_calls_and_says_that_there_is_nothing_left() -> None:
    pair = Pair().shake_hands()
    tls = pair.tls
    del pair
    gc.collect()
    with pytest.raises(ssl.SSLError):
        tls.read(10)
    with pytest.raises(ssl.SSLError):
        tls.write(b"text")


def test_the_calls_outlive_the_object_and_hold_nothing_that_arrived() -> None:
    pair = Pair().shake_hands()
    calls, records = pair.calls, bytearray(pair.said(b"text"))
    del pair
    gc.collect()
    calls.give(records)
    with pytest.raises(BufferError):
        records.clear()
    room = memoryview(bytearray(10))
    assert bytes(room[: calls.read(room)]) == b"text"
    records.clear()


def test_what_arrives_behind_the_end_is_held_no_longer_than_it_takes_to_say_so() -> None:
    pair = Pair().shake_hands()
    with suppress(ssl.SSLWantReadError):
        pair.server.unwrap()
    assert pair.calls.decrypt(pair.said()) == b""
    late = bytearray(100)
    pair.calls.give(late)
    assert pair.calls.read(memoryview(bytearray(10))) == 0
    assert pair.calls.left == 0
    late.clear()


@pytest.mark.parametrize(
    "version", ["AWS-LC 1.60.0", "OpenSSL 1.1.1 (compatible; AWS-LC 1.60.0)", "LibreSSL 3.9.2"]
)
def test_functions_of_another_library_are_not_called(version: str) -> None:
    code = f"""
import ssl
ssl.OPENSSL_VERSION = {version!r}
from websocketstream._network import openssl
assert openssl.own is None
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_garbage_collector_takes_nothing_away_that_is_still_used_in_the_end() -> None:
    calls, records = Pair().shake_hands().calls, bytearray(100)
    calls.give(records)
    cycle = [calls]
    cycle.append(cycle)  # which the garbage collector comes to later than to what is in it
    del calls, cycle
    gc.collect()
    records.clear()  # nobody holds a part of it


def test_calls_and_object_are_gone_without_the_garbage_collector() -> None:
    gc.disable()
    try:
        pair = Pair().shake_hands()
        reference = weakref.ref(pair.tls)
        del pair
        assert reference() is None
    finally:
        gc.enable()
