"""Whoever reads a byte stream notices that he is cancelled although the peer sends something in every pass of the event loop.

Anyio cancels no task of asyncio's that waits for a future which is done; see `promises/test_busy_tasks.py`. These streams are those of the
opening handshake, and of a refusal: whoever is stuck there would outlive every timeout, and the shutdown of the server.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import pytest
from transport_kit import some_passes, stream_and_socket, tls_and_peer

from backends import BACKENDS
from promises.open_sockets import in_passes
from websocketstream._network.any_stream import receive_head, receive_some, say_and_drain

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from anyio.abc import ByteStream

pytestmark = pytest.mark.anyio
PASSES = 50  # until it is cancelled
MANY = 1000  # passes: who has not ended by then would not end


async def receive_on(stream: ByteStream) -> None:
    while True:
        await stream.receive()


async def receive_some_on(stream: ByteStream) -> None:
    while True:
        await receive_some(stream)


async def receive_head_on(stream: ByteStream) -> None:
    while True:
        await receive_head(stream)


async def say_last_words(stream: ByteStream) -> None:
    await say_and_drain(stream, b"no")


@asynccontextmanager
async def stream_and_sender(kind: str) -> AsyncIterator[tuple[ByteStream, Callable[[], object]]]:
    """Give a stream, and what lets one byte arrive there."""
    if kind == "socket":
        async with stream_and_socket() as (stream, other):
            yield stream, lambda: other.send(b"!")
    else:
        async with tls_and_peer(kind) as (tls, peer):
            yield tls, lambda: peer._stream.write(b"!")


@pytest.mark.parametrize("shift", [0, 1])
@pytest.mark.parametrize("kind", ["socket", "TLS over a socket"])
@pytest.mark.parametrize("use", [receive_on, receive_some_on, receive_head_on, say_last_words])
async def test_reading_can_be_cancelled_although_there_is_always_something_to_read(
    use: Callable[[ByteStream], Awaitable[None]], kind: str, shift: int
) -> None:
    passes = 0

    async with stream_and_sender(kind) as (stream, send):

        def in_every_pass() -> None:
            nonlocal passes
            passes += 1
            if passes < MANY:
                send()
                in_passes(1, in_every_pass)

        with anyio.CancelScope() as scope:
            in_every_pass()
            in_passes(PASSES + shift, scope.cancel)
            await use(stream)
        assert passes < 2 * PASSES
        passes = MANY
    await some_passes()


@pytest.mark.parametrize("anyio_backend", [param for param in BACKENDS if param.id != "trio"])
@pytest.mark.parametrize("use", [receive_on, receive_head_on, say_last_words])
async def test_it_can_be_cancelled_although_the_system_says_in_every_pass_that_there_is_something(
    use: Callable[[ByteStream], Awaitable[None]],
) -> None:
    loop, passes = asyncio.get_running_loop(), 0
    always_ready, other_end = socket.socketpair()

    with always_ready, other_end:
        other_end.send(b"!")
        async with stream_and_socket() as (stream, other):

            def in_every_pass() -> None:
                nonlocal passes
                passes += 1
                if passes < MANY:
                    other.send(b"!")
                else:
                    loop.remove_reader(always_ready)

            with anyio.CancelScope() as scope:
                loop.add_reader(always_ready, in_every_pass)
                in_passes(PASSES, scope.cancel)
                await use(stream)
            loop.remove_reader(always_ready)
            assert passes < 2 * PASSES
