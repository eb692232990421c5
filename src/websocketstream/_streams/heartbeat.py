"""Keepalive: pings in silence, and the end of a peer that stays silent; one timer or task for any number of connections."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Coroutine
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING, Any

from anyio import CancelScope, Event

from .._network.backend import Backend, Timer
from .._protocol.keepalive import Action, Keepalive
from .pings import PendingPing, Pings

if TYPE_CHECKING:
    from collections.abc import Iterator


class Heartbeat:
    """The keepalive of one connection: a :class:`Keepalive` on the event loop's clock, asked when it is due.

    :param interval: seconds of silence before a ping
    :param timeout: seconds of silence after it before ``give_up`` is called; None for never
    """

    def __init__(
        self,
        interval: float,
        timeout: float | None,
        pings: Pings,
        pulse: Pulse,
        *,
        send_ping: Callable[[], PendingPing],
        give_up: Callable[[], None],
    ) -> None:
        self._keepalive = Keepalive(interval, timeout, pulse.clock())
        self._pings = pings
        self._pulse = pulse
        self._clock = pulse.clock
        self._send_ping: Callable[[], PendingPing] | None = send_ping
        self._give_up: Callable[[], None] | None = give_up
        self._ping: PendingPing | None = None
        self._overdue = False
        pulse.add(self, self._keepalive.deadline)

    def heard(self) -> None:
        """Take note of inbound bytes."""
        self._keepalive.heard(self._clock())

    def wrote(self, with_ping: bool) -> None:
        """Take note of outbound progress."""
        self._keepalive.wrote(self._clock(), ping=with_ping)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Let the clock stand still while we do not read."""
        self._keepalive.pause(self._clock())
        try:
            yield
        finally:
            self._keepalive.resume(self._clock())
            if self._overdue:
                self._overdue = False
                self._pulse.add(self, self._keepalive.deadline)

    def stop(self) -> None:
        """End: the pulse may keep the heartbeat up to an interval longer, but not the connection with it."""
        self._send_ping = self._give_up = None

    def beat(self) -> float | None:
        """Do what is due; return when to ask again, None for never or for when the pause is over."""
        if self._send_ping is None or self._give_up is None:
            return None
        if self._keepalive.paused:
            self._overdue = True
            return None
        action = self._keepalive.expired(self._clock())
        if action is Action.PING:
            if self._ping is not None:
                self._pings.forget(self._ping)  # never answered, yet the peer lives: do not pile them up
            self._ping = self._send_ping()
        elif action is Action.GIVE_UP:
            self._give_up()
            return None
        return self._keepalive.deadline


class Pulse:
    """Asks heartbeats when they are due, by the event loop's timer, or by one task where it has none."""

    def __init__(
        self, backend: Backend, start_task: Callable[[Callable[[], Coroutine[Any, Any, None]]], None]
    ) -> None:
        self.clock: Callable[[], float] = backend.clock
        self._call_at = backend.call_at
        self._start_task = start_task
        self._due: list[tuple[float, int, Heartbeat]] = []
        self._order = count()
        self._timer: Timer | None = None
        self._sleep: CancelScope | None = None
        self._running = False
        self._stopped = False

    def add(self, heartbeat: Heartbeat, deadline: float) -> None:
        """Ask this heartbeat at the deadline (seconds of the clock)."""
        if self._stopped:
            return
        heapq.heappush(self._due, (deadline, next(self._order), heartbeat))
        if self._due[0][2] is heartbeat:
            self._arm(deadline)

    def stop(self) -> None:
        """Ask nobody any more."""
        self._stopped = True
        self._due.clear()
        if self._timer is not None:
            self._timer.cancel()
        if self._sleep is not None:
            self._sleep.cancel()

    def _arm(self, deadline: float) -> None:
        if self._call_at is not None:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._call_at(deadline, self._ring)
        elif self._sleep is not None:
            self._sleep.deadline = deadline
        elif not self._running:
            self._running = True
            self._start_task(self._run)

    def _ring(self) -> None:
        while self._due and self._due[0][0] <= self.clock():
            heartbeat = heapq.heappop(self._due)[2]
            again = heartbeat.beat()
            if again is not None and not self._stopped:
                heapq.heappush(self._due, (again, next(self._order), heartbeat))
        if self._due:
            self._arm(self._due[0][0])

    async def _run(self) -> None:
        never = Event()
        while not self._stopped:
            deadline = self._due[0][0] if self._due else math.inf
            with CancelScope(deadline=deadline, shield=True) as self._sleep:
                await never.wait()
            self._sleep = None
            self._ring()
