"""Transports that somebody else's protocol has had: what they still have to write comes first, and TLS stays TLS."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import anyio
import pytest
from transport_kit import MIB, Recorder, stream_sockets

from backends import BACKENDS
from waiting import until
from websocketstream._network.adopted_transport import adopt
from websocketstream._network.asyncio_transport import AsyncioStream

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.parametrize("anyio_backend", [param for param in BACKENDS if param.id != "trio"]),
]


@asynccontextmanager
async def accepted_by_another(
    context: ssl.SSLContext | None = None, client: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[asyncio.Transport, socket.socket]]:
    """Give a transport of another protocol, and the bare (or TLS) socket at its other end."""
    accepted, other = stream_sockets()
    loop = asyncio.get_running_loop()
    connect = partial(loop.connect_accepted_socket, asyncio.Protocol, accepted)
    if client is None:
        transport, _ = await connect()
    else:
        async with anyio.create_task_group() as tasks:
            sockets: list[socket.socket] = []

            async def shake_hands(raw: socket.socket) -> None:
                wrap = partial(client.wrap_socket, raw, server_hostname="127.0.0.1")
                sockets.append(await anyio.to_thread.run_sync(wrap))

            tasks.start_soon(shake_hands, other)
            transport, _ = await connect(ssl=context)
        (other,) = sockets
    other.settimeout(20)
    with other:
        try:
            yield transport, other
        finally:
            transport.abort()
            await anyio.sleep(0)


@asynccontextmanager
async def released_in_the_end(stream: AsyncioStream) -> AsyncIterator[AsyncioStream]:
    try:
        yield stream
    finally:
        stream.release()
        await stream.wait_released()


def read_exactly(sock: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size and (some := sock.recv(65536)):
        data += some
    return bytes(data)


async def test_what_the_other_protocol_has_left_to_write_comes_first() -> None:
    async with accepted_by_another() as (transport, sock):
        transport.write(b"x" * 8 * MIB)
        assert transport.get_write_buffer_size()
        async with released_in_the_end(adopt(transport)) as stream:
            stream.attach(receiver := Recorder())
            assert stream.congested
            data = await anyio.to_thread.run_sync(read_exactly, sock, 8 * MIB)
            assert data == b"x" * 8 * MIB
            await receiver.was_told("flushed")
            assert stream.write(b"ours") == 4
            assert await anyio.to_thread.run_sync(read_exactly, sock, 4) == b"ours"


async def test_a_transport_that_is_closing_is_not_adopted() -> None:
    async with accepted_by_another() as (transport, _):
        transport.close()
        with pytest.raises(OSError, match="closing"):
            adopt(transport)


@pytest.mark.parametrize("buffers", [1, 5])
async def test_through_tls_nothing_goes_past_it(
    buffers: int, server_ssl: ssl.SSLContext, client_ssl: ssl.SSLContext
) -> None:
    async with accepted_by_another(server_ssl, client_ssl) as (transport, sock):
        async with released_in_the_end(adopt(transport)) as stream:
            stream.attach(receiver := Recorder())
            assert not stream.congested
            sent = stream.write_all([b"x" * MIB] * buffers)
            assert await anyio.to_thread.run_sync(read_exactly, sock, buffers * MIB) == b"x" * buffers * MIB
            if sent < buffers * MIB:
                await receiver.was_told("flushed")
            assert not stream.congested
            await anyio.to_thread.run_sync(sock.sendall, b"theirs")
            await receiver.has(b"theirs")


async def test_through_tls_our_end_is_behind_what_was_written(
    server_ssl: ssl.SSLContext, client_ssl: ssl.SSLContext
) -> None:
    async with accepted_by_another(server_ssl, client_ssl) as (transport, sock):
        async with released_in_the_end(adopt(transport)) as stream:
            stream.attach(Recorder())
            stream.write(b"x" * 4 * MIB)
            stream.end_sending()
            data = await anyio.to_thread.run_sync(read_exactly, sock, 4 * MIB + 1)
            assert data == b"x" * 4 * MIB


async def test_through_tls_the_end_of_the_peer_is_told(
    server_ssl: ssl.SSLContext, client_ssl: ssl.SSLContext
) -> None:
    async with accepted_by_another(server_ssl, client_ssl) as (transport, sock):
        async with released_in_the_end(adopt(transport)) as stream:
            stream.attach(receiver := Recorder())
            await anyio.to_thread.run_sync(sock.sendall, b"last")
            sock.close()
            await until(lambda: "eof_received" in receiver or receiver.error is not None)
            assert receiver.data == b"last"


@pytest.mark.parametrize("how", ["end_sending", "release"])
async def test_through_tls_it_is_not_ended_by_whom_it_calls_but_in_the_next_pass(
    how: str, server_ssl: ssl.SSLContext, client_ssl: ssl.SSLContext
) -> None:
    """When it is closed, asyncio's TLS reads what is there and calls; to be aborted there is an error that it logs."""
    is_closing: list[bool] = []

    def end() -> None:
        getattr(stream, how)()
        is_closing.append(transport.is_closing())

    async with accepted_by_another(server_ssl, client_ssl) as (transport, sock):
        async with released_in_the_end(adopt(transport)) as stream:
            stream.attach(Recorder(data_received=end))
            await anyio.to_thread.run_sync(sock.sendall, b"x")
            await until(transport.is_closing)
        assert is_closing == [False]
