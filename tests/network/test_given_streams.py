"""Byte streams that are not ours: whatever they raise, and however long they hang, the transport ends."""

from __future__ import annotations

import asyncio
import gc
import socket
import time
import weakref
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from transport_kit import Recorder, some_passes, stream_and_socket

from waiting import until
from websocketstream._network.loop import current_event_loop
from websocketstream._network.sockets import wrap_socket
from websocketstream._network.task_transport import release, transport_of
from websocketstream._network.tls import wrap_tls
from websocketstream._network.transport import RELEASE_SECONDS
from websocketstream.testing import memory_byte_stream_pair

if TYPE_CHECKING:
    import ssl

pytestmark = pytest.mark.anyio

ERRORS = [
    anyio.EndOfStream(),
    anyio.BrokenResourceError(),
    anyio.ClosedResourceError(),
    OSError(5, "Input/output error"),
    ValueError("a bug"),
    ExceptionGroup("several", [ValueError("a bug")]),
]


class Faulty(anyio.abc.ByteStream):
    """A stream whose methods wait for ever, or raise what they are told to."""

    def __init__(self, **faults: Exception | None) -> None:
        self.faults = faults
        self.calls: list[str] = []

    async def receive(self, max_bytes: int = 65536) -> bytes:
        await self._behave("receive", hang=True)
        return b""

    async def send(self, item: bytes) -> None:
        await self._behave("send")

    async def send_eof(self) -> None:
        await self._behave("send_eof")

    async def aclose(self) -> None:
        await self._behave("aclose")

    async def _behave(self, name: str, *, hang: bool = False) -> None:
        self.calls.append(name)
        fault = self.faults.get(name)
        if fault is not None:
            await anyio.lowlevel.checkpoint()
            raise fault
        if hang or name in self.faults:
            await anyio.sleep_forever()
        await anyio.lowlevel.checkpoint()


class Stubborn(Faulty):
    """Its aclose() takes as long as the test wants, and cannot be cancelled."""

    def __init__(self) -> None:
        super().__init__()
        self.may_end = anyio.Event()

    async def aclose(self) -> None:
        self.calls.append("aclose")
        with anyio.CancelScope(shield=True):
            await self.may_end.wait()


@pytest.mark.parametrize("error", ERRORS[1:], ids=repr)
async def test_what_receive_raises_is_a_failure_with_that_cause(error: Exception) -> None:
    stream = Faulty(receive=error)
    transport = transport_of(stream, current_event_loop())
    transport.attach(receiver := Recorder())
    await receiver.was_told("failed")
    assert isinstance(receiver.error, anyio.BrokenResourceError)
    assert receiver.error.__cause__ is error
    transport.release()
    await transport.wait_released()
    assert stream.calls.count("aclose") == 1


@pytest.mark.parametrize("at_end", [True, False])
@pytest.mark.parametrize("error", ERRORS, ids=repr)
async def test_what_send_raises_is_a_failure_with_that_cause_even_the_end_of_the_stream(
    error: Exception, at_end: bool
) -> None:
    stream = Faulty(send=error, **({"receive": anyio.EndOfStream()} if at_end else {}))
    transport = transport_of(stream, current_event_loop())
    transport.attach(receiver := Recorder())
    transport.write(b"x")
    await receiver.was_told("write_failed")
    assert isinstance(receiver.write_error, anyio.BrokenResourceError)
    assert receiver.write_error.__cause__ is error
    await some_passes()
    assert sorted(receiver.calls) == ["eof_received"] * at_end + ["write_failed"]
    with pytest.raises(anyio.BrokenResourceError):
        transport.write(b"y")
    transport.release()
    await transport.wait_released()
    assert stream.calls.count("aclose") == 1


async def test_when_sending_has_failed_the_peers_last_words_are_still_read() -> None:
    ours, theirs = memory_byte_stream_pair()
    transport = transport_of(ours, current_event_loop())
    transport.pause()
    transport.attach(receiver := Recorder())
    await theirs.send(b"this is why")
    await theirs.aclose()
    transport.write(b"x")
    await some_passes()
    await receiver.was_told("write_failed")
    transport.resume()
    await receiver.was_told("eof_received")
    assert receiver.data == b"this is why"
    assert receiver.calls == ["write_failed", "data_received", "eof_received"]
    transport.release()
    await transport.wait_released()


@pytest.mark.parametrize("error", [*ERRORS, NotImplementedError()], ids=repr)
async def test_what_send_eof_raises_harms_nobody(error: Exception) -> None:
    stream = Faulty(send_eof=error)
    transport = transport_of(stream, current_event_loop())
    transport.attach(receiver := Recorder())
    transport.write(b"x")
    transport.end_sending()
    await until(lambda: "send_eof" in stream.calls)
    await some_passes()
    assert receiver.calls == ["flushed"]
    transport.release()
    await transport.wait_released()


@pytest.mark.parametrize("error", ERRORS, ids=repr)
async def test_what_aclose_raises_harms_nobody(error: Exception) -> None:
    stream = Faulty(aclose=error)
    transport = transport_of(stream, current_event_loop())
    transport.attach(Recorder())
    await some_passes()
    transport.release()
    await transport.wait_released()
    assert stream.calls.count("aclose") == 1
    await release(stream)


@pytest.mark.parametrize("method", ["receive", "send", "send_eof", "aclose"])
async def test_a_method_that_hangs_does_not_hold_up_the_release(method: str) -> None:
    stream = Faulty(**{method: None})
    transport = transport_of(stream, current_event_loop())
    transport.attach(Recorder())
    transport.write(b"x")
    transport.end_sending()
    await some_passes()
    started = time.monotonic()
    transport.release()
    await transport.wait_released()
    await release(stream)
    assert time.monotonic() - started < RELEASE_SECONDS
    assert stream.calls.count("aclose") == 2


async def test_an_aclose_that_cannot_be_cancelled_is_waited_for_only_once_and_not_long() -> None:
    stream = Stubborn()
    transport = transport_of(stream, current_event_loop())
    transport.attach(Recorder())
    transport.release()
    started = time.monotonic()
    await transport.wait_released()
    assert time.monotonic() - started > RELEASE_SECONDS * 0.9
    assert stream.calls.count("aclose") == 1
    stream.may_end.set()
    await until(lambda: not transport._tasks)  # type: ignore[attr-defined]
    await some_passes()


async def test_a_transport_that_is_released_before_its_tasks_begin_closes_the_stream() -> None:
    stream = Faulty()
    transport = transport_of(stream, current_event_loop())
    transport.attach(Recorder())
    transport.write(b"x")
    transport.release()
    await transport.wait_released()
    assert stream.calls.count("aclose") == 1


async def test_a_send_that_fails_because_of_the_release_keeps_nothing_alive() -> None:
    class Interrupted(Faulty):
        async def send(self, item: bytes) -> None:
            try:
                await anyio.sleep_forever()
            finally:
                raise anyio.BrokenResourceError

    transport = transport_of(Interrupted(), current_event_loop())
    transport.attach(Recorder())
    transport.write(b"x")
    await some_passes()
    transport.release()
    await transport.wait_released()
    kept = weakref.ref(transport)
    del transport
    await some_passes()
    gc.collect()
    assert kept() is None


async def test_no_task_is_left_behind_a_given_stream() -> None:
    before = {task.id for task in anyio.get_running_tasks()}
    for _ in range(30):  # on trio the order of tasks is random
        transport = transport_of(Faulty(), current_event_loop())
        transport.attach(Recorder())
        await some_passes()
        transport.release()
        await transport.wait_released()
        assert {task.id for task in anyio.get_running_tasks()} == before


@pytest.mark.parametrize("own", [True, False])
def test_asyncios_final_cancel_all_ends_everything_and_closes_the_stream(own: bool) -> None:
    """The tasks are cancelled before their first step, when the program's main task is over already."""
    stream = Faulty()
    receiver = Recorder()
    log: list[str] = []

    async def owner(transport: Any) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            transport.release()
            await transport.wait_released()
            log.append("released")

    async def main() -> None:
        def start(_: object) -> None:
            transport.attach(receiver)
            transport.write(b"x")
            if own:
                tasks.append(loop.create_task(owner(transport)))
            else:
                transport.release()

        tasks: list[Any] = []
        loop = asyncio.get_running_loop()
        transport = transport_of(stream, current_event_loop())
        task = asyncio.current_task()
        assert task is not None
        if own:
            tasks.append(loop.create_task(owner(transport)))
            await asyncio.sleep(0)
            transport.attach(receiver)
            transport.write(b"x")
        else:
            task.add_done_callback(start)

    asyncio.run(main())
    assert stream.calls.count("aclose") == 1
    assert log == ["released"] * own
    assert receiver.calls == (["failed"] if own and receiver.calls else [])


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_program_that_cancels_all_tasks_it_finds_is_told_as_a_failure(anyio_backend: object) -> None:
    ours, theirs = memory_byte_stream_pair()
    transport = transport_of(ours, current_event_loop())
    transport.attach(receiver := Recorder())
    await some_passes()
    for task in asyncio.all_tasks():
        if task.get_name().startswith("websocketstream"):
            task.cancel()
    await receiver.was_told("failed")
    transport.release()
    await transport.wait_released()
    await theirs.aclose()


async def test_the_socket_below_tls_is_let_go_at_once(
    server_ssl: ssl.SSLContext, client_ssl: ssl.SSLContext
) -> None:
    one, other = socket.socketpair()
    ours, theirs = await wrap_socket(one), await wrap_socket(other)
    streams: list[Any] = [None, None]

    async def wrap(index: int, *args: Any, **options: Any) -> None:
        streams[index] = await wrap_tls(*args, **options)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: wrap(0, ours, client_ssl, server_side=False, hostname="localhost"))
        tasks.start_soon(lambda: wrap(1, theirs, server_ssl, server_side=True))
    transport = transport_of(streams[0], current_event_loop())
    transport.attach(receiver := Recorder())
    await streams[1].send(b"hello")
    await receiver.has(b"hello")
    transport.write(b"answer")
    assert await streams[1].receive() == b"answer"
    transport.end_sending()
    with pytest.raises(anyio.EndOfStream):
        await streams[1].receive()
    transport.release()
    assert ours._released
    await transport.wait_released()
    await release(streams[1])
    assert theirs._released


async def test_a_stream_that_is_no_transport_yet_is_dropped_without_a_fuss() -> None:
    async with stream_and_socket() as (stream, other):
        await release(stream)
        await release(stream)
        assert other.recv(1) == b""


async def test_a_write_that_fails_after_the_release_leaves_no_timer_behind() -> None:
    class Closing(Faulty):
        """Its send() says that it was closed, when it is cancelled."""

        async def send(self, item: bytes) -> None:
            self.calls.append("send")
            try:
                await anyio.sleep_forever()
            finally:
                raise anyio.ClosedResourceError

    stream = Closing()
    loop = current_event_loop()
    transport = transport_of(stream, loop)
    transport.attach(Recorder())
    transport.write(b"x")
    await until(lambda: "send" in stream.calls)
    transport.release()
    await transport.wait_released()
    await some_passes()
    assert not loop._timers  # type: ignore[attr-defined]
