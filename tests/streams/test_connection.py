"""A connection in lockstep: whatever happens in whatever order, nothing waits for ever, and what was accepted leaves once."""

from __future__ import annotations

from contextlib import ExitStack

import anyio
from hypothesis import HealthCheck, Phase, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from streams.connection_kit import (
    HEADER,
    Cancelled,
    LockstepCodec,
    LockstepTransport,
    Task,
    TaskLikeTransport,
    connect,
    frame,
    frames,
    lockstep,
    reset,
    small_writes,
)
from websocketstream import ConnectionClosed, WebSocketError

CLOSE_TIMEOUT = 10
# As in the writer, by the thousand: what makes a batch, a write, a turn; one less, and one more.
BATCH, WRITE, TURN = 64, 256, 1024
SIZES = [
    8,
    9,
    30,
    31,
    32,
    *(size + by for size in (BATCH, WRITE, 2 * WRITE, TURN) for by in (-1, 0, 1)),
    3 * TURN,
]


class Sent:
    """One message that was given to ``send()``."""

    def __init__(self, number: int, size: int) -> None:
        self.payload = (b"%07d." % number).ljust(size, b"x")
        self.task: Task | None = None
        self.accepted = False  # without waiting
        self.overtakes: set[int] = set()  # messages whose senders were still waiting for their turn

    @property
    def has_returned(self) -> bool:
        return self.accepted or (self.task is not None and self.task.done and self.task.error is None)


class ConnectionMachine(RuleBasedStateMachine):
    """Does what applications, peers and networks do, in any order, and looks at everything after each step."""

    @initialize(
        server=st.booleans(),
        tasks=st.booleans(),
        write_buffer=st.sampled_from([1, BATCH, 1000, 2**16]),
        portion=st.sampled_from([16, BATCH, 2 * BATCH, 2**40]),
    )
    def open(self, server: bool, tasks: bool, write_buffer: int, portion: int) -> None:
        self.stack = ExitStack()
        self.loop = self.stack.enter_context(lockstep())
        self.stack.enter_context(small_writes())
        self.transport = TaskLikeTransport() if tasks else LockstepTransport(room=0)
        self.codec = LockstepCodec(portion)
        self.write_buffer = write_buffer
        self.conn, self.connection = connect(
            self.transport,
            codec=self.codec,
            server=server,
            write_buffer=write_buffer,
            close_timeout=CLOSE_TIMEOUT,
        )
        self.messages: list[Sent] = []
        self.pings = 0
        self.undisturbed = True  # everything accepted has to leave
        self.closing = False

    # --- what applications do

    @rule(size=st.sampled_from(SIZES), compress=st.booleans())
    def send(self, size: int, compress: bool) -> None:
        self._send(size, compress)

    @rule(size=st.sampled_from(SIZES), count=st.integers(2, 40))
    def send_many(self, size: int, count: int) -> None:
        for _ in range(count):
            self._send(size, True)

    def _send(self, size: int, compress: bool) -> None:
        sent = Sent(len(self.messages), size)
        self.messages.append(sent)
        sent.task = self.loop.start(self.conn.send(sent.payload, compress=compress))
        self._look_at(sent.task)

    @rule(size=st.sampled_from(SIZES))
    def send_nowait(self, size: int) -> None:
        sent = Sent(len(self.messages), size)
        free = self.connection.outbox.free
        try:
            self.conn.writable.send_nowait(sent.payload)
        except anyio.WouldBlock:
            assert free <= 0
        except (anyio.ClosedResourceError, anyio.BrokenResourceError):
            assert not self.undisturbed or self.closing
        else:
            sent.accepted = True
            sent.overtakes = {
                number
                for number, other in enumerate(self.messages)
                if other.task is not None and not other.task.done
            }
            self.messages.append(sent)

    @rule(which=st.integers(0, 2**16))
    def cancel_a_sender(self, which: int) -> None:
        held = [sent for sent in self.messages if sent.task is not None and not sent.task.done]
        if held:
            sent = held[which % len(held)]
            assert sent.task is not None
            sent.task.cancel()
            assert isinstance(sent.task.error, Cancelled)

    @precondition(lambda self: self.pings < 5)
    @rule()
    def ping(self) -> None:
        self.pings += 1
        self.loop.start(self.conn.ping())

    @rule()
    def close(self) -> None:
        self.closing = True
        self.conn.close(1000)

    @rule()
    def send_eof(self) -> None:
        self.closing = True
        self.connection.send_eof()

    @rule()
    def abort(self) -> None:
        self.undisturbed = False
        self.conn.writable.abort(WebSocketError(close_code=4000))
        self._keep_frames_whole()

    @precondition(lambda self: self.closing)
    @rule()
    def drop(self) -> None:
        self.undisturbed = False
        self.connection.drop()

    # --- what the event loop does

    @rule()
    def one_pass(self) -> None:
        self.loop.run_pass()

    @rule()
    def all_passes(self) -> None:
        self.loop.run()

    @rule(seconds=st.sampled_from([0.001, 0.01, 1.1]))
    def time_passes(self, seconds: float) -> None:
        if self.closing or self.connection.state.value != "open" or seconds < 1:
            self.undisturbed = self.undisturbed and seconds < 1
            self.loop.wait(seconds)

    # --- what the network and the peer do

    @rule(size=st.sampled_from([1, HEADER, BATCH, WRITE, 2 * WRITE + 1, TURN, 5 * TURN]))
    def the_network_takes(self, size: int) -> None:
        self.transport.take(size)

    @rule(count=st.sampled_from([1, 3, 20]))
    def the_peer_pings(self, count: int) -> None:
        self._arrives(*[frame("I", b"%d" % number) for number in range(count)])

    @rule()
    def the_peer_closes(self) -> None:
        self.undisturbed = False  # whoever is held then learns that its message is cut off
        self._arrives(frame("C", b"4001"))

    @rule()
    def the_network_fails_to_write(self) -> None:
        self.undisturbed = False
        self.transport.error = reset()

    @rule()
    def the_network_fails(self) -> None:
        self.undisturbed = False
        if self.transport.receiver is not None:
            self.transport.receiver.failed(reset())

    @rule()
    def a_bug_is_met(self) -> None:
        self.undisturbed = False
        self.codec.bug = MemoryError("no room")

    def _arrives(self, *data: bytes) -> None:
        if self.transport.receiver is not None and not self.transport.paused:
            self.transport.receiver.data_received(b"".join(data))

    # --- what is always true

    @invariant()
    def somebody_comes_for_what_there_is_to_write(self) -> None:
        if self.connection.writer.has_work:
            assert self.transport.congested or self.loop.calls_soon

    @invariant()
    def the_frames_that_leave_are_whole_and_in_order_and_leave_once(self) -> None:
        self._keep_frames_whole()

    def _keep_frames_whole(self) -> None:
        found = frames(bytes(self.transport.sent), cut=True)
        messages = {sent.payload[:8]: sent for sent in self.messages}
        left = [payload for kind, payload in found if kind == "M"]
        assert all(messages[payload[:8]].payload == payload for payload in left)
        numbers = [int(payload[:7]) for payload in left]
        assert len(set(numbers)) == len(numbers)
        in_order = [number for number in numbers if not self.messages[number].overtakes]
        assert in_order == sorted(in_order)
        for position, number in enumerate(numbers):
            if overtakes := self.messages[number].overtakes:
                assert overtakes.issuperset(late for late in numbers[position:] if late < number)
                assert not any(
                    early > number and not self.messages[early].overtakes for early in numbers[:position]
                )
        kinds = [kind for kind, _ in found]
        assert "C" not in kinds[:-1], "the Close frame is the last of all"

    @invariant()
    def statistics_add_up(self) -> None:
        outbox = self.connection.outbox
        statistics = outbox.statistics()
        assert statistics.buffered_bytes == self.write_buffer - outbox.free
        assert statistics.buffered_bytes >= 0
        assert 0 <= statistics.buffered_messages <= statistics.messages <= len(self.messages)
        if statistics.buffered_messages:
            assert statistics.buffered_bytes
        elif self.connection.writer.has_unsent or self.transport.error:
            controls = 5 * (HEADER + 8) + 40 * (HEADER + 2) + HEADER + 4
            assert statistics.buffered_bytes <= controls
        else:
            assert not statistics.buffered_bytes
        if not (self.connection.writer.has_unsent or self.transport.error or self.connection.close_info):
            assert outbox.free == self.write_buffer

    @invariant()
    def senders_are_held_only_without_room(self) -> None:
        if self.connection.outbox.free > 0:
            held = [sent for sent in self.messages if sent.task in self.loop.tasks]
            assert all(sent.task is not None and sent.task.is_ready for sent in held)

    @invariant()
    def after_the_release_only_what_left_counts(self) -> None:
        if self.transport.released:
            left = [kind for kind, _ in frames(bytes(self.transport.sent), cut=True)].count("M")
            statistics = self.conn.statistics().writable
            assert statistics.buffered_messages == statistics.buffered_bytes == 0
            assert statistics.messages <= left

    def _look_at(self, task: Task) -> None:
        if isinstance(task.error, BaseException) and not isinstance(task.error, Cancelled):
            assert isinstance(task.error, anyio.ClosedResourceError | anyio.BrokenResourceError), task.error
            assert self.closing or not self.undisturbed

    def teardown(self) -> None:
        if not hasattr(self, "stack"):
            return
        with self.stack:
            self._end()

    def _end(self) -> None:
        """Let everything leave: all that was accepted is there, and nobody waits any more."""
        for _ in range(10_000):
            if not (
                self.transport.congested or self.loop.calls_soon or any(t.is_ready for t in self.loop.tasks)
            ):
                break
            self.loop.run()
            self.transport.take(10 * TURN)
        else:
            raise AssertionError("it never comes to rest")
        self.somebody_comes_for_what_there_is_to_write()
        assert not self.connection.writer.has_work
        self.statistics_add_up()
        self._keep_frames_whole()
        senders = [sent.task for sent in self.messages if sent.task is not None]
        if self.undisturbed:
            assert all(task.done for task in senders)
            left = {payload for kind, payload in frames(bytes(self.transport.sent)) if kind == "M"}
            missing = [
                sent.payload[:8] for sent in self.messages if sent.has_returned and sent.payload not in left
            ]
            assert not missing
            assert self.conn.statistics().writable.messages == len(left)
            assert self.connection.outbox.free == self.write_buffer
        self.conn.close()
        self.loop.wait(CLOSE_TIMEOUT + 3)
        assert self.transport.released
        assert all(task.done for task in senders)
        assert not self.loop.tasks, "somebody waits for ever"
        assert self.conn.close_info is not None
        self.after_the_release_only_what_left_counts()
        for sent in self.messages:
            if sent.task is not None:
                self.undisturbed = False
                self._look_at(sent.task)


ConnectionMachine.TestCase.settings = settings(
    max_examples=150,
    stateful_step_count=30,
    deadline=None,
    phases=[Phase.generate, Phase.shrink],  # explaining takes minutes
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestConnection = ConnectionMachine.TestCase


def test_a_receiver_that_waits_when_the_peer_closes_meets_that_whatever_is_called_before_it_goes_on() -> None:
    """A server that shuts down closes connections in any pass, also in that of the peer's Close frame."""
    for ours in ("close", "abort", "cancel", "drop"):
        with lockstep() as loop:
            transport = LockstepTransport()
            conn, connection = connect(transport, server=True)
            receiver = loop.start(conn.readable.receive())
            assert not receiver.done
            assert transport.receiver is not None
            transport.receiver.data_received(frame("C", b"4000"))
            {
                "close": conn.close,
                "abort": conn.writable.abort,
                "cancel": conn.readable.cancel,
                "drop": connection.drop,
            }[ours]()
            loop.run()
            for task in (receiver, loop.start(conn.readable.receive())):
                assert isinstance(task.error, ConnectionClosed), (ours, task.error)
                assert task.error.close_code == 4000
            connection.drop()
