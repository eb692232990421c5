"""One message to many connections, in lockstep: who gets what, when, and what becomes of those who do not read."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from itertools import pairwise
from typing import Any
from unittest.mock import patch

import pytest
from anyio import WouldBlock
from hypothesis import given, settings, strategies as st

from streams.connection_kit import LockstepLoop, LockstepTransport, connect, lockstep, reset, small_writes
from websocketstream import (
    Broadcast,
    CloseWhenBehind,
    Compression,
    DropOldest,
    LatestOnly,
    WebSocketStream,
)
from websocketstream._protocol.codec import Close, CodecLimits, Event
from websocketstream._protocol.engine import make_codec
from websocketstream._protocol.negotiation import DeflateParameters
from websocketstream._protocol.shared import PLACE_BYTES
from websocketstream._streams import hub as hub_module

ROOM = 100  # the write buffer of clients that stall
COMPRESSION = Compression(threshold=16)
TAKEOVER = DeflateParameters(), DeflateParameters(server_max_window_bits=9)
ALL_FORMS = None, *TAKEOVER, DeflateParameters(server_no_context_takeover=True)
RECORD = '{"id": 17, "name": "sensor", "values": [1, 2, 3, 4, 5]}' * 20


@pytest.fixture
def loop() -> Iterator[LockstepLoop]:
    with lockstep() as loop:
        yield loop


class Peer:
    """The other end of a connection in the server's role: it reads as many bytes as the test lets it read."""

    def __init__(
        self, room: float = math.inf, *, server: bool = True, deflate: Any = None, **options: Any
    ) -> None:
        self.transport = LockstepTransport(room)
        agreed = {"deflate": deflate, "compression": COMPRESSION if deflate else None}
        codec: Any = make_codec(client=not server, limits=CodecLimits(), **agreed)
        self._codec = make_codec(client=server, limits=CodecLimits(None, None), **agreed)
        self._read = 0
        self.conn: WebSocketStream
        self.conn, _ = connect(self.transport, codec=codec, server=server, **options)

    def received(self) -> list[Event]:
        """Return what has come since the last call."""
        data = bytes(self.transport.sent[self._read :])
        self._read += len(data)
        events = self._codec.receive_data(data)
        while self._codec.pending:
            events += self._codec.receive_data(b"")
        return events


def stalled(**options: Any) -> Peer:
    """Return one that reads nothing, with a write buffer that is used up."""
    peer = Peer(0, write_buffer=ROOM, **options)
    peer.conn.writable.send_nowait(bytes(ROOM))
    assert peer.conn.statistics().writable.buffered_bytes >= ROOM
    return peer


def one_step_at_a_time() -> Any:
    """Let a hub do one step in each pass: what it does for one connection."""
    return patch.object(hub_module, "PORTION_SECONDS", -1)


MESSAGES = ["text", "t\xe4xt", b"binary", b"", "", b"x" * 2**20, memoryview(b"view"), bytearray(b"array")]


@pytest.mark.parametrize("server", [True, False], ids=["server", "client"])
@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_goes_at_once_to_everybody(loop: LockstepLoop, message: Any, server: bool) -> None:
    hub = Broadcast()
    peers = [Peer(server=server) for _ in range(3)]
    for peer in peers:
        hub.subscribe(peer.conn)
    hub.send(message)
    if not server:
        loop.run()  # masking a large one takes several passes
    wanted = message if isinstance(message, str) else bytes(message)
    assert [peer.received() for peer in peers] == [[wanted]] * 3
    loop.run()
    assert [peer.received() for peer in peers] == [[]] * 3


def test_a_frame_is_made_once_for_all_servers(loop: LockstepLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Broadcast()
    written: list[object] = []
    monkeypatch.setattr(LockstepTransport, "write", lambda _, data: written.append(data) or len(data))  # type: ignore[func-returns-value]
    for _ in range(3):
        hub.subscribe(Peer().conn)
    hub.send("hello")
    assert written[0] is written[1] is written[2]


def test_what_follows_in_the_same_pass_leaves_together_in_the_next(loop: LockstepLoop) -> None:
    hub = Broadcast()
    peers = [Peer() for _ in range(2)]
    for peer in peers:
        hub.subscribe(peer.conn)
    for number in range(10):
        hub.send(f"{number}")
    assert [peer.received() for peer in peers] == [["0"]] * 2
    loop.run()
    assert [peer.received() for peer in peers] == [[f"{number}" for number in range(1, 10)]] * 2
    assert [len(peer.transport.writes) for peer in peers] == [2, 2]
    hub.send("later")
    assert [peer.received() for peer in peers] == [["later"]] * 2


def test_a_hub_that_has_nothing_to_do_asks_for_no_more_passes(loop: LockstepLoop) -> None:
    hub = Broadcast()
    hub.subscribe(Peer().conn)
    hub.send("one")
    loop.run()
    assert not loop.calls_soon


def test_nobody_else_waits_for_one_that_does_not_read(loop: LockstepLoop) -> None:
    hub = Broadcast()
    slow, fast = stalled(), Peer()
    behind, ahead = hub.subscribe(slow.conn), hub.subscribe(fast.conn)
    for number in range(5):
        hub.send(f"{number}")
        loop.run()
        loop.now += 1
        assert fast.received() == [f"{number}"]
    assert slow.received() == []
    then = behind.statistics()
    assert (then.sent, then.dropped, then.waiting_messages) == (0, 0, 5)
    assert then.waiting_bytes == 5 * (1 + PLACE_BYTES)
    assert then.behind_seconds == 5
    assert ahead.statistics().sent == 5
    slow.transport.take()
    loop.run()
    assert slow.received() == [bytes(ROOM), "0", "1", "2", "3", "4"]
    then = behind.statistics()
    assert (then.sent, then.waiting_messages, then.waiting_bytes, then.behind_seconds) == (5, 0, 0, 0)


def test_what_waited_leaves_in_few_writes_and_never_overfills_the_connection(loop: LockstepLoop) -> None:
    hub = Broadcast()
    peer = stalled()
    hub.subscribe(peer.conn)
    messages = [b"%03d" % number for number in range(200)]
    for message in messages:
        hub.send(message)
    loop.run()
    before = len(peer.transport.writes)
    seen = [*peer.received()]
    for _ in range(100):
        assert peer.conn.statistics().writable.buffered_bytes <= ROOM + 10
        peer.transport.take(20)
        loop.run()
        seen += peer.received()
    assert seen == [bytes(ROOM), *messages]
    assert len(peer.transport.writes) - before < 20


def test_a_message_that_waits_behind_a_huge_one_goes_on_when_that_has_left(loop: LockstepLoop) -> None:
    hub = Broadcast()
    with small_writes():
        peer = Peer(write_buffer=ROOM)
        hub.subscribe(peer.conn)
        huge = bytes(1500)  # more than is written in one go, and less than in two
        for message in ("first", huge, "behind"):
            hub.send(message)
        loop.run()
    assert peer.received() == ["first", huge, "behind"]


def test_a_message_exactly_as_large_as_the_room_goes_and_the_next_one_waits(loop: LockstepLoop) -> None:
    hub = Broadcast()
    peer = Peer(0, write_buffer=ROOM)
    subscription = hub.subscribe(peer.conn)
    hub.send(bytes(ROOM - 2 - 1))  # and its header
    loop.run()
    hub.send(b"")
    loop.run()
    assert subscription.statistics().waiting_messages == 0
    hub.send(b"")
    loop.run()
    assert subscription.statistics().waiting_messages == 1


def test_the_oldest_messages_are_dropped_for_who_wants_that(loop: LockstepLoop) -> None:
    hub = Broadcast(policy=DropOldest(max_messages=2))
    peer = stalled()
    subscription = hub.subscribe(peer.conn)
    for number in range(5):
        hub.send(f"{number}")
    loop.run()
    assert subscription.statistics().dropped == 3
    peer.transport.take()
    loop.run()
    assert peer.received() == [bytes(ROOM), "3", "4"]
    then = subscription.statistics()
    assert (then.sent, then.dropped, then.waiting_messages) == (2, 3, 0)


def test_a_client_for_whom_everything_was_dropped_gets_what_comes_later(loop: LockstepLoop) -> None:
    hub = Broadcast(policy=DropOldest(max_bytes=PLACE_BYTES + 1))
    peer = stalled()
    hub.subscribe(peer.conn)
    hub.send("1")
    hub.send("large")
    loop.run()
    peer.transport.take()
    loop.run()
    hub.send("3")
    assert peer.received() == [bytes(ROOM), "3"]


def test_only_the_latest_of_each_key_waits(loop: LockstepLoop) -> None:
    hub = Broadcast()
    peer, fast = stalled(), Peer()
    hub.subscribe(peer.conn, policy=LatestOnly())
    hub.subscribe(fast.conn)
    for message, key in (("a1", "a"), ("b1", "b"), ("a2", "a"), ("none", None), ("a3", "a")):
        hub.send(message, key=key)
    loop.run()
    peer.transport.take()
    loop.run()
    assert peer.received() == [bytes(ROOM), "b1", "none", "a3"]
    assert fast.received() == ["a1", "b1", "a2", "none", "a3"]


@pytest.mark.parametrize("server", [True, False], ids=["server", "client"])
def test_a_client_is_closed_that_has_fallen_behind_by_too_many_bytes(
    loop: LockstepLoop, server: bool
) -> None:
    hub = Broadcast(policy=CloseWhenBehind(max_bytes=103))
    peer = stalled(server=server)
    subscription = hub.subscribe(peer.conn)
    hub.send("123")
    loop.run()
    assert peer.conn.close_info is None
    assert len(hub) == 1
    hub.send("")
    loop.run()
    assert len(hub) == 0
    assert subscription.statistics().dropped == 2
    peer.transport.take()
    loop.run()
    assert peer.received() == [bytes(ROOM), Close(1013, "more than 103 bytes behind")]


def test_a_client_is_closed_that_has_been_behind_for_too_long_though_nothing_more_is_sent(
    loop: LockstepLoop,
) -> None:
    hub = Broadcast(policy=CloseWhenBehind(max_seconds=5))
    peer = stalled()
    hub.subscribe(peer.conn)
    hub.send("news")
    loop.wait(4.99)
    assert len(hub) == 1
    loop.wait(0.01)
    assert len(hub) == 0
    peer.transport.take()
    loop.run()
    assert peer.received() == [bytes(ROOM), Close(1013, "behind for too long")]


def test_a_slow_client_that_goes_on_reading_is_not_closed(loop: LockstepLoop) -> None:
    hub = Broadcast(policy=CloseWhenBehind(max_seconds=5))
    peer = stalled()
    hub.subscribe(peer.conn)
    seen = []
    for number in range(20):
        hub.send(b"%02d" % number + bytes(ROOM))
        loop.wait(4)
        peer.transport.take(ROOM + 4)
        loop.run()
        seen += peer.received()
    assert len(hub) == 1
    assert len(seen) == 20


def test_a_connection_that_has_ended_is_unsubscribed_and_nobody_notices(loop: LockstepLoop) -> None:
    hub = Broadcast()
    gone, broken, closed, there = (Peer() for _ in range(4))
    subscriptions = [hub.subscribe(peer.conn) for peer in (gone, broken, closed, there)]
    assert gone.transport.receiver is not None
    gone.transport.receiver.failed(reset())
    broken.transport.error = reset()
    closed.conn.close()
    hub.send("one")
    assert there.received() == ["one"]
    loop.wait(60)  # what the peer has sent before a write failed may still come, but not for ever
    hub.send("two")
    assert there.received() == ["two"]
    assert [subscription.stream for subscription in hub.subscriptions] == [there.conn]
    for subscription in subscriptions[:3]:
        then = subscription.statistics()
        assert (then.sent + then.dropped, then.waiting_messages) in ((1, 0), (2, 0))


@pytest.mark.parametrize("burst", [1, 3])
def test_a_connection_that_ends_while_messages_wait_is_unsubscribed_by_itself(
    loop: LockstepLoop, burst: int
) -> None:
    hub = Broadcast()
    peer = stalled()
    subscription = hub.subscribe(peer.conn)
    for _ in range(burst):
        hub.send("news")
    loop.run_pass()
    assert peer.transport.receiver is not None
    peer.transport.receiver.failed(reset())
    loop.run()
    assert len(hub) == 0
    then = subscription.statistics()
    assert (then.sent, then.dropped, then.waiting_messages, then.waiting_bytes) == (0, burst, 0, 0)


def test_who_subscribes_gets_what_is_sent_from_then_on(loop: LockstepLoop) -> None:
    hub = Broadcast()
    hub.send("to nobody")
    early, late = Peer(), Peer()
    hub.subscribe(early.conn)
    for number in range(2):
        hub.send(f"{number}")  # the second one waits for the next pass
    hub.subscribe(late.conn)
    hub.send("2")
    loop.run()
    assert early.received() == ["0", "1", "2"]
    assert late.received() == ["2"]


def test_who_has_left_gets_what_was_sent_before_and_nothing_after(loop: LockstepLoop) -> None:
    hub = Broadcast()
    peer, other = Peer(), Peer()
    hub.subscribe(other.conn)
    with hub.subscribe(peer.conn) as subscription:
        hub.send("0")
        hub.send("1")
    hub.send("2")
    subscription.unsubscribe()
    loop.run()
    assert peer.received() == ["0", "1"]
    assert other.received() == ["0", "1", "2"]
    assert subscription.statistics().sent == 2


def test_what_waits_is_dropped_when_its_client_leaves(loop: LockstepLoop) -> None:
    hub = Broadcast()
    peer = stalled()
    with hub.subscribe(peer.conn) as subscription:
        hub.send("1")
        loop.run()
        assert loop.calls_later
    assert not loop.calls_later
    peer.transport.take()
    loop.run()
    loop.wait(100)
    assert peer.received() == [bytes(ROOM)]
    assert subscription.statistics().dropped == 1
    assert peer.conn.close_info is None


def test_the_last_one_may_leave_before_its_news_was_given(loop: LockstepLoop) -> None:
    hub = Broadcast()
    first, second = Peer(), Peer()
    with one_step_at_a_time():
        with hub.subscribe(first.conn):
            hub.send("1")
            hub.send("2")
        hub.subscribe(second.conn)
        hub.send("3")
        loop.run()
    assert first.received() == ["1", "2"]
    assert second.received() == ["3"]


def test_clients_come_and_go_while_a_message_is_given_to_thousands(loop: LockstepLoop) -> None:
    hub = Broadcast()
    peers = [Peer() for _ in range(6)]
    subscriptions = [hub.subscribe(peer.conn) for peer in peers]
    late = Peer()
    with one_step_at_a_time():
        hub.send("1")
        loop.run_pass()
        loop.run_pass()
        subscriptions[0].unsubscribe()
        subscriptions[4].unsubscribe()
        hub.send("2")
        hub.subscribe(late.conn)
        hub.send("3")
        loop.run_pass()
        subscriptions[5].unsubscribe()
        loop.run()
    assert [peer.received() for peer in peers] == [
        ["1"], ["1", "2", "3"], ["1", "2", "3"], ["1", "2", "3"], ["1"], ["1", "2", "3"],
    ]  # fmt: skip
    assert late.received() == ["3"]


def test_who_has_left_gets_nothing_twice_when_the_last_one_leaves_as_well(loop: LockstepLoop) -> None:
    hub = Broadcast()
    first, second, third, new = (Peer() for _ in range(4))
    subscriptions = [hub.subscribe(peer.conn) for peer in (first, second, third)]
    with one_step_at_a_time():
        hub.send("news")
    subscriptions[0].unsubscribe()
    subscriptions[2].unsubscribe()
    assert second.transport.receiver is not None
    second.transport.receiver.failed(reset())
    loop.run()
    assert len(hub) == 0
    assert first.received() == third.received() == ["news"]
    hub.subscribe(new.conn)
    hub.send("1")
    hub.send("2")
    loop.run()
    assert new.received() == ["1", "2"]


def test_a_large_crowd_is_served_in_portions_and_others_have_their_turn_in_between(
    loop: LockstepLoop,
) -> None:
    hub = Broadcast()
    peers = [Peer() for _ in range(5)]
    for peer in peers:
        hub.subscribe(peer.conn)
    turns = []
    with one_step_at_a_time():
        hub.send("news")
        while loop.calls_soon:
            turns.append(sum(bool(peer.transport.sent) for peer in peers))
            loop.run_pass()
    assert turns[-1] == 5
    assert all(after - before <= 1 for before, after in pairwise(turns))


def test_flush_gives_everything_to_everybody_now(loop: LockstepLoop) -> None:
    hub = Broadcast()
    peers = [Peer() for _ in range(3)]
    for peer in peers:
        hub.subscribe(peer.conn)
    with one_step_at_a_time():
        hub.send("1")
        hub.send("2")
        hub.flush()
    assert [peer.received() for peer in peers] == [["1", "2"]] * 3
    hub.flush()
    loop.run()
    assert [peer.received() for peer in peers] == [[]] * 3


def test_who_sends_very_much_in_one_pass_gives_it_out_himself(loop: LockstepLoop) -> None:
    hub = Broadcast(policy=DropOldest())
    peer, slow = Peer(), stalled()
    hub.subscribe(peer.conn)
    subscription = hub.subscribe(slow.conn)
    with patch.object(hub_module, "AHEAD_BYTES", 10 + 2 * PLACE_BYTES):
        for message in ("first", "12345", "67890"):
            hub.send(message)
        assert peer.received() == ["first"]
        hub.send("x")
        assert peer.received() == ["12345", "67890", "x"]
    assert subscription.statistics().waiting_messages == 4


def test_who_sends_very_much_takes_the_time_for_two_messages_with_each_and_for_no_more(
    loop: LockstepLoop,
) -> None:
    hub = Broadcast()
    peers = [Peer() for _ in range(5)]
    for peer in peers:
        hub.subscribe(peer.conn)

    def received() -> int:
        return sum(peer.conn.statistics().writable.messages for peer in peers)

    most, ahead = 0, 0
    with (
        patch.object(hub_module, "AHEAD_BYTES", 100 * (1 + PLACE_BYTES)),
        patch.object(hub_module, "SWEEP_MESSAGES", 4),
        one_step_at_a_time(),
    ):
        for number in range(1000):
            before = received()
            hub.send(b"%d" % (number % 10))
            most = max(most, received() - before)
            ahead = max(ahead, number + 1 - received() // 5)
        assert most <= (2 + 4) * 5, "it has taken the time for too many"
        assert ahead < 120, "too much is kept"
        hub.flush()
    assert [peer.received() for peer in peers] == [[b"%d" % (n % 10) for n in range(1000)]] * 5


def test_large_messages_behind_many_small_ones_are_not_kept_in_any_number(loop: LockstepLoop) -> None:
    hub = Broadcast()
    peers = [Peer(write_buffer=2**30) for _ in range(40)]
    for peer in peers:
        hub.subscribe(peer.conn)
    small, large = [b"!"] * 100, [bytes(5000)] * 60
    with patch.object(hub_module, "AHEAD_BYTES", 100 * (1 + PLACE_BYTES)), one_step_at_a_time():
        for number, message in enumerate(small + large):
            hub.send(message)
            kept = number + 1 - peers[-1].conn.statistics().writable.messages
            assert kept <= 100 + 2 * 100 * (1 + PLACE_BYTES) / 5000
        loop.run()
    assert [peer.received() for peer in peers] == [small + large] * 40


def test_who_subscribes_or_leaves_between_parts_of_the_news_gets_what_was_sent_meanwhile(
    loop: LockstepLoop,
) -> None:
    hub = Broadcast()
    old, leaves, comes = Peer(), Peer(), Peer()
    hub.subscribe(old.conn)
    subscription = hub.subscribe(leaves.conn)
    with patch.object(hub_module, "SWEEP_MESSAGES", 3), one_step_at_a_time():
        for number in range(10):
            hub.send(b"%d" % number)
        hub.subscribe(comes.conn)
        for number in range(10, 20):
            hub.send(b"%d" % number)
        loop.run_pass()
        loop.run_pass()
        subscription.unsubscribe()
        hub.send(b"20")
        loop.run()
    sent = [b"%d" % number for number in range(21)]
    assert [each.received() for each in (old, leaves, comes)] == [sent, sent[:20], sent[10:]]


def test_who_leaves_takes_of_the_news_only_what_it_has_room_for(loop: LockstepLoop) -> None:
    hub = Broadcast(policy=DropOldest())
    slow, peer, broken = Peer(0, write_buffer=ROOM), Peer(), Peer()
    subscriptions = [hub.subscribe(each.conn) for each in (slow, peer, broken)]
    with one_step_at_a_time():
        hub.send(b"first")
        for _ in range(50):
            hub.send(bytes(ROOM // 2 + 1))
        hub.send(b"not for the slow one", exclude=slow.conn)
        broken.conn.close()
        with patch.object(hub_module, "Backlog", side_effect=AssertionError("nothing will wait")):
            for subscription in subscriptions:
                subscription.unsubscribe()
    assert len(peer.received()) == 52
    assert isinstance(broken.received()[-1], Close)
    statistics = subscriptions[0].statistics()
    assert 1 <= statistics.sent < 5
    assert statistics.sent + statistics.dropped == 51


def test_when_the_pass_has_taken_long_enough_the_message_leaves_in_the_next(loop: LockstepLoop) -> None:
    hub = Broadcast()
    peer = Peer()
    hub.subscribe(peer.conn)
    loop.calls.took_much()
    loop.now += 0.005
    loop.calls.took_much()
    loop.now += 0.1
    assert loop.calls.are_late()
    hub.send("news")
    assert peer.received() == []
    loop.run()
    assert peer.received() == ["news"]


def test_two_hubs_that_share_a_connection_take_turns_when_it_has_room(loop: LockstepLoop) -> None:
    hubs = Broadcast(), Broadcast()
    peer = stalled()
    subscriptions = [hub.subscribe(peer.conn) for hub in hubs]
    for _ in range(20):
        for number, hub in enumerate(hubs):
            hub.send(b"%d" % number * ROOM)
    loop.run()
    for _ in range(10):
        peer.transport.take(ROOM + 2)
        loop.run()
    sent = [subscription.statistics().sent for subscription in subscriptions]
    assert sum(sent) >= 8
    assert abs(sent[0] - sent[1]) <= 1


def test_the_messages_of_a_hub_and_the_connections_own_keep_their_order(loop: LockstepLoop) -> None:
    hub = Broadcast()
    peer = Peer()
    hub.subscribe(peer.conn)
    for number in range(0, 20, 2):
        hub.send(f"{number}")
        peer.conn.writable.send_nowait(f"{number + 1}")
        loop.run()
    assert peer.received() == [f"{number}" for number in range(20)]


def test_own_messages_that_wait_come_before_the_hubs(loop: LockstepLoop) -> None:
    hub = Broadcast()
    peer = Peer(0)
    hub.subscribe(peer.conn)
    for number in range(0, 10, 2):
        peer.conn.writable.send_nowait(f"{number}")
        hub.send(f"{number + 1}")
        loop.run()
    peer.transport.take()
    loop.run()
    assert peer.received() == [f"{number}" for number in range(10)]


@pytest.mark.parametrize("deflate", TAKEOVER, ids=["15 bits", "9 bits"])
@pytest.mark.parametrize("room", [0, 1, 200, math.inf])
def test_own_messages_and_the_hubs_share_a_context_without_harm(
    loop: LockstepLoop, deflate: Any, room: float
) -> None:
    hub = Broadcast()
    peer = Peer(room, deflate=deflate)
    hub.subscribe(peer.conn)
    wanted = []
    for burst in range(4):  # what is written at once, and what leaves in one batch
        for number in range(burst + 1):
            for send in (peer.conn.writable.send_nowait, hub.send):
                wanted.append(f"{burst} {number} {RECORD}")
                send(wanted[-1])
            if burst < 2:
                loop.run()
        loop.run()
    peer.transport.take()
    loop.run()
    assert sorted(map(str, peer.received())) == sorted(wanted)
    assert len(peer.transport.sent) < len("".join(wanted)) / 2


def test_a_large_message_is_compressed_once_for_each_form_and_others_have_their_turn(
    loop: LockstepLoop,
) -> None:
    hub = Broadcast()
    peers = [Peer(deflate=deflate) for deflate in (*ALL_FORMS, *ALL_FORMS)]
    subscriptions = [hub.subscribe(peer.conn) for peer in peers]
    message = RECORD * 200
    passes = 0
    with one_step_at_a_time():
        hub.send(message)
        assert not any(peer.transport.sent for peer in peers)
        loop.run_pass()
        subscriptions[0].unsubscribe()
        subscriptions[1].unsubscribe()
        assert [peer.received() for peer in peers[:2]] == [[message]] * 2
        while loop.calls_soon:
            loop.run_pass()
            passes += 1
    assert passes > 3 * len(message) // 2**15
    assert [peer.received() for peer in peers[2:]] == [[message]] * 6
    hub.send("and back to small ones")
    assert [peer.received() for peer in peers[2:]] == [["and back to small ones"]] * 6


def test_a_message_that_shall_not_be_compressed_is_not(loop: LockstepLoop) -> None:
    hub = Broadcast()
    peer = Peer(deflate=DeflateParameters())
    hub.subscribe(peer.conn)
    hub.send(RECORD, compress=False)
    assert len(peer.transport.sent) > len(RECORD)
    assert peer.received() == [RECORD]


def test_a_sender_that_never_stops_does_not_keep_a_hub_from_its_turn(loop: LockstepLoop) -> None:
    hub = Broadcast()
    peer = stalled()
    subscription = hub.subscribe(peer.conn)
    own = 0

    async def send_for_ever() -> None:
        nonlocal own
        while True:
            await peer.conn.send(bytes(ROOM))
            own += 1

    task = loop.start(send_for_ever())
    for _ in range(5):
        hub.send("news")
    for _ in range(20):
        loop.run()
        peer.transport.take(ROOM)
    loop.run()
    assert subscription.statistics().sent == 5
    assert own > 5
    task.cancel()


def test_the_connections_statistics_count_the_hubs_messages(loop: LockstepLoop) -> None:
    hub = Broadcast()
    peer = Peer(3)
    hub.subscribe(peer.conn)
    for _ in range(3):
        hub.send("hello")
        loop.run()
    then = peer.conn.statistics().writable
    assert (then.messages, then.buffered_messages, then.buffered_bytes) == (3, 3, 4 + 7 + 7)
    peer.transport.take()
    loop.run()
    then = peer.conn.statistics().writable
    assert (then.messages, then.buffered_messages, then.buffered_bytes) == (3, 0, 0)


def test_pausing_is_counted_while_a_hubs_message_waits(loop: LockstepLoop) -> None:
    hub = Broadcast()
    peer = Peer(0, write_buffer=ROOM)
    hub.subscribe(peer.conn)
    hub.send(bytes(ROOM))
    loop.wait(3)
    hub.send("next")
    loop.wait(2)
    assert peer.conn.statistics().writable.paused_seconds == 2


def test_a_hub_belongs_to_one_event_loop_as_long_as_it_has_connections(loop: LockstepLoop) -> None:
    hub = Broadcast()
    peer = Peer()
    subscription = hub.subscribe(peer.conn)
    hub.send("1")
    hub.send("2")
    with lockstep() as other:
        stranger = Peer()
        with pytest.raises(RuntimeError, match="another event loop"):
            hub.subscribe(stranger.conn)
        subscription.unsubscribe()  # and the first loop never comes to its next pass
        hub.subscribe(stranger.conn)
        hub.send("3")
        hub.send("4")
        other.run()
        assert stranger.received() == ["3", "4"]
    assert peer.received() == ["1", "2"]


def test_a_loop_that_is_over_is_no_error_of_who_sends(loop: LockstepLoop) -> None:
    hub = Broadcast()
    peer = Peer()
    hub.subscribe(peer.conn)

    def over(*_: object) -> None:
        raise OSError("the event loop has ended")

    with patch.object(loop, "call_soon", over), patch.object(loop, "call_at", over), one_step_at_a_time():
        slow = stalled()
        hub.subscribe(slow.conn)
        hub.send("1")
        hub.send("2")
    assert peer.received() == ["1", "2"]


class BadKey:
    def __hash__(self) -> int:
        return 1

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("not comparable")


def test_a_key_that_cannot_be_compared_harms_nobody_but_who_sends_it(loop: LockstepLoop) -> None:
    hub = Broadcast(policy=LatestOnly())
    first, slow, last = Peer(), stalled(), Peer()
    for peer in (first, slow, last):
        hub.subscribe(peer.conn)
    hub.send("1", key=BadKey())
    loop.run()
    with pytest.raises(RuntimeError, match="not comparable"):
        hub.send("2", key=BadKey())
    loop.run()
    hub.send("3")
    loop.run()
    assert first.received() == ["1", "2", "3"]
    assert last.received() == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("arguments", "options", "error"),
    [
        ((1,), {}, TypeError),
        ((["a"],), {}, TypeError),
        (("\ud800",), {}, ValueError),
        (("a",), {"key": []}, TypeError),
    ],
)
def test_what_cannot_be_sent_is_refused_by_the_call(
    loop: LockstepLoop, arguments: Any, options: Any, error: type[Exception]
) -> None:
    hub = Broadcast()
    with pytest.raises(error):
        hub.send(*arguments, **options)  # though nobody is there
    peer = Peer()
    hub.subscribe(peer.conn)
    with pytest.raises(error):
        hub.send(*arguments, **options)
    assert peer.received() == []


def test_what_is_no_policy_is_refused(loop: LockstepLoop) -> None:
    with pytest.raises(TypeError, match="policy must be"):
        Broadcast(policy=DropOldest)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="not str"):
        Broadcast().subscribe(Peer().conn, policy="drop")  # type: ignore[arg-type]


STEPS = st.one_of(
    st.tuples(st.just("send"), st.integers(0, 150), st.integers(0, 2)),
    st.tuples(st.just("own"), st.integers(0, 3), st.integers(0, 150)),
    st.tuples(st.just("read"), st.integers(0, 5), st.integers(0, 300)),
    st.tuples(st.just("join"), st.integers(0, 3), st.integers(0, 3)),
    st.tuples(st.just("leave"), st.integers(0, 5), st.just(0)),
    st.tuples(st.just("drop"), st.integers(0, 5), st.just(0)),
    st.tuples(st.just("pass"), st.just(0), st.just(0)),
)
POLICIES = (
    CloseWhenBehind(max_bytes=None, max_seconds=None),
    DropOldest(max_messages=3),
    DropOldest(max_bytes=400),
    LatestOnly(max_bytes=None),
)


class Client:
    """A peer that has subscribed, and what was sent since."""

    def __init__(self, hub: Broadcast, policy: Any, form: int) -> None:
        self.policy = policy
        self.peer = Peer(0, write_buffer=ROOM, deflate=ALL_FORMS[form])
        self.subscription = hub.subscribe(self.peer.conn, policy=policy)
        self.sent: list[tuple[int, bytes]] = []  # keys and messages
        self.received: list[Any] = []

    def check(self, *, at_end: bool) -> None:
        self.received += [event for event in self.peer.received() if isinstance(event, bytes)]
        then = self.subscription.statistics()
        assert then.waiting_bytes >= PLACE_BYTES * then.waiting_messages
        messages = [message for _, message in self.sent]
        assert [message for message in messages if message in {*self.received}] == self.received
        if at_end:
            assert then.waiting_messages == 0
            assert then.sent == len(self.received)
            assert then.sent + then.dropped == len(messages)
            if self.policy is POLICIES[0]:
                assert self.received == messages
            elif self.policy is POLICIES[3]:
                assert {*dict(self.sent).values()} <= {*self.received}
            elif self.policy is POLICIES[1]:
                assert self.received[-3:] == messages[-3:]


@settings(deadline=None, max_examples=200)
@given(steps=st.lists(STEPS, max_size=60), in_portions=st.booleans())
def test_whatever_happens_in_whatever_order_every_policy_keeps_its_promise(
    steps: list[tuple[str, int, int]], in_portions: bool
) -> None:
    number = 0
    with lockstep() as loop, one_step_at_a_time() if in_portions else nullcontext():
        hubs = Broadcast(), Broadcast()
        clients: list[tuple[Broadcast, Client]] = []
        gone: list[Client] = []
        for what, which, how_much in [*(("join", 0, form) for form in range(4)), *steps]:
            hub, client = clients[which % len(clients)] if clients else (hubs[0], None)
            if what == "join":
                joined = hubs[: 1 + how_much % 2]
                clients += [(hub, Client(hub, POLICIES[which], how_much)) for hub in joined]
            elif what == "send":
                hub = hubs[which % 2]
                number += 1
                message = b"%d " % number + bytes(which)
                hub.send(message, key=how_much)
                for other, client in clients:
                    if other is hub:
                        client.sent.append((how_much, message))
            elif what == "pass":
                loop.run_pass()
            elif client is not None and what == "own":
                with suppress(WouldBlock):
                    client.peer.conn.writable.send_nowait("o" * how_much)
            elif client is not None and what == "read":
                client.peer.transport.take(how_much)
                client.check(at_end=False)
            elif what == "leave" and client is not None:
                gone.append(clients.pop(which % len(clients))[1])
                client.subscription.unsubscribe()
                client.check(at_end=False)
            elif what == "drop" and client is not None:
                if (receiver := client.peer.transport.receiver) is not None:
                    receiver.failed(reset())
                gone.append(clients.pop(which % len(clients))[1])
        for client in [*gone, *(client for _, client in clients)]:
            client.peer.transport.take()
        loop.run()
        for _, client in clients:
            client.check(at_end=True)
        for client in gone:
            client.check(at_end=False)
