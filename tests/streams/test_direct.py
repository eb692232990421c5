"""The byte streams of our own, on asyncio and on trio: one contract."""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio.abc import SocketAttribute

from websocketstream._network.dial import wrap_socket
from websocketstream.testing import over_stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from websocketstream._network.transport import DirectStream

pytestmark = pytest.mark.anyio

MIB = 2**20


@asynccontextmanager
async def pair() -> AsyncIterator[tuple[DirectStream, socket.socket]]:
    """Give a stream and the bare socket at its other end."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        other = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
    accepted.setblocking(False)
    stream = await wrap_socket(accepted)
    with other:
        try:
            yield stream, other
        finally:
            await stream.aclose()


class Collector:
    """A feed that has enough when ``enough`` bytes are there."""

    def __init__(self, enough: float = float("inf")) -> None:
        self.enough = enough
        self.data = b""
        self.stopped = anyio.Event()

    def __call__(self, data: Any) -> bool:
        self.data += data
        return len(self.data) >= self.enough


def reset(sock: socket.socket) -> None:
    """Close with a reset instead of an end."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    sock.close()


async def drained(sock: socket.socket, size: int) -> bytes:
    """Read so many bytes in a thread."""

    def read() -> bytes:
        data = b""
        while len(data) < size:
            data += sock.recv(MIB)
        return data

    return await anyio.to_thread.run_sync(read)


async def test_what_arrives_is_received_and_then_the_end() -> None:
    async with pair() as (stream, other):
        other.sendall(b"one")
        assert await stream.receive() == b"one"
        other.sendall(b"two")
        other.shutdown(socket.SHUT_WR)
        assert await stream.receive(2) == b"tw"
        assert await stream.receive(2) == b"o"
        for _ in range(2):
            with pytest.raises(anyio.EndOfStream):
                await stream.receive()


async def test_a_pump_feeds_what_arrives_until_that_is_enough() -> None:
    async with pair() as (stream, other):
        other.sendall(b"0123456789")
        await stream.pump(collected := Collector(10))
        assert collected.data == b"0123456789"
        other.sendall(b"more")
        assert await stream.receive() == b"more"


async def test_a_pump_ends_with_the_stream() -> None:
    async with pair() as (stream, other):
        other.sendall(b"last")
        other.close()
        collected = Collector()
        with pytest.raises(anyio.EndOfStream):
            await stream.pump(collected)
        assert collected.data == b"last"


async def test_cancelling_a_pump_loses_nothing() -> None:
    async with pair() as (stream, other):
        collected = Collector(3)
        with anyio.move_on_after(0):
            await stream.pump(collected)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stream.pump, Collector())
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
        other.sendall(b"one")
        await stream.pump(collected)
        assert collected.data == b"one"


async def test_a_listener_is_called_without_a_task_until_it_has_enough() -> None:
    async with pair() as (stream, other):
        collected = Collector(6)
        assert stream.listen(collected, collected.stopped.set)
        other.sendall(b"one")
        while collected.data != b"one":
            await anyio.sleep(0)
        assert not collected.stopped.is_set()
        other.sendall(b"two")
        with anyio.fail_after(5):
            await collected.stopped.wait()
        assert collected.data == b"onetwo"
        other.sendall(b"more")
        assert await stream.receive() == b"more"


@pytest.mark.parametrize("end", [socket.socket.close, reset])
async def test_a_listener_is_stopped_at_the_end_of_the_stream_and_a_pump_says_which(end: Any) -> None:
    async with pair() as (stream, other):
        collected = Collector()
        assert stream.listen(collected, collected.stopped.set)
        end(other)
        with anyio.fail_after(5):
            await collected.stopped.wait()
        with pytest.raises(anyio.EndOfStream if end is socket.socket.close else anyio.BrokenResourceError):
            await stream.pump(collected)


async def test_a_pump_takes_over_from_a_listener() -> None:
    async with pair() as (stream, other):
        listener, collected = Collector(), Collector(3)
        assert stream.listen(listener, listener.stopped.set)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stream.pump, collected)
            await anyio.wait_all_tasks_blocked()
            other.sendall(b"one")
        assert (listener.data, collected.data) == (b"", b"one")
        assert not listener.stopped.is_set()


async def test_a_feed_that_raises_breaks_only_its_own_connection() -> None:
    def fail(data: object) -> bool:
        raise MemoryError("no room")

    async with pair() as (stream, other), pair() as (healthy, its_peer):
        stopped = anyio.Event()
        collected = Collector(2)
        assert stream.listen(fail, stopped.set)
        assert healthy.listen(collected, collected.stopped.set)
        other.sendall(b"x")
        with anyio.fail_after(5):
            await stopped.wait()
            its_peer.sendall(b"ok")
            await collected.stopped.wait()
        with pytest.raises(anyio.BrokenResourceError) as caught:
            await stream.pump(collected)
        assert isinstance(caught.value.__cause__, MemoryError)


async def test_many_listeners_share_what_waits_and_leave_nothing_behind() -> None:
    before = {task.id for task in anyio.get_running_tasks()}
    async with pair() as (one, _), pair() as (two, _):
        for stream in (one, two):
            collected = Collector()
            assert stream.listen(collected, collected.stopped.set)
        await anyio.wait_all_tasks_blocked()
        assert len({task.id for task in anyio.get_running_tasks()} - before) <= 1
    await anyio.wait_all_tasks_blocked()
    assert {task.id for task in anyio.get_running_tasks()} == before


async def test_large_data_is_sent_whole_to_a_peer_that_reads_late() -> None:
    async with pair() as (stream, other):
        data = bytes(range(256)) * 2**16
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stream.send, data)
            await anyio.wait_all_tasks_blocked()
            assert await drained(other, len(data)) == data


async def test_what_was_not_taken_at_once_is_finished() -> None:
    async with pair() as (stream, other):
        data = bytes(range(256)) * 2**16
        sent = stream.try_send(data)
        assert 0 <= sent < len(data)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stream.finish_send, memoryview(data)[sent:])
            assert await drained(other, len(data)) == data
        assert stream.try_send(b"next") == 4
        assert await drained(other, 4) == b"next"


async def test_who_waits_to_send_meets_the_reset_of_the_connection() -> None:
    async with pair() as (stream, other):
        data = bytes(16 * MIB)
        rest = memoryview(data)[stream.try_send(data) :]
        async with anyio.create_task_group() as tasks:

            async def finish() -> None:
                with pytest.raises(anyio.BrokenResourceError):
                    await stream.finish_send(rest)

            tasks.start_soon(finish)
            await anyio.wait_all_tasks_blocked()
            reset(other)


async def test_ending_our_direction_leaves_the_other_one_open() -> None:
    async with pair() as (stream, other):
        await stream.send(b"last")
        await stream.send_eof()
        assert await drained(other, 4) == b"last"
        assert other.recv(1) == b""
        other.sendall(b"answer")
        assert await stream.receive() == b"answer"


async def test_closing_wakes_who_waits() -> None:
    async with pair() as (stream, _):
        async with anyio.create_task_group() as tasks:

            async def wait() -> None:
                with pytest.raises(anyio.ClosedResourceError):
                    await stream.pump(Collector())

            tasks.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            await stream.aclose()
        for call in (stream.receive(), stream.send(b"x"), stream.pump(Collector())):
            with pytest.raises(anyio.ClosedResourceError):
                await call
        stream.end_sending()
        await stream.aclose()
        assert not stream.listen(Collector(), lambda: None)


async def test_the_attributes_are_those_of_the_socket() -> None:
    async with pair() as (stream, other):
        assert stream.extra(SocketAttribute.family) == socket.AF_INET
        assert stream.extra(SocketAttribute.remote_address) == other.getsockname()
        assert stream.extra(SocketAttribute.local_address) == other.getpeername()
        assert stream.extra(SocketAttribute.remote_port) == other.getsockname()[1]
        assert stream.extra(SocketAttribute.local_port) == other.getpeername()[1]
        raw = stream.extra(SocketAttribute.raw_socket)
        assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize("size", [1, 65535, 65536, 100_000])
async def test_messages_that_the_system_takes_leave_without_a_pass_of_the_event_loop(size: int) -> None:
    async with pair() as (stream, other), over_stream(stream, server=True) as conn:
        for _ in range(2):
            with pytest.raises(StopIteration):  # the coroutine is done with its first step
                conn.send(bytes(size)).send(None)
            if size >= 65536:
                assert not conn.statistics().writable.buffered_bytes
        await drained(other, 2 * size)
        other.sendall(b"\x88\x80\0\0\0\0")
