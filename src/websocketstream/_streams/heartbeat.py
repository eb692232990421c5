"""The keepalive task: pings in silence, and the end of a peer that stays silent."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING

from anyio import Event, sleep_until

from .._protocol.keepalive import Action, Keepalive
from .pings import PendingPing, Pings

if TYPE_CHECKING:
    from collections.abc import Iterator


class Heartbeat:
    """Drives a :class:`Keepalive` by the event loop's clock.

    :param interval: seconds of silence before a ping
    :param timeout: seconds of silence after it before ``give_up`` is called; None for never
    """

    def __init__(
        self,
        interval: float,
        timeout: float | None,
        pings: Pings,
        clock: Callable[[], float],
        *,
        send_ping: Callable[[], PendingPing],
        give_up: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._keepalive = Keepalive(interval, timeout, clock())
        self._pings = pings
        self._send_ping = send_ping
        self._give_up = give_up
        self._reading = Event()
        self._reading.set()

    def heard(self) -> None:
        """Take note of inbound bytes."""
        self._keepalive.heard(self._clock())

    def wrote(self, with_ping: bool) -> None:
        """Take note of outbound progress."""
        self._keepalive.wrote(self._clock(), ping=with_ping)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Let the clock stand still while we do not read."""
        self._reading = Event()
        self._keepalive.pause(self._clock())
        try:
            yield
        finally:
            self._keepalive.resume(self._clock())
            self._reading.set()

    async def run(self) -> None:
        """Ping and watch until the peer is given up."""
        ping: PendingPing | None = None
        while True:
            await self._reading.wait()
            await sleep_until(self._keepalive.deadline)
            action = self._keepalive.expired(self._clock())
            if action is Action.PING:
                if ping is not None:
                    self._pings.forget(ping)  # never answered, yet the peer lives: do not pile them up
                ping = self._send_ping()
            elif action is Action.GIVE_UP:
                self._give_up()
                return
