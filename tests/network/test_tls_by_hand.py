"""TLS whose other end does what a test wants: new keys and handshakes in the middle, and every kind of end."""

from __future__ import annotations

import contextlib
import gc
import socket
import ssl
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from openssl import ask_for_renegotiation, key_update
from transport_kit import Recorder, new_tls_contexts, some_passes, stream_sockets, tls_contexts

from waiting import until
from websocketstream._network.sockets import wrap_socket
from websocketstream._network.tls import MAX_ANSWERS, TLSTransport, wrap_tls

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio

MANY = bytes(2**24)  # more than the system's buffers take


class Peer:
    """An end, a server for the most part, whose every read and write is the test's."""

    def __init__(
        self, sock: socket.socket, context: ssl.SSLContext, session: ssl.SSLSession | None = None
    ) -> None:
        self._socket = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        server_side = context.protocol is ssl.PROTOCOL_TLS_SERVER
        name = None if server_side else "localhost"
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_side, name, session)
        self._unsent = b""
        self.received = bytearray()
        self.is_alone = False  # the other end has ended its direction

    def shake_hands(self) -> bool:
        self.read()
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        finally:
            self.write()
        return True

    def write(self, data: bytes = b"") -> bool:
        """Write as much as the system takes; true when that is all."""
        if data:
            view = memoryview(data)
            while view:
                view = view[self.tls.write(view) :]
        self._unsent += self._outgoing.read()
        while self._unsent:
            try:
                self._unsent = self._unsent[self._socket.send(self._unsent) :]
            except BlockingIOError:
                return False
        return True

    def encrypted(self, data: bytes) -> bytes:
        """Return the records of some plain text, which are to be written next."""
        assert not self._unsent
        view = memoryview(data)
        while view:
            view = view[self.tls.write(view) :]
        return self._outgoing.read()

    def write_raw(self, data: bytes) -> None:
        """Write bytes that are no TLS, or are already."""
        with contextlib.suppress(BlockingIOError):
            self._socket.send(data)

    def say_goodbye(self) -> None:
        """Say that nothing follows, and go on living."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        self.write()

    def read(self) -> None:
        """Take everything that has arrived."""
        while True:
            try:
                data = self._socket.recv(2**16)
            except BlockingIOError:
                return
            if not data:
                self.is_alone = True
                return
            self._incoming.write(data)
            self._decrypt()

    def was_told_goodbye(self) -> bool:
        """Tell whether the other end has said that nothing follows."""
        self.read()
        try:
            return not self.tls.read(1)
        except ssl.SSLWantReadError:
            return False

    def _decrypt(self) -> None:
        try:
            while self._incoming.pending:
                self.received += self.tls.read(2**14)
        except ssl.SSLWantReadError:
            pass

    def go_on(self) -> None:
        """Read and write what there is."""
        self.read()
        self.write()


@asynccontextmanager
async def client_and_peer(
    version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
    contexts: tuple[ssl.SSLContext, ssl.SSLContext] | None = None,
) -> AsyncIterator[tuple[TLSTransport, Peer]]:
    client, server = contexts or tls_contexts(version)
    ours, theirs = stream_sockets()
    theirs.setblocking(False)
    theirs.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    peer = Peer(theirs, server)

    async def answer() -> None:
        while not peer.shake_hands():
            await some_passes(1)

    with theirs:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(answer)
            tls = await wrap_tls(await wrap_socket(ours), client, server_side=False, hostname="localhost")
        try:
            yield tls, peer
        finally:
            tls.release()
            await tls.wait_released()


async def test_a_key_update_is_answered_although_both_directions_are_full() -> None:
    async with client_and_peer() as (tls, peer):
        tls.attach(receiver := Recorder())
        tls.pause()
        tls.write(MANY)
        assert tls.congested
        key_update(peer.tls)
        assert not peer.write(MANY), "the system takes more than expected"
        tls.resume()

        def everything_has_arrived() -> bool:
            peer.write()
            return len(receiver.data) == len(MANY)

        # We read all of it although nobody reads what we say.
        await until(everything_has_arrived)
        assert tls.congested

        def everything_has_left() -> bool:
            peer.go_on()
            return len(peer.received) == len(MANY)

        await until(everything_has_left)
        await receiver.was_told("flushed")
        tls.write(b"with the next key")

        def the_next_has_arrived() -> bool:
            peer.go_on()
            return peer.received.endswith(b"with the next key")

        await until(the_next_has_arrived)
        assert receiver.calls.count("flushed") == 1
        assert receiver.error is receiver.write_error is None


async def test_answers_that_nobody_reads_do_not_pile_up() -> None:
    async with client_and_peer() as (tls, peer):
        tls.attach(receiver := Recorder())
        tls.write(MANY)
        for _ in range(20):
            for _ in range(1000):
                key_update(peer.tls)
                peer.write()
            await some_passes(5)
        assert tls._calls.pending < 2 * MAX_ANSWERS

        def everything_has_left() -> bool:
            peer.go_on()
            return len(peer.received) == len(MANY)

        await until(everything_has_left)
        peer.write(b"read on")

        def it_has_arrived() -> bool:
            peer.go_on()
            return receiver.data == b"read on"

        await until(it_has_arrived)


async def test_a_server_may_ask_for_a_new_handshake_while_we_write() -> None:
    async with client_and_peer(ssl.TLSVersion.TLSv1_2) as (tls, peer):
        tls.attach(receiver := Recorder())
        tls.write(MANY)
        assert tls.congested
        ask_for_renegotiation(peer.tls)
        peer.write(b"meanwhile")

        def everything_has_left() -> bool:
            peer.go_on()
            return len(peer.received) == len(MANY)

        await until(everything_has_left)
        await until(lambda: not tls.congested)
        tls.write(b"afterwards")

        def the_next_has_arrived() -> bool:
            peer.go_on()
            return peer.received.endswith(b"afterwards")

        await until(the_next_has_arrived)
        assert receiver.data == b"meanwhile"
        assert receiver.error is receiver.write_error is None


@pytest.mark.parametrize("size", [1, 2**14, 2**20])
async def test_what_is_written_in_the_middle_of_a_new_handshake_arrives(size: int) -> None:
    async with client_and_peer(ssl.TLSVersion.TLSv1_2) as (tls, peer):
        tls.attach(receiver := Recorder())
        ask_for_renegotiation(peer.tls)
        peer.write()
        await some_passes()
        tls.write(bytes(size))

        def it_has_arrived() -> bool:
            peer.go_on()
            return len(peer.received) == size

        await until(it_has_arrived)
        await until(lambda: not tls.congested)
        assert receiver.error is receiver.write_error is None


@pytest.mark.parametrize("size", [1, 2**14, 2**20])
async def test_what_tls_does_not_encrypt_before_it_has_read_follows_what_it_reads(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def not_yet(_data: object, _size: int) -> list[bytes]:
        return []

    async with client_and_peer() as (tls, peer):
        tls.attach(receiver := Recorder())
        records = tls._records
        records.may_write = False
        with monkeypatch.context() as patch:
            stand_in = SimpleNamespace(encrypt_some=not_yet, encrypted=0, is_waiting=False)
            patch.setattr(tls, "_records", stand_in)
            assert tls.write(b"x" * size) == 0
            assert tls.congested
            await some_passes()
        records.is_waiting, records.may_write = stand_in.is_waiting, True
        assert not receiver.calls
        peer.write(b"go on")
        await receiver.was_told("flushed")

        def it_has_arrived() -> bool:
            peer.go_on()
            return peer.received == b"x" * size

        await until(it_has_arrived)
        assert not tls.congested


# --- the end


async def test_behind_our_end_tls_answers_nothing_any_more() -> None:
    async with client_and_peer() as (tls, peer):
        tls.attach(receiver := Recorder())
        tls.write(b"last words")
        tls.end_sending()
        for number in range(1, 9):
            key_update(peer.tls)
            peer.write(b"x")
            await receiver.has(b"x" * number)
        assert tls._calls.pending == 0
        peer.go_on()
        assert peer.received == b"last words"
        assert "write_failed" not in receiver


async def test_answers_that_cannot_leave_are_not_kept() -> None:
    async with client_and_peer() as (tls, peer):
        tls.attach(receiver := Recorder())
        tls.write_failed(OSError("no more"))
        for number in range(1, 9):
            key_update(peer.tls)
            peer.write(b"x")
            await receiver.has(b"x" * number)
        assert tls._calls.pending == 0
        assert receiver.calls == ["write_failed", *["data_received"] * 8]


async def test_what_comes_behind_the_end_of_tls_is_neither_kept_nor_read() -> None:
    async with client_and_peer() as (tls, peer):
        tls.attach(receiver := Recorder())
        peer.write(b"last words")
        peer.say_goodbye()
        await receiver.was_told("eof_received")
        for _ in range(100):
            peer.write_raw(bytes(2**16))
            await some_passes(2)
        assert tls._calls.left == 0
        tls.resume()
        await some_passes()
        assert (receiver.data, receiver.calls) == (b"last words", ["data_received", "eof_received"])


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("ends_in_record", [0, 1, 300, 2**14])
async def test_what_comes_behind_a_message_with_which_we_end_our_direction_is_handed_on(
    ends_in_record: int, version: ssl.TLSVersion
) -> None:
    class WithRoom(Recorder):
        into = bytearray(2**15 + ends_in_record)

        def room(self, most: int) -> memoryview:
            return memoryview(self.into)[:most]

        def room_filled(self, size: int, data: Any) -> None:
            self.data += self.into[:size]
            self.data += data
            self._note("room_filled")

    async with client_and_peer(version) as (tls, peer):
        receiver = WithRoom(room_filled=tls.end_sending)
        tls.attach(receiver)
        peer.write(b"first")  # and what is left of the handshake
        await receiver.has(b"first")
        text = b"first" + bytes(range(256)) * 2**9
        tls.data_received(peer.encrypted(text[5:]))
        assert receiver.data == text
        assert "room_filled" in receiver
        peer.write(b"more")
        await receiver.has(text + b"more")
        assert "failed" not in receiver
        await until(peer.was_told_goodbye)


async def test_our_direction_ends_whatever_an_ssl_object_of_the_applications_own_says() -> None:
    class Own(ssl.SSLObject):
        def unwrap(self) -> None:  # type: ignore[override]
            raise LookupError("no such key")

    client, server = new_tls_contexts()
    client.sslobject_class = Own
    async with client_and_peer(contexts=(client, server)) as (tls, peer):
        tls.attach(Recorder())
        tls.end_sending()

        def is_alone() -> bool:
            peer.read()
            return peer.is_alone

        await until(is_alone)


@pytest.mark.parametrize("resumes", [True, False])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_an_error_that_a_callback_leaves_in_openssls_queue_does_not_end_the_handshake(
    version: ssl.TLSVersion, resumes: bool
) -> None:
    def callback(*_: object) -> None:
        with contextlib.suppress(ValueError):
            ssl._ASN1Object("no name of an object")  # type: ignore[attr-defined]

    client, server = new_tls_contexts(version)
    server.sni_callback = callback
    session = None
    for _ in range(2 if resumes else 1):
        ours, theirs = stream_sockets()
        theirs.setblocking(False)
        peer = Peer(theirs, client, session)

        async def shake_hands(peer: Peer = peer) -> None:
            while not peer.shake_hands():
                await some_passes(1)

        with theirs:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(shake_hands)
                tls = await wrap_tls(await wrap_socket(ours), server, server_side=True)
            tls.write(b"text")
            while not peer.received:
                await some_passes(1)
                peer.go_on()
            assert peer.tls.session_reused is (session is not None)
            session = peer.tls.session
            tls.release()
            await tls.wait_released()


@pytest.mark.parametrize("attached_late", [True, False])
async def test_what_came_before_a_broken_record_is_handed_over_first_however_late(
    attached_late: bool,
) -> None:
    async with client_and_peer() as (tls, peer):
        receiver = Recorder(data_received=tls.pause)
        if not attached_late:
            tls.attach(receiver)
        peer.write_raw(peer.encrypted(b"complete") + b"\x17\x03\x03\x00\x20" + bytes(32))
        await some_passes()
        if attached_late:
            tls.pause()
            tls.attach(receiver)
            assert not receiver.calls
            tls.resume()
            await some_passes()
        assert (receiver.data, receiver.calls) == (b"complete", ["data_received"])
        tls.resume()
        await receiver.was_told("failed")
        assert receiver.error is not None
        assert isinstance(receiver.error.__cause__, ssl.SSLError)
        tls.resume()
        await some_passes()
        assert receiver.calls == ["data_received", "failed"]


@pytest.mark.parametrize("pausing", [True, False])
async def test_what_arrives_in_one_piece_may_be_of_any_size(pausing: bool) -> None:
    """Streams of others may give more at once than a socket."""
    async with client_and_peer() as (tls, peer):
        receiver = Recorder(**({"data_received": tls.pause} if pausing else {}))
        tls.attach(receiver)
        peer.write(b"x")  # behind the tickets for later sessions, which come by the socket
        await receiver.has(b"x")
        tls.resume()
        data = bytes(range(256)) * 2**14
        tls.data_received(peer.encrypted(data))
        assert pausing == (len(receiver.data) < len(data))
        while len(receiver.data) <= len(data):
            assert receiver.error is None
            tls.resume()
            await some_passes()
        assert receiver.data == b"x" + data
        assert "eof_received" not in receiver


async def test_a_handshake_whose_words_cannot_be_sent_ends_although_the_peer_says_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Mute(anyio.abc.ByteStream):
        async def receive(self, max_bytes: int = 65536) -> bytes:
            await anyio.sleep_forever()
            return b""

        async def send(self, item: bytes) -> None:
            raise OSError("mute")

        async def send_eof(self) -> None:
            raise NotImplementedError

        async def aclose(self) -> None:
            await anyio.lowlevel.checkpoint()

    monkeypatch.setattr("websocketstream._network.tls.ALERT_SECONDS", 0.05)
    with pytest.raises(anyio.BrokenResourceError) as caught:
        await wrap_tls(Mute(), tls_contexts()[0], server_side=False, hostname="localhost")
    assert str(caught.value.__cause__) == "mute"


@pytest.mark.parametrize("fault", ["unknown authority", "garbage", "the end", "cancelled"])
async def test_a_handshake_that_fails_is_freed_without_the_garbage_collector(fault: str) -> None:
    def count() -> int:
        return sum(type(thing) is TLSTransport for thing in gc.get_objects())

    context = ssl.create_default_context() if fault == "unknown authority" else tls_contexts()[0]
    gc.collect()
    before = count()
    gc.disable()
    try:
        with contextlib.ExitStack() as stack:
            ours, theirs = stream_sockets()
            stack.callback(theirs.close)
            theirs.setblocking(False)
            peer = Peer(theirs, tls_contexts()[1])
            async with anyio.create_task_group() as tasks:

                async def answer() -> None:
                    await some_passes()
                    if fault == "garbage":
                        peer.write_raw(b"garbage")
                    elif fault == "the end":
                        theirs.shutdown(socket.SHUT_WR)
                    elif fault == "cancelled":
                        tasks.cancel_scope.cancel()
                    else:
                        peer.shake_hands()

                tasks.start_soon(answer)
                with contextlib.suppress(ssl.SSLError, anyio.BrokenResourceError):
                    await wrap_tls(await wrap_socket(ours), context, server_side=False, hostname="localhost")
                    pytest.fail("it has not failed")
        await some_passes()
        assert count() == before
    finally:
        gc.enable()


@pytest.mark.parametrize("at_once", [True, False])
async def test_an_error_of_the_applications_own_ssl_object_ends_the_handshake(at_once: bool) -> None:
    class Own(ssl.SSLObject):
        def do_handshake(self) -> None:
            nonlocal at_once
            if at_once:
                raise LookupError("no such key")
            at_once = True
            super().do_handshake()

    client, server = new_tls_contexts()
    client.sslobject_class = Own
    ours, theirs = stream_sockets()
    theirs.setblocking(False)
    peer = Peer(theirs, server)

    async def answer() -> None:
        await some_passes()
        peer.shake_hands()

    with theirs:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(answer)
            with pytest.raises(anyio.BrokenResourceError) as failed:
                await wrap_tls(await wrap_socket(ours), client, server_side=False, hostname="localhost")
    assert str(failed.value.__cause__) == "no such key"
