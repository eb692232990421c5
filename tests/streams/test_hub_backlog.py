"""What may wait for a client that has fallen behind: each policy, exactly at its limits."""

from __future__ import annotations

import math
from typing import Any

import pytest

from websocketstream import CloseWhenBehind, DropOldest, LatestOnly
from websocketstream._protocol.codec import Outgoing
from websocketstream._protocol.shared import PLACE_BYTES as PLACE, SharedMessage
from websocketstream._streams.backlog import Backlog


def message(payload: bytes, key: object = None, sent_at: float = 0.0) -> SharedMessage:
    return SharedMessage(Outgoing(payload, text=False), key, sent_at)


def backlog(policy: Any, *payloads: bytes) -> Backlog:
    made = Backlog(policy)
    for payload in payloads:
        made.add(message(payload))
    return made


def waiting(backlog: Backlog) -> list[bytes]:
    return [backlog.pop().outgoing.payload for _ in range(len(backlog.waiting))]


def test_messages_wait_in_order() -> None:
    made = backlog(CloseWhenBehind(), b"one", b"two", b"", b"two")
    assert (len(made.waiting), made.bytes, made.dropped) == (4, 9 + 4 * PLACE, 0)
    assert waiting(made) == [b"one", b"two", b"", b"two"]
    assert (len(made.waiting), made.bytes) == (0, 0)


def test_the_oldest_are_dropped_when_more_bytes_wait_than_may() -> None:
    made = backlog(DropOldest(max_bytes=9 + 3 * PLACE), b"one", b"two", b"six")
    assert (made.bytes, made.dropped) == (9 + 3 * PLACE, 0)
    made.add(message(b"7"))
    assert (made.bytes, made.dropped) == (7 + 3 * PLACE, 1)
    assert waiting(made) == [b"two", b"six", b"7"]


def test_the_oldest_are_dropped_when_more_messages_wait_than_may() -> None:
    made = backlog(DropOldest(max_bytes=None, max_messages=2), b"a", b"b")
    assert made.dropped == 0
    made.add(message(b"c"))
    assert (made.dropped, waiting(made)) == (1, [b"b", b"c"])


def test_a_message_that_alone_is_more_than_may_wait_is_dropped_with_all_before_it() -> None:
    made = backlog(DropOldest(max_bytes=3 + PLACE), b"one", b"four")
    assert (len(made.waiting), made.bytes, made.dropped) == (0, 0, 2)


def test_of_each_key_only_the_latest_waits_behind_those_sent_before_it() -> None:
    made = Backlog(LatestOnly())
    for payload, key in ((b"a1", "a"), (b"b1", "b"), (b"1", None), (b"a2!", "a"), (b"2", None)):
        made.add(message(payload, key))
    assert (len(made.waiting), made.bytes, made.dropped) == (3, 6 + 3 * PLACE, 2)
    assert waiting(made) == [b"b1", b"a2!", b"2"]


def test_other_policies_do_not_care_about_keys() -> None:
    for policy in (DropOldest(), CloseWhenBehind()):
        made = Backlog(policy)
        made.add(message(b"one", "key"))
        made.add(message(b"two", "key"))
        assert waiting(made) == [b"one", b"two"]


@pytest.mark.parametrize(
    "policy", [CloseWhenBehind(max_bytes=203, max_seconds=None), LatestOnly(max_bytes=203)]
)
def test_a_client_is_to_be_closed_when_more_bytes_wait_than_may(policy: Any) -> None:
    made = Backlog(policy)
    made.add(message(b"one", 1))
    made.add(message(b"", 2))
    assert made.complaint(1e9) == ""
    made.add(message(b"", 3))
    assert made.complaint(0) == "more than 203 bytes behind"


def test_a_client_is_to_be_closed_when_the_oldest_message_has_waited_for_so_long() -> None:
    made = Backlog(CloseWhenBehind(max_bytes=None, max_seconds=5))
    assert (made.deadline, made.complaint(1e9)) == (math.inf, "")
    made.add(message(b"x" * 2**22, sent_at=10.0))
    made.add(message(b"y", sent_at=12.0))
    assert (made.since, made.deadline) == (10.0, 15.0)
    assert made.complaint(14.99) == ""
    assert made.complaint(15.0) == "behind for too long"
    made.pop()
    assert (made.deadline, made.complaint(15.0)) == (17.0, "")


@pytest.mark.parametrize(
    "policy", [DropOldest(max_bytes=None), LatestOnly(max_bytes=None), CloseWhenBehind(max_bytes=None)]
)
def test_others_are_never_closed(policy: Any) -> None:
    made = backlog(policy, b"x" * 2**21)
    assert made.complaint(29.9) == ""


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: DropOldest(max_bytes=0), ValueError),
        (lambda: DropOldest(max_messages=0), ValueError),
        (lambda: DropOldest(max_messages=1.5), TypeError),  # type: ignore[arg-type]
        (lambda: LatestOnly(max_bytes=True), TypeError),
        (lambda: LatestOnly(max_bytes=-1), ValueError),
        (lambda: CloseWhenBehind(max_bytes=0), ValueError),
        (lambda: CloseWhenBehind(max_seconds=0), ValueError),
        (lambda: CloseWhenBehind(max_seconds=math.inf), ValueError),
        (lambda: CloseWhenBehind(max_seconds="1"), TypeError),  # type: ignore[arg-type]
    ],
)
def test_a_limit_that_is_none_is_refused(make: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="max_"):
        make()
