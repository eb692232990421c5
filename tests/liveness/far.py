"""The other host: a program in a network namespace of its own, which speaks WebSocket on blocking sockets.

It obeys one command a line on its standard input, in JSON, and answers each with a line. How it treats a connection is
the path of the WebSocket's URL. It ends with its standard input, and its namespace and the link end with it.
"""

from __future__ import annotations

import hashlib
import json
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from namespaces import LINK, enter_new_namespace, ip

from wire import Opcode, PeerClosed, Wire

RECEIVE_BUFFER = 2**16  # small, so that what the reader lets wait waits at the sender
LARGE_RECEIVE_BUFFER = (
    2**22
)  # for who is not to be waited for: what he has not read was acknowledged all the same
SO_RCVBUFFORCE = 33  # asm-generic/socket.h: beyond the limit, for who may make namespaces
KEY_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class SlowSocket:
    """A socket that is read at a steady rate for some seconds, and at full speed from then on."""

    def __init__(self, sock: socket.socket, rate: float, seconds: float) -> None:
        self._socket = sock
        self._rate = rate
        self._started = time.monotonic()
        self._seconds = seconds
        self._read = 0

    def recv(self, size: int) -> bytes:
        if time.monotonic() - self._started > self._seconds:
            return self._socket.recv(size)
        data = self._socket.recv(min(size, 8192))
        self._read += len(data)
        time.sleep(max(self._started + self._read / self._rate - time.monotonic(), 0))
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)


def digest_of_everything(wire: Wire) -> None:
    """Read messages until one that says "end", answer with their digest, and wait for the other end's goodbye."""
    digest = hashlib.sha256()
    while (message := wire.read_message()) != "end":
        digest.update(message if isinstance(message, bytes) else message.encode())
    wire.send_message(digest.hexdigest())
    close = wire.read_close()
    wire.send_close(close.code)
    wire.read_to_eof()


def pauses(wire: Wire, seconds: float) -> None:
    """Read nothing for so long, then everything."""
    time.sleep(seconds)
    digest_of_everything(wire)


def reads_slowly(wire: Wire, rate: float, seconds: float) -> None:
    """Read so many bytes a second for so long, then the rest."""
    wire.sock = SlowSocket(wire.sock, rate, seconds)  # type: ignore[assignment]
    digest_of_everything(wire)


def talks_and_reads_slowly(wire: Wire, rate: float, seconds: float) -> None:
    """Say something, when all that comes has come, and read it slowly."""
    time.sleep(0.5)
    wire.send_message("hello")
    reads_slowly(wire, rate, seconds)


def never_reads_but_writes(wire: Wire) -> None:
    """Write as much as the other end takes, and read nothing at all."""
    while True:
        wire.send_message(bytes(2**16))


def listens(wire: Wire) -> None:
    """Read whatever comes, and answer pings."""
    while True:
        try:
            wire.read_message()
        except PeerClosed as close:
            wire.send(Opcode.CLOSE, close.args[0])
            return


def never_reads(wire: Wire) -> None:
    """Read nothing at all."""
    threading.Event().wait()


BEHAVIOURS: dict[str, Callable[..., None]] = {
    "/pauses": pauses,
    "/reads-slowly": reads_slowly,
    "/talks-and-reads-slowly": talks_and_reads_slowly,
    "/listens": listens,
    "/never-reads": never_reads,
    "/never-answers": never_reads,
    "/never-reads-but-writes": never_reads_but_writes,
}


def behave(wire: Wire, path: str) -> None:
    """Treat a connection as its path says."""
    url = urlsplit(path)
    BEHAVIOURS[url.path](wire, **{name: float(value) for name, value in parse_qsl(url.query)})


class Far:
    """The commands."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._address = ""

    def join(self, address: str) -> None:
        """Set our end of the link up; it has been moved here."""
        self._address = address
        ip("link", "set", LINK.far, "up")
        ip("address", "add", f"{address}/24", "dev", LINK.far)

    def serve(self, *, tls: bool, large_buffer: bool = False) -> int:
        """Accept connections; return the port."""
        listener = socket.create_server((self._address, 0))
        self._set_receive_buffer(listener, large=large_buffer)
        threading.Thread(target=self._accept, args=(listener, tls), daemon=True).start()
        return int(listener.getsockname()[1])

    def _set_receive_buffer(self, sock: socket.socket, *, large: bool) -> None:
        if large:
            sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, LARGE_RECEIVE_BUFFER)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)

    def _accept(self, listener: socket.socket, tls: bool) -> None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(f"{self._directory}/cert.pem")
        while True:
            sock, _ = listener.accept()
            threading.Thread(target=self._serve, args=(sock, context if tls else None), daemon=True).start()

    def _serve(self, sock: socket.socket, context: ssl.SSLContext | None) -> None:
        if context is not None:
            sock = context.wrap_socket(sock, server_side=True)
        wire = Wire(sock)
        head = wire.read_head().decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        wire.write(answer(next(line for line in head if line.lower().startswith("sec-websocket-key:"))))
        assert headers["upgrade"] == "websocket"
        behave(wire, head[0].split()[1])

    def connect(self, host: str, port: int, path: str, *, tls: bool, large_buffer: bool = False) -> None:
        """Open a connection as a client."""
        work = threading.Thread(target=self._connect, args=(host, port, path, tls, large_buffer), daemon=True)
        work.start()

    def _connect(self, host: str, port: int, path: str, tls: bool, large_buffer: bool) -> None:
        sock = socket.socket()
        self._set_receive_buffer(sock, large=large_buffer)
        sock.connect((host, port))
        if tls:
            context = ssl.create_default_context(cafile=f"{self._directory}/ca.pem")
            sock = context.wrap_socket(sock, server_hostname=host)
        wire = Wire(sock, client=True)
        lines = [f"GET {path} HTTP/1.1", f"Host: {host}:{port}", "Upgrade: websocket", "Connection: Upgrade"]
        lines += ["Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]
        wire.write("\r\n".join([*lines, "", ""]).encode())
        assert wire.read_head().startswith(b"HTTP/1.1 101 ")
        behave(wire, path)

    def vanish(self, how: str) -> None:
        """Be gone: with the link, or so that packets go nowhere and nobody says so, as behind a router."""
        if how == "link down":
            ip("link", "set", LINK.far, "down")
        else:
            ip("address", "flush", "dev", LINK.far)


def answer(key_line: str) -> bytes:
    """Return the head of a 101 answer."""
    import base64

    key = key_line.partition(":")[2].strip().encode()
    accept = base64.b64encode(hashlib.sha1(key + KEY_GUID).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )


def main() -> None:
    """Obey."""
    enter_new_namespace()
    far = Far(sys.argv[1])
    print("null", flush=True)
    for line in sys.stdin:
        name, options = json.loads(line)
        try:
            print(json.dumps(getattr(far, name)(**options)), flush=True)
        except subprocess.CalledProcessError as error:
            sys.exit(error.stderr)


if __name__ == "__main__":
    main()
