"""The system task of trio's that calls connections back: whatever becomes of their sockets, it serves the others."""

from __future__ import annotations

import os
import resource
import socket
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest
import trio
from anyio.abc import SocketAttribute
from transport_kit import MIB, Recorder, drained, reset, some_passes, stream_and_socket
from trio.lowlevel import currently_ki_protected

from websocketstream._network import trio_loop
from websocketstream._network.loop import current_event_loop
from websocketstream._network.sockets import wrap_socket
from websocketstream._network.trio_loop import FAREWELL_SECONDS, current_trio_loop

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["trio"])]

has_epoll = pytest.mark.skipif(not hasattr(trio_loop.select, "epoll"), reason="this system has no epoll")


@contextmanager
def counting_looks(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Count how often the system task has something to look at."""
    looks: list[int] = []
    sockets = current_trio_loop()._sockets
    original = type(sockets).call_ready

    def count(self: Any) -> None:
        looks.append(1)
        original(self)

    with monkeypatch.context() as patch:
        patch.setattr(type(sockets), "call_ready", count)
        yield looks


@pytest.mark.parametrize("with_data", [True, False])
async def test_a_program_may_duplicate_and_close_the_socket_without_harm_to_others(
    with_data: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stream_and_socket() as (stream, other), stream_and_socket() as (healthy, its_peer):
        stream.attach(victim := Recorder())
        healthy.attach(receiver := Recorder())
        await some_passes()
        raw = stream.extra(SocketAttribute.raw_socket)
        duplicate = raw.dup()
        raw.close()
        try:
            if with_data:
                other.sendall(b"x")
                await victim.was_told("failed")
                assert isinstance(victim.error, anyio.BrokenResourceError)
            stream.release()
            other.sendall(b"more")
            with counting_looks(monkeypatch) as looks:
                await some_passes()
                its_peer.sendall(b"ok")
                await receiver.has(b"ok")
                await some_passes(200)
            assert len(looks) < 20, "it never rests"
        finally:
            duplicate.close()


async def test_a_socket_that_gets_the_number_of_one_that_was_closed_is_served_and_the_old_one_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with stream_and_socket() as (stream, other):
        stream.attach(victim := Recorder())
        await some_passes()
        raw = stream.extra(SocketAttribute.raw_socket)
        number = raw.fileno()
        duplicate = raw.dup()
        raw.close()
        ours, theirs = socket.socketpair()
        try:
            if ours.fileno() != number:
                os.dup2(ours.fileno(), number)
                ours.close()
                ours = socket.socket(fileno=number)
            ours.setblocking(False)
            successor = await wrap_socket(ours)
            successor.attach(receiver := Recorder())
            await victim.was_told("failed")
            other.sendall(b"for nobody")
            theirs.sendall(b"new")
            await receiver.has(b"new")
            with counting_looks(monkeypatch) as looks:
                await some_passes(200)
            assert len(looks) < 20, "it never rests"
            stream.release()
            theirs.sendall(b"er")
            await receiver.has(b"newer")
            successor.release()
            await successor.wait_released()
        finally:
            duplicate.close()
            theirs.close()


async def test_a_connection_may_be_released_by_one_whose_turn_is_before_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with stream_and_socket() as (one, its_peer), stream_and_socket() as (two, other_peer):
        receivers = [Recorder(data_received=two.release), Recorder(data_received=one.release)]
        one.attach(receivers[0])
        two.attach(receivers[1])
        await some_passes()
        for peer in (its_peer, other_peer):
            peer.sendall(b"x")
        await some_passes()
        assert sorted(len(receiver.calls) for receiver in receivers) == [0, 1]
        assert not caplog.records


async def test_a_connection_is_served_by_a_loop_that_has_only_waited_for_a_time() -> None:
    loop = current_event_loop()
    timer = loop.call_at(loop.clock() + 1000, print)
    await some_passes()
    async with stream_and_socket() as (stream, other):
        stream.attach(receiver := Recorder())
        other.sendall(b"x")
        await receiver.has(b"x")
        timer.cancel()


async def test_a_detached_socket_fails_its_connection_only() -> None:
    async with stream_and_socket() as (stream, other), stream_and_socket() as (healthy, its_peer):
        stream.attach(victim := Recorder())
        healthy.attach(receiver := Recorder())
        await some_passes()
        number = stream.extra(SocketAttribute.raw_socket).detach()
        other.sendall(b"x")
        await victim.was_told("failed")
        os.close(number)
        its_peer.sendall(b"ok")
        await receiver.has(b"ok")


async def test_pausing_a_connection_whose_socket_was_closed_tells_it_so() -> None:
    async with stream_and_socket() as (stream, _):
        stream.attach(victim := Recorder())
        stream.extra(SocketAttribute.raw_socket).close()
        stream.pause()
        stream.resume()
        await victim.was_told("failed")


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    """Use up all descriptors that this process may open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    try:
        try:
            while True:
                taken.append(os.dup(0))
        except OSError:
            pass
        yield
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@has_epoll
async def test_the_last_descriptor_used_up_is_an_error_of_the_call_and_leaves_nothing_behind() -> None:
    async with stream_and_socket() as (stream, other):
        with no_descriptor_left():
            with pytest.raises(OSError, match="Too many open files"):
                stream.attach(Recorder())
            stream.release()
            await stream.wait_released()
        await some_passes()
        assert other.recv(1) == b""
    async with stream_and_socket() as (stream, other):
        stream.attach(receiver := Recorder())
        other.sendall(b"ok")
        await receiver.has(b"ok")


async def test_what_a_receiver_raises_does_not_reach_the_others(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise ValueError("a bug")

    async with stream_and_socket() as (stream, other), stream_and_socket() as (healthy, its_peer):
        stream.attach(Recorder(data_received=fail))
        healthy.attach(receiver := Recorder())
        other.sendall(b"x")
        await some_passes()
        its_peer.sendall(b"ok")
        await receiver.has(b"ok")
    assert "a bug" in caplog.text


async def test_many_connections_share_one_task_that_ends_with_the_last() -> None:
    before = {task.id for task in anyio.get_running_tasks()}
    async with stream_and_socket() as (one, _), stream_and_socket() as (two, _):
        for stream in (one, two):
            stream.attach(Recorder())
        await some_passes()
        if hasattr(trio_loop.select, "epoll"):
            assert len({task.id for task in anyio.get_running_tasks()} - before) == 1
    assert {task.id for task in anyio.get_running_tasks()} == before


# --- at the end of the run


async def in_thread(main: Any) -> Any:
    return await anyio.to_thread.run_sync(trio.run, main)


async def test_a_connection_of_a_system_task_can_say_goodbye_after_the_main_task() -> None:
    said: list[bytes] = []

    async def own(task_status: Any) -> None:
        async with stream_and_socket() as (stream, other):
            receiver = Recorder()
            stream.attach(receiver)
            task_status.set()
            try:
                await trio.sleep_forever()
            finally:
                with trio.CancelScope(shield=True):
                    stream.write(b"goodbye")
                    said.append(await drained(other, 7))
                    other.sendall(b"farewell")
                    await receiver.has(b"farewell")
                    said.append(bytes(receiver.data))

    async def main() -> None:
        started = trio.Event()
        trio.lowlevel.spawn_system_task(own, started)
        await started.wait()

    await in_thread(main)
    assert said == [b"goodbye", b"farewell"]


async def test_a_connection_that_is_left_over_is_told_and_does_not_hold_the_run_for_long() -> None:
    receivers = []
    streams = []

    async def main() -> float:
        for congested in (False, True):
            with socket.create_server(("127.0.0.1", 0)) as listener:
                others.append(socket.create_connection(listener.getsockname()))
                stream = await wrap_socket(listener.accept()[0])
            stream.attach(
                receiver := Recorder(failed=lambda: current_event_loop().call_soon(lambda: told.append(1)))
            )
            if congested:
                stream.pause()
                stream.write(bytes(16 * MIB))
            receivers.append(receiver)
            streams.append(stream)
        return trio.current_time()

    async def timed() -> float:
        with trio.CancelScope():
            return await main()

    told: list[int] = []
    others: list[socket.socket] = []
    started = time.monotonic()
    await in_thread(timed)
    assert time.monotonic() - started < FAREWELL_SECONDS + 1
    for receiver in receivers:
        assert receiver.calls == ["failed"]
        assert "over" in str(receiver.error.__cause__)
    assert told == [1, 1]
    for stream in streams:
        with pytest.raises(anyio.BrokenResourceError):
            stream.write(b"x")
        stream.pause()
        stream.resume()
        stream.end_sending()
        stream.release()
    for other in others:
        other.close()


async def test_a_background_task_that_is_left_over_is_cancelled_at_the_end_of_the_run() -> None:
    log: list[str] = []

    async def work() -> None:
        try:
            await trio.sleep_forever()
        finally:
            log.append("cancelled")

    async def main() -> None:
        current_event_loop().start_task(work, name="test", on_end=lambda: log.append("over"))
        await trio.sleep(0)

    await in_thread(main)
    assert log == ["cancelled", "over"]


async def test_using_the_loop_after_its_run_is_a_clear_error() -> None:
    loops = []

    async def main() -> None:
        loops.append(current_event_loop())

    await in_thread(main)
    (loop,) = loops

    def use() -> None:
        for call in (
            lambda: loop.call_soon(print),
            lambda: loop.call_at(0, print),
            lambda: loop.start_task(trio.sleep_forever, name="test", on_end=print),
        ):
            with pytest.raises(OSError, match="this run of trio is over"):
                call()

    await anyio.to_thread.run_sync(use)


class Probe(socket.socket):
    """A socket that notes in which of its calls Ctrl-C would raise KeyboardInterrupt."""

    def __init__(self, real: socket.socket) -> None:
        super().__init__(real.family, real.type, fileno=real.detach())
        self.interruptible: list[str] = []

    def send(self, data: Any, flags: int = 0) -> int:
        self._note("send")
        return super().send(data, flags)

    def recv_into(self, *args: Any) -> int:
        self._note("recv_into")
        return super().recv_into(*args)

    def shutdown(self, how: int) -> None:
        self._note("shutdown")
        super().shutdown(how)

    def close(self) -> None:
        self._note("close")
        super().close()

    def _note(self, name: str) -> None:
        if not currently_ki_protected():
            self.interruptible.append(name)


async def test_ctrl_c_waits_until_a_call_of_ours_is_through() -> None:
    """trio raises KeyboardInterrupt in whatever runs: half of a release, or of a write, would never be made up for."""
    ours, theirs = socket.socketpair()
    probe = Probe(ours)
    probe._note("test")
    with theirs:
        stream = await wrap_socket(probe)
        stream.attach(receiver := Recorder())
        stream.write(b"x")
        theirs.sendall(b"y")
        await receiver.has(b"y")
        stream.end_sending()
        stream.release()
        await stream.wait_released()
    assert probe.interruptible == ["test"]


async def test_a_reset_while_only_writing_is_noticed() -> None:
    async with stream_and_socket() as (stream, other):
        stream.pause()
        stream.attach(receiver := Recorder())
        stream.write(bytes(16 * MIB))
        reset(other)
        await receiver.was_told("write_failed")


@has_epoll
async def test_the_system_task_lives_on_while_the_only_socket_is_paused() -> None:
    tasks: list[object] = []

    class Starts(trio.abc.Instrument):
        def task_spawned(self, task: trio.lowlevel.Task) -> None:
            tasks.append(task)

    async with stream_and_socket() as (stream, other):
        stream.attach(receiver := Recorder())
        await some_passes()
        trio.lowlevel.add_instrument(Starts())
        for number in range(1, 4):
            stream.pause()
            other.sendall(b"x")
            await some_passes()
            stream.resume()
            await receiver.has(b"x" * number)
    assert tasks == []


async def test_a_released_stream_that_is_called_all_the_same_keeps_no_error() -> None:
    async with stream_and_socket() as (stream, _):
        stream.attach(Recorder())
        stream.write(bytes(16 * MIB))
        stream.release()
        stream.on_writable()
        assert stream._write_error is None
