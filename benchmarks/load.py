"""The other end of a contender that is a server: many raw clients in one process, with static frames."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import ssl
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from . import frames
from .process import allow_descriptors, pin, say
from .rows import BY_NAME, Row
from .tls import NOT_YET, load_context

WARM_UP_CONNECTIONS = 50
OPENING_AT_ONCE = 16
MESSAGE_BYTES = 64
CONVERSATION = 4  # compressed messages in either direction: all of zlib's memory is in use from the first


def wait_for_go() -> None:
    say(ready=True)
    if not sys.stdin.readline():
        sys.exit(1)  # the parent has gone


def wait_for_end() -> None:
    """Keep all connections until the parent has all figures and ends us."""
    sys.stdin.readline()


@dataclass(frozen=True)
class Server:
    """The server under load, and the row that it is loaded for."""

    row: Row
    port: int
    seconds: float
    context: ssl.SSLContext | None

    @property
    def request(self) -> bytes:
        offer = frames.DEFLATE_OFFER if self.row.deflate else ""
        return frames.request(f"127.0.0.1:{self.port}", "/", offer)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port))

    def open(self) -> socket.socket:
        sock = self.connect()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.context is not None:
            sock = self.context.wrap_socket(sock)
        sock.sendall(self.request)
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


def hold(server: Server) -> None:
    """Hold idle connections, after some that came and went, until the parent is done with them."""
    row = server.row
    conversation = frames.conversation(row.size, CONVERSATION) if row.deflate else []

    def open_connection() -> socket.socket:
        sock = server.open()
        for frame in conversation:
            sock.sendall(frame)
            receive_compressed(sock)
        return sock

    allow_descriptors(row.count + 100)
    for sock in [open_connection() for _ in range(WARM_UP_CONNECTIONS)]:
        close_connection(sock)
    wait_for_go()
    held = [open_connection() for _ in range(row.count)]
    say(connections=len(held))
    wait_for_end()


def receive_compressed(sock: socket.socket) -> None:
    """Receive one message, and insist on its being compressed."""
    data = b""
    while not data or len(data) != frames.frame_size(data, 0):
        received = sock.recv(65536)
        if not received:
            raise ConnectionError("the server has gone")
        data += received
    if not data[0] & frames.COMPRESSED:
        raise ValueError(f"a message that is not compressed: {data[:80]!r}")


class Opening:
    """One connection after the other: TCP, TLS, handshake, closing handshake."""

    def __init__(self, server: Server, poll: select.epoll) -> None:
        self.server, self.poll = server, poll
        self.request = server.request
        self.begin()

    def begin(self) -> None:
        self.sock = self.server.connect()
        self.shaking_hands = self.server.context is not None
        if self.server.context is None:
            self.sock.sendall(self.request)
        else:
            self.sock.setblocking(False)
            self.sock = self.server.context.wrap_socket(self.sock, do_handshake_on_connect=False)
            self.shake_hands()
        self.open = False
        self.poll.register(self.sock, select.EPOLLIN)

    def shake_hands(self) -> None:
        with contextlib.suppress(*NOT_YET):
            self.sock.send(self.request)  # a write does the handshake first, in as many calls as it takes
            self.shaking_hands = False

    def proceed(self) -> int:
        """Take the next step; return 1 when a connection has come and gone."""
        if self.shaking_hands:
            self.shake_hands()
            return 0
        data = b""
        try:
            data = self.sock.recv(4096)
        except NOT_YET:
            return 0  # TLS had something of its own
        except ConnectionResetError:
            pass
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


def accept(server: Server) -> None:
    """Count how many connections a second the server opens and closes."""
    poll = select.epoll()
    clients = {
        opening.sock.fileno(): opening for opening in [Opening(server, poll) for _ in range(OPENING_AT_ONCE)]
    }

    def run(seconds: float) -> tuple[int, float]:
        done, start = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - start) < seconds or not done:
            for fd, _ in poll.poll(0):
                client = clients.pop(fd)
                done += client.proceed()
                clients[client.sock.fileno()] = client
        return done, elapsed

    count_for(server.seconds, run)


def count_for(seconds: float, run: Callable[[float], tuple[int, float]]) -> None:
    """Warm up, say when it may be counted, and count."""
    run(seconds / 4)
    wait_for_go()
    done, elapsed = run(seconds)
    say(count=done, seconds=elapsed)
    wait_for_end()


def open_many(server: Server) -> tuple[dict[int, socket.socket], select.epoll]:
    """Open the row's connections, to be read without waiting."""
    allow_descriptors(server.row.count + 100)
    poll = select.epoll()
    clients = {}
    for _ in range(server.row.count):
        sock = server.open()
        sock.setblocking(False)
        clients[sock.fileno()] = sock
        poll.register(sock, select.EPOLLIN)
    return clients, poll


def many(server: Server) -> None:
    """Keep one echo under way on each of many connections, and count the round trips."""
    data = frames.payload(MESSAGE_BYTES, text=False)
    sent, expected = frames.client_frame(data, text=False), frames.server_frame(data, text=False)
    clients, poll = open_many(server)

    def run(seconds: float) -> tuple[int, float]:
        done, start = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - start) < seconds:
            for fd, _ in poll.poll(0):
                try:
                    answer = clients[fd].recv(4096)
                except NOT_YET:
                    continue  # TLS had something of its own
                if answer != expected:
                    raise ConnectionError(f"not the echo: {answer[:80]!r}")
                clients[fd].send(sent)
                done += 1
        return done, elapsed

    for sock in clients.values():
        sock.send(sent)
    count_for(server.seconds, run)


def broadcast(server: Server) -> None:
    """Have one message at a time sent to all connections, and count what arrives."""
    data = frames.payload(server.row.size, text=False)
    sent, expected = frames.client_frame(data, text=False), frames.server_frame(data, text=False)
    clients, poll = open_many(server)
    speaker = next(iter(clients.values()))

    def run(seconds: float) -> tuple[int, float]:
        done, start = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - start) < seconds:
            speaker.send(sent)
            missing = len(clients)
            while missing:
                for fd, _ in poll.poll():
                    answer = clients[fd].recv(4096)
                    if answer != expected:
                        raise ConnectionError(f"not the message: {answer[:80]!r}")
                    missing -= 1
            done += len(clients)
        return done, elapsed

    count_for(server.seconds, run)


ACTIONS = {"memory": hold, "accept": accept, "many": many, "broadcast": broadcast}


def main() -> None:
    job = json.loads(sys.argv[1])
    pin(job["core"])
    row = BY_NAME[job["row"]]
    ACTIONS[row.kind](Server(row, job["port"], job["seconds"], load_context() if row.tls else None))


if __name__ == "__main__":
    main()
