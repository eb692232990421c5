"""docs/how-to/troubleshooting.md says what the source says: each text stands there, and most are provoked."""

from __future__ import annotations

import ast
import logging
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from edges.serving import SERVER_LOG, MemoryListener, echo, serving
from ports import free_port
from promises.open_sockets import connections_with_sockets
from sources import MODULES
from websocketstream import (
    Broadcast,
    ConnectionBroken,
    HandshakeLimits,
    HandshakeRejected,
    WebSocketRequest,
    WebSocketStream,
    open_websocket_stream,
    serve_websocket_streams,
)
from websocketstream.testing import websocket_stream_pair
from wire import Frame, Opcode
from wpt.server import HANDLERS, Server

if TYPE_CHECKING:
    import ssl

PAGE = Path(__file__).parent.parent / "docs" / "how-to" / "troubleshooting.md"
ROW = re.compile(r"^\| `([^`]+)` \|", re.MULTILINE)
TEXTS = ROW.findall(PAGE.read_text("utf-8"))
VARIES = "…"
LOG_FIELD = re.compile(r"%[sra]|%\.\df")
# A literal of Cython's, and what is put into it.
LITERAL = re.compile(r'"((?:[^"\\\n]|\\.)*)"')
FIELD = re.compile(r"\{[^{}]*\}")


def as_pattern(text: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, text.split(VARIES))), re.DOTALL)


def as_template(node: ast.expr) -> str | None:
    """Return what a literal says, with an ellipsis for what is put into it."""
    match node:
        case ast.Constant(value=str(text)):
            return LOG_FIELD.sub(VARIES, text)
        case ast.JoinedStr(values=values):
            return "".join(part.value if isinstance(part, ast.Constant) else VARIES for part in values)
    return None


def templates() -> list[str]:
    trees = [ast.parse(path.read_text("utf-8")) for path in MODULES if path.suffix == ".py"]
    found = [as_template(node) for tree in trees for node in ast.walk(tree) if isinstance(node, ast.expr)]
    for path in MODULES:
        if path.suffix == ".pyx":
            found += [FIELD.sub(VARIES, text) for text in LITERAL.findall(path.read_text("utf-8"))]
    return [template for template in found if template]


TEMPLATES = templates()


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_of_the_page_stands_in_the_source(text: str) -> None:
    assert any(map(as_pattern(text).search, TEMPLATES))


def test_no_text_stands_there_twice() -> None:
    assert len(TEXTS) == len(set(TEXTS)) > 50


# --- provoked


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[int]:
    """Serve bytes: say this to everybody who has said something, and hang up."""

    async def say(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await stream.receive()
            await stream.send(answer) if answer else None

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, say)
        yield listener.extra(anyio.abc.SocketAttribute.local_port)
        tasks.cancel_scope.cancel()


async def opened(url: str, **options: Any) -> None:
    async with open_websocket_stream(url, **options):
        pytest.fail("it was opened")


async def refused() -> None:
    await opened(f"ws://127.0.0.1:{free_port()}")


async def silent() -> None:
    async def wait(request: WebSocketRequest) -> None:
        await anyio.sleep_forever()

    async with serving(wait) as listener:
        await opened(listener.url, open_timeout=0.05)


async def tls_without_tls() -> None:
    async with serving() as listener:
        await opened(listener.url.replace("ws:", "wss:"))


async def hung_up() -> None:
    async with answering(b"") as port:
        await opened(f"ws://127.0.0.1:{port}")


async def not_http() -> None:
    async with answering(b"220 mail.example.com ESMTP\r\n") as port:
        await opened(f"ws://127.0.0.1:{port}")


async def tls_records() -> None:
    async with answering(b"\x15\x03\x03\x00\x02\x02\x32") as port:
        await opened(f"ws://127.0.0.1:{port}")


async def bare_101() -> None:
    async with answering(b"HTTP/1.1 101 Switching Protocols\r\n\r\n") as port:
        await opened(f"ws://127.0.0.1:{port}")


async def wrong_accept() -> None:
    head = (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n"
    )
    async with answering(head) as port:
        await opened(f"ws://127.0.0.1:{port}")


async def large_answer() -> None:
    async with serving() as listener:
        await opened(listener.url, handshake_limits=HandshakeLimits(head_size=20))


async def rejected() -> None:
    async def reject(request: WebSocketRequest) -> None:
        await request.reject(404)

    async with serving(reject) as listener:
        await opened(listener.url)


async def foreign_origin() -> None:
    async with serving(origins=["https://example.com"]) as listener:
        await opened(listener.url, origin="https://example.org")


async def no_protocol() -> None:
    async with serving() as listener:
        await opened(listener.url, protocols=["chat"])


async def closed_by_peer() -> None:
    async with websocket_stream_pair() as (client, server):
        server.close(1011, "out of memory")
        await client.receive()


async def cut() -> None:
    async with connections_with_sockets(1) as [(conn, sock)]:
        sock.shutdown(socket.SHUT_WR)
        await conn.receive()


async def too_large() -> None:
    async with websocket_stream_pair(max_message_size=10) as (client, server):
        await client.send("eleven bytes")
        await server.receive()


async def closed_here() -> None:
    async with websocket_stream_pair() as (client, _):
        client.close()
        await client.send("hello")


async def two_receivers() -> None:
    async with websocket_stream_pair() as (client, _), anyio.create_task_group() as tasks:
        tasks.start_soon(client.receive)
        await anyio.wait_all_tasks_blocked()
        try:
            with pytest.raises(anyio.BusyResourceError, match=SECOND_RECEIVER):
                await client.receive()
        finally:
            tasks.cancel_scope.cancel()


async def entered_twice() -> None:
    async with serving() as listener:
        block = open_websocket_stream(listener.url)
        async with block:
            pass
        async with block:
            pass


async def in_chunks() -> None:
    async with websocket_stream_pair() as (client, _), client.writable.message() as part:
        await part.send(b"")
        await client.send("hello")


async def on_a_pair(use: Callable[[WebSocketStream], Awaitable[object]]) -> None:
    async with websocket_stream_pair() as (client, _):
        await use(client)


async def close_code() -> None:
    async with websocket_stream_pair() as (client, _):
        client.close(1006)


async def close_reason() -> None:
    async with websocket_stream_pair() as (client, _):
        client.close(4000, "x" * 124)


async def served(**options: Any) -> None:
    await serve_websocket_streams(
        options.pop("handler", echo), "127.0.0.1", 0, **{"origins": None, **options}
    )


def plain_function(request: WebSocketRequest) -> None:
    """Is no handler."""


async def frames(*sent: Frame, in_chunks: bool = False, **options: Any) -> None:
    """Receive what no decent peer sends."""
    async with connections_with_sockets(1, **options) as [(conn, theirs)]:
        incoming = conn.readable.chunked() if in_chunks else None
        theirs.sendall(b"".join(frame.encode() for frame in sent))
        try:
            await conn.receive() if incoming is None else await (await anext(incoming)).read()
        except ConnectionBroken as error:
            raised = error
    raise raised  # behind the block, at whose end the peer hangs up


async def left_behind() -> None:
    async with websocket_stream_pair() as (client, server):
        await client.writable.send_batch(["one", "two"])
        incoming = server.readable.chunked()
        first = await anext(incoming)
        await anext(incoming)
        await anext(first)


async def no_goodbye() -> None:
    async with connections_with_sockets(1, close_timeout=0.05) as [(conn, _)]:
        conn.close()
        await conn.closed


async def answered_twice() -> None:
    raised: list[Exception] = []
    done = anyio.Event()

    async def reject_twice(request: WebSocketRequest) -> None:
        await request.reject(404)
        try:
            await request.reject(404)
        except RuntimeError as error:
            raised.append(error)
        done.set()

    async with serving(reject_twice) as listener:
        with suppress(HandshakeRejected):
            await opened(listener.url)
        await done.wait()
    raise raised[0]


async def by_threads(path: str, **options: Any) -> None:
    """Open a connection to the server of the web-platform tests."""
    server = Server(HANDLERS)
    try:
        await opened(server.url(path), **options)
    finally:
        server.close()


URL = "ws://localhost"
SECOND_RECEIVER = "Another task is already receiving from this resource"  # as anyio says it
PROVOKE: dict[str, Callable[[], Awaitable[object]]] = {
    "cannot connect to … port …": refused,
    "… was not open within open_timeout=… s: timed out while …": silent,
    "the server speaks TLS on this port: use wss:// instead of ws://": tls_records,
    "without TLS the URL is …": tls_without_tls,
    "the connection was closed before the server answered the handshake": hung_up,
    "the server did not answer in HTTP but with …": not_http,
    "server rejected the WebSocket handshake: …": rejected,
    "This origin may not connect.": foreign_origin,
    "the server chose none of the protocols we offered": no_protocol,
    "the 101 response has … field": bare_101,
    "the 101 response has a Sec-WebSocket-Accept that does not answer our key": wrong_accept,
    "the server's answer is too large: …": large_answer,
    "connection closed by the peer with …": closed_by_peer,
    "the transport ended without a Close frame": cut,
    "message is larger than … bytes (limit: …)": too_large,
    "the connection was closed on this side": closed_here,
    "the URL has no scheme: it must be absolute and start with ws:// or wss://": (
        lambda: opened("localhost:8765")
    ),
    "the URL's scheme is …; use ws, wss, http or https": lambda: opened("ftp://localhost"),
    "a WebSocket URL must not have a fragment": lambda: opened(f"{URL}/#top"),
    "a message must be str, bytes, bytearray or memoryview, not …": (
        lambda: on_a_pair(lambda conn: conn.send({"a": 1}))  # type: ignore[arg-type]
    ),
    "a text message must be encodable as UTF-8": lambda: on_a_pair(lambda conn: conn.send("\udc80")),
    "several messages are wanted, not one …": (
        lambda: on_a_pair(lambda conn: conn.writable.send_batch("hello"))
    ),
    "this block has been entered before; open a new stream instead": entered_twice,
    "this task is in the middle of a message in chunks": in_chunks,
    "header … belongs to the handshake and cannot be set": lambda: opened(URL, headers={"Origin": "null"}),
    "header name … is not an HTTP token": lambda: opened(URL, headers={"a b": "c"}),
    "give either cookies or a Cookie header, not both": (
        lambda: opened(URL, cookies={"a": "b"}, headers={"Cookie": "c=d"})
    ),
    "… is for TLS, and … has none: use wss:// instead of ws://": (
        lambda: opened(URL, server_hostname="localhost")
    ),
    "stream must be an anyio byte stream, not …": lambda: opened(URL, stream=object()),
    "close code … is not for an application to send": close_code,
    "close reason is … bytes of UTF-8; a Close frame has room for …": close_reason,
    "… must be a number of seconds, not …": lambda: opened(URL, open_timeout="10"),
    "origin … is a pattern, and origins are compared as a whole": lambda: served(origins=["https://*"]),
    "origin … is not what a browser sends": lambda: served(origins=["https://example.com/"]),
    "handler must be an async function": lambda: served(handler=plain_function),
    'the server chose the protocol "…", which we did not offer': lambda: by_threads("/handshake_protocol"),
    "text message is not UTF-8: …": lambda: frames(Frame(Opcode.TEXT, b"\xff")),
    "reserved bit set, and no extension gives it a meaning": lambda: frames(Frame(Opcode.TEXT, rsv=4)),
    "Invalid opcode … (RFC 6455 5.2)": lambda: frames(Frame(3)),
    "message has more than … fragments (limit: max_fragments)": (
        lambda: frames(Frame(Opcode.TEXT, b"a", fin=False), Frame(Opcode.CONTINUATION, b"b"), max_fragments=1)
    ),
    "the peer closed with … in the middle of a message": (
        lambda: frames(Frame(Opcode.TEXT, b"half", fin=False), Frame(Opcode.CLOSE), in_chunks=True)
    ),
    "the next message was asked for, and what was left of this one is gone": left_behind,
    "the closing handshake was not complete in time": no_goodbye,
    "the peer did not answer a ping within ping_timeout=… s": (
        lambda: frames(ping_interval=0.05, ping_timeout=0.05)
    ),
    "this request has been answered already": answered_twice,
    "a listener has its address already": lambda: served(listener=MemoryListener()),
}


def only(error: BaseException) -> BaseException:
    """Return what is in the group that a task group of the test's makes of an error."""
    while isinstance(error, BaseExceptionGroup):
        (error,) = error.exceptions
    return error


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # the words do not depend on it
@pytest.mark.parametrize("text", PROVOKE)
async def test_a_text_of_the_page_is_what_one_meets(text: str) -> None:
    assert text in TEXTS
    with pytest.raises(Exception) as raised:
        await PROVOKE[text]()
    assert as_pattern(text).search(str(only(raised.value)))


@pytest.mark.anyio
async def test_a_certificate_that_is_not_accepted(server_ssl: ssl.SSLContext) -> None:
    text = "certificate not accepted: …"
    assert text in TEXTS
    async with serving(ssl_context=server_ssl) as listener:
        with pytest.raises(OSError, match=as_pattern(text)):
            await opened(f"wss://localhost:{listener.port}")


@pytest.mark.anyio
async def test_a_second_receiver_meets_the_words_of_anyio() -> None:
    assert f"| {SECOND_RECEIVER} |" in PAGE.read_text("utf-8")
    await two_receivers()


@pytest.mark.anyio
async def test_a_hub_of_another_event_loop() -> None:
    text = "this hub has connections of another event loop: a hub belongs to one"
    assert text in TEXTS
    hub = Broadcast()

    async def subscribe() -> None:
        async with websocket_stream_pair() as (client, _):
            hub.subscribe(client)

    async with websocket_stream_pair() as (client, _):
        with hub.subscribe(client), pytest.raises(RuntimeError, match=text):
            await anyio.to_thread.run_sync(anyio.run, subscribe)


async def returns(request: WebSocketRequest) -> None:
    """Give no answer."""


async def fails(request: WebSocketRequest) -> None:
    raise LookupError(request.path)


LOGGED: dict[str, tuple[Any, dict[str, Any], dict[str, Any]]] = {
    "refused origin … at …: origins has no such": (
        echo,
        {"origins": ["https://example.com"]},
        {"origin": "https://example.org"},
    ),
    "refused a client without an Origin at …: origins has no None": (
        echo,
        {"origins": ["https://example.com"]},
        {},
    ),
    "handler of … failed": (fails, {}, {}),
    "handler of … returned without an answer: write …": (returns, {}, {}),
    "bad opening handshake: …": (echo, {"handshake_limits": HandshakeLimits(head_size=20)}, {}),
}


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("text", LOGGED)
async def test_a_text_of_the_page_stands_in_the_log(text: str, caplog: pytest.LogCaptureFixture) -> None:
    assert text in TEXTS
    handler, options, client_options = LOGGED[text]
    caplog.set_level(logging.DEBUG, SERVER_LOG)
    async with serving(handler, **options) as listener:
        with pytest.raises(HandshakeRejected):
            await opened(listener.url, **client_options)
    assert any(as_pattern(text).search(record.getMessage()) for record in caplog.records)
