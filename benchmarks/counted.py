"""The process whose instructions are counted: it imports everything once, and forks for each job that it is told."""

from __future__ import annotations

import contextlib
import fcntl
import gc
import importlib
import itertools
import json
import os
import select
import selectors
import signal
import socket
import sys
import termios
import time
import traceback
from typing import Any

from .contenders import ENTRIES, OURS
from .measure import Measurement, sending
from .process import end, pin, say
from .rows import BY_NAME
from .worker import RUNNERS

SETTLE_SECONDS = 0.003
RECEIVE_BUFFER = 2**17  # bytes; less than systems allow


def let_time_pass_by_looking() -> None:
    """Replace the clocks by one that goes on by a microsecond whenever somebody looks at it.

    What takes a checkpoint every so many microseconds would take it after every message, fifty times slower, and not
    always after the same one.
    """
    ticks = itertools.count(time.monotonic(), 1e-6)
    time.monotonic = time.perf_counter = ticks.__next__


class PatientPoll:
    """An epoll that waits until no more bytes come: how many a read brings then depends on nobody's pace."""

    epoll = select.epoll

    def __init__(self, *arguments: Any) -> None:
        self._poll = self.epoll(*arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._poll, name)

    def register(self, fd: Any, *events: int) -> None:
        self._poll.register(fd, *events)
        number = fd if isinstance(fd, int) else fd.fileno()
        # The system makes the buffer larger as it thinks fit, and reads bring more then; not if somebody has set it.
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(number)) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)

    def poll(self, *arguments: Any) -> list[tuple[int, int]]:
        events = self._poll.poll(*arguments)
        for fd, event in events:
            if event & select.EPOLLIN:
                self._settle(fd)
        return events

    def _settle(self, fd: int) -> None:
        steady, last = 0, b""
        with contextlib.suppress(OSError):  # it is no socket
            while steady < 2:
                time.sleep(SETTLE_SECONDS)
                now = fcntl.ioctl(fd, termios.FIONREAD, bytes(4))
                steady, last = (steady + 1 if now == last else 0), now


async def work(measurement: Measurement, portion: int, portions: int) -> None:
    """Do a fixed number of portions."""
    row = measurement.row
    if row.kind == "receive":
        link = await measurement.open("flood")
        await link.receive_n(portions)
    elif row.kind == "send":
        link = await measurement.open("sink", ack=portion)
        await sending(link, portion, measurement.message)(portions)
    elif row.kind == "echo":
        link = await measurement.open("echo")
        await link.echo_n(portions, measurement.message)
    else:
        for _ in range(portions):
            async with measurement.connect("close"):
                pass


def do(job: dict[str, Any]) -> None:
    """Do one job in this process, and end it."""
    signal.alarm(job["timeout"])  # whoever is stuck has no other end
    row = BY_NAME[job["row"]]
    if row.kind == "receive":
        select.epoll = selectors.EpollSelector._selector_cls = PatientPoll  # type: ignore[assignment,attr-defined,misc] # noqa: SLF001
    measurement = Measurement(ENTRIES[OURS].load(), row, job["port"], seconds=0)

    if job["backend"] == "trio":
        from trio._core import _run

        _run._r.seed(0)  # noqa: SLF001  (trio tosses a coin for who is first among the tasks that can run)

    async def counted() -> None:
        await work(measurement, job["portion"], job["portions"])
        end()

    RUNNERS[job["backend"]](counted)


def main() -> None:
    let_time_pass_by_looking()  # before anybody has imported a clock
    start = json.loads(sys.argv[1])
    pin(start["core"])
    ENTRIES[OURS].load()
    for backend in start["backends"]:
        importlib.import_module(backend)
        importlib.import_module(f"anyio._backends._{backend}")
    say(ready=True)
    for line in sys.stdin:
        # Each job begins in the same state, and does not look for garbage among what the start has left.
        gc.collect()
        gc.freeze()
        process = os.fork()
        if process == 0:
            try:
                do(json.loads(line))
            except BaseException:  # noqa: BLE001  (a child must not go on with the loop, whatever happens)
                traceback.print_exc()
                os._exit(1)
        say(process=process, status=os.waitpid(process, 0)[1])


if __name__ == "__main__":
    main()
