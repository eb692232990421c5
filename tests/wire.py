"""The other end of the wire: WebSocket frames on a blocking socket, written by hand.

It shares nothing with the library (nor with wsproto, websockets or aiohttp), so that it can judge it, and it can do
what no decent peer does: write broken frames, stop reading, drop the connection. It runs in a thread of its own.
"""

from __future__ import annotations

import os
import socket
import ssl
import struct
from dataclasses import dataclass
from enum import IntEnum

CHUNK = 256 * 1024


class Opcode(IntEnum):
    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


@dataclass(frozen=True)
class Frame:
    """One frame (RFC 6455 section 5.2)."""

    opcode: int
    payload: bytes = b""
    fin: bool = True
    rsv: int = 0

    def encode(self, *, masked: bool = False) -> bytes:
        size = len(self.payload)
        head = bytearray([self.fin << 7 | self.rsv << 4 | self.opcode, masked << 7])
        if size < 126:
            head[1] |= size
        elif size < 2**16:
            head[1] |= 126
            head += struct.pack("!H", size)
        else:
            head[1] |= 127
            head += struct.pack("!Q", size)
        if not masked:
            return bytes(head) + self.payload
        key = os.urandom(4)
        return bytes(head) + key + apply_mask(self.payload, key)


def apply_mask(payload: bytes, key: bytes) -> bytes:
    """Mask or unmask (RFC 6455 section 5.3)."""
    repeated = (key * (len(payload) // 4 + 1))[: len(payload)]
    number = int.from_bytes(payload, "little") ^ int.from_bytes(repeated, "little")
    return number.to_bytes(len(payload), "little")


def close_payload(code: int | None = None, reason: str | bytes = "") -> bytes:
    """Return the body of a Close frame: nothing without a code, whatever the reason."""
    if code is None:
        return b""
    return struct.pack("!H", code) + (reason.encode() if isinstance(reason, str) else reason)


class PeerClosed(Exception):
    """A Close frame arrived."""

    def __init__(self, payload: bytes) -> None:
        super().__init__(payload)
        self.code = int.from_bytes(payload[:2], "big") if payload else None
        self.reason = payload[2:].decode()


class Wire:
    """One end of a connection; ``client`` says that this end masks and the other must not."""

    def __init__(self, sock: socket.socket, *, client: bool = False) -> None:
        self.sock = sock
        self.client = client
        self._buffer = bytearray()

    def write(self, data: bytes) -> None:
        self.sock.sendall(data)

    def send(self, opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0) -> None:
        self.write(Frame(opcode, payload, fin, rsv).encode(masked=self.client))

    def send_message(self, message: str | bytes) -> None:
        if isinstance(message, str):
            self.send(Opcode.TEXT, message.encode())
        else:
            self.send(Opcode.BINARY, message)

    def send_close(self, code: int | None = None, reason: str | bytes = "") -> None:
        self.send(Opcode.CLOSE, close_payload(code, reason))

    def _fill(self) -> None:
        data = self.sock.recv(CHUNK)
        if not data:
            raise EOFError("the other end closed the TCP connection")
        self._buffer += data

    def read_exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._fill()
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    def read_head(self) -> bytes:
        """Read up to and with the empty line that ends an HTTP head."""
        while b"\r\n\r\n" not in self._buffer:
            self._fill()
        return self.read_exactly(self._buffer.index(b"\r\n\r\n") + 4)

    def read_frame(self) -> Frame:
        first, second = self.read_exactly(2)
        size = second & 127
        if size == 126:
            (size,) = struct.unpack("!H", self.read_exactly(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", self.read_exactly(8))
        masked = bool(second & 128)
        assert masked is not self.client, "a client masks its frames and a server does not"
        key = self.read_exactly(4) if masked else b""
        payload = self.read_exactly(size)
        return Frame(
            first & 15, apply_mask(payload, key) if masked else payload, bool(first & 128), first >> 4 & 7
        )

    def read_message(self) -> str | bytes:
        """Return the next message, answering pings.

        :raises PeerClosed: a Close frame came instead; it has not been answered
        """
        kind, parts = None, []
        while True:
            frame = self.read_frame()
            match frame.opcode:
                case Opcode.CLOSE:
                    raise PeerClosed(frame.payload)
                case Opcode.PING:
                    self.send(Opcode.PONG, frame.payload)
                case Opcode.PONG:
                    pass
                case _:
                    kind = frame.opcode if kind is None else kind
                    parts.append(frame.payload)
                    if frame.fin:
                        whole = b"".join(parts)
                        return whole.decode() if kind == Opcode.TEXT else whole

    def read_close(self) -> PeerClosed:
        """Drop everything up to the other end's Close frame and return that."""
        while True:
            try:
                self.read_message()
            except PeerClosed as close:
                return close

    def read_to_eof(self) -> bytes:
        """Return what is left until the other end closes the TCP connection or resets it."""
        try:
            while True:
                self._fill()
        except (EOFError, ConnectionError, ssl.SSLError):
            return bytes(self._buffer)

    def drop(self) -> None:
        """Close the TCP connection without a word."""
        self.sock.close()

    def reset(self) -> None:
        """Close the TCP connection with a reset (RST)."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


def ask(port: int, path: str = "/", *headers: str, tls: ssl.SSLContext | None = None) -> Wire:
    """Ask for a WebSocket as a client, and leave the answer to be read."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=20)
    wire = Wire(sock if tls is None else tls.wrap_socket(sock, server_hostname="127.0.0.1"), client=True)
    lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Upgrade: websocket", "Connection: Upgrade"]
    lines += ["Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", *headers]
    wire.write("\r\n".join([*lines, "", ""]).encode())
    return wire


def connect(port: int, path: str = "/", *headers: str, tls: ssl.SSLContext | None = None) -> Wire:
    """Open a WebSocket as a client; the answer is checked for its status only."""
    wire = ask(port, path, *headers, tls=tls)
    head = wire.read_head()
    assert head.startswith(b"HTTP/1.1 101 "), head
    return wire
