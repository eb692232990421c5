"""How long a server waits for each of many: one timer for all of them, for they have as many seconds each."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar

from .._network.loop import EventLoop, Handle

Guest = TypeVar("Guest")


class Patience(Generic[Guest]):
    """Waits for guests, and calls those who have had their time.

    A deadline in a cancel scope of each would be a timer of the event loop's that is set and cancelled for each; most have what
    is waited for within milliseconds.

    :param seconds: for each, None for no limit
    :param call: is called with who has used up the time
    """

    __slots__ = ("_call", "_loop", "_seconds", "_timer", "_waiting")

    def __init__(self, seconds: float | None, call: Callable[[Guest], object], loop: EventLoop) -> None:
        self._seconds = seconds
        self._call = call
        self._loop = loop
        # By when, in the order in which they came, and so in that of the deadlines.
        self._waiting: dict[Guest, float] = {}
        # For who came first, or for who did before and is not waited for any more.
        self._timer: Handle | None = None

    def begin(self, guest: Guest) -> None:
        """Wait for one from now on."""
        if self._seconds is None:
            return
        deadline = self._waiting[guest] = self._loop.clock() + self._seconds
        if self._timer is None:
            self._set_timer(deadline)

    def forget(self, guest: Guest) -> None:
        """Wait for this one no more; one that is not waited for changes nothing."""
        self._waiting.pop(guest, None)

    def end(self) -> None:
        """Wait for nobody any more."""
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set_timer(self, deadline: float) -> None:
        with suppress(OSError):  # the event loop has ended, and with it everything
            self._timer = self._loop.call_at(deadline, self._time_has_come)

    def _time_has_come(self) -> None:
        self._timer = None
        now = self._loop.clock()
        while self._waiting:
            guest, deadline = next(iter(self._waiting.items()))
            if deadline > now:
                self._set_timer(deadline)
                return
            del self._waiting[guest]
            self._call(guest)
