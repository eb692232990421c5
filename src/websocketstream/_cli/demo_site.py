"""A few files over HTTP, and WebSockets on the same port: what the page of the demo needs, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from anyio import TASK_STATUS_IGNORED, EndOfStream, fail_after
from anyio.abc import AnyByteStream, SocketAttribute, TaskStatus

from .._network.any_stream import TRANSPORT_ERRORS, receive_some, say_and_drain
from .._protocol.head import HeadReader, HeadTooLarge, MalformedHead
from .._protocol.http import DEFAULT_LIMITS, Headers
from .._protocol.parameters import QueryParams
from .._protocol.server_handshake import BadRequest, ServerHandshake
from .._server.listener import listen
from .._server.upgraded import accept_upgraded
from .._streams.stream import WebSocketStream

ADDRESS = "127.0.0.1"
NAMES = (ADDRESS, "localhost")  # of this machine; any other name in a Host is somebody else's that leads here
HTTP_PORT = 80
HEAD_SECONDS = 10.0  # for a request to arrive
CLOSE_SECONDS = 2.0  # a page that has gone is not waited for
MAX_MESSAGE_SIZE = 2**16
_REQUEST_LINE = re.compile(rb"([A-Z]+) (/[\x21-\x7e]*) HTTP/1\.[01]")

ServeWebSocket = Callable[[WebSocketStream], Awaitable[object]]
Find = Callable[[str, QueryParams], ServeWebSocket | None]

# The page loads what came from here and talks to here; it cannot do anything else, whatever is in it. The last two let it
# ask the browser how much memory it takes (HTML: cross-origin isolation).
POLICY = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; "
    "connect-src 'self' ws://{host}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
}


@dataclass(frozen=True, slots=True)
class File:
    """What is served at one path."""

    content_type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it has arrived; ``data`` is all of its bytes and what was read behind them."""

    method: str
    path: str
    query: QueryParams
    headers: Headers
    data: bytes

    @property
    def wants_websocket(self) -> bool:
        """Whether it asks for the other protocol, in whatever way."""
        return self.headers.get("Upgrade", "").lower() == "websocket"


class Refused(Exception):
    """A request gets another answer than it wanted: a status, and a sentence as its body."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class Site:
    """Serves files by their paths, and WebSockets by what ``find`` says: a function that serves one, None for a 404.

    Only programs, and pages that came from here, get a WebSocket: a page of another site has another ``Origin``.
    """

    def __init__(self, files: Mapping[str, File], find: Find) -> None:
        self._files = files
        self._find = find
        self._hosts: frozenset[str] = frozenset()

    async def serve(self, port: int = 0, *, task_status: TaskStatus[str] = TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; the task is started once it listens, with the URL of the page.

        :param port: the TCP port, 0 for a free one
        :raises OSError: the port cannot be listened on
        """
        async with await listen(ADDRESS, port) as listener:
            port = listener.extra(SocketAttribute.local_port)
            self._hosts = hosts_of(port)
            task_status.started(f"http://{ADDRESS}:{port}/")
            await listener.serve(self._answer)

    async def _answer(self, stream: AnyByteStream) -> None:
        # Whatever becomes of one connection is no matter of the others.
        received = bytearray()
        with suppress(EndOfStream, *TRANSPORT_ERRORS):
            async with stream:
                try:
                    with fail_after(HEAD_SECONDS):
                        asked = await _receive(stream, received)
                    self._check(asked)
                    if asked.wants_websocket:
                        await self._serve_websocket(stream, asked)
                        return
                    response = self._file(asked)
                except Refused as refusal:
                    response = ServerHandshake().reject(refusal.status, body=f"{refusal}\n")
                except BadRequest as refusal:
                    response = refusal.response
                if received.startswith(b"HEAD "):
                    response = without_body(response)
                await say_and_drain(stream, response)

    def _check(self, asked: Asked) -> None:
        if asked.method not in {"GET", "HEAD"}:
            raise BadRequest(405, "There is nothing here but files to GET.", {"Allow": "GET, HEAD"})
        hosts = asked.headers.get_all("Host")
        if len(hosts) != 1:  # RFC 9112 section 3.2
            raise Refused(400, "The request must have one Host.")
        host = hosts[0].lower()
        if host not in self._hosts:
            raise Refused(421, f"This is {' or '.join(sorted(self._hosts))}.")
        origin = asked.headers.get("Origin")
        if asked.wants_websocket and origin not in (None, f"http://{host}"):
            raise Refused(403, "This origin may not connect.")

    async def _serve_websocket(self, stream: AnyByteStream, asked: Asked) -> None:
        serve = self._find(asked.path, asked.query)
        if serve is None:
            raise Refused(404, "There is no such WebSocket.")
        connection = accept_upgraded(
            stream, asked.data, close_timeout=CLOSE_SECONDS, max_message_size=MAX_MESSAGE_SIZE
        )
        async with connection as conn:
            await serve(conn)

    def _file(self, asked: Asked) -> bytes:
        file = self._files.get(asked.path)
        if file is None:
            raise Refused(404, "There is no such file.")
        policy = {name: value.format(host=asked.headers["Host"]) for name, value in POLICY.items()}
        headers = {**policy, "Content-Type": file.content_type}
        return ServerHandshake().reject(200, headers, file.content)  # any final answer, not just refusals


def hosts_of(port: int) -> frozenset[str]:
    """Return what may be in a request's Host; browsers leave out the port that http has anyway."""
    hosts = {f"{name}:{port}" for name in NAMES}
    return frozenset(hosts | {*NAMES} if port == HTTP_PORT else hosts)


def without_body(response: bytes) -> bytes:
    """Return what answers HEAD where a response would answer GET (RFC 9110 section 9.3.2)."""
    head, end, _ = response.partition(b"\r\n\r\n")
    return head + end


async def _receive(stream: AnyByteStream, data: bytearray) -> Asked:
    """Receive a request's head.

    :param data: takes all the bytes that arrive, also when it is none
    :raises Refused: it is not one, or too large
    :raises anyio.EndOfStream: it ends before its end
    """
    reader = HeadReader(DEFAULT_LIMITS, lambda _line, _complete: None)
    try:
        while reader.next_head() is None:
            received = await receive_some(stream)
            data += received
            reader.feed(received)
    except HeadTooLarge as exc:
        raise Refused(431, f"The request is too large: {exc}.") from None
    except MalformedHead as exc:
        raise Refused(400, f"The request is malformed: {exc}.") from None
    match = _REQUEST_LINE.fullmatch(reader.start_line)
    if match is None:
        raise Refused(400, "This is no request for a file.")
    path, _, query = match[2].decode("ascii").partition("?")
    return Asked(
        match[1].decode("ascii"), path, QueryParams(query), Headers(block=reader.fields), bytes(data)
    )
