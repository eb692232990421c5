"""No pass of the event loop takes long, however much there is to do: what a pass does is counted, not timed.

The time by which passes are limited is a clock of the test's own, which advances with the work that is counted.
"""

from __future__ import annotations

import socket
import sys
from contextlib import aclosing, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import anyio
import pytest
import sniffio
from anyio.lowlevel import checkpoint

import websocketstream.testing
from promises.open_sockets import connections_with_sockets
from waiting import until
from websocketstream._network import hot as network_hot
from websocketstream._network.calls import PORTION_SECONDS
from websocketstream._network.hot import Calls
from websocketstream._network.turns import PASS_SECONDS
from websocketstream._protocol.engine import choose_engine
from websocketstream._streams import hot
from websocketstream._streams.budget import CHECKPOINT_NOT_BEFORE, LOOK_EVERY
from websocketstream._streams.send_buffer import WAKE_AT_ONCE
from wire import Frame, Opcode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from websocketstream import WebSocketStream

pytestmark = pytest.mark.anyio

WHO_LOOKS_AT_THE_CLOCK = [
    "websocketstream._network.asyncio_transport",
    "websocketstream._network.selector_transport",
    network_hot.calls.__name__,
    "websocketstream._network.timers",
    network_hot.readiness.__name__,
    "websocketstream._network.trio_readiness",
    hot.budget.__name__,
    hot.receive_buffer.__name__,
    hot.send_buffer.__name__,
]


class Work:
    """A clock that stands still but for the work, in seconds; and how much of that each pass has done."""

    def __init__(self) -> None:
        self.now = 100.0
        self.done = 0  # pieces of work
        self.passes: list[float] = []  # seconds of work in each

    def __call__(self) -> float:
        return self.now

    def do(self, seconds: float) -> None:
        self.now += seconds
        self.done += 1

    @asynccontextmanager
    async def counted(self) -> AsyncIterator[None]:
        """Take note of each pass."""
        began = self.now

        async def tick() -> None:
            nonlocal began
            while True:
                began = note()
                await checkpoint()

        def note() -> float:
            self.passes.append(self.now - began)
            return self.now

        async with anyio.create_task_group() as group:
            group.start_soon(tick)
            yield
            group.cancel_scope.cancel()

    @property
    def longest_pass(self) -> float:
        # trio shuffles the tasks of a pass: the ticker may come first in one and last in the next.
        passes = self.passes
        if sniffio.current_async_library() == "trio":
            return max(passes) / 2
        return max(passes)


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    clock = Work()
    for module in WHO_LOOKS_AT_THE_CLOCK:
        monkeypatch.setattr(f"{module}.perf_counter", clock)
    return clock


@pytest.fixture(params=["compiled", "wsproto"])
def slow_codecs(request: pytest.FixtureRequest, work: Work, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let each call that decodes or encodes something take a millisecond; return the engine's name."""
    engine: str = request.param
    if engine == "compiled":
        pytest.importorskip("websocketstream._protocol._compiled")
    _, make_codec = choose_engine(engine)

    def make(**options: Any) -> Any:
        return SlowCodec(make_codec(**options), work)

    monkeypatch.setattr(websocketstream.testing, "make_codec", make)
    return engine


class SlowCodec:
    def __init__(self, codec: Any, work: Work) -> None:
        self._codec = codec
        self._work = work

    def receive_data(self, data: Any) -> Any:
        self._work.do(0.001)
        return self._codec.receive_data(data)

    def send_message(self, message: Any) -> Any:
        self._work.do(0.001)
        return self._codec.send_message(message)

    def send_messages(self, messages: Any) -> Any:
        self._work.do(0.001)
        return self._codec.send_messages(messages)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._codec, name)


CONNECTIONS = 60  # each of which takes a tenth of a pass
PIECE = 0.0001  # seconds of work with a message


async def test_hundreds_of_flooding_peers_have_one_pass_together(slow_codecs: str, work: Work) -> None:
    count = 8200 if slow_codecs == "compiled" else 260  # messages for three calls of the codec
    flood = Frame(Opcode.BINARY).encode() * count
    received = [0] * CONNECTIONS

    async def consume(number: int, conn: WebSocketStream) -> None:
        async for _message in conn:
            received[number] += 1

    async with work.counted(), connections_with_sockets(CONNECTIONS) as pairs:
        async with anyio.create_task_group() as group:
            for number, (conn, _) in enumerate(pairs):
                group.start_soon(consume, number, conn)
            for _, theirs in pairs:
                theirs.sendall(flood)
            await until(lambda: received == [count] * CONNECTIONS)
            group.cancel_scope.cancel()
    assert work.done >= 3 * CONNECTIONS
    # A pass, and what began before its end: at most a portion.
    assert work.longest_pass <= PASS_SECONDS + PORTION_SECONDS + 0.002


async def test_hundreds_of_receivers_have_one_pass_together(work: Work) -> None:
    """Also where each of them goes on twice in a pass: after its checkpoint, and in the callback that brings it more."""
    some = Frame(Opcode.BINARY).encode() * 7  # more than fit into a turn, but not for long

    async def consume(conn: WebSocketStream) -> None:
        async for _ in conn:
            work.do(PIECE)

    async with connections_with_sockets(CONNECTIONS) as pairs:
        async with anyio.create_task_group() as group, work.counted():
            for conn, _ in pairs:
                group.start_soon(consume, conn)
            for _ in range(50):
                for _, theirs in pairs:
                    theirs.send(some)
                await checkpoint()
            group.cancel_scope.cancel()
    assert work.done >= 50 * CONNECTIONS
    # A pass, a look at the clock too late, and what each may do without one.
    assert work.longest_pass <= PASS_SECONDS + PIECE * (LOOK_EVERY + CHECKPOINT_NOT_BEFORE * CONNECTIONS)


async def test_what_is_put_off_is_the_last_word_of_a_peer_that_has_gone(slow_codecs: str, work: Work) -> None:
    messages = [bytes([number]) for number in range(20)]
    flood = b"".join(Frame(Opcode.BINARY, message).encode() for message in messages)
    async with connections_with_sockets(CONNECTIONS) as pairs:
        for _, theirs in pairs:
            theirs.sendall(flood + Frame(Opcode.CLOSE, b"\x03\xe8bye").encode())
            theirs.shutdown(socket.SHUT_WR)
        for conn, _ in pairs:
            assert [message async for message in conn] == messages
            assert conn.close_info is not None
            assert conn.close_info.reason == "bye"


async def test_hundreds_of_senders_have_one_pass_together(slow_codecs: str, work: Work) -> None:
    message = bytes(2**16)
    frame_size = 4 + 4 + 6 + 2**16  # one frame, with a mask
    async with work.counted(), connections_with_sockets(CONNECTIONS) as pairs:
        async with anyio.create_task_group() as group:
            for conn, _ in pairs:
                group.start_soon(conn.send, message)
        for _, theirs in pairs:
            arrived = await anyio.to_thread.run_sync(theirs.recv, frame_size, socket.MSG_WAITALL)
            assert len(arrived) == frame_size
    assert work.done >= CONNECTIONS
    assert work.longest_pass <= PASS_SECONDS + PORTION_SECONDS + 0.002


async def test_thousands_of_held_senders_go_on_in_several_passes() -> None:
    count, size = 1000, 1000
    sent = sent_before = most = 0

    async def send(conn: WebSocketStream) -> None:
        nonlocal sent, sent_before, most
        await conn.send(bytes(size))
        sent += 1

    async def watch() -> None:
        nonlocal sent_before, most
        while True:
            most = max(most, sent - sent_before)
            sent_before = sent
            await checkpoint()

    async with connections_with_sockets(1, write_buffer=1) as [(conn, theirs)]:
        theirs.setblocking(False)
        async with anyio.create_task_group() as senders, anyio.create_task_group() as group:
            senders.start_soon(conn.send, bytes(2**22))  # more than the system takes: all others are held
            await anyio.wait_all_tasks_blocked()
            for _ in range(count):
                senders.start_soon(send, conn)
            await anyio.wait_all_tasks_blocked()
            assert sent == 0
            group.start_soon(watch)
            while sent < count:
                with suppress(BlockingIOError):
                    theirs.recv(2**20)
                await checkpoint()
            group.cancel_scope.cancel()
    assert (
        WAKE_AT_ONCE / 2 <= most <= 2 * WAKE_AT_ONCE
    )  # trio: the watching task may come first, and then last


async def test_the_statistics_look_at_no_message_beyond_those_that_came_with_the_next_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked_at = 0

    def memory_of(message: object) -> int:
        nonlocal looked_at
        looked_at += 1
        return sys.getsizeof(message)

    async with connections_with_sockets(1, read_buffer=2**25) as [(conn, theirs)]:
        flood = Frame(Opcode.BINARY, b"x").encode() * 50_000
        await anyio.to_thread.run_sync(theirs.sendall, flood)
        await until(lambda: conn.statistics().readable.messages == 50_000)
        for _ in range(7):
            await conn.receive()
        monkeypatch.setattr(hot.receive_buffer, "memory_of", memory_of)
        statistics = conn.statistics().readable
        assert statistics.buffered_messages == 50_000 - 7
        assert statistics.buffered_bytes == (50_000 - 7) * sys.getsizeof(b"x")
    assert 0 < looked_at <= 4096


# --- one task that takes long for each message


FEW = 14  # messages: twelve until the next look at the clock, two after the checkpoint in which the deadline passes
SLOW = 0.020  # seconds for each


async def take_by_receive(conn: WebSocketStream) -> AsyncIterator[None]:
    while True:
        await conn.receive()
        yield


async def take_by_readable(conn: WebSocketStream) -> AsyncIterator[None]:
    while True:
        await conn.readable.receive()
        yield


async def take_by_iteration(conn: WebSocketStream) -> AsyncIterator[None]:
    async for _message in conn:
        yield


async def take_by_iteration_of_readable(conn: WebSocketStream) -> AsyncIterator[None]:
    async for _message in conn.readable:
        yield


async def send_text(conn: WebSocketStream) -> AsyncIterator[None]:
    while True:
        await conn.send("x")
        yield


async def send_bytes(conn: WebSocketStream) -> AsyncIterator[None]:
    while True:
        await conn.writable.send(b"x")
        yield


WAYS = [
    take_by_receive,
    take_by_readable,
    take_by_iteration,
    take_by_iteration_of_readable,
    send_text,
    send_bytes,
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("fast", [0, 1, 2, 3, 4, 5, 6, 7, 125, 126, 127, 128, 129, 130, 333])
async def test_a_task_that_turns_slow_is_cancelled_after_a_few_messages(
    way: Any, fast: int, work: Work
) -> None:
    async with connections_with_sockets(1) as [(conn, theirs)]:
        theirs.sendall(Frame(Opcode.BINARY, b"x").encode() * 1000)
        await conn.receive()
        slow = 0
        with anyio.CancelScope() as scope:
            async with aclosing(way(conn)) as messages:
                async for _ in messages:
                    fast -= 1
                    if fast < 0:
                        scope.cancel()
                        slow += 1
                        work.do(SLOW)
        assert scope.cancelled_caught
        assert slow <= FEW


@pytest.mark.parametrize("way", WAYS)
async def test_a_slow_task_lets_others_have_a_turn_after_every_second_message(way: Any, work: Work) -> None:
    async with work.counted(), connections_with_sockets(1) as [(conn, theirs)]:
        theirs.sendall(Frame(Opcode.BINARY, b"x").encode() * 1000)
        await conn.receive()
        async with aclosing(way(conn)) as messages:
            for _ in range(8):
                await anext(messages)
                work.do(SLOW)
            work.passes.clear()
            for _ in range(100):
                await anext(messages)
                work.do(SLOW)
    assert work.longest_pass <= 2 * SLOW + 1e-9


# --- the calls of a pass, one by one


class Calling:
    def __init__(self, work: Work) -> None:
        self.asked = 0
        self.calls = Calls(lambda callback: callback(), self.ask)
        self.work = work

    def ask(self) -> None:
        self.asked += 1

    def add(self, number: int, seconds: float, log: list[int]) -> Any:
        def callback() -> None:
            log.append(number)
            self.work.do(seconds)

        return self.calls.add(callback)


def test_calls_that_take_long_are_spread_over_passes_in_their_order(work: Work) -> None:
    calling = Calling(work)
    log: list[int] = []
    for number in range(10):
        calling.add(number, 0.001, log)
    assert calling.asked == 1
    done = []
    while calling.calls:
        calling.calls.call_some()
        done.append(len(log))
    assert log == list(range(10))
    assert done == [4, 8, 10]


def test_a_call_that_asks_for_another_has_it_in_the_next_pass(work: Work) -> None:
    calling = Calling(work)
    log: list[int] = []
    calling.calls.add(lambda: calling.add(1, 0, log))
    calling.calls.call_some()
    assert log == []
    calling.calls.call_some()
    assert log == [1]
    assert not calling.calls


def test_a_cancelled_call_is_left_out(work: Work) -> None:
    calling = Calling(work)
    log: list[int] = []
    calling.add(1, 0, log).cancel()
    calling.add(2, 0, log)
    calling.calls.call_some()
    assert log == [2]


def test_a_pass_is_late_only_if_many_took_much_of_it(work: Work) -> None:
    calls = Calling(work).calls
    work.do(60)
    assert not calls.are_late()
    for _ in range(4):
        calls.took_much()
        assert not calls
        work.do(PORTION_SECONDS / 3)
    assert not calls.are_late()
    calls.took_much()
    assert calls  # the next pass was asked for: it has its own time
    work.do(PASS_SECONDS - PORTION_SECONDS - 0.0001)
    assert not calls.are_late()
    work.do(0.001)
    assert calls.are_late()
    calls.took_much()  # the limit stays
    assert calls.are_late()
    calls.call_some()
    assert not calls.are_late()
    assert not calls


def test_who_takes_much_now_and_then_has_no_limit_and_costs_no_pass(work: Work) -> None:
    calls = Calling(work).calls
    for _ in range(10):
        calls.took_much()
        work.do(PASS_SECONDS * 1.1)
    assert not calls
    assert not calls.are_late()
