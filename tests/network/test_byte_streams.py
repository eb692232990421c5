"""Sockets as byte streams, as long as they have no receiver: one contract on all event loops."""

from __future__ import annotations

import socket

import anyio
import pytest
from anyio.abc import SocketAttribute
from transport_kit import MIB, drained, reset, stream_and_socket

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


async def test_cancelling_a_receive_loses_nothing() -> None:
    async with stream_and_socket() as (stream, other):
        with anyio.move_on_after(0):
            await stream.receive()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stream.receive)
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
        other.sendall(b"one")
        assert await stream.receive() == b"one"


async def test_large_data_is_sent_whole_to_a_peer_that_reads_late() -> None:
    async with stream_and_socket() as (stream, other):
        data = bytes(range(256)) * 2**16
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stream.send, data)
            await anyio.wait_all_tasks_blocked()
            assert await drained(other, len(data)) == data


async def test_a_cancelled_send_is_completed_before_the_next_begins() -> None:
    async with stream_and_socket() as (stream, other):
        data = bytes(range(256)) * 2**16
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stream.send, data)
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stream.send, b"next")
            assert await drained(other, len(data) + 4) == data + b"next"


async def test_who_waits_to_send_meets_the_reset_of_the_connection() -> None:
    async with stream_and_socket() as (stream, other), anyio.create_task_group() as tasks:

        async def send() -> None:
            with pytest.raises(anyio.BrokenResourceError):
                await stream.send(bytes(16 * MIB))

        tasks.start_soon(send)
        await anyio.wait_all_tasks_blocked()
        reset(other)


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
        async with anyio.create_task_group() as tasks:

            async def wait() -> None:
                with pytest.raises(anyio.ClosedResourceError):
                    await stream.receive()

            tasks.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            await stream.aclose()
        for call in (stream.receive(), stream.send(b"x")):
            with pytest.raises(anyio.ClosedResourceError):
                await call
        stream.end_sending()
        await stream.aclose()


async def test_the_attributes_are_those_of_the_socket() -> None:
    async with stream_and_socket() as (stream, other):
        assert stream.extra(SocketAttribute.family) == socket.AF_INET
        assert stream.extra(SocketAttribute.remote_address) == other.getsockname()
        assert stream.extra(SocketAttribute.local_address) == other.getpeername()
        assert stream.extra(SocketAttribute.remote_port) == other.getsockname()[1]
        assert stream.extra(SocketAttribute.local_port) == other.getpeername()[1]
        raw = stream.extra(SocketAttribute.raw_socket)
        assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
