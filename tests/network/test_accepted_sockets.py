"""Connections that a listening socket accepts: by a system call of our own, and by Python's."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import pytest

from websocketstream._network import socket_calls, sockets
from websocketstream._network.direct_stream import DirectStream
from websocketstream._network.sockets import AcceptedSocket, connections_of, wrap_socket

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["ours", "Python's"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "ours" and socket_calls.accept is None:
        pytest.skip("there is none here")
    if request.param != "ours":
        monkeypatch.setattr(socket_calls, "accept", None)
    return str(request.param)


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        sock.setblocking(False)
        yield sock


@pytest.mark.usefixtures("way")
async def test_the_stream_of_a_connection_sends_small_segments_at_once_and_never_blocks(
    listening: socket.socket,
) -> None:
    accept = connections_of(listening)
    with socket.create_connection(listening.getsockname()) as client:
        accepted = accept()
        assert accepted.family == socket.AF_INET
        assert accepted.type == socket.SOCK_STREAM
        assert accepted.getpeername() == client.getsockname()
        assert not accepted.get_inheritable()
        stream: DirectStream = await wrap_socket(accepted)
        assert accepted.gettimeout() == 0
        assert not os.get_blocking(accepted.fileno())
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        client.sendall(b"hello")
        with anyio.fail_after(10):
            assert await stream.receive() == b"hello"
        await stream.aclose()


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="there are no such sockets here")
@pytest.mark.usefixtures("way")
async def test_a_connection_may_come_by_a_path(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as client:
        listening.bind(str(tmp_path / "socket"))
        listening.listen()
        listening.setblocking(False)
        client.connect(str(tmp_path / "socket"))
        stream = await wrap_socket(connections_of(listening)())
        await stream.send(b"hello")
        assert client.recv(5) == b"hello"
        await stream.aclose()


@pytest.mark.usefixtures("way")
async def test_where_nobody_waits_nothing_is_accepted(listening: socket.socket) -> None:
    with pytest.raises(BlockingIOError):
        connections_of(listening)()


@pytest.mark.usefixtures("way")
async def test_a_listening_socket_that_was_closed_says_so(listening: socket.socket) -> None:
    accept = connections_of(listening)
    listening.close()
    with pytest.raises(OSError) as caught:
        accept()
    assert caught.value.errno == errno.EBADF


async def test_a_listening_socket_that_blocks_is_left_to_python(listening: socket.socket) -> None:
    listening.setblocking(True)
    with socket.create_connection(listening.getsockname()), connections_of(listening)() as accepted:
        assert type(accepted) is socket.socket


@pytest.mark.skipif(socket_calls.accept is None, reason="there is no system call of ours here")
async def test_a_connection_of_which_no_socket_can_be_made_leaves_no_descriptor(
    listening: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []

    def fail(*_: object) -> AcceptedSocket:
        raise MemoryError

    def accept(descriptor: int, accept: Callable[[int], int] | None = socket_calls.accept) -> int:
        assert accept is not None
        made.append(accept(descriptor))
        return made[-1]

    monkeypatch.setattr(socket_calls, "accept", accept)
    monkeypatch.setattr(sockets, "AcceptedSocket", fail)
    with socket.create_connection(listening.getsockname()):
        with pytest.raises(MemoryError):
            connections_of(listening)()
        with pytest.raises(OSError):
            os.fstat(made[0])
