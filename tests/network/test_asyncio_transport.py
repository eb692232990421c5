"""What is particular to sockets on asyncio and uvloop."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import tempfile
from typing import Any

import anyio
import pytest
from transport_kit import MIB, Recorder, drained, reset, some_passes, stream_and_socket

from waiting import until
from websocketstream._network import asyncio_transport
from websocketstream._network.asyncio_loop import current_asyncio_loop
from websocketstream._network.asyncio_transport import AsyncioStream
from websocketstream._network.selector_transport import SelectorStream
from websocketstream._network.sockets import wrap_socket

asyncio_only = pytest.mark.parametrize(
    "anyio_backend",
    [
        pytest.param("asyncio", id="asyncio"),
        *(
            [pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop")]
            if sys.platform != "win32" and sys.implementation.name == "cpython"
            else []
        ),
    ],
)
pytestmark = [pytest.mark.anyio, asyncio_only]


@pytest.mark.parametrize("passes", [0, 1, 2, 5])
async def test_the_end_of_a_write_and_of_the_connection_meet(passes: int, anyio_backend: object) -> None:
    """asyncio's transport does not expect to be aborted, or ended, while it says that all has left."""
    errors: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    async with stream_and_socket() as (stream, other):

        def end() -> None:
            stream.end_sending()
            if not passes:
                stream.release()

        stream.attach(receiver := Recorder(flushed=end))
        stream.write(bytes(8 * MIB))
        await drained(other, 8 * MIB)
        await receiver.was_told("flushed")
        await some_passes(passes)
        stream.release()
        await stream.wait_released()
    assert not errors


async def test_the_end_behind_what_was_written_meets_a_reset(anyio_backend: object) -> None:
    errors: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    async with stream_and_socket() as (stream, other):
        stream.attach(receiver := Recorder())
        stream.write(bytes(8 * MIB))
        stream.end_sending()
        other.recv(MIB)
        reset(other)
        await receiver.was_told("failed")
        stream.release()
        await stream.wait_released()
    assert not errors


async def test_bytes_leave_in_order_past_the_transport_and_through_it(anyio_backend: object) -> None:
    async with stream_and_socket() as (stream, other):
        stream.attach(receiver := Recorder())
        data = b""
        for size in (1, 70_000, 8 * MIB, 1, 1, 3 * MIB, 5):
            chunk = os.urandom(min(size, 1000)) * (size // 1000 or 1)
            data += chunk
            stream.write(chunk)
            if stream.congested:
                received = await drained(other, len(data))
                assert received == data
                data = b""
                await until(lambda: not stream.congested)
        assert await drained(other, len(data)) == data
        assert receiver.error is None


async def test_where_a_socket_is_no_file_the_transport_writes(
    anyio_backend: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asyncio_transport, "DIRECT_WRITES", False)
    monkeypatch.setattr(os, "write", None)
    async with stream_and_socket() as (stream, other):
        stream.attach(receiver := Recorder())
        for data in (b"small", bytes(8 * MIB), b"small again"):
            sent = stream.write(data)
            assert sent <= len(data)
            assert stream.congested == (sent < len(data))
            assert await drained(other, len(data)) == data
            await until(lambda: not stream.congested)
        stream.end_sending()
        await some_passes()
        assert other.recv(1) == b""
        other.sendall(b"answer")
        await receiver.has(b"answer")


def run_on(backend: Any, main: Any) -> Any:
    name, options = (backend, {}) if isinstance(backend, str) else backend
    return anyio.run(main, backend=name, backend_options=options)


@pytest.mark.filterwarnings(
    "ignore::ResourceWarning"
)  # rightly given: the program has forgotten the connection
async def test_nothing_is_written_to_a_descriptor_that_has_become_another_files(anyio_backend: Any) -> None:
    """uvloop closes the sockets of a loop that is closed, and says so to nobody."""
    left: list[Any] = []

    async def main() -> None:
        loop = current_asyncio_loop()
        if anyio_backend != "asyncio":
            loop.watches_sockets = False  # on the event loop's own transport
        with socket.create_server(("127.0.0.1", 0)) as listener:
            left.append(socket.create_connection(listener.getsockname()))
            stream = await wrap_socket(listener.accept()[0])
        stream.attach(Recorder())
        left.append(stream)

    def scenario() -> bytes:
        run_on(anyio_backend, main)
        _, stream = left
        with tempfile.TemporaryFile(buffering=0) as file:
            if anyio_backend != "asyncio":
                os.dup2(file.fileno(), stream._descriptor)
            with pytest.raises(anyio.BrokenResourceError):
                stream.write(b"this must not get into the file")
            with pytest.raises(anyio.BrokenResourceError):
                stream.write_all([b"nor", b"this, in pieces"])
            stream.pause()
            stream.resume()
            stream.end_sending()
            assert not stream.extra_attributes
            stream.release()
            with pytest.raises(anyio.ClosedResourceError):
                stream.write(b"nor this")
            file.seek(0)
            content = file.read()
            if anyio_backend != "asyncio":
                os.close(stream._descriptor)
        if anyio_backend == "asyncio" and isinstance(stream, AsyncioStream):
            stream._transport._sock.close()  # which the loop leaves open for the garbage collector
            stream._transport._sock = None
        return content

    assert await anyio.to_thread.run_sync(scenario) == b""
    left[0].close()


@pytest.mark.parametrize("attached_before", [True, False])
async def test_what_arrived_before_the_connection_was_lost_is_handed_over_first(
    attached_before: bool, monkeypatch: pytest.MonkeyPatch, anyio_backend: object
) -> None:
    monkeypatch.setattr(asyncio_transport, "DIRECT_WRITES", False)  # on the event loop's own transport
    async with stream_and_socket() as (stream, other):
        assert isinstance(stream, AsyncioStream)
        other.sendall(b"last words")
        await some_passes()
        receiver = Recorder()
        if attached_before:
            stream.pause()
            stream.attach(receiver)
        stream._transport.abort()
        await some_passes()
        if attached_before:
            assert receiver.calls == ["write_failed"]  # for senders need not wait
            stream.resume()
        else:
            stream.attach(receiver)
        await receiver.was_told("failed")
        assert receiver.data == b"last words"
        assert receiver.calls[-2:] == ["data_received", "failed"]


async def test_one_busy_connection_reads_as_much_as_it_can(anyio_backend: object) -> None:
    async with stream_and_socket() as (stream, other):
        stream.attach(receiver := Recorder())
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.to_thread.run_sync, other.sendall, bytes(64 * MIB))
            await until(lambda: len(receiver.data) == 64 * MIB)
        assert current_asyncio_loop().read_turns.share == 1
        assert isinstance(stream, AsyncioStream | SelectorStream)


async def test_a_transport_that_has_failed_takes_nothing_more_before_it_says_so(
    monkeypatch: pytest.MonkeyPatch, anyio_backend: object
) -> None:
    monkeypatch.setattr(asyncio_transport, "DIRECT_WRITES", False)
    async with stream_and_socket() as (stream, other):
        stream.attach(receiver := Recorder())
        stream.pause()
        reset(other)
        for _ in range(1000):  # in one pass: nobody can tell us meanwhile
            if stream.congested:
                break
            stream.write(b"x" * 1000)
        assert stream.congested
        await receiver.was_told("failed")
        assert "flushed" not in receiver
