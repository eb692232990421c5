"""The other end of a contender that is a server: many raw clients in one process, with static frames."""

from __future__ import annotations

import contextlib
import select
import socket
import sys
import time

from . import frames
from .process import allow_descriptors, pin, say

WARM_UP_CONNECTIONS = 50
OPENING_AT_ONCE = 16
MESSAGE_BYTES = 64


def wait_for_go() -> None:
    say(ready=True)
    if not sys.stdin.readline():
        sys.exit(1)  # the parent has gone


def wait_for_end() -> None:
    """Keep all connections until the parent has all figures and ends us."""
    sys.stdin.readline()


def open_connection(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.sendall(frames.request(f"127.0.0.1:{port}", "/"))
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        data = sock.recv(65536)
        if not data:
            break
        head += data
    if not head.startswith(b"HTTP/1.1 101"):
        raise ConnectionError(f"not accepted: {head[:80]!r}")
    return sock


def close_connection(sock: socket.socket) -> None:
    sock.sendall(frames.MASKED_CLOSE_FRAME)
    while sock.recv(4096):
        pass
    sock.close()


def hold(port: int, count: int) -> None:
    """Hold idle connections, after some that came and went, until the parent is done with them."""
    allow_descriptors(count + 100)
    for sock in [open_connection(port) for _ in range(WARM_UP_CONNECTIONS)]:
        close_connection(sock)
    wait_for_go()
    held = [open_connection(port) for _ in range(count)]
    say(connections=len(held))
    wait_for_end()


class Opening:
    """One connection after the other: TCP, handshake, closing handshake."""

    def __init__(self, port: int, poll: select.epoll) -> None:
        self.port, self.poll = port, poll
        self.request = frames.request(f"127.0.0.1:{port}", "/")
        self.begin()

    def begin(self) -> None:
        self.sock = socket.create_connection(("127.0.0.1", self.port))
        self.sock.sendall(self.request)
        self.open = False
        self.poll.register(self.sock, select.EPOLLIN)

    def proceed(self) -> int:
        """Take the next step; return 1 when a connection has come and gone."""
        data = b""
        with contextlib.suppress(ConnectionResetError):
            data = self.sock.recv(4096)
        if not data:
            self.poll.unregister(self.sock)
            self.sock.close()
            if not self.open:
                raise ConnectionError("the server refused a connection")
            self.begin()
            return 1
        if not self.open and data.find(b"\r\n\r\n") >= 0:
            self.open = True
            self.sock.sendall(frames.MASKED_CLOSE_FRAME)
        return 0


def accept(port: int, seconds: float) -> None:
    """Count how many connections a second the server opens and closes."""
    poll = select.epoll()
    clients = {
        opening.sock.fileno(): opening for opening in [Opening(port, poll) for _ in range(OPENING_AT_ONCE)]
    }

    def run(seconds: float) -> tuple[int, float]:
        done, start = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - start) < seconds:
            for fd, _ in poll.poll(0):
                client = clients.pop(fd)
                done += client.proceed()
                clients[client.sock.fileno()] = client
        return done, elapsed

    run(seconds / 4)
    wait_for_go()
    done, elapsed = run(seconds)
    say(count=done, seconds=elapsed)
    wait_for_end()


def many(port: int, count: int, seconds: float) -> None:
    """Keep one echo under way on each of many connections, and count the round trips."""
    allow_descriptors(count + 100)
    data = frames.payload(MESSAGE_BYTES, text=False)
    sent, expected = frames.client_frame(data, text=False), frames.server_frame(data, text=False)
    poll = select.epoll()
    clients = {}
    for _ in range(count):
        sock = open_connection(port)
        sock.setblocking(False)
        clients[sock.fileno()] = sock
        poll.register(sock, select.EPOLLIN)

    def run(seconds: float) -> tuple[int, float]:
        done, start = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - start) < seconds:
            for fd, _ in poll.poll(0):
                answer = clients[fd].recv(4096)
                if answer != expected:
                    raise ConnectionError(f"not the echo: {answer[:80]!r}")
                clients[fd].send(sent)
                done += 1
        return done, elapsed

    for sock in clients.values():
        sock.send(sent)
    run(seconds / 4)
    wait_for_go()
    done, elapsed = run(seconds)
    say(count=done, seconds=elapsed)
    wait_for_end()


def main(core: str, action: str, *numbers: str) -> None:
    pin(int(core) if core else None)
    actions = {"hold": hold, "accept": accept, "many": many}
    actions[action](*(float(number) if "." in number else int(number) for number in numbers))  # type: ignore[operator]


if __name__ == "__main__":
    main(*sys.argv[1:])
