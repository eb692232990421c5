"""The server's side of the browser demo: a firehose, a slow reader, and a connection that tells how both fare.

A page opens ``/control`` and gets from there, first of all, the number of its run. With that it opens any number of
``/download`` and ``/upload``. Every tenth of a second the control connection says how each of them stands, which it knows from
``conn.statistics()``; when it ends, so do they.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any

from anyio import (
    BrokenResourceError,
    CancelScope,
    ClosedResourceError,
    Event,
    create_task_group,
    current_time,
    move_on_after,
    sleep,
)

from .._protocol.close import CloseCode
from .._protocol.parameters import QueryParams
from .._streams.stream import WebSocketStream
from .demo_run import resident_memory
from .demo_site import ServeWebSocket

MESSAGE = bytes(32 * 2**10)
OFFERED = 20 * 2**20  # bytes per second: what a download's sender would send, and what an upload's page does
READING = 2 * 2**20  # bytes per second that uploads are read with, until the page says otherwise
MOST_READING = 2**30
AHEAD_SECONDS = (
    0.1  # of what a pace allows, that may pass at once after a pause: timers are no more exact than that
)
REPORT_SECONDS = 0.1


class Pace:
    """Lets so many bytes pass in a second; the rate may change while somebody waits, and zero lets nothing pass."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._credit = 0.0
        self._counted_at = current_time()
        self._changed = Event()

    def change(self, rate: float) -> None:
        """Go on with another rate, in bytes per second."""
        self._earn()
        self._rate = rate
        self._changed.set()
        self._changed = Event()

    async def spend(self, size: int) -> None:
        """Wait until so many bytes may pass. Cancelling is safe: they have not."""
        while True:
            self._earn()
            self._credit = min(self._credit, size + AHEAD_SECONDS * self._rate)
            missing = size - self._credit
            if missing < 1:  # times are no exact numbers
                break
            with move_on_after(missing / self._rate if self._rate else math.inf):
                await self._changed.wait()
        self._credit -= size

    def _earn(self) -> None:
        now = current_time()
        self._credit += (now - self._counted_at) * self._rate
        self._counted_at = now


@dataclass(slots=True, eq=False)
class Flow:
    """One connection for data, and how many bytes the server's program has read from it."""

    name: str
    conn: WebSocketStream
    reading: Pace | None = None  # of an upload
    scope: CancelScope = field(default_factory=CancelScope)
    read: int = 0

    def report(self) -> dict[str, float]:
        """Say how it stands, sizes in bytes and times in seconds."""
        now = self.conn.statistics()
        return {
            "sent": now.writable.messages * len(MESSAGE),
            "toNetwork": now.writable.buffered_bytes,
            "senderHeldBack": now.writable.paused_seconds,
            "read": self.read,
            "toReader": now.readable.buffered_bytes,
            "readerHeldBack": now.readable.paused_seconds,
        }


class Run:
    """What one control connection has called for."""

    def __init__(self, offered: float) -> None:
        self._offered = offered
        self._reading_rate: float = READING
        self._flows: list[Flow] = []
        self._is_over = False
        self._started = current_time()

    async def download(self, name: str, conn: WebSocketStream) -> None:
        """Send as much as is offered, or as the connection takes if that is less."""
        pace = Pace(self._offered)
        with self._flow(Flow(name, conn)):
            while True:
                await pace.spend(len(MESSAGE))
                await conn.send(MESSAGE)

    async def upload(self, name: str, conn: WebSocketStream) -> None:
        """Read at the pace that the page has asked for."""
        pace = Pace(self._reading_rate)
        with self._flow(Flow(name, conn, pace)) as flow:
            while True:
                await pace.spend(len(MESSAGE))
                flow.read += len(await conn.receive())

    @contextmanager
    def _flow(self, flow: Flow) -> Iterator[Flow]:
        self._flows.append(flow)
        if self._is_over:
            flow.scope.cancel()
        try:
            with flow.scope:
                yield flow
        finally:
            self._flows.remove(flow)

    def read_with(self, rate: float) -> None:
        """Change the pace at which uploads are read, in bytes per second."""
        self._reading_rate = rate
        for flow in self._flows:
            if flow.reading is not None:
                flow.reading.change(rate)

    def end(self) -> None:
        """End every connection for data, and those that are about to begin."""
        self._is_over = True
        for flow in self._flows:
            flow.scope.cancel()

    def report(self) -> dict[str, Any]:
        """Say how everything stands."""
        return {
            "seconds": current_time() - self._started,
            "memory": resident_memory(),
            "flows": {flow.name: flow.report() for flow in self._flows},
        }


class Runs:
    """All control connections that are open, by the number that the page was given.

    :param offered: bytes per second that a download's sender would send
    """

    def __init__(self, offered: float = OFFERED) -> None:
        self._offered = offered
        self._numbers = count(1)
        self._runs: dict[str, Run] = {}

    def find(self, path: str, query: QueryParams) -> ServeWebSocket | None:
        """Return what serves a WebSocket of that path, None if there is none."""
        if path == "/control":
            return self._control
        run = self._runs.get(query.get("run", ""))
        name = query.get("flow")
        if run is None or not name:
            return None
        return {"/download": partial(run.download, name), "/upload": partial(run.upload, name)}.get(path)

    async def _control(self, conn: WebSocketStream) -> None:
        run, number = Run(self._offered), str(next(self._numbers))
        self._runs[number] = run
        hello = {"run": number, "message": len(MESSAGE), "offered": self._offered}
        try:
            async with create_task_group() as tasks:
                tasks.start_soon(_tell, conn, hello, run)
                with suppress(BrokenResourceError):
                    async for message in conn:
                        rate = reading_rate(message)
                        if rate is None:
                            conn.close(CloseCode.UNSUPPORTED_DATA, "no rate to read with")
                            break
                        run.read_with(rate)
                tasks.cancel_scope.cancel()
        finally:
            del self._runs[number]
            run.end()


async def _tell(conn: WebSocketStream, hello: dict[str, Any], run: Run) -> None:
    with suppress(BrokenResourceError, ClosedResourceError):
        await conn.send(json.dumps(hello))
        while True:
            await conn.send(json.dumps(run.report()))
            await sleep(REPORT_SECONDS)


def reading_rate(message: str | bytes) -> float | None:
    """Return what a page asks for with ``{"reading": BYTES_PER_SECOND}``, None where it makes no sense."""
    try:
        rate = json.loads(message)["reading"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    is_number = isinstance(rate, int | float) and not isinstance(rate, bool)
    return rate if is_number and 0 <= rate <= MOST_READING else None
