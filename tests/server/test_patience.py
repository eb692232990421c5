"""Many who are waited for, on one timer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from websocketstream._server.patience import Patience


class FakeLoop:
    """A clock that is set by hand, and timers that ring when it is."""

    def __init__(self, *, has_ended: bool = False) -> None:
        self.now = 0.0
        self.timers: list[FakeTimer] = []
        self.has_ended = has_ended

    def clock(self) -> float:
        return self.now

    def call_at(self, deadline: float, callback: Callable[[], object]) -> FakeTimer:
        if self.has_ended:
            raise OSError("it has ended")
        self.timers.append(FakeTimer(self.timers, deadline, callback))
        return self.timers[-1]

    def advance(self, now: float) -> None:
        self.now = now
        for timer in [timer for timer in self.timers if timer.deadline <= now]:
            timer.cancel()
            timer.callback()


class FakeTimer:
    def __init__(self, timers: list[FakeTimer], deadline: float, callback: Callable[[], object]) -> None:
        self.timers, self.deadline, self.callback = timers, deadline, callback

    def cancel(self) -> None:
        self.timers.remove(self)


def waiting(loop: Any, seconds: float | None = 10) -> tuple[Patience[str], list[str]]:
    called: list[str] = []
    return Patience(seconds, called.append, loop), called


def test_each_is_called_when_its_own_time_is_over() -> None:
    loop = FakeLoop()
    patience, called = waiting(loop)
    for now, guest in enumerate(["a", "b", "c"]):
        loop.advance(now)
        patience.begin(guest)
    loop.advance(10.5)
    assert called == ["a"]
    loop.advance(12)
    assert called == ["a", "b", "c"]
    assert loop.timers == []


def test_who_is_not_waited_for_any_more_is_not_called() -> None:
    loop = FakeLoop()
    patience, called = waiting(loop)
    patience.begin("a")
    loop.advance(1)
    patience.begin("b")
    patience.forget("a")
    patience.forget("a")
    loop.advance(10)
    assert called == []
    loop.advance(11)
    assert called == ["b"]


def test_any_number_are_waited_for_on_one_timer() -> None:
    loop = FakeLoop()
    patience, _ = waiting(loop)
    for guest in range(100):
        patience.begin(str(guest))
        patience.forget(str(guest))
    assert len(loop.timers) == 1


def test_nobody_is_called_after_the_end() -> None:
    loop = FakeLoop()
    patience, called = waiting(loop)
    patience.begin("a")
    patience.end()
    patience.end()
    assert loop.timers == []
    loop.advance(10)
    assert called == []


def test_without_a_limit_there_is_no_timer() -> None:
    loop = FakeLoop()
    patience, called = waiting(loop, None)
    patience.begin("a")
    loop.advance(1e9)
    assert (loop.timers, called) == ([], [])


def test_an_event_loop_that_has_ended_sets_no_timer() -> None:
    loop = FakeLoop(has_ended=True)
    patience, called = waiting(loop)
    patience.begin("a")
    assert called == []
