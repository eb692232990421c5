"""The measurements in which the contender is the client; each takes its row and returns figures by metric name."""

from __future__ import annotations

import gc
import ssl
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from statistics import median, quantiles

from . import frames
from .contenders.base import Contender, Link, Message
from .rows import Row

Figures = dict[str, float]
perf_counter = time.perf_counter

BUSY_SECONDS = 0.001
GIB = 2**30


@dataclass(frozen=True)
class Measurement:
    """One contender, one row."""

    contender: Contender
    row: Row
    port: int
    seconds: float
    authority: str = ""  # the certificate authority's file, for TLS
    _opened: list[object] = field(default_factory=list)

    async def open(self, action: str, **query: int) -> Link:
        """Open a connection that stays open until the process ends: closing is measured by the row for that."""
        block = self.connect(action, **query)
        self._opened.append(block)
        return await block.__aenter__()

    def connect(self, action: str, **query: int) -> AbstractAsyncContextManager[Link]:
        query = {"size": self.row.size, "text": int(self.row.text), "deflate": int(self.row.deflate), **query}
        parameters = "&".join(f"{name}={value}" for name, value in query.items())
        scheme = "wss" if self.row.tls else "ws"
        return self.contender.connect(
            f"{scheme}://127.0.0.1:{self.port}/{action}?{parameters}",
            text=self.row.text,
            context=ssl.create_default_context(cafile=self.authority) if self.row.tls else None,
            deflate=self.row.deflate,
            **({"batch": True} if self.row.batch else {}),
        )

    @property
    def message(self) -> Message:
        if self.row.deflate:
            return frames.records(self.row.size).decode()
        return frames.message(self.row.size, text=self.row.text)


async def timed(run: Callable[[int], Awaitable[object]], count: int) -> float:
    start = perf_counter()
    await run(count)
    return perf_counter() - start


async def warm_up(run: Callable[[int], Awaitable[object]], seconds: float) -> int:
    """Run for a quarter of the time at least, and return how many are a twentieth of it."""
    count, end = 1, perf_counter() + seconds / 4
    while True:
        elapsed = await timed(run, count)
        if elapsed < seconds / 40:
            count *= 2
        elif perf_counter() > end:
            return count


async def throughput(
    run: Callable[[int], Awaitable[object]], count: int, size: int, seconds: float
) -> Figures:
    """Run batches until the time is up."""
    gc.collect()
    done, cpu_start, start = 0, time.process_time(), perf_counter()
    while (elapsed := perf_counter() - start) < seconds:
        await run(count)
        done += count
    cpu = time.process_time() - cpu_start
    # "busy" is the share of its core that the contender had. Near 1, it was the bottleneck, and nobody took the core.
    return {
        "rate": done / elapsed,
        "rate_per_cpu": done / cpu,
        "cpu": cpu / (done * size / GIB),
        "busy": cpu / elapsed,
    }


def times(figures: Figures, factor: int) -> Figures:
    """Count what one run did in its smaller units."""
    return {name: value * factor if name.startswith("rate") else value for name, value in figures.items()}


async def receive(measurement: Measurement) -> Figures:
    link = await measurement.open("flood")
    received = await link.receive_n(1)
    if (
        received is not None and link.data(received) != measurement.message
    ):  # None: a bare socket does not look
        raise ValueError(f"received something else: {link.data(received)[:80]!r}")
    count = await warm_up(link.receive_n, measurement.seconds)
    return await throughput(link.receive_n, count, measurement.row.size, measurement.seconds)


async def send(measurement: Measurement) -> Figures:
    message, seconds = measurement.message, measurement.seconds

    # The other end acknowledges after so many messages; that many have to take long compared to a round trip.
    per_ack = max(1, 2**16 // (measurement.row.size + 8))
    run = sending(await measurement.open("sink", ack=per_ack), per_ack, message)
    per_ack *= await warm_up(run, seconds) * 2

    run = sending(await measurement.open("sink", ack=per_ack), per_ack, message)
    await run(1)
    figures = await throughput(run, 1, measurement.row.size * per_ack, seconds)
    return times(figures, per_ack)


def sending(link: Link, per_ack: int, message: Message) -> Callable[[int], Awaitable[None]]:
    async def run(count: int) -> None:
        for _ in range(count):
            await link.send_n(per_ack, message)
            await link.receive_n(1)  # all of it is there

    return run


async def echo(measurement: Measurement) -> Figures:
    message = measurement.message
    taken: list[float] = []
    link = await measurement.open("echo", spin=0)
    count = await warm_up(lambda count: link.echo_n(count, message), measurement.seconds)
    gc.collect()
    cpu, end = time.process_time(), perf_counter() + measurement.seconds
    while perf_counter() < end:
        taken += await link.echo_n(count, message)
    cpu = time.process_time() - cpu
    return {
        "median": median(taken) * 1e6,
        "median_per_cpu": cpu / len(taken) * 1e6,  # not a median, but what a round trip costs
        "p99": quantiles(taken, n=100)[-1] * 1e6,
    }


async def pipeline(measurement: Measurement) -> Figures:
    row, message = measurement.row, measurement.message
    link = await measurement.open("echo")

    async def run(count: int) -> None:
        await link.pipeline_n(count * row.count, message, row.count)

    # Long runs, because each begins and ends with an empty pipeline.
    count = await warm_up(run, measurement.seconds) * 4
    figures = await throughput(run, count, row.size * row.count, measurement.seconds)
    return times(figures, row.count)


async def slow(measurement: Measurement) -> Figures:
    link = await measurement.open("flood")
    await link.slow_n(max(1, int(measurement.seconds / 4 / BUSY_SECONDS)), BUSY_SECONDS)
    count = max(10, int(measurement.seconds / BUSY_SECONDS))
    cpu = time.process_time()
    elapsed = await timed(lambda count: link.slow_n(count, BUSY_SECONDS), count)
    cpu = time.process_time() - cpu
    return {
        "overhead": (elapsed / count - BUSY_SECONDS) * 1e6,
        "overhead_per_cpu": (cpu / count - BUSY_SECONDS) * 1e6,
    }


async def connect(measurement: Measurement) -> Figures:
    async def run(count: int) -> None:
        for _ in range(count):
            async with measurement.connect("close"):
                pass

    count = await warm_up(run, measurement.seconds)
    return await throughput(run, count, 1, measurement.seconds)


KINDS: dict[str, Callable[[Measurement], Awaitable[Figures]]] = {
    each.__name__: each for each in (receive, send, echo, pipeline, slow, connect)
}
