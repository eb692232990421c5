"""``serve --tcp``: a WebSocket outside, TCP inside; each direction ends by itself where the client knows how."""

from __future__ import annotations

import argparse
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream

from waiting import until
from websocketstream import ConnectionClosed, HandshakeRejected
from websocketstream._cli import serve_tcp
from websocketstream.testing import serve_in_memory

anyio_only = pytest.mark.anyio


@asynccontextmanager
async def tcp_server(handle: Callable[[SocketStream], Awaitable[None]]) -> AsyncIterator[int]:
    """Run the server behind for the length of a block; give its port."""
    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, handle)
        yield listener.extra(SocketAttribute.local_port)
        tasks.cancel_scope.cancel()


async def everything(stream: SocketStream) -> bytes:
    data = b""
    with pytest.raises(anyio.EndOfStream):
        while True:
            data += await stream.receive()
    return data


@anyio_only
async def test_bytes_pass_both_ways_and_the_clients_end_is_handed_on() -> None:
    ended = anyio.Event()

    async def shout(stream: SocketStream) -> None:
        async with stream:
            async for data in stream:
                await stream.send(data.upper())
        ended.set()

    async with tcp_server(shout) as port:
        async with serve_in_memory(serve_tcp.make_handler("127.0.0.1", port)) as connect:
            async with connect() as conn:
                await conn.send(b"hello")
                assert await conn.receive() == b"HELLO"
            with anyio.fail_after(10):
                await ended.wait()


@anyio_only
async def test_the_end_of_the_server_behind_closes_the_connection_behind_all_that_it_said() -> None:
    async def talk(stream: SocketStream) -> None:
        async with stream:
            await stream.send(b"x" * 2**20)

    async with tcp_server(talk) as port:
        async with serve_in_memory(serve_tcp.make_handler("127.0.0.1", port)) as connect, connect() as conn:
            received = 0
            async for message in conn.messages():
                received += len(message)
            assert received == 2**20


@anyio_only
async def test_with_empty_messages_a_server_behind_may_end_first_and_still_hear_everything() -> None:
    heard: list[bytes] = []

    async def bye_first(stream: SocketStream) -> None:
        async with stream:
            await stream.send(b"bye")
            await stream.send_eof()
            heard.append(await everything(stream))

    async with tcp_server(bye_first) as port:
        handler = serve_tcp.make_handler("127.0.0.1", port, "empty")
        async with serve_in_memory(handler) as connect, connect() as conn:
            assert await conn.receive() == b"bye"
            assert await conn.receive() == b""
            for _ in range(64):
                await conn.send(b"y" * 2**16)
            await conn.send(b"")
            await until(lambda: heard)
            assert heard == [b"y" * 2**22]
            with pytest.raises(anyio.EndOfStream):
                await conn.receive()


@anyio_only
async def test_with_empty_messages_the_client_may_end_first_and_still_hear_everything() -> None:
    async def count(stream: SocketStream) -> None:
        async with stream:
            data = await everything(stream)
            await stream.send(b"%d" % len(data) * 2**18)

    async with tcp_server(count) as port:
        handler = serve_tcp.make_handler("127.0.0.1", port, "empty")
        async with serve_in_memory(handler) as connect, connect() as conn:
            await conn.send(b"12345")
            await conn.send(b"")
            answer = b""
            while message := await conn.receive():
                answer += message
            assert answer == b"5" * 2**18


@anyio_only
async def test_a_server_behind_that_cannot_be_reached_refuses_the_client(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    async with serve_in_memory(serve_tcp.make_handler("127.0.0.1", port)) as connect:
        with pytest.raises(HandshakeRejected) as caught:
            async with connect():
                pass
    assert caught.value.status == 502
    assert f"cannot connect to 127.0.0.1 port {port}" in caplog.text


@anyio_only
async def test_a_server_behind_that_does_not_answer_in_time_refuses_the_client(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def connect_tcp(*_: object) -> None:
        await anyio.sleep_forever()

    monkeypatch.setattr(serve_tcp, "connect_tcp", connect_tcp)
    monkeypatch.setattr(serve_tcp, "CONNECT_SECONDS", 0.01)
    async with serve_in_memory(serve_tcp.make_handler("127.0.0.1", 1)) as connect:
        with pytest.raises(HandshakeRejected) as caught:
            async with connect():
                pass
    assert caught.value.status == 504


@anyio_only
async def test_a_server_behind_that_breaks_off_is_a_bad_gateway(caplog: pytest.LogCaptureFixture) -> None:
    async def break_off(stream: SocketStream) -> None:
        async with stream:
            await stream.receive()
            raw = stream.extra(SocketAttribute.raw_socket)
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset

    async with tcp_server(break_off) as port:
        async with serve_in_memory(serve_tcp.make_handler("127.0.0.1", port)) as connect, connect() as conn:
            await conn.send(b"go")
            with pytest.raises(ConnectionClosed) as caught:
                await conn.receive()
    assert caught.value.close_code == 1014
    assert "Traceback" not in caplog.text


@anyio_only
async def test_text_has_no_place_in_a_tunnel() -> None:
    async def wait(stream: SocketStream) -> None:
        async with stream:
            await everything(stream)

    async with tcp_server(wait) as port:
        async with serve_in_memory(serve_tcp.make_handler("127.0.0.1", port)) as connect, connect() as conn:
            await conn.send("text")
            with pytest.raises(anyio.EndOfStream):
                await conn.receive()


@pytest.mark.parametrize(
    ("text", "place"),
    [("localhost:22", ("localhost", 22)), ("[::1]:8080", ("::1", 8080)), ("10.0.0.1:1", ("10.0.0.1", 1))],
)
def test_a_place_is_read(text: str, place: tuple[str, int]) -> None:
    assert serve_tcp.host_and_port(text) == place


@pytest.mark.parametrize(
    "text",
    ["", "localhost", "22", ":22", "localhost:", "localhost:x", "localhost:0", "h:65536", "::1:22", "h:²"],
)
def test_what_is_no_place_is_explained(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="22"):
        serve_tcp.host_and_port(text)
