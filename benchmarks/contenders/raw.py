"""The limit: a bare blocking socket that moves the same bytes, without an event loop and without looking at them."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit

from .. import frames
from ..tls import NOT_YET
from .base import Link, Message, Serving, perf_counter

ACKNOWLEDGEMENT = len(frames.server_frame(b"ok", text=False))


class RawLink(Link):
    def __init__(self, sock: socket.socket, text: bool, incoming: int) -> None:
        self.sock = sock
        self.text = text
        self.incoming = incoming  # size of the frames to come
        self.frames: dict[Message, bytes] = {}
        self.buffer = bytearray(frames.BLOCK_BYTES)
        self.rest = 0  # bytes that arrived beyond the last whole frame asked for

    async def receive_n(self, count: int) -> None:
        receive, buffer = self.sock.recv_into, self.buffer
        left = count * self.incoming - self.rest
        while left > 0:
            got = receive(buffer)
            if not got:
                raise ConnectionError("the other end has gone")
            left -= got
        self.rest = -left

    async def send_n(self, count: int, message: Message) -> None:
        frame = self._frame(message)
        at_once = max(1, frames.BLOCK_BYTES // len(frame))
        block = frame * at_once
        while count >= at_once:
            self.sock.sendall(block)
            count -= at_once
        self.sock.sendall(frame * count)

    def _frame(self, message: Message) -> bytes:
        if message not in self.frames:
            data = message.encode() if isinstance(message, str) else message
            self.frames[message] = frames.client_frame(data, text=self.text)
        return self.frames[message]

    async def echo_n(self, count: int, message: Message) -> list[float]:
        frame = self._frame(message)
        times = []
        for _ in range(count):
            start = perf_counter()
            self.sock.sendall(frame)
            await self.receive_n(1)
            times.append(perf_counter() - start)
        return times

    async def pipeline_n(self, count: int, message: Message, in_flight: int) -> None:
        frame = self._frame(message)
        self.sock.sendall(frame * in_flight)
        left, sent, got = count * self.incoming, in_flight, 0
        while left > 0:
            received = self.sock.recv_into(self.buffer)
            left -= received
            done, got = divmod(got + received, self.incoming)
            more = min(done, count - sent)
            if more:
                self.sock.sendall(frame * more)
                sent += more


class Raw:
    @asynccontextmanager
    async def connect(
        self, url: str, *, text: bool, context: ssl.SSLContext | None = None, deflate: bool = False
    ) -> AsyncIterator[Link]:
        assert not deflate
        parts = urlsplit(url)
        assert parts.hostname
        sock = socket.create_connection((parts.hostname, parts.port or 0))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context is not None:
            sock = context.wrap_socket(sock, server_hostname=parts.hostname)
        sock.sendall(frames.request(parts.netloc, f"{parts.path}?{parts.query}"))
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += sock.recv(1)  # nothing of the first frame
        yield RawLink(sock, text, incoming_size(parts.path, parts.query))
        sock.sendall(frames.MASKED_CLOSE_FRAME)
        while sock.recv(4096):
            pass
        sock.close()

    async def serve(self, announce: Callable[[int], None], how: Serving) -> None:
        with socket.create_server(("127.0.0.1", how.port), backlog=512, reuse_port=how.shared) as listener:
            announce(listener.getsockname()[1])
            serve(listener, how)


def incoming_size(path: str, query: str) -> int:
    if path == "/sink":
        return ACKNOWLEDGEMENT
    size = int(parse_qs(query).get("size", ["0"])[0])
    return len(frames.server_frame(bytes(size), text=False))


def serve(listener: socket.socket, how: Serving) -> None:
    """Echo every read with one static frame; the load sends nothing else, one frame at a time."""
    poll = select.epoll()
    poll.register(listener, select.EPOLLIN)
    clients: dict[int, socket.socket] = {}
    answer = frames.server_frame(frames.payload(how.size, text=False), text=False)
    while True:
        for fd, _ in poll.poll():
            if fd == listener.fileno():
                sock, _ = listener.accept()
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if how.context is not None:
                    sock.setblocking(False)
                    # The first read does the handshake, in as many calls as it takes.
                    sock = how.context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
                poll.register(sock, select.EPOLLIN)
                clients[sock.fileno()] = sock
                continue
            others = clients.values() if how.broadcast else (clients[fd],)
            if not answer_one(clients[fd], answer, others):
                poll.unregister(fd)
                clients.pop(fd).close()


def answer_one(sock: socket.socket, answer: bytes, others: Iterable[socket.socket]) -> bool:
    """Answer one request, message or Close frame; return whether the connection goes on."""
    try:
        data = sock.recv(4096)
    except NOT_YET:
        return True  # TLS shakes hands
    except OSError:
        return False
    with contextlib.suppress(OSError):
        if data[:1] == b"G":
            sock.send(frames.response(data))
            return True
        if data and data[0] != frames.CLOSE_BYTE:
            for other in others:
                other.send(answer)
            return True
        sock.send(frames.CLOSE_FRAME)
        if isinstance(sock, ssl.SSLSocket):
            sock.unwrap()  # says that this is the end, and raises instead of waiting for the answer
    return False


CONTENDER = Raw()
