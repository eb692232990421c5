"""A connection in lockstep: an event loop, a transport and a codec that do one thing at a time, when the test says so.

There is no time but the loop's own, and nothing runs in the background: a test sees every state that there is.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Coroutine, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from types import coroutine
from typing import Any
from unittest.mock import patch

from anyio import ClosedResourceError

from websocketstream import WebSocketStream
from websocketstream._network.event_loop import EventLoop
from websocketstream._network.hot import calls
from websocketstream._network.transport import Buffer, Receiver, Transport, lost
from websocketstream._network.turns import Turns
from websocketstream._protocol.codec import Close, Event, Message, Outgoing, Ping, Pong
from websocketstream._streams import connection, hub, waits
from websocketstream._streams.connection import Connection
from websocketstream._streams.hot import budget, receive_buffer, send_buffer, writer
from websocketstream._streams.options import StreamOptions


class Cancelled(BaseException):
    """A task is cancelled."""


class LockstepWaiter:
    """One task waits for one call."""

    def __init__(self) -> None:
        self.is_set = False

    def wake(self) -> None:
        self.is_set = True

    def __await__(self) -> Generator[LockstepWaiter, None, None]:
        while not self.is_set:
            yield self


class Task:
    """A coroutine that runs until it has to wait, and goes on when the test lets it."""

    def __init__(self, work: Coroutine[Any, Any, Any]) -> None:
        self._work = work
        self._waits_for: LockstepWaiter | None = None
        self.done = False
        self.value: Any = None
        self.error: BaseException | None = None
        self._step(lambda: work.send(None))

    @property
    def is_ready(self) -> bool:
        """Whether what it waits for has happened."""
        return not self.done and (self._waits_for is None or self._waits_for.is_set)

    def go_on(self) -> None:
        self._step(lambda: self._work.send(None))

    def cancel(self) -> None:
        if not self.done:
            self._step(lambda: self._work.throw(Cancelled()))

    def result(self) -> Any:
        """Return what it has come to, or raise that."""
        assert self.done, "it still waits"
        if self.error is not None:
            raise self.error
        return self.value

    def _step(self, step: Callable[[], Any]) -> None:
        try:
            self._waits_for = step()
        except StopIteration as end:
            self.done, self.value = True, end.value
        except BaseException as error:
            self.done, self.error = True, error


class Call:
    """A call to come."""

    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        self.callback = None

    def __call__(self) -> None:
        callback, self.callback = self.callback, None
        if callback is not None:
            callback()


class LockstepLoop(EventLoop):
    """Calls back and lets tasks go on in passes, and its clock stands still between them."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.turns = Turns()
        self.wake = LockstepWaiter.wake
        self.calls = calls.Calls(lambda callback: callback(), lambda: self.call_soon(self.calls.call_some))
        self._tasks: list[Task] = []
        self._calls: list[Call] = []
        self._timers: list[tuple[float, int, Call]] = []
        self._order = count()

    def clock(self) -> float:
        return self.now

    stopwatch = clock

    def waiter(self) -> LockstepWaiter:
        return LockstepWaiter()

    def call_soon(self, callback: Callable[[], object]) -> Call:
        self._calls.append(call := Call(callback))
        return call

    def call_at(self, deadline: float, callback: Callable[[], object]) -> Call:
        heapq.heappush(self._timers, (deadline, next(self._order), call := Call(callback)))
        return call

    def attached(self) -> None:
        raise NotImplementedError

    def detached(self) -> None:
        raise NotImplementedError

    def start_task(self, function: Any, *, name: str, on_end: Any) -> None:
        raise NotImplementedError

    def is_running(self) -> bool:
        return True

    def has_ended(self) -> bool:
        return False

    async def wait_idle(self) -> None:
        pass

    @coroutine
    def checkpoint(self) -> Generator[None, None, None]:
        yield

    def start(self, work: Coroutine[Any, Any, Any]) -> Task:
        """Run a coroutine up to its first wait."""
        task = Task(work)
        if not task.done:
            self._tasks.append(task)
        return task

    @property
    def tasks(self) -> list[Task]:
        """Those that are not done."""
        self._tasks = [task for task in self._tasks if not task.done]
        return self._tasks

    @property
    def calls_soon(self) -> bool:
        """Whether somebody is to be called in the next pass."""
        return any(call.callback is not None for call in self._calls)

    @property
    def calls_later(self) -> bool:
        """Whether somebody is to be called when some time has passed."""
        return any(call.callback is not None for _, _, call in self._timers)

    @property
    def others(self) -> bool:
        """Whether that is anybody but the loop itself, which takes note of its passes."""
        return any(call.callback not in (None, self.calls.call_some) for call in self._calls)

    def run_pass(self) -> None:
        """Call who wanted to be called, and let the tasks go on that can."""
        calls, self._calls = self._calls, []
        for call in calls:
            call()
        self.run_tasks()

    def run_tasks(self) -> None:
        """Let the tasks go on that can, each once."""
        for task in [task for task in self.tasks if task.is_ready]:
            task.go_on()

    def run(self) -> None:
        """Do all that there is to do now."""
        while self.calls_soon or any(task.is_ready for task in self.tasks):
            self.run_pass()

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        until = self.now + seconds
        self.run()
        while self._timers and self._timers[0][0] <= until:
            deadline, _, call = heapq.heappop(self._timers)
            self.now = max(self.now, deadline)
            call()
            self.run()
        self.now = until


class LockstepTransport(Transport):
    """Takes as many bytes as the test lets it take; ``sent`` is what has left."""

    keeps_last_words = True

    def __init__(self, room: float = float("inf")) -> None:
        self.room = room  # what it takes without waiting
        self.sent = bytearray()
        self.writes: list[int] = []  # the bytes of each call
        self.error: Exception | None = None  # what the next write meets
        self.congested = False
        self.receiver: Receiver | None = None
        self.paused = self.sending_ended = self.released = False
        self._unsent = b""

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return {}

    def attach(self, receiver: Receiver) -> None:
        self.receiver = receiver

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def write(self, data: Buffer) -> int:
        assert not self.congested, "it must be waited for"
        assert not self.sending_ended, "its end was asked for"
        assert len(data), "there is nothing to write"
        if self.released:
            raise ClosedResourceError
        if self.error is not None:
            raise self.error
        self.writes.append(len(data))
        taken = int(min(self.room, len(data)))
        self.room -= taken
        self.sent += data[:taken]
        self._unsent = bytes(data[taken:])
        self.congested = bool(self._unsent)
        return taken

    def take(self, size: float = float("inf")) -> None:
        """Let so many bytes more leave, now or as soon as there are some."""
        taken = int(min(size, len(self._unsent)))
        self.sent += self._unsent[:taken]
        self._unsent = self._unsent[taken:]
        self.room += size - taken
        if self.congested and not self._unsent:
            self.congested = False
            if self.receiver is not None:
                self.receiver.flushed()

    def end_sending(self) -> None:
        self.sending_ended = True

    def release(self) -> None:
        self.released = True
        self.receiver = None
        self._unsent = b""

    async def wait_released(self) -> None:
        """There is nothing to wait for."""


class TaskLikeTransport(LockstepTransport):
    """One that takes nothing without waiting, as those do that work in tasks."""

    keeps_last_words = False

    def __init__(self) -> None:
        super().__init__(room=0)

    def take(self, size: float = float("inf")) -> None:
        super().take(size)
        self.room = 0


HEADER = 5  # bytes of a frame before its payload


class LockstepCodec:
    """A codec whose frames can be read by eye: a letter, four bytes for the size, the payload."""

    only_messages = False
    whole_bytes = -1
    message_bytes = 0
    pending = False
    deflate = None

    def __init__(self, portion: int = 2**60) -> None:
        self.portion = portion
        self.bug: Exception | None = None  # what encoding a message meets
        self.steps = 0  # of messages that were encoded in portions
        self._busy = False

    def receive_data(self, data: Buffer) -> list[Event]:
        events: list[Event] = []
        for kind, payload in frames(bytes(data)):
            match kind:
                case "M":
                    events.append(payload)
                case "I":
                    events.append(Ping(payload))
                case "O":
                    events.append(Pong(payload))
                case "C":
                    events.append(Close(int(payload) if payload else None))
        self.message_bytes = sum(len(event) for event in events if isinstance(event, bytes))
        return events

    def room(self, most: int) -> memoryview | None:
        self._meet_bug()
        return memoryview(bytearray(most))

    def receive_in_room(self, size: int, data: Buffer) -> list[Event]:
        return self.receive_data(data)

    def discard_data(self) -> None:
        """What arrives is dropped by the buffer as well."""

    def send_message(self, message: Message | Outgoing) -> Buffer:
        return self.send_messages([message])[0]

    def send_messages(self, messages: Sequence[Message | Outgoing]) -> list[Buffer]:
        assert not self._busy, "another message is being encoded in portions"
        self._meet_bug()
        return [frame("M", Outgoing.of(message).payload) for message in messages]

    def send_in_portions(self, message: Message | Outgoing) -> Iterator[list[Buffer]]:
        payload = Outgoing.of(message).payload
        assert not self._busy, "another message is being encoded in portions"
        self._busy = True
        try:
            for _ in range(0, len(payload), self.portion):
                self.steps += 1
                yield []
                self._meet_bug()
        finally:
            self._busy = False
        yield [frame("M", payload)]

    def send_ping(self, payload: bytes) -> bytes:
        return frame("I", payload)

    def send_pong(self, payload: bytes) -> bytes:
        return frame("O", payload)

    def send_close(self, code: int | None = None, reason: str = "") -> bytes:
        return frame("C", b"" if code is None else b"%d" % code)

    def _meet_bug(self) -> None:
        if self.bug is not None:
            raise self.bug


def frame(kind: str, payload: bytes = b"") -> bytes:
    return kind.encode() + len(payload).to_bytes(4, "big") + payload


def frames(data: bytes, *, cut: bool = False) -> list[tuple[str, bytes]]:
    """Read frames; ``cut`` says that the last one may be incomplete."""
    found = []
    while data:
        end = HEADER + int.from_bytes(data[1:HEADER], "big")
        if len(data) < HEADER or len(data) < end:
            assert cut, "a frame is incomplete"
            break
        found.append((chr(data[0]), data[HEADER:end]))
        data = data[end:]
    return found


@contextmanager
def lockstep() -> Iterator[LockstepLoop]:
    """Give the event loop on which connections are made until the end of the block."""
    loop = LockstepLoop()
    with (
        patch.object(connection, "current_event_loop", lambda: loop),
        patch.object(waits, "checkpoint", loop.checkpoint),
        patch.object(calls, "perf_counter", loop.clock),
        patch.object(budget, "perf_counter", loop.clock),
        patch.object(hub, "perf_counter", loop.clock),
        patch.object(receive_buffer, "perf_counter", loop.clock),
        patch.object(send_buffer, "perf_counter", loop.clock),
    ):
        yield loop


@contextmanager
def small_writes() -> Iterator[None]:
    """Make the writer's measures a thousandth of what they are: a batch has 64 bytes, a turn 1024."""
    with (
        patch.object(writer, "BATCH_BYTES", 64),
        patch.object(writer, "WRITE_BYTES", 256),
        patch.object(writer, "DIRECT_WRITE_BYTES", 512),
        patch.object(writer, "TURN_BYTES", 1024),
    ):
        yield


def connect(
    transport: LockstepTransport, *, codec: LockstepCodec | None = None, server: bool = False, **options: Any
) -> tuple[WebSocketStream, Connection]:
    """Open a connection, to be used within :func:`lockstep`."""
    checked = StreamOptions(**{"ping_interval": None, **options})
    opened = Connection(transport, codec or LockstepCodec(), server=server, options=checked)  # type: ignore[arg-type]
    opened.start()
    return WebSocketStream(opened, url="ws://lockstep/"), opened


def reset() -> Exception:
    """Make the error of a write to a connection that the peer has reset."""
    return lost(ConnectionResetError("reset"))
