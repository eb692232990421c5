"""What was built does as Python's sockets do, and its absence changes nothing."""

from __future__ import annotations

import importlib
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from websocketstream._network import socket_calls
from websocketstream._protocol import engine

SIZES = [1, 2, 2047, 2048, 2049, 70_000]


@pytest.fixture(params=["chosen", "portable"])
def module(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    return socket_calls if request.param == "chosen" else portable_module(monkeypatch)


def portable_module(monkeypatch: pytest.MonkeyPatch) -> Any:
    specification = importlib.util.find_spec("websocketstream._network.socket_calls")
    assert specification is not None
    assert specification.loader is not None
    monkeypatch.setattr(engine, "ENGINE", "portable")
    portable = ModuleType(specification.name)
    portable.__spec__ = specification
    portable.__package__ = specification.parent
    specification.loader.exec_module(portable)
    return portable


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.settimeout(5)
        yield ours, theirs


def kinds_of(data: bytes) -> list[Any]:
    return [data, bytearray(data), memoryview(data), memoryview(b"x" + data)[1:]]


@pytest.mark.parametrize("size", SIZES)
def test_every_kind_of_buffer_is_sent(module: Any, ends: Any, size: int) -> None:
    ours, theirs = ends
    for send in (module.SocketCalls(ours).send, module.sender_of(ours)):
        for data in kinds_of(bytes(range(256)) * (size // 256) + bytes(size % 256)):
            assert send(data) == size
            assert theirs.recv(size, socket.MSG_WAITALL) == data


@pytest.mark.parametrize("size", SIZES)
def test_what_has_arrived_is_returned(module: Any, ends: Any, size: int) -> None:
    ours, theirs = ends
    room = memoryview(bytearray(2**18))
    calls = module.SocketCalls(ours)
    theirs.sendall(data := b"%d" % size * (size // len(str(size)) + 1))
    received = calls.receive(room)
    assert received == data
    assert room[: len(data)] == data
    assert module.part_of(room, size) == data[:size]


def test_no_more_is_received_than_there_is_room_for(module: Any, ends: Any) -> None:
    ours, theirs = ends
    theirs.sendall(b"abcdef")
    calls = module.SocketCalls(ours)
    room = memoryview(bytearray(4))
    assert [bytes(calls.receive(room)), bytes(calls.receive(room))] == [b"abcd", b"ef"]


@pytest.mark.parametrize(
    ("first", "second", "got"), [(4, 10, b"abcdef"), (4, 1, b"abcde"), (4, 0, b"abcd"), (9, 5, b"abcdef")]
)
def test_what_does_not_go_into_one_buffer_goes_into_the_next(
    module: Any, ends: Any, first: int, second: int, got: bytes
) -> None:
    ours, theirs = ends
    theirs.sendall(b"abcdef")
    room, behind = memoryview(bytearray(first)), memoryview(bytearray(second))
    assert module.SocketCalls(ours).receive_both(room, behind) == len(got)
    assert (bytes(room) + bytes(behind))[: max(first, len(got))].rstrip(b"\0") == got


def test_much_goes_into_two_buffers_while_other_threads_run(module: Any, ends: Any) -> None:
    ours, theirs = ends
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**20)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**20)
    theirs.send(bytes(range(200)) * 100)
    room, behind = memoryview(bytearray(10_000)), memoryview(bytearray(2**20))
    assert module.SocketCalls(ours).receive_both(room, behind) == 20_000
    assert room == behind[:10_000] == bytes(range(200)) * 50


def test_where_there_is_no_call_for_two_buffers_the_first_is_filled(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows."""

    class Socket:
        recv_into = staticmethod(len)
        send = None

    calls = portable_module(monkeypatch).SocketCalls(Socket())
    assert calls.receive_both(memoryview(bytearray(5)), memoryview(bytearray(7))) == 5


def test_the_end_is_nothing(module: Any, ends: Any) -> None:
    ours, theirs = ends
    theirs.close()
    assert len(module.SocketCalls(ours).receive(memoryview(bytearray(10)))) == 0


def test_nothing_ever_waits(module: Any, ends: Any) -> None:
    ours, _ = ends
    calls = module.SocketCalls(ours)
    with pytest.raises(BlockingIOError):
        calls.receive(memoryview(bytearray(10)))
    with pytest.raises(BlockingIOError):
        calls.receive_both(memoryview(bytearray(10)), memoryview(bytearray(10)))
    data = bytes(2**20)
    with pytest.raises(BlockingIOError):
        while True:
            calls.send(data)
    for send in (calls.send, module.sender_of(ours)):
        with pytest.raises(BlockingIOError):
            send(b"x")


def test_failures_are_the_systems(module: Any, ends: Any) -> None:
    ours, theirs = ends
    calls = module.SocketCalls(ours)
    theirs.close()
    for send in (calls.send, module.sender_of(ours)):
        with pytest.raises(BrokenPipeError):
            send(b"x")
    ours.close()
    # Its descriptor may be another file's.
    with pytest.raises(OSError, match="Bad file descriptor"):
        calls.send(b"x")
    with pytest.raises(OSError, match="Bad file descriptor"):
        calls.receive(memoryview(bytearray(10)))
    with pytest.raises(OSError, match="Bad file descriptor"):
        calls.receive_both(memoryview(bytearray(10)), memoryview(bytearray(10)))


def test_what_is_no_buffer_is_refused(module: Any, ends: Any) -> None:
    calls = module.SocketCalls(ends[0])
    with pytest.raises(TypeError):
        calls.send("text")
    with pytest.raises((TypeError, BufferError)):
        calls.receive(memoryview(bytes(10)))
    with pytest.raises((TypeError, BufferError)):
        calls.receive_both(memoryview(bytes(10)), memoryview(bytearray(10)))
    with pytest.raises((TypeError, BufferError)):
        calls.receive_both(memoryview(bytearray(10)), memoryview(bytes(10)))


@pytest.mark.skipif(not hasattr(signal, "SIGPIPE"), reason="only POSIX has this signal")
def test_no_signal_comes_of_a_peer_that_is_gone() -> None:
    """As with a program that has given SIGPIPE its meaning back, for its pipes; Python's own send() does not help there."""
    if socket_calls.SocketCalls.__module__ == "websocketstream._network.socket_calls":
        pytest.skip("nothing was built")
    program = """
import signal, socket
from websocketstream._network.socket_calls import SocketCalls
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
ours, theirs = socket.socketpair()
theirs.close()
try:
    SocketCalls(ours).send(b"x")
except BrokenPipeError:
    print("only an error")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "only an error\n"
