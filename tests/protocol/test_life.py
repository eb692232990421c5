"""The life of a connection: every order of happenings ends in one result, released, and in time."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from itertools import product

import pytest

from websocketstream._protocol.close import CloseInfo
from websocketstream._protocol.codec import Close, Failure
from websocketstream._protocol.life import (
    LAST_WORDS_SECONDS,
    LINGER_SECONDS,
    PARTING_SECONDS,
    Life,
)
from websocketstream._protocol.state import ENDED, End, State, Step
from websocketstream._streams import hot

CLOSE_TIMEOUT = 10.0
DEPTH = 7


class Driver:
    """Carries out what a life asks for, as a connection does, and notes what an application would meet."""

    def __init__(self, *, server: bool, may_hang_up: bool = True, kind: type[Life] = Life) -> None:
        self.life = kind(server=server, close_timeout=CLOSE_TIMEOUT, may_hang_up=may_hang_up)
        self.now = 0.0
        self.results: list[CloseInfo] = []
        self.receive_end: End | None = None
        self.releases = 0
        self.half_closes = 0

    def tell(self, happening: Callable[[Life, float], object]) -> None:
        happening(self.life, self.now)
        self.carry_out()

    def carry_out(self) -> None:
        life = self.life
        result = life.result
        if result is not None and result not in self.results:
            self.results.append(result)
        step = life.step
        if step is Step.RELEASE:
            self.releases += 1
        elif step is Step.END_SENDING:
            self.half_closes += 1
        if step is not Step.GO_ON and step is not Step.NOTHING:
            life.step_taken(step)
            self.carry_out()

    def wait(self, seconds: float = math.inf) -> None:
        """Let time pass, deadline by deadline."""
        until = self.now + seconds
        while (due := self.life.next_deadline) <= until and due != math.inf:
            self.now = max(self.now, due)
            self.tell(lambda life, now: life.time_passed(now))
        self.now = until if until != math.inf else self.now

    def copy(self) -> Driver:
        twin = copy.copy(self)
        twin.life = copy.copy(self.life)
        twin.results = list(self.results)
        return twin

    def wait_for_deadline(self) -> None:
        if self.life.next_deadline != math.inf:
            self.wait(max(0.0, self.life.next_deadline - self.now))

    def key(self) -> tuple[object, ...]:
        """What the future depends on, with times relative to now."""
        values = []
        for name in Life.__slots__:
            value = getattr(self.life, name)
            values.append(round(value - self.now, 6) if isinstance(value, float) else str(value))
        return (*values, tuple(self.results), self.releases, self.half_closes)


def write_close(life: Life, now: float) -> None:
    """The writer takes the Close frame, and it leaves."""
    if life.farewell is not None:
        life.close_begun()
    life.close_written(now)


HAPPENINGS: dict[str, Callable[[Life, float], object]] = {
    "we close": lambda life, now: life.close(4000, "ours", now),
    "we finish sending": lambda life, now: life.finish_sending(),
    "the peer closes": lambda life, now: life.take_word(Close(4001, "theirs"), now),
    "the peer breaks a rule": lambda life, now: life.take_word(Failure(1002, "broken rule"), now),
    "the application catches up": lambda life, now: life.caught_up(now),
    "it catches up with a message cut off": lambda life, now: life.caught_up(now, unsent=True),
    "our Close frame is encoded": lambda life, now: life.close_begun(),
    "our Close frame leaves": write_close,
    "our writing fails": lambda life, now: life.write_failed(OSError("pipe"), now),
    "the peer ends its direction": lambda life, now: life.peer_ended(now),
    "the transport fails": lambda life, now: life.ended("the transport failed", now, OSError("reset")),
    "the keepalive gives up": lambda life, now: life.give_up("no pong", now),
    "it gives up, and all is stuck": lambda life, now: life.give_up("no pong", now, stuck=True),
    "a bug": lambda life, now: life.broke_down(ValueError("bug"), now),
    "the block is cancelled": lambda life, now: (life.close(1001, "", now), life.hurry(now, 0.5)),
}


def next_happenings() -> Iterator[tuple[str, Callable[[Driver], object]]]:
    for name, happening in HAPPENINGS.items():
        yield name, lambda driver, happening=happening: driver.tell(happening)
    yield "time passes", lambda driver: driver.wait_for_deadline()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("server", "may_hang_up"),
    [(False, True), (True, True), (True, False)],
    ids=["client", "server", "server-over-tls"],
)
def test_every_order_of_happenings_ends_released_in_time_with_one_result(
    server: bool, may_hang_up: bool
) -> None:
    seen: set[tuple[object, ...]] = set()
    level = [(Driver(server=server, may_hang_up=may_hang_up), ())]
    for _ in range(DEPTH):
        following = []
        for driver, path in level:
            for name, apply in next_happenings():
                after = driver.copy()
                apply(after)
                # Two orders that lead to the same have the same future, and one of them is enough.
                if (key := after.key()) not in seen:
                    seen.add(key)
                    check(after, (*path, name))
                    following.append((after, (*path, name)))
        level = following
    assert len(seen) > 300


def check(driver: Driver, path: tuple[str, ...]) -> None:
    """Whatever comes now, or nothing at all: it ends, in time, once."""
    life = driver.life
    if life.state is State.OPEN and life.next_deadline == math.inf:
        return  # nothing has begun to end
    if life.next_deadline == math.inf and life.step is not Step.NOTHING:
        # Only we have said that we send nothing more: that waits for the peer as long as the block is there.
        assert (life.send_end, life.receive_end) == (End.CLOSED_HERE, None), path
        return
    end = driver.copy()
    began = end.now
    end.wait()
    if end.life.state is State.OPEN:
        return  # the deadline was the application's, to catch up with nothing
    if end.life.step is not Step.NOTHING:
        assert (end.life.send_end, end.life.receive_end) == (End.CLOSED_HERE, None), path
        return
    assert end.now - began <= CLOSE_TIMEOUT + LINGER_SECONDS + PARTING_SECONDS, path
    assert end.releases == 1, path
    assert end.half_closes <= 1, path
    assert end.life.state in ENDED, path
    assert end.results == [end.life.result], path
    assert end.life.result.clean is (end.life.reason is None), path
    assert end.life.receive_end is not None, path
    assert end.life.send_end is not None, path
    assert end.life.farewell is None, path


@pytest.mark.parametrize("server", [False, True], ids=["client", "server"])
@pytest.mark.parametrize("last", HAPPENINGS.values(), ids=HAPPENINGS)
def test_a_released_connection_stays_what_it_was(server: bool, last: Callable[[Life, float], object]) -> None:
    for first in HAPPENINGS.values():
        driver = Driver(server=server)
        driver.tell(first)
        driver.tell(HAPPENINGS["the transport fails"])
        state, result = driver.life.state, driver.life.result
        assert driver.life.step is Step.NOTHING
        driver.tell(last)
        driver.wait()
        assert (driver.life.state, driver.life.result) == (state, result)
        assert driver.releases == 1
        assert driver.life.next_deadline == math.inf


# Whatever others see of a life.
VISIBLE = [name for name in Life.__slots__ if not name.startswith("_")]
VISIBLE += [name for name, value in vars(Life).items() if isinstance(value, property)]


def seen_of(driver: Driver) -> list[str]:
    shown = [str(getattr(driver.life, name)) for name in VISIBLE]
    return [*shown, str(driver.results), str(driver.releases), str(driver.half_closes), str(driver.now)]


@pytest.mark.slow
@pytest.mark.skipif(not hot.IS_COMPILED, reason="the hot path was not compiled")
@pytest.mark.parametrize("may_hang_up", [False, True])
@pytest.mark.parametrize("server", [False, True], ids=["client", "server"])
def test_a_compiled_life_shows_after_each_of_three_happenings_what_its_source_does(
    server: bool, may_hang_up: bool
) -> None:
    assert hot.Life is not Life
    for path in product([apply for _, apply in next_happenings()], repeat=3):
        twins = [Driver(server=server, may_hang_up=may_hang_up, kind=kind) for kind in (Life, hot.Life)]
        for apply in (*path, Driver.wait):
            for twin in twins:
                apply(twin)
            assert seen_of(twins[0]) == seen_of(twins[1])


def closed_by_peer(*, server: bool, may_hang_up: bool = True) -> Driver:
    driver = Driver(server=server, may_hang_up=may_hang_up)
    driver.tell(HAPPENINGS["the peer closes"])
    driver.tell(HAPPENINGS["the application catches up"])
    return driver


def test_the_peers_close_is_answered_with_its_own_words() -> None:
    driver = closed_by_peer(server=False)
    assert driver.life.farewell == (4001, "theirs")
    assert driver.life.receive_end is End.CLOSED_BY_PEER
    assert driver.life.send_end is End.CLOSED_BY_PEER
    assert driver.life.result is None
    driver.tell(write_close)
    assert driver.life.result == CloseInfo(4001, "theirs", True)
    assert driver.life.sent_code == 4001


def test_a_server_hangs_up_as_soon_as_both_have_said_it() -> None:
    driver = closed_by_peer(server=True)
    driver.tell(write_close)
    assert driver.releases == 1
    assert driver.life.state is State.CLOSED


def test_a_server_whose_release_could_take_something_away_ends_its_direction_first() -> None:
    driver = closed_by_peer(server=True, may_hang_up=False)
    driver.tell(write_close)
    assert (driver.releases, driver.half_closes) == (0, 1)
    driver.tell(HAPPENINGS["the peer ends its direction"])
    assert driver.releases == 1
    assert driver.life.result == CloseInfo(4001, "theirs", True)


def test_a_client_leaves_the_first_step_to_the_server_for_a_while() -> None:
    driver = closed_by_peer(server=False)
    driver.tell(write_close)
    driver.wait(PARTING_SECONDS - 0.01)
    assert driver.releases == 0
    driver.wait(0.02)
    assert driver.releases == 1
    assert driver.half_closes == 0
    assert driver.life.result == CloseInfo(4001, "theirs", True)


def test_a_client_is_released_with_the_servers_end() -> None:
    driver = closed_by_peer(server=False)
    driver.tell(write_close)
    driver.tell(HAPPENINGS["the peer ends its direction"])
    assert driver.releases == 1


def test_the_peers_last_word_waits_for_the_application() -> None:
    driver = Driver(server=False)
    driver.tell(HAPPENINGS["the peer closes"])
    assert driver.life.word is not None
    assert driver.life.state is State.OPEN
    driver.wait(LINGER_SECONDS - 0.01)
    assert driver.life.state is State.OPEN
    driver.wait(0.02)
    assert driver.life.state is State.CLOSE_RECEIVED
    assert driver.life.word is None


def test_our_own_close_does_not_wait_for_the_peers_last_word() -> None:
    driver = Driver(server=False)
    driver.tell(HAPPENINGS["the peer closes"])
    driver.tell(HAPPENINGS["we close"])
    assert driver.life.state is State.CLOSE_RECEIVED
    assert driver.life.farewell == (4000, "ours")
    assert driver.life.receive_end is End.CLOSED_HERE
    driver.tell(write_close)
    assert driver.life.result == CloseInfo(4001, "theirs", True)


def test_a_message_cut_off_by_the_peers_close_makes_it_unclean() -> None:
    driver = Driver(server=False)
    driver.tell(HAPPENINGS["the peer closes"])
    driver.tell(HAPPENINGS["it catches up with a message cut off"])
    driver.tell(write_close)
    assert driver.life.result == CloseInfo(4001, "theirs", False)
    assert driver.life.reason is not None
    assert "code 4001 and reason 'theirs'" in driver.life.reason.message
    assert driver.life.receive_end is End.BROKEN


def test_a_message_that_we_ourselves_cut_off_by_closing_does_not() -> None:
    driver = Driver(server=False)
    driver.tell(HAPPENINGS["we close"])
    driver.tell(HAPPENINGS["the peer closes"])
    driver.tell(HAPPENINGS["it catches up with a message cut off"])
    driver.tell(write_close)
    assert driver.life.result == CloseInfo(4001, "theirs", True)


def test_a_broken_rule_is_told_to_the_peer_which_may_hang_up_itself() -> None:
    driver = Driver(server=False)
    driver.tell(HAPPENINGS["the peer breaks a rule"])
    driver.tell(HAPPENINGS["the application catches up"])
    assert driver.life.state is State.FAILING
    assert driver.life.farewell == (1002, "broken rule")
    assert driver.half_closes == 0
    driver.tell(write_close)
    assert driver.half_closes == 1
    assert driver.life.sent_code == 1002
    driver.wait(PARTING_SECONDS - 0.01)
    assert driver.releases == 0
    driver.wait(0.02)
    assert driver.releases == 1
    assert driver.life.result == CloseInfo(1006, "", False)


def test_there_is_one_close_frame_only() -> None:
    driver = Driver(server=False)
    driver.tell(HAPPENINGS["we close"])
    driver.tell(HAPPENINGS["our Close frame is encoded"])
    driver.tell(HAPPENINGS["the peer breaks a rule"])
    driver.tell(HAPPENINGS["the application catches up"])
    assert driver.life.farewell is None
    driver.tell(lambda life, now: life.close_written(now))
    assert driver.life.sent_code == 4000


def test_a_close_frame_that_has_not_begun_says_the_newer_truth() -> None:
    driver = Driver(server=False)
    driver.tell(HAPPENINGS["we close"])
    driver.tell(HAPPENINGS["the peer breaks a rule"])
    driver.tell(HAPPENINGS["the application catches up"])
    assert driver.life.farewell == (1002, "broken rule")


def test_what_the_peer_sent_before_our_writing_failed_still_counts() -> None:
    driver = Driver(server=False)
    driver.tell(HAPPENINGS["our writing fails"])
    assert driver.life.state is State.OPEN
    driver.tell(HAPPENINGS["the peer closes"])
    driver.tell(HAPPENINGS["the application catches up"])
    assert driver.life.result == CloseInfo(4001, "theirs", False)
    assert driver.releases == 1


def test_a_failed_write_is_named_when_nothing_more_arrives() -> None:
    driver = Driver(server=False)
    driver.tell(HAPPENINGS["our writing fails"])
    driver.wait(LAST_WORDS_SECONDS)
    assert driver.life.reason is not None
    assert driver.life.reason.message == "the transport failed"
    assert str(driver.life.reason.cause) == "pipe"
    assert driver.life.result == CloseInfo(1006, "", False)


def test_the_first_failed_write_is_the_cause() -> None:
    driver = Driver(server=False)
    driver.tell(HAPPENINGS["our writing fails"])
    driver.tell(lambda life, now: life.write_failed(OSError("second"), now))
    driver.wait()
    assert driver.life.reason is not None
    assert str(driver.life.reason.cause) == "pipe"


def test_an_answer_that_cannot_leave_any_more_ends_it() -> None:
    driver = closed_by_peer(server=False)
    driver.tell(HAPPENINGS["our writing fails"])
    assert driver.releases == 1
    assert driver.life.result == CloseInfo(4001, "theirs", False)


def test_a_peer_that_has_ended_its_direction_still_gets_our_answer() -> None:
    driver = closed_by_peer(server=False)
    driver.tell(HAPPENINGS["the peer ends its direction"])
    assert driver.releases == 0
    driver.tell(write_close)
    assert driver.releases == 1
    assert driver.life.result == CloseInfo(4001, "theirs", True)


def test_an_end_without_a_close_frame_is_no_clean_one() -> None:
    driver = Driver(server=True)
    driver.tell(HAPPENINGS["the peer ends its direction"])
    assert driver.life.state is State.BROKEN
    assert driver.life.reason is not None
    assert driver.life.reason.message == "the transport ended without a Close frame"
    assert driver.releases == 1


def test_a_slow_goodbye_is_over_at_the_deadline() -> None:
    driver = Driver(server=False)
    driver.tell(HAPPENINGS["we close"])
    driver.tell(write_close)
    driver.wait(CLOSE_TIMEOUT - 0.01)
    assert driver.releases == 0
    driver.wait(0.02)
    assert driver.releases == 1
    assert driver.life.reason is not None
    assert driver.life.reason.message == "the closing handshake was not complete in time"


def test_a_later_close_does_not_move_the_deadline_away() -> None:
    driver = Driver(server=False)
    driver.tell(HAPPENINGS["we close"])
    driver.wait(5.0)
    driver.tell(HAPPENINGS["we close"])
    assert driver.life.deadline == CLOSE_TIMEOUT


def test_having_no_more_to_send_sets_no_deadline() -> None:
    driver = Driver(server=False)
    driver.tell(HAPPENINGS["we finish sending"])
    driver.tell(write_close)
    assert driver.life.next_deadline == math.inf
    assert driver.life.receive_end is None
    assert driver.life.send_end is End.CLOSED_HERE


def test_a_cancelled_block_has_a_short_grace() -> None:
    driver = Driver(server=False)
    driver.tell(HAPPENINGS["the block is cancelled"])
    driver.wait(0.49)
    assert driver.releases == 0
    driver.wait(0.02)
    assert driver.releases == 1


def test_a_peer_given_up_is_told_and_not_waited_for() -> None:
    driver = Driver(server=False)
    driver.tell(HAPPENINGS["the keepalive gives up"])
    assert driver.life.farewell == (1011, "ping timeout")
    assert driver.life.receive_end is End.BROKEN
    assert driver.releases == 0
    driver.tell(write_close)
    driver.wait(0)
    assert driver.releases == 1
    assert driver.now == 0
    assert driver.life.reason is not None
    assert driver.life.reason.message == "no pong"


def test_a_peer_that_cannot_even_be_told_is_given_up_at_once() -> None:
    driver = Driver(server=False)
    driver.tell(HAPPENINGS["it gives up, and all is stuck"])
    driver.wait(0)
    assert driver.releases == 1
    assert driver.life.sent_code is None


def test_a_bug_is_the_connections_error() -> None:
    driver = Driver(server=False)
    driver.tell(HAPPENINGS["a bug"])
    assert driver.life.farewell == (1011, "internal error")
    assert driver.life.reason is not None
    assert driver.life.reason.message == "internal error: ValueError('bug')"
    assert isinstance(driver.life.reason.cause, ValueError)


def test_an_end_that_was_met_is_not_replaced_by_our_own_close() -> None:
    for happening, end in (("the transport fails", End.BROKEN), ("the peer closes", End.CLOSED_BY_PEER)):
        driver = Driver(server=False)
        driver.tell(HAPPENINGS[happening])
        driver.life.caught_up(driver.now)
        before = driver.life.result
        driver.tell(HAPPENINGS["we close"])
        assert (driver.life.receive_end, driver.life.send_end) == (end, end)
        assert before is None or driver.life.result == before


def test_a_long_reason_is_cut_to_what_a_close_frame_holds() -> None:
    driver = Driver(server=False)
    driver.tell(lambda life, now: life.fail(1008, "ä" * 100, now))
    assert driver.life.farewell == (1008, "ä" * 61)


def test_each_of_the_short_patiences_is_a_second() -> None:
    assert (LINGER_SECONDS, PARTING_SECONDS, LAST_WORDS_SECONDS) == (1.0, 1.0, 1.0)


def test_having_no_more_to_send_is_said_with_an_empty_close_frame() -> None:
    driver = Driver(server=False)
    driver.tell(HAPPENINGS["we finish sending"])
    assert driver.life.farewell == (None, "")


def test_a_close_frame_that_was_never_begun_cannot_have_left() -> None:
    driver = closed_by_peer(server=False)
    driver.tell(lambda life, now: life.close_written(now))
    assert driver.life.state is State.CLOSE_RECEIVED
    assert driver.life.result is None
    assert driver.life.sent_code is None


def test_a_close_frame_whose_write_has_failed_was_not_sent() -> None:
    driver = Driver(server=False)
    driver.tell(HAPPENINGS["we close"])
    driver.tell(HAPPENINGS["our Close frame is encoded"])
    assert driver.life.sent_code == 4000
    driver.tell(HAPPENINGS["our writing fails"])
    assert driver.life.sent_code is None
    driver.tell(lambda life, now: life.close_written(now))
    assert driver.life.sent_code is None


def test_after_a_failed_write_no_close_frame_is_waiting_to_be_written() -> None:
    driver = Driver(server=False)
    driver.tell(HAPPENINGS["we close"])
    driver.tell(HAPPENINGS["our writing fails"])
    assert driver.life.farewell is None
    driver.wait(LAST_WORDS_SECONDS - 0.01)
    assert driver.releases == 0
    driver.wait(0.02)
    assert driver.releases == 1


@pytest.mark.parametrize("before", ["the peer closes", "the peer breaks a rule"])
def test_when_the_peer_has_said_its_last_word_a_failed_write_ends_it_at_once(before: str) -> None:
    driver = Driver(server=False)
    driver.tell(HAPPENINGS[before])
    driver.tell(HAPPENINGS["the application catches up"])
    driver.tell(HAPPENINGS["our writing fails"])
    assert driver.releases == 1
    assert driver.life.reason is not None
    if before == "the peer closes":
        assert driver.life.reason.message == "the transport failed"
        assert str(driver.life.reason.cause) == "pipe"


def test_a_broken_rule_is_not_told_where_nothing_can_be_written_any_more() -> None:
    driver = Driver(server=False)
    driver.tell(HAPPENINGS["our writing fails"])
    driver.tell(HAPPENINGS["the peer breaks a rule"])
    driver.tell(HAPPENINGS["the application catches up"])
    assert driver.life.farewell is None
    assert driver.life.sent_code is None


@pytest.mark.parametrize(("close_timeout", "seconds"), [(0.25, 0.25), (10, 1)])
def test_a_peer_that_broke_a_rule_has_a_second_or_less_to_take_note(
    close_timeout: float, seconds: float
) -> None:
    life = Life(server=False, close_timeout=close_timeout, may_hang_up=True)
    life.fail(1002, "broken rule", 100.0)
    assert life.deadline == 100 + seconds


def test_a_peer_given_up_has_the_time_to_take_our_close_frame() -> None:
    driver = Driver(server=False)
    driver.tell(HAPPENINGS["the keepalive gives up"])
    driver.wait(PARTING_SECONDS - 0.01)
    assert driver.releases == 0
    driver.wait(0.02)
    assert driver.releases == 1


def test_a_peer_given_up_behind_our_close_frame_is_released_at_once() -> None:
    driver = Driver(server=False)
    driver.tell(HAPPENINGS["we close"])
    driver.tell(write_close)
    driver.tell(HAPPENINGS["the keepalive gives up"])
    driver.wait(0)
    assert (driver.releases, driver.now) == (1, 0)


def test_the_peers_last_word_counts_when_it_ends_its_direction_whether_or_not_it_was_read_up_to() -> None:
    driver = Driver(server=False)
    driver.tell(HAPPENINGS["the peer closes"])
    driver.tell(HAPPENINGS["the peer ends its direction"])
    assert driver.life.state is State.CLOSE_RECEIVED
    driver.tell(write_close)
    assert driver.life.result == CloseInfo(4001, "theirs", True)


def test_a_peer_that_hangs_up_after_it_was_told_of_its_broken_rule_is_released_at_once() -> None:
    driver = Driver(server=False)
    driver.tell(HAPPENINGS["the peer breaks a rule"])
    driver.tell(HAPPENINGS["the application catches up"])
    driver.tell(write_close)
    assert driver.releases == 0  # it may still read why
    driver.tell(HAPPENINGS["the peer ends its direction"])
    assert driver.releases == 1


def test_a_peer_that_hangs_up_before_it_was_told_of_its_broken_rule_may_still_read_why() -> None:
    driver = Driver(server=False)
    driver.tell(HAPPENINGS["the peer breaks a rule"])
    driver.tell(HAPPENINGS["the application catches up"])
    driver.tell(HAPPENINGS["the peer ends its direction"])
    assert driver.releases == 0
    driver.tell(write_close)
    assert driver.releases == 1
    assert driver.life.sent_code == 1002


@pytest.mark.parametrize("before", [[], ["our writing fails"]])
def test_what_the_transport_failed_of_is_kept(before: list[str]) -> None:
    driver = Driver(server=False)
    for happening in [*before, "the transport fails"]:
        driver.tell(HAPPENINGS[happening])
    assert driver.life.reason is not None
    assert str(driver.life.reason.cause) == "reset"


def test_who_has_finished_sending_meets_that_whatever_the_peer_does_then() -> None:
    for happening in ("the peer closes", "the peer breaks a rule", "the transport fails"):
        driver = Driver(server=False)
        driver.tell(HAPPENINGS["we finish sending"])
        driver.tell(HAPPENINGS[happening])
        driver.tell(HAPPENINGS["the application catches up"])
        assert driver.life.send_end is End.CLOSED_HERE
        closed = happening == "the peer closes"
        assert driver.life.receive_end is (End.CLOSED_BY_PEER if closed else End.BROKEN)


def test_a_receiver_that_has_met_the_peers_close_meets_nothing_else_when_the_transport_fails() -> None:
    driver = closed_by_peer(server=False)
    driver.tell(HAPPENINGS["the transport fails"])
    assert (driver.life.receive_end, driver.life.send_end) == (End.CLOSED_BY_PEER, End.CLOSED_BY_PEER)
    assert driver.life.result == CloseInfo(4001, "theirs", False)


def test_our_answer_has_the_close_timeout_and_what_follows_both_close_frames_a_second() -> None:
    driver = closed_by_peer(server=False)
    assert driver.life.deadline == CLOSE_TIMEOUT
    driver = Driver(server=False)
    driver.tell(HAPPENINGS["we close"])
    driver.tell(write_close)
    driver.tell(HAPPENINGS["the peer closes"])
    driver.tell(HAPPENINGS["the application catches up"])
    assert driver.life.deadline == PARTING_SECONDS


def test_the_result_of_a_broken_rule_is_known_before_the_peer_was_told() -> None:
    driver = Driver(server=False)
    driver.tell(HAPPENINGS["the peer breaks a rule"])
    driver.tell(HAPPENINGS["the application catches up"])
    assert driver.releases == 0
    assert driver.life.result == CloseInfo(1006, "", False)


def test_a_peers_close_that_can_not_be_answered_any_more_is_a_failure_of_the_transport() -> None:
    driver = Driver(server=False)
    driver.tell(HAPPENINGS["our writing fails"])
    driver.tell(HAPPENINGS["the peer closes"])
    driver.tell(HAPPENINGS["the application catches up"])
    assert driver.life.reason is not None
    assert driver.life.reason.message == "the transport failed"
    assert str(driver.life.reason.cause) == "pipe"


@pytest.mark.parametrize(
    "happening",
    [
        lambda life: life.take_word(Close(1000, ""), 0.0),
        lambda life: (life.take_word(Close(1000, ""), 0.0), life.caught_up(0.0)),
        lambda life: life.peer_ended(0.0),
        lambda life: life.fail(1002, "a rule was broken", 0.0),
    ],
)
def test_behind_the_last_word_of_either_side_no_ping_is_answered(happening: Callable[[Life], object]) -> None:
    life = Life(server=True, close_timeout=CLOSE_TIMEOUT, may_hang_up=True)
    assert life.hears_pongs
    life.finish_sending()
    assert life.hears_pongs, "the peer still has something to say"
    happening(life)
    assert not life.hears_pongs
