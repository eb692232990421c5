"""A server with the behaviours that the web-platform tests expect of theirs (`websockets/handlers/*_wsh.py`).

It is an independent judge: blocking sockets, one thread per connection, frames by `wire`. Where a handler of the
web-platform tests sleeps, ours waits for :attr:`Server.gate`, so that the test decides when it goes on and no test
depends on timing; :attr:`Server.reached` tells that a handler has come to that point.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from wire import Opcode, PeerClosed, Wire

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
MIB = 2**20
STUCK = 20  # seconds after which a handler that waits for a test gives up, so that nothing hangs for ever


@dataclass
class Request:
    """An opening handshake as it arrived."""

    target: str
    headers: dict[str, str]
    raw: bytes

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        return {
            name: values[0]
            for name, values in parse_qs(urlsplit(self.target).query, keep_blank_values=True).items()
        }

    @property
    def protocols(self) -> list[str]:
        return [
            name.strip() for name in self.headers.get("sec-websocket-protocol", "").split(",") if name.strip()
        ]

    @classmethod
    def parse(cls, raw: bytes) -> Request:
        first, *lines = raw.decode("latin-1").split("\r\n")[:-2]
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return cls(first.split(" ")[1], headers, raw)


class Connection(Wire):
    """One client's connection, and what its handler learnt."""

    def __init__(self, sock: socket.socket, server: Server) -> None:
        super().__init__(sock)
        self.server = server
        self.request = Request.parse(self.read_head())

    @property
    def accept_key(self) -> str:
        key = self.request.headers["sec-websocket-key"].encode()
        return base64.b64encode(hashlib.sha1(key + GUID, usedforsecurity=False).digest()).decode()

    def accept(
        self, *headers: str, protocol: str | None = None, after: bytes = b"", key: str | None = None
    ) -> None:
        """Answer 101, with ``after`` in the same TCP segment."""
        lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
        lines.append(f"Sec-WebSocket-Accept: {key or self.accept_key}")
        if protocol is not None:
            lines.append(f"Sec-WebSocket-Protocol: {protocol}")
        self.write("\r\n".join([*lines, *headers, "", ""]).encode() + after)

    def respond(self, status: str, *headers: str, body: bytes = b"") -> None:
        """Answer with plain HTTP."""
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close"]
        self.write("\r\n".join([*lines, *headers, "", ""]).encode() + body)

    def wait_for_test(self) -> None:
        """Stop here until the test opens the gate."""
        self.server.reached.set()
        self.server.gate.wait(STUCK)

    def answer_close(self, close: PeerClosed) -> None:
        """Finish the closing handshake with the client's own code and reason, and close TCP."""
        self.server.closes.append((close.code, close.reason))
        self.send_close(close.code, close.reason)

    def start_close(self, code: int | None = None, reason: str = "") -> None:
        """Send a Close frame and wait for the answer."""
        self.send_close(code, reason)
        answer = self.read_close()
        self.server.closes.append((answer.code, answer.reason))


Handler = Callable[[Connection], None]


@dataclass
class Server:
    """A listening server; every test has its own."""

    handlers: dict[str, Handler]
    context: ssl.SSLContext | None = None
    gate: threading.Event = field(default_factory=threading.Event)  # opened by the test
    reached: threading.Event = field(
        default_factory=threading.Event
    )  # set by a handler that waits for the gate
    closes: list[tuple[int | None, str]] = field(default_factory=list)  # the Close frames of the clients
    requests: list[Request] = field(default_factory=list)
    received: list[str | bytes] = field(default_factory=list)  # where a handler keeps messages for the test
    progress: int = 0  # messages that a flooding handler has handed to the kernel
    errors: list[Exception] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    def url(self, path: str = "/echo", scheme: str | None = None) -> str:
        scheme = scheme or ("wss" if self.context else "ws")
        return f"{scheme}://localhost:{self.port}{path}"

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            thread = threading.Thread(target=self._serve, args=[sock], daemon=True)
            self._sockets.append(sock)
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket) -> None:
        # A client that goes away in the middle is what many tests are about.
        with contextlib.suppress(EOFError, OSError), sock:
            if self.context is not None:
                sock = self.context.wrap_socket(sock, server_side=True)
                self._sockets.append(sock)
            with sock:
                self._handle(Connection(sock, self))

    def _handle(self, connection: Connection) -> None:
        self.requests.append(connection.request)
        try:
            self.handlers[connection.request.path](connection)
        except (EOFError, OSError):
            raise
        except Exception as error:
            self.errors.append(error)

    def close(self) -> None:
        """Stop, and tell what went wrong in a handler; every client must have let go by now."""
        self.gate.set()
        # Waking a thread that sits in accept() takes a shutdown; closing alone does not.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join(STUCK)
        for thread in self._threads:
            thread.join(2)
        stuck = [thread for thread in self._threads if thread.is_alive()]
        for sock in self._sockets if stuck else ():
            with contextlib.suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
        for thread in stuck:
            thread.join(STUCK)
        assert not stuck, "a client kept its connection open"
        if self.errors:
            raise ExceptionGroup("a handler failed", self.errors)


HANDLERS: dict[str, Handler] = {}


def handles(path: str) -> Callable[[Handler], Handler]:
    def register(handler: Handler) -> Handler:
        HANDLERS[path] = handler
        return handler

    return register


def echo_until_closed(connection: Connection, *, stop: bool) -> None:
    try:
        while True:
            message = connection.read_message()
            connection.send_message(message)
            if stop and message == "Goodbye":
                connection.start_close(1000)
                return
    except PeerClosed as close:
        connection.answer_close(close)


@handles("/echo")
def echo(connection: Connection) -> None:
    connection.accept(protocol="echo" if "echo" in connection.request.protocols else None)
    echo_until_closed(connection, stop=True)


@handles("/negotiated")
def negotiated(connection: Connection) -> None:
    """Agree to compression, and echo without using it."""
    connection.accept("Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover")
    try:
        while True:
            frame = connection.read_frame()
            if frame.opcode == Opcode.CLOSE:
                connection.send(Opcode.CLOSE, frame.payload)
                return
    except PeerClosed as close:
        connection.answer_close(close)


@handles("/echo_exit")
def echo_exit(connection: Connection) -> None:
    """Read until "Goodbye", then close and read nothing more."""
    connection.accept()
    while connection.read_message() != "Goodbye":
        pass
    connection.wait_for_test()
    connection.send_close(1000)
    connection.server.progress += 1
    # Like the handler of the web-platform tests: return, and so close TCP with the rest unread.


@handles("/echo-query")
def echo_query(connection: Connection) -> None:
    connection.accept()
    connection.send_message(urlsplit(connection.request.target).query)
    echo_until_closed(connection, stop=False)


@handles("/header")
def header(connection: Connection) -> None:
    """Send back one header of the request (`origin`, `referrer` and `echo-cookie` in one)."""
    connection.accept("Set-Cookie: seen=1")
    name = connection.request.query["name"]
    connection.send_message(connection.request.headers.get(name, "MISSING AS PER FETCH"))
    echo_until_closed(connection, stop=False)


@handles("/echo_raw")
def echo_raw(connection: Connection) -> None:
    """Write what arrives on TCP as it is, to inject frames made by hand."""
    connection.accept()
    try:
        while True:
            message = connection.read_message()
            connection.write(message.encode("latin-1") if isinstance(message, str) else message)
    except PeerClosed as close:
        connection.answer_close(close)


@handles("/remote-close")
def remote_close(connection: Connection) -> None:
    """Close at once with ?code and ?reason; ?abrupt: ping, then drop TCP; ?hold: wait for the test first."""
    query = connection.request.query
    connection.accept()
    if "hold" in query:
        connection.wait_for_test()
    if "abrupt" in query:
        connection.send(Opcode.PING)
        return
    code = int(query["code"]) if "code" in query else None
    if "unread" in query:
        connection.send_close(code, query.get("reason", ""))
        return
    connection.start_close(code, query.get("reason", ""))


@handles("/delayed-passive-close")
def delayed_passive_close(connection: Connection) -> None:
    """Wait for the client's Close, wait for the test, then answer it."""
    connection.accept()
    close = connection.read_close()
    connection.wait_for_test()
    connection.answer_close(close)


@handles("/passive-close-abort")
def passive_close_abort(connection: Connection) -> None:
    connection.accept()
    connection.read_close()


@handles("/close-with-another-code")
def close_with_another_code(connection: Connection) -> None:
    """Answer the client's Close with a code of our own."""
    connection.accept()
    close = connection.read_close()
    connection.server.closes.append((close.code, close.reason))
    connection.send_close(4222, "remote")


@handles("/data-after-close")
def data_after_close(connection: Connection) -> None:
    connection.accept()
    connection.answer_close(connection.read_close())
    connection.send_message("too late")


@handles("/send-backpressure")
def send_backpressure(connection: Connection) -> None:
    """Send one empty message and 16 MiB of binary ones; ``progress`` counts what the kernel took."""
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
    connection.accept()
    for message in [b"", *[bytes(MIB)] * 16]:
        connection.send_message(message)
        connection.server.progress += 1
    connection.send_message("done")
    echo_until_closed(connection, stop=False)


@handles("/receive-backpressure")
def receive_backpressure(connection: Connection) -> None:
    """Read nothing until the test says so."""
    connection.accept()
    connection.wait_for_test()
    connection.server.received.append(connection.read_message())
    connection.answer_close(connection.read_close())


@handles("/receive-many-with-backpressure")
def receive_many_with_backpressure(connection: Connection) -> None:
    """Answer each message with its length, the first one only when the test says so."""
    connection.accept()
    connection.wait_for_test()
    try:
        while True:
            connection.send_message(str(len(connection.read_message())))
    except PeerClosed as close:
        connection.answer_close(close)


@handles("/handshake_held")
def handshake_held(connection: Connection) -> None:
    """`handshake_sleep_2`: the 101 waits for the test."""
    connection.wait_for_test()
    connection.accept()
    echo_until_closed(connection, stop=False)


@handles("/junk_before_handshake")
def junk_before_handshake(connection: Connection) -> None:
    """`sleep_10_v13`: junk bytes instead of an answer, and no end of them."""
    for _ in range(4):
        connection.write(b"x")
    connection.wait_for_test()


@handles("/protocol")
def protocol(connection: Connection) -> None:
    first = connection.request.protocols[0]
    connection.accept(protocol=first)
    connection.send_message(first)
    echo_until_closed(connection, stop=False)


@handles("/handshake_protocol")
def handshake_protocol(connection: Connection) -> None:
    connection.accept(protocol="foobar")
    connection.read_to_eof()


@handles("/handshake_no_protocol")
def handshake_no_protocol(connection: Connection) -> None:
    connection.accept()
    connection.read_to_eof()


@handles("/invalid")
def invalid(connection: Connection) -> None:
    connection.write(b"FOO BAR BAZ\r\n\r\n")


@handles("/wrong_accept_key")
def wrong_accept_key(connection: Connection) -> None:
    connection.accept(key=base64.b64encode(bytes(20)).decode())
    connection.read_to_eof()


@handles("/simple_handshake")
def simple_handshake(connection: Connection) -> None:
    """The 101 and a Close frame in one TCP segment."""
    connection.accept(after=b"\x88\x06\x03\xe9PASS")
    close = connection.read_close()
    connection.server.closes.append((close.code, close.reason))


@handles("/greeting")
def greeting(connection: Connection) -> None:
    """The 101, two messages and a Close frame in one TCP segment."""
    connection.accept(after=b"\x81\x05hello\x82\x03\x00\x01\x02\x88\x02\x03\xe8")
    connection.read_close()


@handles("/basic_auth")
def basic_auth(connection: Connection) -> None:
    expected = "Basic " + base64.b64encode(b"foo:bar").decode()
    if connection.request.headers.get("authorization") != expected:
        connection.respond("401 Unauthorized", "WWW-Authenticate: Basic realm=test")
        return
    connection.accept()
    connection.send_message("pass")
    echo_until_closed(connection, stop=False)


@handles("/404")
def not_found(connection: Connection) -> None:
    connection.respond("404 Not Found", "X-Hint: look elsewhere", body=b"no such page")


@handles("/redirect")
def redirect(connection: Connection) -> None:
    connection.respond("301 Moved Permanently", "Location: /echo", body=b"moved")
