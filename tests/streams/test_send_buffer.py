"""The send buffer: what is charged, who is held and let go, and what counts as sent."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from streams.connection_kit import Cancelled, LockstepLoop, Task
from websocketstream._protocol.codec import Outgoing
from websocketstream._streams import hot, waits
from websocketstream._streams.budget import CHECKPOINT_NOT_BEFORE, LOOK_EVERY, LOOKS
from websocketstream._streams.errors import EndError
from websocketstream._streams.hot import Budget, SendBuffer
from websocketstream._streams.send_buffer import WAKE_AT_ONCE, prepare, size_of
from websocketstream._streams.waits import wait_for_room


class Closed(Exception):
    """What senders meet at the end of these connections."""


def ended(words: str) -> EndError:
    return EndError(lambda: Closed(words))


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> LockstepLoop:
    loop = LockstepLoop()
    for module in (hot.budget, hot.send_buffer):
        monkeypatch.setattr(module, "perf_counter", loop.clock)
    monkeypatch.setattr(waits, "checkpoint", loop.checkpoint)
    return loop


@pytest.fixture
def budget(loop: LockstepLoop) -> Budget:
    return Budget(loop)


@pytest.fixture
def buffer(loop: LockstepLoop, budget: Budget) -> SendBuffer:
    return SendBuffer(100, budget, loop)


def put(buffer: SendBuffer, *items: bytes) -> None:
    for item in items:
        buffer.append(item, len(item))


def held(buffer: SendBuffer, item: bytes) -> Task:
    """Queue a message, and wait for room."""
    put(buffer, item)
    return Task(wait_for_room(buffer, len(item)))


async def hold(buffer: SendBuffer, item: bytes) -> None:
    put(buffer, item)
    await wait_for_room(buffer, len(item))


def figures(buffer: SendBuffer) -> Sequence[int]:
    """What waits (messages, bytes), and the messages ever."""
    statistics = buffer.statistics()
    return statistics.buffered_messages, statistics.buffered_bytes, statistics.messages


def test_small_messages_are_taken_together_and_in_order(buffer: SendBuffer) -> None:
    put(buffer, b"1", b"22", b"333")
    assert figures(buffer) == (3, 6, 3)
    assert buffer.take_batch(1000) == [b"1", b"22", b"333"]
    assert buffer.queue == []
    assert figures(buffer) == (3, 6, 3)  # they count as before until they have left
    assert buffer.free == 94
    buffer.left_to_send(0)
    assert figures(buffer) == (0, 0, 3)
    assert buffer.free == 100


def test_a_batch_is_as_large_as_asked_for_and_at_most_one_message_larger(buffer: SendBuffer) -> None:
    put(buffer, b"1" * 30, b"2" * 30, b"3" * 30, b"4")
    assert buffer.take_batch(60) == [b"1" * 30, b"2" * 30]
    assert buffer.take_batch(31) == [b"3" * 30, b"4"]
    put(buffer, b"5", b"6" * 500, b"7")
    assert buffer.take_batch(60) == [b"5", b"6" * 500]
    assert buffer.take_batch(60) == [b"7"]
    assert buffer.take_batch(60) == []


def test_a_batch_is_the_whole_queue_if_that_is_only_a_little_larger_than_asked_for(
    buffer: SendBuffer,
) -> None:
    put(buffer, b"1" * 60, b"2" * 6, b"3")
    assert buffer.take_batch(60) == [b"1" * 60, b"2" * 6, b"3"]
    assert figures(buffer)[1] == 67  # which says nothing about the size of the next one
    put(buffer, b"1" * 60, b"2" * 6, b"3")
    assert buffer.take_batch(60) == [b"1" * 60, b"2" * 6, b"3"]
    put(buffer, b"1" * 60, b"2" * 6, b"3", b"4")
    assert buffer.take_batch(60) == [b"1" * 60]


def test_a_large_message_is_never_in_the_midst_of_a_batch(buffer: SendBuffer) -> None:
    """Also when the network has not taken all of the last batch."""
    put(buffer, b"1" * 40)
    buffer.take_batch(60)
    put(buffer, b"2" * 67, b"3")
    assert buffer.take_batch(60) == [b"2" * 67]
    put(buffer, b"4", b"5" * 67, b"6")
    buffer.left_to_send(30)
    assert buffer.take_batch(60) == [b"3", b"4", b"5" * 67]


def test_what_was_taken_back_is_in_no_batch(buffer: SendBuffer) -> None:
    put(buffer, b"1" * 99)
    task = held(buffer, b"2" * 10)
    put(buffer, b"3")
    task.cancel()
    assert figures(buffer) == (2, 100, 2)
    assert buffer.take_batch(60) == [b"1" * 99]
    assert buffer.take_batch(60) == [b"3"]
    assert figures(buffer) == (2, 100, 2)


def test_what_was_taken_back_in_the_midst_of_a_batch_is_not_charged(buffer: SendBuffer) -> None:
    put(buffer, b"1" * 99)
    held(buffer, b"2" * 10).cancel()
    put(buffer, b"3" * 60, b"4" * 60)
    assert buffer.take_batch(150) == [b"1" * 99, b"3" * 60]
    buffer.left_to_send(0)
    assert (buffer.free, figures(buffer)) == (40, (1, 60, 3))


def test_taking_a_batch_ends_the_credit(buffer: SendBuffer) -> None:
    """Whoever queues the next message, or the first one, has to wake the writer."""
    assert buffer.credit == 0
    buffer.credit = 4
    buffer.take_batch(60)
    assert buffer.credit == 0


def test_credit_is_given_only_while_the_writer_comes_for_the_next_messages_too(
    buffer: SendBuffer, budget: Budget, loop: LockstepLoop
) -> None:
    """Without that a message would lie in the queue, and nobody would come for it."""
    for _ in range(CHECKPOINT_NOT_BEFORE + 1):
        assert budget.allows()  # so the clock has been looked at
    assert not buffer.renew_credit()
    assert buffer.credit == 0
    buffer.is_fetched = True
    assert buffer.renew_credit()
    assert (buffer.credit, budget.left) == (LOOK_EVERY, 0)
    buffer.take_batch(60)
    assert not buffer.renew_credit()
    buffer.is_fetched = True
    buffer.finish(ended("over"))
    assert not buffer.renew_credit()
    assert buffer.credit == 0


def test_credit_is_given_while_the_budget_lasts(
    buffer: SendBuffer, budget: Budget, loop: LockstepLoop
) -> None:
    buffer.is_fetched = True
    assert not buffer.renew_credit()  # nobody has looked at the clock in this turn
    for _ in range(CHECKPOINT_NOT_BEFORE + 1):
        assert budget.allows()
    left = LOOKS - 1
    while buffer.renew_credit():
        left -= 1
    assert left == 0
    budget.waited()
    for _ in range(CHECKPOINT_NOT_BEFORE):
        assert budget.allows()
    assert buffer.renew_credit()
    loop.now = budget.until
    assert not buffer.renew_credit()


def test_encoded_bytes_are_charged_as_they_are(buffer: SendBuffer) -> None:
    put(buffer, b"x" * 50)
    buffer.take_batch(60)
    buffer.left_to_send(54)  # with its header
    assert (buffer.free, figures(buffer)) == (46, (1, 54, 1))
    buffer.left_to_send(10)
    assert (buffer.free, figures(buffer)) == (90, (1, 10, 1))
    put(buffer, b"next")
    assert (buffer.free, figures(buffer)) == (86, (2, 14, 2))


def test_a_message_that_goes_past_the_queue_counts_while_it_has_not_left(buffer: SendBuffer) -> None:
    buffer.passed_by("", 0)
    assert (buffer.free, figures(buffer)) == (100, (0, 0, 1))
    buffer.passed_by("", 30)
    assert (buffer.free, figures(buffer)) == (70, (1, 30, 2))
    buffer.left_to_send(0)
    assert (buffer.free, figures(buffer)) == (100, (0, 0, 2))


def test_a_sender_is_held_until_there_is_room(buffer: SendBuffer, budget: Budget) -> None:
    task = held(buffer, b"x" * 100)
    turn = budget.turn
    assert buffer.holds_senders
    buffer.take_batch(60)
    buffer.left_to_send(100)
    assert not task.is_ready
    buffer.left_to_send(99)
    assert task.is_ready
    assert not buffer.holds_senders
    task.go_on()
    assert task.result() is None
    assert budget.turn == turn + 1  # waiting is a checkpoint


def test_all_who_are_held_are_let_go_at_once_and_none_of_them_waits_for_what_others_queue_then(
    buffer: SendBuffer,
) -> None:
    tasks = [held(buffer, b"x" * 100) for _ in range(3)]
    buffer.take_batch(1000)
    buffer.left_to_send(50)
    put(buffer, b"y" * 1000)
    for task in tasks:
        assert task.is_ready
        task.go_on()
        assert task.result() is None


def test_so_many_as_fit_into_a_pass_of_the_event_loop_go_on_at_once_and_the_others_after_it(
    buffer: SendBuffer, loop: LockstepLoop
) -> None:
    """They are accepted all the same: what happens until then changes nothing for them."""
    tasks = [loop.start(hold(buffer, b"x")) for _ in range(2 * WAKE_AT_ONCE + 1)]
    buffer.take_batch(1000)
    buffer.left_to_send(0)
    buffer.finish(ended("by the peer"))
    for woken in (WAKE_AT_ONCE, 2 * WAKE_AT_ONCE, len(tasks)):
        assert [task.is_ready or task.done for task in tasks] == [n < woken for n in range(len(tasks))]
        loop.run_pass()
    assert [task.result() for task in tasks] == [None] * len(tasks)
    assert not loop.calls_soon


def test_cancelling_a_held_sender_takes_its_message_back_and_makes_room_for_others(
    buffer: SendBuffer,
) -> None:
    small = held(buffer, b"x" * 100)
    large = held(buffer, b"y" * 10_000)
    put(buffer, b"z")
    buffer.take_batch(100)
    buffer.left_to_send(50)
    assert not small.is_ready
    large.cancel()
    assert isinstance(large.error, Cancelled)
    assert figures(buffer) == (2, 51, 2)
    assert small.is_ready
    small.go_on()
    assert small.result() is None
    assert buffer.take_batch(100) == [b"z"]


def test_cancelling_a_held_sender_whose_message_has_begun_takes_nothing_back(buffer: SendBuffer) -> None:
    task = held(buffer, b"x" * 100)
    put(buffer, b"next")
    assert buffer.take_batch(90) == [b"x" * 100]
    buffer.left_to_send(100)
    task.cancel()
    assert isinstance(task.error, Cancelled)
    assert figures(buffer) == (2, 104, 2)
    buffer.left_to_send(0)
    assert buffer.take_batch(100) == [b"next"]


def test_a_sender_that_is_cancelled_as_it_is_let_go_has_sent_its_message(buffer: SendBuffer) -> None:
    task = held(buffer, b"x" * 100)
    queued = held(buffer, b"y" * 10)
    assert buffer.take_batch(90) == [b"x" * 100]
    buffer.left_to_send(10)
    for one in (task, queued):
        assert one.is_ready
        one.cancel()
        assert isinstance(one.error, Cancelled)
    assert figures(buffer) == (2, 20, 2)
    assert buffer.take_batch(100) == [b"y" * 10]


def test_of_two_equal_messages_the_right_one_is_taken_back(buffer: SendBuffer) -> None:
    put(buffer, b"x" * 100, b"same")
    task = held(buffer, b"same")
    put(buffer, b"other")
    task.cancel()
    assert buffer.queue == [b"x" * 100, b"same", None, b"other"]


def test_the_end_is_met_by_who_is_held_and_takes_their_messages_back(buffer: SendBuffer) -> None:
    begun = held(buffer, b"x" * 100)
    buffer.take_batch(100)
    buffer.left_to_send(100)
    queued = held(buffer, b"y" * 50)
    buffer.credit = 3
    buffer.finish(ended("over"))
    assert buffer.credit == 0
    assert not buffer.holds_senders
    for task in (begun, queued):
        task.go_on()
        with pytest.raises(Closed, match="over"):
            task.result()
    assert figures(buffer) == (1, 100, 1)
    assert buffer.take_batch(100) == []
    buffer.left_to_send(0)
    assert (buffer.free, figures(buffer)) == (100, (0, 0, 1))


def test_who_was_held_meets_the_end_also_when_there_is_room_before_its_turn(buffer: SendBuffer) -> None:
    task = held(buffer, b"x" * 100)
    buffer.take_batch(100)
    buffer.finish(ended("over"))
    buffer.left_to_send(0)
    task.go_on()
    with pytest.raises(Closed, match="over"):
        task.result()
    assert figures(buffer) == (0, 0, 1)


def test_messages_that_were_accepted_before_the_end_are_still_sent(buffer: SendBuffer) -> None:
    put(buffer, b"1", b"2")
    buffer.finish(ended("over"))
    assert figures(buffer) == (2, 2, 2)
    assert buffer.take_batch(100) == [b"1", b"2"]


def test_a_sender_that_was_let_go_does_not_meet_an_end_that_comes_before_its_turn(buffer: SendBuffer) -> None:
    """The peer has received the message, and answers with its Close frame."""
    task = held(buffer, b"x" * 100)
    buffer.take_batch(100)
    buffer.left_to_send(0)
    buffer.finish(ended("by the peer"))
    task.go_on()
    assert task.result() is None
    assert figures(buffer) == (0, 0, 1)


def test_a_sender_that_is_held_when_the_end_has_come_meets_it_at_once(buffer: SendBuffer) -> None:
    put(buffer, b"x" * 100)
    buffer.finish(ended("over"))
    put(buffer, b"first")
    task = held(buffer, b"late")
    with pytest.raises(Closed, match="over"):
        task.result()
    assert buffer.queue == [b"x" * 100, b"first", None]
    assert figures(buffer) == (2, 105, 2)
    assert buffer.statistics().paused_seconds == 0


def test_an_end_that_is_met_twice_takes_back_only_once(buffer: SendBuffer) -> None:
    put(buffer, b"x" * 60)
    task = held(buffer, b"y" * 50)
    buffer.finish(ended("by the peer"))
    buffer.finish(ended("here"))
    assert figures(buffer) == (1, 60, 1)
    task.cancel()
    assert figures(buffer) == (1, 60, 1)


def test_the_first_end_stays(buffer: SendBuffer) -> None:
    buffer.raise_if_ended()
    for which in ("first", "second"):
        buffer.finish(ended(which))
        with pytest.raises(Closed, match="first"):
            buffer.raise_if_ended()


def test_dropping_takes_back_all_that_has_not_begun(buffer: SendBuffer) -> None:
    put(buffer, b"begun")
    buffer.take_batch(100)
    put(buffer, b"queued", b"queued")
    task = held(buffer, b"x" * 100)
    put(buffer, b"queued")
    buffer.finish(ended("aborted"), drop=True)
    task.go_on()
    assert isinstance(task.error, Closed)
    assert (buffer.queue, buffer.free, figures(buffer)) == ([], 95, (1, 5, 1))


def test_a_message_that_the_writer_drops_before_its_first_byte_was_never_sent(buffer: SendBuffer) -> None:
    put(buffer, b"small", b"large" * 10)
    buffer.take_batch(50)
    buffer.left_to_send(50)
    buffer.dropped(50)
    assert (buffer.free, figures(buffer)) == (100, (0, 0, 1))
    put(buffer, b"small", b"large" * 10)
    buffer.take_batch(50)
    buffer.dropped(50)
    assert (buffer.free, figures(buffer)) == (95, (1, 5, 2))


def test_what_is_lost_was_never_sent(buffer: SendBuffer) -> None:
    put(buffer, b"1", b"2")
    buffer.take_batch(50)
    buffer.lost()
    put(buffer, b"3")
    assert figures(buffer)[::2] == (1, 1)
    buffer.left_to_send(0)
    assert figures(buffer) == (1, 1, 1)


def test_when_nothing_leaves_any_more_only_what_has_left_counts(buffer: SendBuffer) -> None:
    put(buffer, b"left")
    buffer.take_batch(50)
    buffer.left_to_send(0)
    put(buffer, b"begun")
    buffer.take_batch(50)
    buffer.left_to_send(3)
    put(buffer, b"queued")
    buffer.stop()
    assert (buffer.free, figures(buffer)) == (100, (0, 0, 1))
    buffer.stop()
    assert (buffer.free, figures(buffer)) == (100, (0, 0, 1))


def test_statistics_tell_for_how_long_senders_were_held_or_turned_away(
    buffer: SendBuffer, loop: LockstepLoop
) -> None:
    put(buffer, b"x" * 100)
    loop.wait(1)
    assert buffer.statistics().paused_seconds == 0  # nobody has felt it
    buffer.refused()
    loop.wait(2)
    tasks = [held(buffer, b"y")]
    loop.wait(3)
    assert buffer.statistics().paused_seconds == 5
    buffer.take_batch(1000)
    buffer.left_to_send(0)
    loop.wait(4)
    assert buffer.statistics().paused_seconds == 5
    tasks.append(held(buffer, b"z" * 100))
    loop.wait(1)
    buffer.finish(ended("over"))
    loop.wait(4)
    assert buffer.statistics().paused_seconds == 6  # from then on nobody is held


class Text(str):
    """Not exactly a str, so nobody knows what its methods do."""

    __slots__ = ()


@pytest.mark.parametrize("compress", [True, False])
def test_text_is_validated_and_sized_in_bytes(compress: bool) -> None:
    for text in ("ascii", "ロボット", Text("ascii")):
        queued = prepare(text, compress)
        assert size_of(queued) == len(text.encode())
        if type(queued) is str:
            assert compress
            assert (queued, text) == ("ascii", "ascii")
        else:
            assert isinstance(queued, Outgoing)
            assert (queued.payload, queued.text, queued.compress) == (text.encode(), True, compress)


def test_only_exact_ascii_and_bytes_go_as_they_are() -> None:
    assert prepare("ascii", True) == "ascii"
    assert prepare(b"bytes", True) == b"bytes"
    for message in ("é", Text("ascii"), bytearray(b"x"), memoryview(b"x")):
        assert isinstance(prepare(message, True), Outgoing)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("compress", [True, False])
def test_binary_of_any_kind_is_copied_unless_it_cannot_change(kind: type, compress: bool) -> None:
    source = bytearray(b"before")
    queued = prepare(kind(source), compress)
    source[:] = b"after!"
    if isinstance(queued, Outgoing):
        assert (queued.payload, queued.text, queued.compress) == (b"before", False, compress)
    else:
        assert (queued, kind, compress) == (b"before", bytes, True)
    assert size_of(queued) == 6


def test_a_subclass_of_bytes_is_sent_as_bytes() -> None:
    class Payload(bytes):
        def __bytes__(self) -> bytes:
            return self

    queued = prepare(Payload(b"x"), True)
    assert isinstance(queued, Outgoing)
    assert (type(queued.payload), queued.payload, queued.compress) == (bytes, b"x", True)


def test_what_cannot_be_sent_is_named() -> None:
    with pytest.raises(TypeError, match="bytes, bytearray or memoryview, not int; nothing was sent"):
        prepare(1, True)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"index 2 is a lone surrogate \('\\ud800'\)"):
        prepare("ab\ud800", True)


def test_an_empty_message_is_charged_with_a_byte() -> None:
    for message in ("", b"", bytearray()):
        assert size_of(prepare(message, True)) == 1


def test_who_watches_is_called_when_there_is_room_for_who_was_refused(
    buffer: SendBuffer, loop: LockstepLoop
) -> None:
    calls: list[int] = []
    one, two = (lambda: calls.append(1)), (lambda: calls.append(2))
    for watcher in (one, two, one):
        buffer.watch(watcher)
    put(buffer, b"x" * 100)
    buffer.take_batch(1000)
    buffer.left_to_send(0)
    loop.run()
    assert calls == []  # nobody was refused
    for _ in range(2):
        put(buffer, b"x" * 100)
        buffer.refused()
        buffer.take_batch(1000)
        buffer.left_to_send(100)
        loop.run()
        buffer.left_to_send(0)
        assert not calls[2:]  # in the next pass, not in the middle of something
        loop.run()
    assert calls in ([1, 2, 2, 1], [2, 1, 1, 2])  # each in turn is the first
    buffer.unwatch(one)
    buffer.unwatch(one)
    calls.clear()
    buffer.finish(ended("first"))
    buffer.unwatch(two)
    loop.run()
    assert calls == []


def test_who_watches_is_called_at_the_end(buffer: SendBuffer, loop: LockstepLoop) -> None:
    calls: list[int] = []
    buffer.unwatch(calls.clear)
    buffer.watch(lambda: calls.append(1))
    buffer.finish(ended("first"))
    assert calls == []
    loop.run()
    assert calls == [1]


def test_the_sender_of_a_message_that_the_writer_drops_goes_on_although_there_is_no_room(
    buffer: SendBuffer,
) -> None:
    put(buffer, b"begun" * 30)
    task = held(buffer, b"large" * 100)
    buffer.take_batch(400)
    buffer.dropped(500)
    assert buffer.free < 0
    task.go_on()
    assert task.error is None
    assert figures(buffer) == (1, 150, 1)


def test_a_message_in_parts_counts_once_whatever_becomes_of_the_parts(buffer: SendBuffer) -> None:
    def put_part(size: int, *, ends: bool = False) -> None:
        if not ends:
            buffer.part_queued()
        buffer.append(Outgoing(b"x" * size, False, True, False, ends), size)

    put_part(10)
    put_part(10)
    assert figures(buffer) == (0, 20, 0)
    buffer.take_batch(100)
    assert figures(buffer) == (0, 20, 0)
    put_part(10, ends=True)
    assert figures(buffer) == (1, 30, 1)
    buffer.take_batch(100)
    buffer.stop()
    assert figures(buffer) == (0, 0, 0)


def test_a_part_that_is_taken_back_was_no_message(buffer: SendBuffer) -> None:
    buffer.part_queued()
    buffer.append(Outgoing(b"x" * 200, False, True, True, False), 200)
    task = Task(wait_for_room(buffer, 200))
    buffer.finish(ended("closed"))
    task.go_on()
    assert isinstance(task.error, Closed)
    assert figures(buffer) == (0, 0, 0)
