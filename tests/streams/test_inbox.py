"""The inbox in Python and in C: what awaiting it does, and what it is to those who look."""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from types import coroutine
from typing import Any

import pytest

from websocketstream._streams.inbox import Inbox, PortableInbox


@coroutine
def wait() -> Generator[str, Any, Any]:
    return (yield "waiting")


def kinds() -> list[Any]:
    return [
        pytest.param(PortableInbox, id="portable"),
        pytest.param(
            Inbox,
            id="compiled",
            marks=pytest.mark.skipif(Inbox is PortableInbox, reason="not built, or not faster here"),
        ),
    ]


@pytest.fixture(params=kinds())
def inbox(request: pytest.FixtureRequest) -> Any:
    class Stream(request.param):
        async def _receive(self):
            return await wait()

        async def _next(self):
            if await wait() is None:
                raise StopAsyncIteration
            return "next"

    return Stream()


def filled(inbox: Any, *messages: str, credit: int) -> Any:
    inbox._items = list(reversed(messages))
    inbox._credit = credit
    return inbox


def outcome(awaitable: Coroutine[Any, Any, Any], *values: Any) -> tuple[list[Any], Any]:
    """Return what was waited for and the result, or its error, each wait answered by one of the values."""
    waits = []
    try:
        waits.append(awaitable.send(None))
        for value in values:
            waits.append(awaitable.send(value))  # noqa: PERF401
    except BaseException as exc:
        return waits, exc.value if isinstance(exc, StopIteration) else type(exc)
    return waits, "still waiting"


def test_messages_are_handed_out_in_order_as_long_as_there_is_credit(inbox):
    filled(inbox, "one", "two", "three", credit=2)
    assert outcome(inbox.receive()) == ([], "one")
    assert outcome(inbox.__anext__()) == ([], "two")
    assert outcome(inbox.receive(), "late") == (["waiting"], "late")
    assert (inbox._items, inbox._credit) == (["three"], 0)


def test_a_message_is_taken_when_it_is_awaited_and_not_before(inbox):
    filled(inbox, "one", credit=1)
    late = inbox.receive()
    assert (inbox._items, inbox._credit) == (["one"], 1)
    late.close()
    assert (inbox._items, inbox._credit) == (["one"], 1)


def test_an_exception_thrown_in_before_the_start_takes_nothing(inbox):
    filled(inbox, "one", credit=1)
    with pytest.raises(KeyError):
        inbox.receive().throw(KeyError("cancelled"))
    assert inbox._items == ["one"]


def test_an_exception_thrown_in_during_the_wait_reaches_who_waits(inbox):
    waiting = inbox.receive()
    assert waiting.send(None) == "waiting"
    with pytest.raises(KeyError):
        waiting.throw(KeyError("cancelled"))


def test_closing_during_the_wait_ends_it(inbox):
    waiting = inbox.receive()
    assert waiting.send(None) == "waiting"
    waiting.close()
    with pytest.raises(RuntimeError):
        waiting.send(None)


def test_an_iteration_ends_by_its_own_exception(inbox):
    assert outcome(inbox.__anext__(), None) == (["waiting"], StopAsyncIteration)
    assert outcome(inbox.__anext__(), "more") == (["waiting"], "next")


def test_awaiting_twice_is_an_error(inbox):
    filled(inbox, "one", "two", credit=2)
    once = inbox.receive()
    assert outcome(once) == ([], "one")
    assert outcome(once) == ([], RuntimeError)
    assert inbox._items == ["two"]


def test_it_is_a_coroutine_to_those_who_look(inbox):
    filled(inbox, "one", credit=1)
    awaitable = inbox.receive()
    assert isinstance(awaitable, Coroutine)
    assert outcome(awaitable) == ([], "one")


def test_it_can_be_awaited_by_a_coroutine(inbox):
    async def collect() -> list[str]:
        return [await inbox.receive(), await inbox.__anext__(), await inbox.receive()]

    filled(inbox, "one", "two", credit=2)
    assert outcome(collect(), "three") == (["waiting"], ["one", "two", "three"])
