"""A measurement: connections are opened, messages go out and come back, and each is timed."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from time import perf_counter

from anyio import (
    BrokenResourceError,
    CancelScope,
    CapacityLimiter,
    ClosedResourceError,
    EndOfStream,
    Event,
    WouldBlock,
    create_task_group,
    fail_after,
    move_on_after,
    sleep,
)
from anyio.lowlevel import checkpoint

from .._protocol.codec import Message
from .._protocol.errors import WebSocketError
from .._streams.stream import WebSocketStream
from .bench_values import Load, NoEcho, Result

Connect = Callable[[], AbstractAsyncContextManager[WebSocketStream]]

OPENED_AT_ONCE = 50  # so that opening is not measured in a crowd of its own
PROBES_SKIPPED = 100  # what a server may say before it echoes: a greeting, a banner
SPIN_SECONDS = 0.002  # event loops wait in whole milliseconds: the rest until a message is due is not slept
SENT_AT_ONCE = 50  # messages that are due before others have their turn


class Link:
    """One connection: messages go out when they are due, or as soon as there is room, and come back in order."""

    def __init__(self, conn: WebSocketStream, payload: Message, bench: Bench) -> None:
        self.conn = conn
        self.under_way: deque[float] = deque()  # since when, each
        self.due: deque[float] = deque()  # likewise, and there was no room for them
        self.is_over = False
        self._payload = payload
        self._bench = bench
        self._wake = Event()

    def send(self, since: float) -> None:
        """Send a message that is due since then; it waits for room if need be."""
        if not self.due:
            try:
                self.conn.writable.send_nowait(self._payload)
            except WouldBlock:
                pass
            except (BrokenResourceError, ClosedResourceError):
                pass  # who receives meets the same end
            else:
                self._bench.result.sent += 1
                self.under_way.append(since)
                return
        self.due.append(since)
        self._wake.set()

    async def send_what_waits(self) -> None:
        """Send what there was no room for, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake = Event()
            while self.due:
                self.under_way.append(self.due.popleft())
                self._bench.result.sent += 1
                try:
                    await self.conn.send(self._payload)
                except (BrokenResourceError, ClosedResourceError):
                    return

    async def receive(self) -> None:
        """Time what comes back, until the connection ends."""
        bench = self._bench
        try:
            async for message in self.conn.messages():
                if message != self._payload or not self.under_way:
                    bench.result.unexpected += 1
                    continue
                now = perf_counter()
                bench.echoed(self, now - self.under_way.popleft(), now)
            bench.result.errors["the server closed the connection"] += 1
        except (WebSocketError, EndOfStream, BrokenResourceError) as exc:
            bench.result.fail(exc)
        except ClosedResourceError:
            pass
        self.is_over = True
        bench.look_for_the_end()

    async def probe(self, patience: float) -> None:
        """See whether the server echoes; what it says before is its greeting.

        :raises NoEcho: it does not within so many seconds
        """
        answers: list[Message] = []
        try:
            with fail_after(patience):
                await self.conn.send(self._payload)
                while len(answers) < PROBES_SKIPPED:
                    answer = await self.conn.receive()
                    if answer == self._payload:
                        return
                    answers.append(answer)
        except TimeoutError:
            pass
        raise NoEcho(answers)


class Bench:
    """One measurement."""

    def __init__(self, connect: Connect, load: Load) -> None:
        self._connect = connect
        self._load = load
        self._payload = load.payload()
        self._links: list[Link] = []
        self._left = math.inf if load.messages is None else load.messages  # still to be sent
        self._last_echo = 0.0
        self._sending = CancelScope()
        self._all_here = Event()
        self.result = Result()

    async def run(self) -> Result:
        """Open the connections, put the load on them, and close them.

        :raises NoEcho: the server does not send back what it is sent
        :raises Exception: of opening, when no connection could be opened at all
        """
        async with AsyncExitStack() as stack:
            await self._open_all(stack)
            if not self._links:
                assert self.result.first_error is not None
                raise self.result.first_error
            try:
                await self._probe_all()
                await self._measure()
            finally:
                for link in self._links:
                    link.conn.close(1000)  # all at once: the blocks are left one by one
        return self.result

    # --- opening

    async def _open_all(self, stack: AsyncExitStack) -> None:
        limiter = CapacityLimiter(OPENED_AT_ONCE)
        began = perf_counter()
        async with create_task_group() as tasks:
            for _ in range(self._load.connections):
                tasks.start_soon(self._open, stack, limiter)
        self.result.opening_seconds = perf_counter() - began

    async def _open(self, stack: AsyncExitStack, limiter: CapacityLimiter) -> None:
        async with limiter:
            began = perf_counter()
            try:
                conn = await stack.enter_async_context(self._connect())
            except (WebSocketError, OSError) as exc:
                self.result.fail(exc)
                return
            self.result.opened.add(perf_counter() - began)
            self._links.append(Link(conn, self._payload, self))

    async def _probe_all(self) -> None:
        failures: list[Exception] = []

        async def probe(link: Link) -> None:
            try:
                await link.probe(self._load.timeout)
            except Exception as exc:  # noqa: BLE001  (a group would wrap it)
                failures.append(exc)
                tasks.cancel_scope.cancel()

        async with create_task_group() as tasks:
            for link in self._links:
                tasks.start_soon(probe, link)
        if failures:
            raise failures[0]

    # --- measuring

    async def _measure(self) -> None:
        async with create_task_group() as tasks:
            for link in self._links:
                tasks.start_soon(link.receive)
                tasks.start_soon(link.send_what_waits)
            began = self._last_echo = perf_counter()
            with self._sending:
                await self._send(began)
            self._left = 0
            with move_on_after(self._load.timeout):
                self.look_for_the_end()
                await self._all_here.wait()
            self._count_what_is_missing()
            tasks.cancel_scope.cancel()
        self.result.seconds = self._last_echo - began

    async def _send(self, began: float) -> None:
        end = math.inf if self._load.messages is not None else began + self._load.seconds
        if self._load.rate is not None:
            await self._send_at_rate(self._load.rate, began, end)
            return
        for link in self._links:
            for _ in range(self._load.in_flight):
                self._send_next(link)
        # Until the last message has been sent; with a number of messages, as long as any come back.
        if math.isinf(end):
            while (quiet := perf_counter() - self._last_echo) < self._load.timeout:  # noqa: ASYNC110  (each echo prolongs it)
                await sleep(self._load.timeout - quiet)
        else:
            await sleep(end - began)

    async def _send_at_rate(self, rate: float, began: float, end: float) -> None:
        """Send each message at its time, whatever became of those before; one that is late for that is timed from when it was due."""
        number = 0
        while self._left > 0 and (due := began + number / rate) < end:
            if due > perf_counter():
                await _sleep_until(due)
            elif number % SENT_AT_ONCE == 0:
                await checkpoint()
            self._left -= 1
            self._links[number % len(self._links)].send(due)
            number += 1

    def _send_next(self, link: Link) -> None:
        if self._left > 0:
            self._left -= 1
            link.send(perf_counter())
        else:
            self._sending.cancel()

    def echoed(self, link: Link, latency: float, now: float) -> None:
        """Count an echo, and send the next message where nothing else says when."""
        self.result.echoed += 1
        self.result.latencies.add(latency)
        self._last_echo = now
        if self._load.rate is None:
            self._send_next(link)
        if self._left <= 0 and not link.under_way:
            self.look_for_the_end()

    def look_for_the_end(self) -> None:
        """See whether all has come back that will, or no connection is left."""
        if all(link.is_over for link in self._links):
            self._sending.cancel()
            self._all_here.set()
        elif self._left <= 0 and not any(
            link.due or link.under_way for link in self._links if not link.is_over
        ):
            self._all_here.set()

    def _count_what_is_missing(self) -> None:
        """Time what did not come back until now: without it the slowest would be missing among the latencies."""
        now = perf_counter()
        for link in self._links:
            for since in (*link.under_way, *link.due):
                self.result.overdue += 1
                self.result.latencies.add(now - since)


async def _sleep_until(time: float) -> None:
    if (delay := time - perf_counter() - SPIN_SECONDS) > 0:
        await sleep(delay)
    while perf_counter() < time:
        await checkpoint()
