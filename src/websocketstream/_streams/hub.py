"""The inside of a hub: what was sent goes to all outlets step by step, and waits at each for as long as it has no room."""

from __future__ import annotations

import math
import sys
from collections.abc import Hashable, Iterator, Sequence
from contextlib import suppress
from itertools import product
from time import perf_counter

from .._network.loop import EventLoop, Handle
from .._protocol.close import CloseCode
from .._protocol.codec import Outgoing
from .._protocol.shared import Encoder, Form, SharedMessage
from .backlog import Backlog, Policy
from .hot import SendBuffer, Writer
from .send_buffer import size_of
from .statistics import SubscriptionStatistics
from .stream import Inside, WebSocketStream

PORTION_SECONDS = 0.004  # what a hub takes of one pass of the event loop
# Messages that are still to be given to everybody. Who sends more gives some himself with each, and takes the time for it.
AHEAD_BYTES = 2**22
SWEEP_MESSAGES = 2**10  # that everybody is given at once: about a millisecond for each connection


class Hub:
    """What was sent and is still to be given, and to whom.

    A *sweep* gives the news of its beginning, or the first of very many, to all outlets of that moment, in steps. The first
    one begins when something is sent; the next in the event loop's next pass, with all that was sent meanwhile, so that a
    burst leaves in few writes.
    """

    def __init__(self) -> None:
        self.outlets: dict[Outlet, None] = {}  # in order
        self._encoders: dict[Form, Encoder] = {}  # those that somebody wants the frames of
        self._loop: EventLoop | None = None
        self._news: list[SharedMessage] = []  # not yet given to everybody
        self._first = 0  # the number of the first of them, of all messages ever
        self._ahead = 0  # bytes of them
        self._given = 0  # messages ever, times outlets
        self._sweep: Iterator[None] | None = None  # is giving them
        self._until = 0.0  # the time at which it takes a break
        self._turn: Handle | None = None  # the next one, when this pass of the event loop has had one

    def enter(self, conn: WebSocketStream, policy: Policy) -> Outlet:
        """Give what is sent from now on to a connection as well.

        :raises RuntimeError: there are connections of another event loop
        """
        connection = conn.extra(Inside.connection)
        loop = connection.loop
        if self.outlets and loop is not self._loop:
            raise RuntimeError("this hub has connections of another event loop: a hub belongs to one")
        if loop is not self._loop:
            self._loop, self._turn = loop, None  # whom we asked for a turn before is over
        encoder = None
        if connection.server:  # a client's frames are made by its own codec
            form = connection.form
            encoder = self._encoders[form] = self._encoders.get(form) or Encoder(form)
            encoder.users += 1
        outlet = Outlet(self, conn, policy, encoder, self._first + len(self._news))
        self.outlets[outlet] = None
        return outlet

    def leave(self, outlet: Outlet) -> None:
        """Give an outlet the news that it has room for, and then nothing more."""
        if outlet not in self.outlets:
            return
        del self.outlets[outlet]
        outlet.close(self._news, self._first)
        if outlet.encoder is not None:
            outlet.encoder.users -= 1
            self._encoders = {form: each for form, each in self._encoders.items() if each.users}
        if not self.outlets:
            self._end_sweep(len(self._news))

    def send(self, message: Outgoing, key: Hashable, exclude: WebSocketStream | None = None) -> None:
        """Give a message to everybody but one, now or in the next passes."""
        if self._loop is None or not self.outlets:
            return
        news = SharedMessage(message, key, self._loop.clock(), exclude)
        self._news.append(news)
        self._ahead += news.size
        if self._turn is None:
            self._take_turn(self._loop)
        elif self._ahead > AHEAD_BYTES:
            self._give_some()

    def flush(self) -> None:
        """Give everybody the news now, however long that takes."""
        while self._news:
            self._go_on(math.inf)

    # --- bit by bit

    def _give_some(self) -> None:
        """Go on for the time of a portion, but for twice the work of one message at the least: so what is ahead gets less.

        Until then more than that may be ahead, but not more than twice as much.
        """
        enough, target = perf_counter() + PORTION_SECONDS, self._given + 2 * len(self.outlets)
        while self._ahead > AHEAD_BYTES and (
            perf_counter() < enough or self._given < target or self._ahead > 2 * AHEAD_BYTES
        ):
            self._go_on(0)

    def _take_turn(self, loop: EventLoop) -> None:
        """Go on for the time of a portion; what is sent until the next pass waits for that."""
        try:
            self._turn = loop.call_soon(self._next_pass)
        except OSError:  # the event loop is over, as all connections will find
            self.flush()
            return
        if not loop.calls.are_late():
            enough = perf_counter() + PORTION_SECONDS
            self._go_on(enough)
            while self._news and perf_counter() < enough:
                self._go_on(enough)
            loop.calls.took_much()

    def _next_pass(self) -> None:
        self._turn = None
        if self._news and self._loop is not None:
            self._take_turn(self._loop)

    def _go_on(self, until: float) -> None:
        """Go on with the sweep until it is through, or until the time of ``perf_counter()`` has come."""
        self._until = until
        # If it raises what it should not, the next sweep goes on behind that.
        sweep, self._sweep = self._sweep or self._give(self._news[:SWEEP_MESSAGES]), None
        for _ in sweep:
            if self._news:  # somebody is still there
                self._sweep = sweep
            break

    def _give(self, news: list[SharedMessage]) -> Iterator[None]:
        """Give everybody the news, and yield when the time has come."""
        outlets = tuple(self.outlets)
        for encoder, message in product(self._encoders.values(), news):
            for _ in message.make_frame(encoder):
                if perf_counter() > self._until:
                    yield
        # One number for all: thousands of them would not fit the processor's cache.
        end = self._first + len(news)
        for outlet in outlets:
            outlet.take(news, self._first, end)
            self._given += len(news)
            if perf_counter() > self._until:
                yield
        if self.outlets:
            self._end_sweep(len(news))

    def _end_sweep(self, count: int) -> None:
        """Forget the news that everybody has."""
        self._sweep = None
        self._ahead -= sum(message.size for message in self._news[:count])
        self._first += count
        del self._news[:count]


class Outlet:
    """One connection's end of a hub: messages go straight on to it while it has room, and wait while it has not."""

    __slots__ = (
        "_backlog",
        "_buffer",
        "_connection",
        "_dropped",
        "_hub",
        "_next",
        "_policy",
        "_sent",
        "_timer",
        "_writer",
        "encoder",
        "stream",
    )

    def __init__(
        self, hub: Hub, conn: WebSocketStream, policy: Policy, encoder: Encoder | None, first: int
    ) -> None:
        connection = conn.extra(Inside.connection)
        self._hub = hub
        self.stream: WebSocketStream = conn
        self.encoder: Encoder | None = encoder
        self._connection = connection
        self._buffer: SendBuffer = connection.outbox
        self._writer: Writer = connection.writer
        self._policy = policy
        self._backlog: Backlog | None = None  # what waits, while something does
        self._next = first  # the number of the hub's message that is to come next
        self._sent = 0
        self._dropped = 0  # but for those that the backlog has dropped
        self._timer: Handle | None = None

    def statistics(self) -> SubscriptionStatistics:
        """Return what was sent and dropped, and what waits for room."""
        backlog = self._backlog or Backlog(self._policy)
        return SubscriptionStatistics(
            sent=self._sent,
            dropped=self._dropped + backlog.dropped,
            waiting_messages=len(backlog.waiting),
            waiting_bytes=backlog.bytes,
            behind_seconds=max(0.0, self._connection.loop.clock() - backlog.since),
        )

    # --- called by the hub

    def take(self, news: Sequence[SharedMessage], first: int, end: int) -> None:
        """Take over the messages, numbered from ``first`` to ``end``, that were sent since it subscribed, and until it left."""
        start = self._next
        if start >= end:
            return
        self._next = end
        if start > first:
            news = news[start - first :]
        if self._backlog is None and len(news) == 1:
            frame = news[0].frames.get(self.encoder)
            if frame is not None and news[0].excluded is not self.stream and self._writer.put_frame(frame):
                self._sent += 1
                return
        self._take_all(news)

    def _take_all(self, news: Sequence[SharedMessage]) -> None:
        if self._buffer.end is not None:
            self._drop(news)
            self._look_after()
            return
        for message in news:
            if message.excluded is self.stream:
                continue
            if self._backlog is None and self._has_room():
                self._queue(message)
            else:
                self._keep(message)
        self._flush()
        if self._backlog is not None or self._buffer.end is not None:
            self._look_after()

    def _keep(self, message: SharedMessage) -> None:
        if self._backlog is None:
            self._backlog = Backlog(self._policy)
        self._backlog.add(message)

    def close(self, news: Sequence[SharedMessage], first: int) -> None:
        """Take the news as far as there is room, drop what waits, and take nothing more."""
        news = news[max(self._next - first, 0) :]
        self._next = sys.maxsize
        rest = 0
        while rest < len(news) and self._backlog is None and self._buffer.end is None and self._has_room():
            if news[rest].excluded is not self.stream:
                self._queue(news[rest])
            rest += 1
        self._flush()
        self._drop(news[rest:])
        self._drop_backlog()
        if self._timer is not None:
            self._timer.cancel()

    def _drop(self, news: Sequence[SharedMessage]) -> None:
        """Take note of messages that are dropped before they have waited."""
        self._dropped += len(news) - [message.excluded for message in news].count(self.stream)

    def _drop_backlog(self) -> None:
        if self._backlog is not None:
            self._dropped += self._backlog.dropped + len(self._backlog.waiting)
            self._backlog = None
        self._buffer.unwatch(self._go_on)

    def _has_room(self) -> bool:
        buffer = self._buffer
        if buffer.free <= 0:
            self._writer.flush()
        return buffer.has_room

    def _queue(self, message: SharedMessage) -> None:
        """Hand over a message to be written together with others."""
        self._sent += 1
        if self.encoder is None:
            self._buffer.append(message.outgoing, size_of(message.outgoing))
        else:
            self._writer.append_frame(message.frame(self.encoder))

    def _flush(self) -> None:
        """Let what was handed over be written, unless that was done already, before there was found to be no room."""
        # Then nothing must be written before we watch: what makes room would not be seen.
        if self._backlog is None:
            self._writer.flush()

    # --- while messages wait

    def _go_on(self) -> None:
        """Hand over what waits, as far as there is room."""
        backlog = self._backlog
        while backlog is not None and backlog.waiting and self._has_room():
            self._queue(backlog.pop())
        if backlog is not None and not backlog.waiting:
            self._drop_backlog()
        self._flush()
        self._look_after()

    def _look_after(self) -> None:
        """See to it that what waits goes on when there is room, and that it waits no longer than it may."""
        backlog = self._backlog
        if self._buffer.end is not None:
            self._hub.leave(self)
        elif backlog is None:
            pass
        elif not backlog.waiting:
            self._drop_backlog()
        elif complaint := backlog.complaint(self._connection.loop.clock()):
            self._connection.start_close(CloseCode.TRY_AGAIN_LATER, complaint)
            self._hub.leave(self)
        else:
            self._buffer.watch(self._go_on)
            if self._buffer.free <= 0:  # otherwise we are about to be called
                self._buffer.refused()
            self._set_timer(backlog.deadline)

    def _set_timer(self, deadline: float) -> None:
        """See to it that we look at the deadline when it comes; one that has moved away is looked at then."""
        if self._timer is None and deadline < math.inf:
            with suppress(OSError):  # the event loop is over, and with it the connection
                self._timer = self._connection.loop.call_at(deadline, self._time_has_come)

    def _time_has_come(self) -> None:
        self._timer = None
        self._look_after()
