"""One epoll for all sockets of a loop: what it keeps, what it lets go, and that nothing of a failed socket is lost."""

from __future__ import annotations

import asyncio
import gc
import os
import select
import socket
from contextlib import suppress
from contextvars import ContextVar, copy_context
from pathlib import Path
from threading import Thread, get_ident
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from weakref import ref

import pytest
from transport_kit import Recorder, reset, some_passes, stream_and_socket

from backends import BACKENDS
from waiting import until
from websocketstream._network import asyncio_readiness
from websocketstream._network.asyncio_loop import current_asyncio_loop
from websocketstream._network.asyncio_readiness import EpollOfAsyncio
from websocketstream._network.hot import Calls
from websocketstream._network.sockets import wrap_socket

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not hasattr(select, "epoll"), reason="only Linux has epoll"),
]


@pytest.fixture(params=[param for param in BACKENDS if param.id != "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


class Watch:
    """A socket that is watched, and what came of that."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.descriptor = sock.fileno()
        self.fileno = sock.fileno
        self.reading = self.writing = False
        self.told: list[object] = []

    def on_readable(self) -> None:
        self.told.append(self.sock.recv(100))

    def on_writable(self) -> None:
        self.told.append("writable")

    def on_unwatched(self, error: Exception) -> None:
        self.told.append(error)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        yield ours, theirs


@pytest.fixture
async def readiness() -> EpollOfAsyncio:
    return EpollOfAsyncio(asyncio.get_running_loop(), current_asyncio_loop().calls)


def paused(readiness: EpollOfAsyncio, sock: socket.socket) -> EpollOfAsyncio:
    """With a socket that has a receiver, and was watched before that was paused."""
    readiness.attach(1)
    watch = Watch(sock)
    watch.reading = True
    readiness.update(watch)
    watch.reading = False
    readiness.update(watch)
    return readiness


def open_epolls() -> int:
    found = 0
    for name in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # that was the folder's own
            found += str(name.readlink()) == "anon_inode:[eventpoll]"
    return found


async def test_who_is_ready_is_called(readiness: EpollOfAsyncio, pair: Any) -> None:
    watch, other = Watch(pair[0]), pair[1]
    watch.reading = True
    readiness.update(watch)
    other.send(b"a")
    await until(lambda: watch.told == [b"a"])
    watch.writing = True
    readiness.update(watch)
    await until(lambda: "writable" in watch.told)
    watch.reading = watch.writing = False
    readiness.update(watch)
    assert readiness.epoll is None


async def test_nobody_is_called_in_the_context_of_who_came_first(
    readiness: EpollOfAsyncio, pair: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    variable: ContextVar[str] = ContextVar("variable", default="nobody's")
    watch, other = Watch(pair[0]), pair[1]
    monkeypatch.setattr(
        watch, "on_readable", lambda: watch.told.append((watch.sock.recv(100), variable.get()))
    )

    def come_first() -> None:
        variable.set("the first one's")
        watch.reading = True
        readiness.update(watch)

    copy_context().run(come_first)
    other.send(b"a")
    await until(lambda: watch.told)
    assert watch.told == [(b"a", "nobody's")]
    watch.reading = False
    readiness.update(watch)


async def test_the_epoll_is_kept_while_somebody_is_paused(readiness: EpollOfAsyncio, pair: Any) -> None:
    before = open_epolls()
    watch = Watch(pair[0])
    readiness.attach(1)
    for _ in range(3):
        watch.reading = True
        readiness.update(watch)
        epoll = readiness.epoll
        assert open_epolls() == before + 1
        watch.reading = False
        readiness.update(watch)
        assert readiness.epoll is epoll
    readiness.attach(-1)
    assert open_epolls() == before


@pytest.mark.parametrize("in_thread", [False, True])
async def test_the_epoll_of_whoever_is_garbage_is_closed(pair: Any, in_thread: bool) -> None:
    before = open_epolls()
    loop = asyncio.get_running_loop()
    left = [paused(EpollOfAsyncio(loop, current_asyncio_loop().calls), pair[0])]
    assert left[0].epoll is not None
    number = left[0].epoll.fileno()
    if in_thread:
        thread = Thread(target=left.clear)
        thread.start()
        thread.join()
        await some_passes()
    else:
        left.clear()
    assert open_epolls() == before
    # Nothing of it is left in the event loop, which may get the number again.
    assert not loop.remove_reader(number)


async def test_a_forked_child_takes_nothing_away_from_its_parent(
    readiness: EpollOfAsyncio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it throws away is its copy, but the system's side of the event loop belongs to both."""
    epoll = SimpleNamespace(fileno=pytest.fail, close=lambda: closed.append(True))
    closed: list[bool] = []
    readiness.epoll = epoll
    monkeypatch.setattr(asyncio_readiness, "getpid", lambda: -1)
    readiness.__del__()
    assert closed == [True]
    assert readiness.epoll is None


class NotingLoop(asyncio.SelectorEventLoop):
    """One that notes the threads in which it is told to watch something no more."""

    def __init__(self) -> None:
        super().__init__()
        self.told_in: list[int] = []

    def remove_reader(self, fd: Any) -> bool:
        self.told_in.append(get_ident())
        return super().remove_reader(fd)


async def test_a_loop_that_goes_on_in_another_thread_is_told_of_garbage_there(pair: Any) -> None:
    loop = NotingLoop()
    left = [paused(EpollOfAsyncio(loop, Calls(lambda callback: callback(), lambda: None)), pair[0])]
    thread = Thread(target=loop.run_forever)
    thread.start()
    await until(loop.is_running)
    left.clear()
    await until(lambda: loop.told_in)
    loop.call_soon_threadsafe(loop.stop)
    await asyncio.get_running_loop().run_in_executor(None, thread.join)
    loop.close()
    assert loop.told_in == [thread.ident]


async def test_whoever_waits_for_a_watched_socket_is_no_garbage() -> None:
    """To asyncio, a task is, if nobody but what it waits for knows it."""
    ours, theirs = socket.socketpair()
    with theirs:
        stream: Any = await wrap_socket(ours)
        stream.attach(receiver := Recorder())
        receiver.stream = stream  # type: ignore[attr-defined]  # a cycle, as a connection is
        calls, known = receiver.calls, ref(stream)
        del stream, receiver
        gc.collect()
        theirs.send(b"x")
        await until(lambda: "data_received" in calls)
        left: Any = known()
        left.release()
        await left.wait_released()


@pytest.mark.parametrize("released", ["before", "after", "never"])
async def test_a_socket_with_the_number_of_one_that_somebody_else_has_closed_is_served(released: str) -> None:
    ours, theirs = socket.socketpair()
    stream = await wrap_socket(ours)
    stream.attach(victim := Recorder())
    number = ours.fileno()
    ours.close()
    if released == "before":
        stream.release()
    ours, other = socket.socketpair()
    if ours.fileno() != number:
        os.dup2(ours.fileno(), number)
        ours.close()
        ours = socket.socket(fileno=number)
    with theirs, other:
        successor = await wrap_socket(ours)
        successor.attach(receiver := Recorder())
        if released == "never":
            await victim.was_told("failed")
        elif released == "after":
            stream.release()
        other.sendall(b"new")
        await receiver.has(b"new")
        for each in (stream, successor):
            each.release()
            await each.wait_released()


@pytest.mark.parametrize("size", [1, 30_000, 100_000])
async def test_what_came_before_a_reset_is_read_to_its_end(size: int) -> None:
    """libuv says once that a socket has failed, and then looks at it no more."""
    async with stream_and_socket() as (stream, other):
        stream.pause()
        stream.attach(receiver := Recorder())
        other.sendall(bytes(size))
        reset(other)
        await some_passes()
        stream.resume()
        await receiver.was_told("failed")
        assert len(receiver.data) == size


async def test_what_is_let_go_after_the_event_loop_was_closed_leaves_nothing() -> None:
    async def leave() -> tuple[Any, socket.socket]:
        ours, theirs = socket.socketpair()
        stream: Any = await wrap_socket(ours)
        stream.attach(Recorder())
        return stream, theirs

    kind = type(asyncio.get_running_loop())

    def run() -> None:
        before = open_epolls()
        loop = kind()
        stream, theirs = loop.run_until_complete(leave())
        loop.close()
        gc.disable()  # it is done without
        try:
            with theirs:
                stream.release()
                assert theirs.recv(1) == b""
                assert open_epolls() == before
        finally:
            gc.enable()

    await asyncio.get_running_loop().run_in_executor(None, run)


async def test_an_event_loop_that_was_closed_watches_nothing() -> None:
    def run() -> None:
        loop = asyncio.new_event_loop()
        readiness = EpollOfAsyncio(loop, Calls(lambda callback: callback(), lambda: None))
        loop.close()
        ours, theirs = socket.socketpair()
        with ours, theirs:
            watch = Watch(ours)
            watch.reading = True
            with pytest.raises(OSError, match="this event loop was closed"):
                readiness.update(watch)
            assert readiness.epoll is None
            assert not readiness

    before = open_epolls()
    await asyncio.get_running_loop().run_in_executor(None, run)
    assert open_epolls() == before
