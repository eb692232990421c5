"""Sockets as byte streams, as handshakes and TLS use them, and their attributes."""

from __future__ import annotations

import os
import select
import socket
import sys
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio.abc import SocketAttribute
from transport_kit import MIB, Recorder, drained, reset, some_passes, stream_and_socket

from websocketstream._network.any_stream import send_all
from websocketstream._network.sockets import wrap_socket

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio


async def test_what_arrives_is_received_and_then_the_end() -> None:
    async with stream_and_socket() as (stream, other):
        other.sendall(b"one")
        assert await stream.receive() == b"one"
        other.sendall(b"two")
        other.shutdown(socket.SHUT_WR)
        assert await stream.receive(2) == b"tw"
        assert await stream.receive(2) == b"o"
        for _ in range(2):
            with pytest.raises(anyio.EndOfStream):
                await stream.receive()


async def test_a_reset_is_raised_with_its_cause_and_the_transport_has_failed() -> None:
    async with stream_and_socket() as (stream, other):
        reset(other)
        with pytest.raises(anyio.BrokenResourceError) as caught:
            await stream.receive()
        assert isinstance(caught.value.__cause__, ConnectionResetError)
        stream.attach(receiver := Recorder())
        await receiver.was_told("failed")
        assert receiver.calls == ["failed"]


async def test_cancelling_a_receive_loses_nothing() -> None:
    async with stream_and_socket() as (stream, other):
        with anyio.move_on_after(0):
            await stream.receive()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stream.receive)
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
        other.sendall(b"one")
        await some_passes()
        with anyio.CancelScope() as scope:
            scope.cancel()
            await stream.receive()
        assert await stream.receive() == b"one"


async def test_much_that_arrives_while_nobody_reads_waits_in_the_system() -> None:
    async with stream_and_socket() as (stream, other):
        data = os.urandom(MIB) * 8
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.to_thread.run_sync, other.sendall, data)
            await some_passes()
            received = b""
            while len(received) < len(data):
                received += await stream.receive(100_000)
        assert received == data


async def test_large_data_is_sent_whole_to_a_peer_that_reads_late() -> None:
    async with stream_and_socket() as (stream, other):
        data = bytes(range(256)) * 2**16
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stream.send, data)
            await anyio.wait_all_tasks_blocked()
            assert await drained(other, len(data)) == data


async def test_a_send_that_is_cancelled_is_completed_before_the_next() -> None:
    async with stream_and_socket() as (stream, other):
        data = bytes(range(256)) * 2**16
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stream.send, data)
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send_all, stream, b"next")
            assert await drained(other, len(data) + 4) == data + b"next"


@pytest.mark.parametrize("end", ["reset", "aclose"])
async def test_who_waits_to_send_meets_the_end_of_the_connection(end: str) -> None:
    async with stream_and_socket() as (stream, other):
        error = anyio.BrokenResourceError if end == "reset" else anyio.ClosedResourceError

        async def send() -> None:
            with pytest.raises(error):
                await stream.send(bytes(16 * MIB))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send)
            await anyio.wait_all_tasks_blocked()
            if end == "reset":
                reset(other)
            else:
                await stream.aclose()


async def test_ending_our_direction_leaves_the_other_one_open() -> None:
    async with stream_and_socket() as (stream, other):
        await stream.send(b"last")
        await stream.send_eof()
        assert await drained(other, 4) == b"last"
        assert other.recv(1) == b""
        other.sendall(b"answer")
        assert await stream.receive() == b"answer"


async def test_closing_wakes_who_waits() -> None:
    async with stream_and_socket() as (stream, _):

        async def wait() -> None:
            with pytest.raises(anyio.ClosedResourceError):
                await stream.receive()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            await stream.aclose()
        for call in (stream.receive(), stream.send(b"x")):
            with pytest.raises(anyio.ClosedResourceError):
                await call
        stream.end_sending()
        await stream.aclose()


# --- attributes


ATTRIBUTES = [
    SocketAttribute.family,
    SocketAttribute.local_address,
    SocketAttribute.remote_address,
    SocketAttribute.local_port,
    SocketAttribute.remote_port,
    SocketAttribute.raw_socket,
]


async def connected(family: int, address: Any) -> tuple[Any, socket.socket]:
    with socket.socket(family) as listener:
        listener.bind(address)
        listener.listen()
        other = socket.socket(family)
        other.connect(listener.getsockname())
        return await wrap_socket(listener.accept()[0]), other


async def test_the_attributes_are_those_of_the_socket() -> None:
    async with stream_and_socket() as (stream, other):
        assert stream.extra(SocketAttribute.family) == socket.AF_INET
        assert stream.extra(SocketAttribute.remote_address) == other.getsockname()
        assert stream.extra(SocketAttribute.local_address) == other.getpeername()
        assert stream.extra(SocketAttribute.remote_port) == other.getsockname()[1]
        assert stream.extra(SocketAttribute.local_port) == other.getpeername()[1]
        raw = stream.extra(SocketAttribute.raw_socket)
        assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_addresses_of_ipv6_have_two_parts_as_those_of_anyio() -> None:
    try:
        stream, other = await connected(socket.AF_INET6, ("::1", 0))
    except OSError:
        pytest.skip("no IPv6 here")
    with other:
        assert stream.extra(SocketAttribute.remote_address) == other.getsockname()[:2]
        assert stream.extra(SocketAttribute.local_address) == other.getpeername()[:2]
        assert stream.extra(SocketAttribute.local_port) == other.getpeername()[1]
        await stream.aclose()


@pytest.mark.skipif(sys.platform == "win32", reason="no unix sockets")
async def test_a_unix_socket_has_no_port(tmp_path: Path) -> None:
    path = os.path.relpath(tmp_path / "s")  # shorter: the system allows about 100 characters
    stream, other = await connected(socket.AF_UNIX, path)
    with other:
        assert stream.extra(SocketAttribute.family) == socket.AF_UNIX
        assert stream.extra(SocketAttribute.local_address) == path
        for port in (SocketAttribute.local_port, SocketAttribute.remote_port):
            assert stream.extra(port, None) is None
            with pytest.raises(anyio.TypedAttributeLookupError):
                stream.extra(port)
        await stream.aclose()


@pytest.mark.parametrize("end", ["aclose", "reset"])
async def test_after_the_end_the_attributes_are_gone_and_no_error(end: str) -> None:
    async with stream_and_socket() as (stream, other):
        if end == "reset":
            stream.attach(receiver := Recorder())
            reset(other)
            await receiver.was_told("failed")
            for attribute in ATTRIBUTES:
                stream.extra(attribute, None)
        await stream.aclose()
        for attribute in ATTRIBUTES:
            assert stream.extra(attribute, "default") == "default"
            with pytest.raises(anyio.TypedAttributeLookupError):
                stream.extra(attribute)


# --- without epoll


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_without_epoll_trio_waits_in_tasks(
    anyio_backend: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(select, "epoll", raising=False)
    async with stream_and_socket() as (stream, other), stream_and_socket() as (idle, _):
        stream.attach(receiver := Recorder())
        idle.attach(Recorder())
        other.sendall(b"one")
        await receiver.has(b"one")
        data = bytes(8 * MIB)
        stream.write(data)
        stream.pause()
        other.sendall(b"two")
        assert await drained(other, len(data)) == data
        await receiver.was_told("flushed")
        assert receiver.data == b"one"
        stream.resume()
        await receiver.has(b"onetwo")
        other.close()
        await receiver.was_told("eof_received")
        idle.extra(SocketAttribute.raw_socket).close()
        await some_passes()
    await some_passes()
