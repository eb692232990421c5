"""What is measured: the rows of the table."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """One figure of a row."""

    name: str
    unit: str
    more_is_better: bool


RATE = Metric("rate", "messages/s", True)
CONNECTIONS = Metric("rate", "connections/s", True)
CONNECTIONS_PER_CPU = Metric("rate_per_cpu", "connections/CPU s", True)
CPU_PER_GIB = Metric("cpu", "CPU s/GiB", False)
MEDIAN = Metric("median", "us", False)
P99 = Metric("p99", "us", False)
OVERHEAD = Metric("overhead", "us/message", False)
WALL_PER_MESSAGE = Metric("wall", "us/message", False)
CPU_PER_MESSAGE = Metric("cpu", "CPU us/message", False)
MEMORY = Metric("memory", "KiB/connection", False)
INSTRUCTIONS = Metric(
    "instructions", "for each", False
)  # message or connection; counted instead of all others


@dataclass(frozen=True)
class Row:
    """One measurement: ``kind`` names the function that does it, ``metrics`` what the table shows of its result."""

    name: str
    kind: str
    about: str
    metrics: tuple[Metric, ...]
    size: int = 64
    text: bool = False
    tls: bool = False
    deflate: bool = False  # JSON, compressed by permessage-deflate
    batch: bool = False  # by the list: only we can
    count: int = 0
    processes: int = 1  # of the server
    asgi: bool = (
        False  # the server is an application of Starlette's under uvicorn, with the contender as its protocol
    )

    @property
    def by_server(self) -> bool:
        """Whether the contender is the server."""
        return self.kind in ("accept", "memory", "many", "broadcast")

    @property
    def needs(self) -> frozenset[str]:
        """What a contender has to be able to do."""
        where = "asgi" if self.asgi else "own"
        return frozenset((self.kind, where, "deflate") if self.deflate else (self.kind, where))


SIZES = {"16": 16, "64": 64, "1k": 2**10, "64k": 2**16, "1m": 2**20}


def _throughput() -> list[Row]:
    rows = []
    for kind in ("receive", "send"):
        for label, size in SIZES.items():
            for text in (False, True):
                name = f"{kind}-{label}{'-text' if text else ''}"
                about = (
                    f"{kind} {'text' if text else 'binary'} messages of {size:,} bytes, as many as possible"
                )
                metrics = (RATE, CPU_PER_GIB) if label in ("64k", "1m") and not text else (RATE,)
                rows.append(Row(name, kind, about, metrics, size=size, text=text))
    return rows


ALL = [
    *_throughput(),
    *(
        Row(f"{kind}-64-batch", kind, f"{kind} binary messages of 64 bytes by the list", (RATE,), batch=True)
        for kind in ("receive", "send")
    ),
    Row("echo-64", "echo", "round trip of 64 bytes, one at a time", (MEDIAN, P99), size=64),
    Row("echo-16k", "echo", "round trip of 16 KiB, one at a time", (MEDIAN, P99), size=2**14),
    Row("pipeline-64", "pipeline", "echo of 64 bytes with 64 messages in flight", (RATE,), size=64, count=64),
    Row(
        "slow",
        "slow",
        "receive 1 KiB messages and be busy for 1 ms with each: the time beyond it",
        (OVERHEAD,),
        size=2**10,
    ),
    Row("receive-64-tls", "receive", "receive messages of 64 bytes over TLS", (RATE,), size=64, tls=True),
    Row("receive-64k-tls", "receive", "receive messages of 64 KiB over TLS", (RATE,), size=2**16, tls=True),
    Row("receive-1m-tls", "receive", "receive messages of 1 MiB over TLS", (RATE,), size=2**20, tls=True),
    Row("send-1m-tls", "send", "send messages of 1 MiB over TLS", (RATE,), size=2**20, tls=True),
    Row("echo-64-tls", "echo", "round trip of 64 bytes over TLS, one at a time", (MEDIAN, P99), tls=True),
    Row(
        "receive-deflate",
        "receive",
        "receive 4 KiB of JSON, compressed by permessage-deflate",
        (RATE,),
        size=2**12,
        text=True,
        deflate=True,
    ),
    Row(
        "send-deflate",
        "send",
        "send 4 KiB of JSON, compressed by permessage-deflate",
        (RATE,),
        size=2**12,
        text=True,
        deflate=True,
    ),
    Row("connect", "connect", "a client opens and closes connections, one after the other", (CONNECTIONS,)),
    Row("accept", "accept", "a server accepts and closes connections, 16 at a time", (CONNECTIONS,)),
    Row(
        "accept-tls",
        "accept",
        "a server accepts and closes TLS connections, 16 at a time",
        # A client's half of a TLS handshake costs as much as a server's, so time alone would measure the load.
        (CONNECTIONS, CONNECTIONS_PER_CPU),
        tls=True,
    ),
    Row(
        "memory",
        "memory",
        "a server's memory for an idle connection, keepalive on, of 2,000",
        (MEMORY,),
        count=2000,
    ),
    Row(
        "memory-tls",
        "memory",
        "a server's memory for an idle TLS connection, keepalive on, of 1,000",
        (MEMORY,),
        tls=True,
        count=1000,
    ),
    Row(
        "memory-deflate",
        "memory",
        "a server's memory for a connection that has echoed compressed JSON, keepalive on, of 500",
        (MEMORY,),
        size=2**12,
        deflate=True,
        count=500,
    ),
    *(
        Row(
            f"many-{count}",
            "many",
            f"a server echoes 64 bytes on each of {count:,} connections",
            (WALL_PER_MESSAGE, CPU_PER_MESSAGE),
            count=count,
        )
        for count in (1, 10, 100, 1000)
    ),
    Row(
        "many-100-tls",
        "many",
        "a server echoes 64 bytes on each of 100 TLS connections",
        (WALL_PER_MESSAGE, CPU_PER_MESSAGE),
        tls=True,
        count=100,
    ),
    Row(
        "asgi-echo-100",
        "many",
        "an application of Starlette's under uvicorn echoes 64 bytes on each of 100 connections",
        (CPU_PER_MESSAGE, WALL_PER_MESSAGE),
        count=100,
        asgi=True,
    ),
    Row(
        "broadcast-1000",
        "broadcast",
        "a server sends each message of 64 bytes to all of its 1,000 connections",
        (CPU_PER_MESSAGE,),  # the load takes longer to read it all than the fastest to send it
        count=1000,
    ),
    Row(
        "broadcast-5000",
        "broadcast",
        "a server sends each message of 1 KiB to all of its 5,000 connections",
        (CPU_PER_MESSAGE,),
        size=2**10,
        count=5000,
    ),
    Row(
        "two-processes",
        "many",
        "two server processes, each with a core, share a port and echo 64 bytes on each of 100 connections",
        (RATE, CPU_PER_MESSAGE),
        count=100,
        processes=2,
    ),
]
BY_NAME = {row.name: row for row in ALL}
