"""The other end of a contender that is a client: raw sockets, static frames, and nothing that could be the bottleneck.

    /flood?size=64&text=0   sends messages until the client closes; &deflate=1 compressed ones
    /sink?size=64&ack=1000  counts bytes and sends one message for every 1,000 messages; &deflate=1 counts frames
    /echo?size=64           answers every frame with the same frame, without ever sleeping; &spin=0 sleeping meanwhile

The client's frames are counted by their size, only the first of a connection is looked into: its payload has to be the
expected one. So a contender that sends something else is found out.
"""

from __future__ import annotations

import select
import socket
import ssl
import sys
import threading
from urllib.parse import parse_qs, urlsplit

from . import frames
from .process import answer_parent, pin, say
from .tls import NOT_YET, server_context


class Connection:
    """One client, after its request head has been read."""

    def __init__(self, sock: socket.socket, spin: bool) -> None:
        self.sock = sock
        if spin:
            sock.setblocking(False)
        head = self._read_head()
        url = urlsplit(head.split(b" ", 2)[1].decode())
        query = {name: int(values[0]) for name, values in parse_qs(url.query).items()}
        self.action = url.path
        self.size, self.text = query.get("size", 64), bool(query.get("text", 0))
        self.ack = query.get("ack", 1)
        extensions = b""
        data = frames.payload(self.size, text=self.text)
        self.frame = frames.server_frame(data, text=self.text)
        self.spin = bool(query.get("spin", 1))
        self.deflate = bool(query.get("deflate"))
        if self.deflate:
            extensions, bits = frames.deflate_answer(head)
            data = frames.deflated(frames.records(self.size), bits)
            self.frame = frames.server_frame(data, text=True, compressed=True)
        sock.setblocking(True)
        sock.sendall(frames.response(head, extensions))

    def _read_head(self) -> bytes:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            try:
                data = self.sock.recv(65536)
            except NOT_YET:
                continue
            if not data:
                raise ConnectionError("no request")
            head += data
        return head

    def run(self) -> None:
        {
            "/flood": self.flood,
            "/sink": self.sink_deflated if self.deflate else self.sink,
            "/echo": self.echo,
            "/close": self.wait_for_close,
        }[self.action]()

    def close(self) -> None:
        """Answer the Close frame and end TCP at once, as RFC 6455 7.1.1 wants it of a server."""
        self.sock.setblocking(True)
        self.sock.sendall(frames.CLOSE_FRAME)
        self.sock.close()

    def flood(self) -> None:
        block = frames.block(self.frame)
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        while not poll.poll(0):
            self.sock.sendall(block)
        self.close()  # the client has nothing else to say

    def sink(self) -> None:
        buffer = bytearray(frames.BLOCK_BYTES)
        whole = frames.client_frame_size(self.size) * self.ack
        left = whole - self._check_first_frame()
        acknowledgement = frames.server_frame(b"ok", text=self.text)
        while True:
            while left > 0:
                count = self.sock.recv_into(buffer)
                if not count:
                    return
                left -= count
            left += whole
            self.sock.sendall(acknowledgement)
            if left == whole and self._peek() == frames.CLOSE_BYTE:
                self.close()
                return

    def sink_deflated(self) -> None:
        """Count frames: how small a client compresses is its own affair."""
        acknowledgement = frames.server_frame(b"ok", text=self.text)
        rest, left, first = bytearray(), self.ack, True
        while data := self.sock.recv(frames.BLOCK_BYTES):
            rest += data
            start = 0
            while (size := frames.frame_size(rest, start)) and start + size <= len(rest):
                if rest[start] == frames.CLOSE_BYTE:
                    self.close()
                    return
                if first:
                    self._check(bytes(rest[start : start + size]), (True, frames.records(self.size)))
                    first = False
                if not rest[start] & frames.COMPRESSED:
                    raise ValueError("the client sent a message that is not compressed")
                start += size
                left -= 1
                if left == 0:
                    self.sock.sendall(acknowledgement)
                    left = self.ack
            del rest[:start]

    def _peek(self) -> int:
        if isinstance(self.sock, ssl.SSLSocket):
            return 0  # a test of TLS just goes away
        return (self.sock.recv(1, socket.MSG_PEEK) or b"\0")[0]

    def _check_first_frame(self) -> int:
        frame = bytearray()
        while len(frame) < frames.client_frame_size(self.size):
            data = self.sock.recv(frames.client_frame_size(self.size) - len(frame))
            if not data or frame[:1] == b"\x88":
                raise ConnectionError("no message")
            frame += data
        self._check(bytes(frame), (self.text, frames.payload(self.size, text=self.text)))
        return len(frame)

    def _check(self, frame: bytes, expected: tuple[bool, bytes]) -> None:
        if frames.unmask_frame(frame) != expected:
            self.sock.close()
            raise ValueError("the client sent something else than it was asked for")

    def echo(self) -> None:
        size = frames.client_frame_size(self.size)
        self._check_first_frame()
        self.sock.sendall(self.frame)
        self.sock.setblocking(not self.spin)
        receive, buffer = self.sock.recv_into, bytearray(frames.BLOCK_BYTES)
        got = 0
        while True:
            try:
                count = receive(buffer)
            except NOT_YET:
                continue  # a sleeping core would take longer to wake than a contender takes to answer
            if not count:
                return
            if got == 0 and buffer[0] == frames.CLOSE_BYTE:
                self.close()
                return
            done, got = divmod(got + count, size)
            if done:
                self._send_spinning(self.frame * done if done > 1 else self.frame)

    def _send_spinning(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[self.sock.send(view) :]
            except NOT_YET:
                continue

    def wait_for_close(self) -> None:
        self.sock.setblocking(False)
        while True:
            try:
                last_words = self.sock.recv(16)
            except NOT_YET:
                continue
            if last_words:
                self.close()
            return


def handle(sock: socket.socket, context: ssl.SSLContext | None, *, spin: bool = False) -> None:
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context is not None:
            sock = context.wrap_socket(sock, server_side=True)
        Connection(sock, spin).run()
    except OSError:
        pass  # clients go away without a word when they have their figure
    finally:
        sock.close()


def serve(listener: socket.socket, context: ssl.SSLContext | None) -> None:
    while True:
        sock, _ = listener.accept()
        threading.Thread(target=handle, args=(sock, context), daemon=True).start()


def serve_in_turn(listener: socket.socket) -> None:
    """Serve one client after the other without ever sleeping, for connections per second."""
    listener.setblocking(False)
    while True:
        try:
            sock, _ = listener.accept()
        except NOT_YET:
            continue
        handle(sock, None, spin=True)


def main(core: str, mode: str, certificate: str) -> None:
    pin(int(core) if core else None)
    answer_parent()
    context = server_context(certificate) if certificate else None
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        say(port=listener.getsockname()[1])
        if mode == "in-turn":
            serve_in_turn(listener)
        else:
            serve(listener, context)


if __name__ == "__main__":
    main(*sys.argv[1:])
