"""Streams over real sockets, and whom they call, for tests of the transports."""

from __future__ import annotations

import asyncio
import select
import socket
import ssl
from contextlib import asynccontextmanager
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import anyio
import pytest
import trustme
from anyio.lowlevel import checkpoint
from sniffio import current_async_library

from waiting import until
from websocketstream._network.adopted_transport import adopt
from websocketstream._network.asyncio_loop import current_asyncio_loop
from websocketstream._network.loop import current_event_loop
from websocketstream._network.sockets import watches_sockets, wrap_socket
from websocketstream._network.task_transport import transport_of
from websocketstream._network.tls import TLSTransport, wrap_tls
from websocketstream.testing import memory_byte_stream_pair

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from anyio.abc import ByteStream

    from websocketstream._network.direct_stream import DirectStream
    from websocketstream._network.transport import Transport

MIB = 2**20
KINDS = [
    "socket",
    "socket without epoll",
    "socket without watching",
    "socket in tasks",
    "adopted socket",
    "memory",
    "TLS over a socket",
    "TLS in memory",
    "TLS in TLS",
]


@asynccontextmanager
async def stream_and_socket() -> AsyncIterator[tuple[DirectStream, socket.socket]]:
    """Give a stream and the bare socket at its other end."""
    accepted, other = stream_sockets()
    stream = await wrap_socket(accepted)
    with other:
        try:
            yield stream, other
        finally:
            stream.release()
            await stream.wait_released()


def stream_sockets() -> tuple[socket.socket, socket.socket]:
    """Return two connected sockets of TCP."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        other = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
    return accepted, other


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

    def room(self, most: int) -> memoryview | None:
        return None

    def room_filled(self, size: int, data: Any) -> None:
        raise AssertionError("there was no room")

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


class TLSPeer(MemoryPeer):
    """The other end of a transport with TLS: a stream of the library's own, for there is no other without a thread."""

    def __init__(self, stream: TLSTransport, reset: Callable[[], object]) -> None:
        super().__init__(stream)
        self._reset = reset

    async def reset(self) -> None:
        self._reset()


def new_tls_contexts(
    version: ssl.TLSVersion = ssl.TLSVersion.MAXIMUM_SUPPORTED,
) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return contexts for a client and a server who know each other, and no newer version; they may be changed."""
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    client.maximum_version = version
    return client, server


tls_contexts = cache(new_tls_contexts)  # for all tests together


async def tls_over(ours: ByteStream, theirs: ByteStream) -> tuple[TLSTransport, TLSTransport]:
    """Do the TLS handshake, ours in the client's role."""
    client, server = tls_contexts()
    ends: dict[str, TLSTransport] = {}

    async def shake_hands(name: str, *args: Any, **options: Any) -> None:
        ends[name] = await wrap_tls(*args, **options)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(shake_hands, "ours", ours, client, server_side=False, hostname="localhost"))
        tasks.start_soon(partial(shake_hands, "theirs", theirs, server, server_side=True))
    return ends["ours"], ends["theirs"]


@asynccontextmanager
async def tls_and_peer(kind: str) -> AsyncIterator[tuple[Transport, TLSPeer]]:
    """Give a transport with TLS, over a socket, in memory or in another TLS, and the other end."""
    reset_peer: Callable[[], object]
    if kind == "TLS in memory":
        ours, theirs = memory_byte_stream_pair()
        transport, other = await tls_over(ours, theirs)
        reset_peer = theirs.reset
    else:
        one, two = stream_sockets()
        transport, other = await tls_over(await wrap_socket(one), await wrap_socket(two))
        if kind == "TLS in TLS":
            transport, other = await tls_over(transport, other)
        reset_peer = partial(reset_below, other)
    try:
        yield transport, TLSPeer(other, reset_peer)
    finally:
        for each in (transport, other):
            each.release()
            await each.wait_released()


def reset_below(tls: TLSTransport) -> None:
    """Let the system reset the connection as it is closed."""
    raw_socket = tls.raw_socket
    assert raw_socket is not None
    raw_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    below: Transport = tls
    while isinstance(below, TLSTransport):
        below = below._below
    below.release()  # without the goodbye of TLS


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
    if kind == "socket without watching":
        if current_async_library() != "asyncio" or not watches_sockets():
            pytest.skip("only asyncio's own loop can do both")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(current_asyncio_loop(), "watches_sockets", False)
            async with transport_and_peer("socket") as both:
                yield both
        return
    if kind.startswith("TLS"):
        async with tls_and_peer(kind) as both:
            yield both
        return
    if kind == "adopted socket":
        if current_async_library() != "asyncio":
            pytest.skip("only asyncio has transports of its own")
        async with adopted_and_peer() as both:
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


@asynccontextmanager
async def adopted_and_peer() -> AsyncIterator[tuple[Transport, SocketPeer]]:
    """Give a transport that another protocol has had, and the other end."""
    accepted, other = stream_sockets()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_accepted_socket(asyncio.Protocol, accepted)
    stream = adopt(transport)
    with other:
        try:
            yield stream, SocketPeer(other)
        finally:
            stream.release()
            await stream.wait_released()


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
