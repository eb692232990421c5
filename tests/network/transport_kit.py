"""Streams over real sockets, and whom they call, for tests of the transports."""

from __future__ import annotations

import select
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from sniffio import current_async_library

from waiting import until
from websocketstream._network.loop import current_event_loop
from websocketstream._network.sockets import wrap_socket
from websocketstream._network.task_transport import transport_of
from websocketstream.testing import memory_byte_stream_pair

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from anyio.abc import ByteStream

    from websocketstream._network.direct_stream import DirectStream
    from websocketstream._network.transport import Transport

MIB = 2**20
KINDS = ["socket", "socket without epoll", "socket in tasks", "memory"]


@asynccontextmanager
async def stream_and_socket() -> AsyncIterator[tuple[DirectStream, socket.socket]]:
    """Give a stream and the bare socket at its other end."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        other = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
    stream = await wrap_socket(accepted)
    with other:
        try:
            yield stream, other
        finally:
            stream.release()
            await stream.wait_released()


async def some_passes(count: int = 30) -> None:
    """Let the event loop do all that there is to do: what was sent over the loopback interface is there already."""
    for _ in range(count):
        await checkpoint()


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


async def read_to_the_end(sock: socket.socket) -> bytes:
    """Read until the other side ends, in a thread."""
    return await anyio.to_thread.run_sync(lambda: b"".join(iter(lambda: sock.recv(MIB), b"")))


class Recorder:
    """A receiver that writes down what it is told, and does what the test wants, by the name of the call."""

    def __init__(self, **reactions: Callable[[], object]) -> None:
        self.data = bytearray()
        self.calls: list[str] = []
        self.error: Exception | None = None
        self.write_error: Exception | None = None
        self._reactions = reactions

    def data_received(self, data: Any) -> None:
        self.data += data
        self._note("data_received")

    def eof_received(self) -> None:
        self._note("eof_received")

    def flushed(self) -> None:
        self._note("flushed")

    def write_failed(self, error: Exception) -> None:
        self.write_error = error
        self._note("write_failed")

    def failed(self, error: Exception) -> None:
        assert self.error is None
        self.error = error
        self._note("failed")

    def _note(self, name: str) -> None:
        assert self.error is None or name == "failed", "nothing follows a failure"
        self.calls.append(name)
        if name in self._reactions:
            self._reactions[name]()

    def __contains__(self, name: str) -> bool:
        return name in self.calls

    async def has(self, data: bytes) -> None:
        """Wait until so much has arrived, and compare."""
        await until(lambda: len(self.data) >= len(data))
        assert self.data == data

    async def was_told(self, name: str) -> None:
        """Wait for a call."""
        await until(lambda: name in self.calls)


class SocketPeer:
    """The other end of a transport over a socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    async def send(self, data: bytes) -> None:
        await anyio.to_thread.run_sync(self._socket.sendall, data)

    async def receive(self, size: int) -> bytes:
        return await drained(self._socket, size)

    async def receive_to_the_end(self) -> bytes:
        return await read_to_the_end(self._socket)

    async def end(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)

    async def close(self) -> None:
        self._socket.close()

    async def reset(self) -> None:
        reset(self._socket)


class MemoryPeer:
    """The other end of a transport in memory."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream

    async def send(self, data: bytes) -> None:
        await self._stream.send(data)

    async def receive(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            data += await self._stream.receive()
        return data

    async def receive_to_the_end(self) -> bytes:
        return b"".join([data async for data in self._stream])

    async def end(self) -> None:
        await self._stream.send_eof()

    async def close(self) -> None:
        await self._stream.aclose()

    async def reset(self) -> None:
        self._stream.reset()  # type: ignore[attr-defined]


@asynccontextmanager
async def transport_and_peer(kind: str) -> AsyncIterator[tuple[Transport, Any]]:
    """Give a transport of one of the KINDS, and the other end."""
    if kind == "socket without epoll":
        if current_async_library() != "trio":
            pytest.skip("only trio needs it")
        with pytest.MonkeyPatch.context() as patch:
            patch.delattr(select, "epoll", raising=False)
            async with transport_and_peer("socket") as both:
                yield both
        return
    loop = current_event_loop()
    if kind == "memory":
        ours, theirs = memory_byte_stream_pair()
        transport, peer = transport_of(ours, loop), MemoryPeer(theirs)
        try:
            yield transport, peer
        finally:
            transport.release()
            await transport.wait_released()
            await theirs.aclose()
        return
    async with stream_and_socket() as (stream, other):
        transport = transport_of(stream if kind == "socket" else Wrapped(stream), loop)
        assert (transport is stream) == (kind == "socket")
        try:
            yield transport, SocketPeer(other)
        finally:
            transport.release()
            await transport.wait_released()


class Wrapped(anyio.abc.ByteStream):
    """A stream of which nobody knows what is below."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream

    async def receive(self, max_bytes: int = 65536) -> bytes:
        return await self._stream.receive(max_bytes)

    async def send(self, item: bytes) -> None:
        await self._stream.send(item)

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def aclose(self) -> None:
        await self._stream.aclose()
