"""Our protocol under a real uvicorn: what uvicorn expects of one, and what ours adds."""

from __future__ import annotations

import asyncio
import gc
import logging
import ssl
import weakref
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import wire
from asgi_servers.uvicorn_kit import Served, serving
from backends import BACKENDS
from waiting import Call, at_rest, until
from websocketstream import (
    CloseInfo,
    ConnectionBroken,
    ConnectionClosed,
    HandshakeRejected,
    WebSocketStream,
    open_websocket_stream,
)
from websocketstream._server.asgi_visit import Phase
from websocketstream.asgi import accept, reject

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.parametrize("anyio_backend", [param for param in BACKENDS if param.id != "trio"]),
]

ACCEPT = {"type": "websocket.accept"}
BOTH = pytest.mark.parametrize("http", ["h11", "httptools"])

Events = Callable[[], Awaitable[Any]]


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Accept, and send everything back."""
    assert scope["type"] == "websocket"
    assert (await receive())["type"] == "websocket.connect"
    await send(ACCEPT)
    while (event := await receive())["type"] == "websocket.receive":
        await send({**event, "type": "websocket.send"})


async def native_echo(scope: Any, receive: Any, send: Any) -> None:
    """Do the same, past ASGI's events."""
    async with accept(scope, receive, send) as conn:
        async for message in conn:
            await conn.send(message)


class Recorder:
    """An application that notes what it gets, and says what it is told to."""

    def __init__(self, *says: Any) -> None:
        self.scope: Any = None
        self.events: list[Any] = []
        self.says = says
        self.over = anyio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scope = scope
        self.events.append(await receive())
        for event in self.says:
            await send(event)
        while self.events[-1]["type"] != "websocket.disconnect":
            self.events.append(await receive())
        self.over.set()


async def rejected(url: str, **options: Any) -> HandshakeRejected:
    """Return how the server refuses."""
    with pytest.raises(HandshakeRejected) as caught:
        async with open_websocket_stream(url, **options):
            pass
    return caught.value


# --- messages


@BOTH
@pytest.mark.parametrize("app", [echo, native_echo])
async def test_messages_of_every_length_go_both_ways(app: Any, http: str) -> None:
    async with serving(app, http=http) as served:
        async with open_websocket_stream(served.url) as conn:
            for length in (0, 1, 125, 126, 65535, 65536, 500_000):
                for message in ("ä" * length, b"\xff" * length):
                    await conn.send(message)
                    assert await conn.receive() == message
            conn.close(1000)
            assert (await conn.closed).clean
        await served.idle()


async def test_the_application_gets_uvicorns_events() -> None:
    app = Recorder(ACCEPT)
    async with serving(app) as served:
        async with open_websocket_stream(served.url) as conn:
            await conn.send("x")
            await conn.send(b"y")
            conn.close(4000, "custom reason")
        await served.idle()
    assert app.events == [
        {"type": "websocket.connect"},
        {"type": "websocket.receive", "text": "x"},
        {"type": "websocket.receive", "bytes": b"y"},
        {"type": "websocket.disconnect", "code": 4000, "reason": "custom reason"},
    ]


@pytest.mark.parametrize("theirs", ["websockets-sansio", "wsproto"])
@BOTH
async def test_the_scope_is_as_from_uvicorns_own_protocols(theirs: str, http: str) -> None:
    scopes = []
    for ws in ({}, {"ws": theirs}):
        app = Recorder({**ACCEPT, "subprotocol": "two"}, {"type": "websocket.close"})
        async with serving(app, http=http, root_path="/root", **ws) as served:
            url = f"{served.url}/a%20b/%C3%A4?x=%20y"
            async with open_websocket_stream(url, headers={"X-A": "b"}, protocols=["one", "two"]) as conn:
                await conn.closed
            await served.idle()
            app.scope["server"] = ("127.0.0.1", app.scope["server"][1] == served.port)
        app.scope["client"] = app.scope["client"][0]
        app.scope["headers"] = {
            name: value
            for name, value in app.scope["headers"]
            if name not in (b"host", b"sec-websocket-key")
            # wsproto leaves these out
            and name not in (b"connection", b"upgrade", b"sec-websocket-version", b"sec-websocket-protocol")
        }
        app.scope["extensions"].pop("websocketstream", None)
        scopes.append(app.scope)
    assert scopes[0] == scopes[1]


async def test_what_arrives_before_the_answer_is_not_lost() -> None:
    answer = anyio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer.wait()
        await echo(scope, receive, send)

    async with serving(app) as served:
        sock = wire.ask(served.port)
        try:
            await until(lambda: served.state.tasks)
            sock.send_message("early")
            sock.send_message(b"x" * 60_000)
            await until(lambda: any(len(each._early_data) > 60_000 for each in served.state.connections))
            answer.set()
            await anyio.to_thread.run_sync(sock.read_head)
            assert await anyio.to_thread.run_sync(sock.read_message) == "early"
            assert await anyio.to_thread.run_sync(sock.read_message) == b"x" * 60_000
        finally:
            sock.drop()


async def test_a_client_that_does_not_wait_for_the_answer_with_what_it_has_to_say_is_dropped() -> None:
    app = Recorder()
    async with serving(app) as served:
        sock = wire.ask(served.port)
        try:
            await until(lambda: served.state.tasks)
            sock.send_message(b"x" * 65536)
            await served.idle()
        finally:
            sock.drop()
    assert app.events[-1] == {"type": "websocket.disconnect", "code": 1006}


async def test_several_tasks_of_an_application_may_receive() -> None:
    events: list[Any] = []

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(ACCEPT)

        async def take() -> None:
            while (event := await receive())["type"] == "websocket.receive":
                events.append(event["text"])

        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(take)

    async with serving(app) as served:
        async with open_websocket_stream(served.url) as conn:
            for number in range(100):
                await conn.send(str(number))
            conn.close()
            await conn.closed
        await served.idle()
    assert sorted(events, key=int) == [*map(str, range(100))]


async def test_nothing_of_a_connection_is_left_for_the_garbage_collector() -> None:
    kept: list[weakref.ref[Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        kept.append(weakref.ref(scope["extensions"]["websocketstream"]["visit"]))
        if scope["path"] == "/native":
            async with accept(scope, receive, send) as conn:
                kept.append(weakref.ref(conn))
                async for _ in conn:
                    pass
        else:
            await echo(scope, receive, send)

    async with serving(app) as served:
        for path in ("/", "/native"):
            async with open_websocket_stream(served.url + path) as conn:
                await conn.send("x")
            await served.idle()
        del conn
        gc.disable()
        try:
            for path in ("/", "/native"):
                async with open_websocket_stream(served.url + path) as conn:
                    await conn.send("x")
                del conn
                await served.idle()
                for _ in range(5):
                    await anyio.lowlevel.checkpoint()
            assert [reference() for reference in kept[3:]] == [None] * 3
        finally:
            gc.enable()


@pytest.mark.parametrize("steps", range(10))
async def test_a_client_that_leaves_at_any_point_leaves_nothing_behind(steps: int) -> None:
    for app in (echo, native_echo):
        async with serving(app) as served:
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as group:

                    async def talk() -> None:
                        async with open_websocket_stream(served.url) as conn:
                            while True:
                                await conn.send("x" * 100_000)
                                await conn.receive()

                    group.start_soon(talk)
                    for _ in range(steps):
                        await anyio.lowlevel.checkpoint()
                    scope.cancel()
            await served.idle()


async def test_a_unix_socket_has_no_client(tmp_path: Path) -> None:
    app = Recorder(ACCEPT)
    async with serving(app, uds=str(tmp_path / "uvicorn")) as served:
        stream = await anyio.connect_unix(tmp_path / "uvicorn")
        async with open_websocket_stream("ws://localhost/", stream=stream) as conn:
            await conn.send("x")
        await served.idle()
    assert app.scope["client"] is None
    assert app.scope["server"] == (str(tmp_path / "uvicorn"), None)
    assert app.events[1] == {"type": "websocket.receive", "text": "x"}


async def test_a_connection_that_has_served_http_before_can_be_upgraded() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await echo(scope, receive, send)
        else:
            headers = [(b"content-length", b"300000")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b"x" * 300_000})

    async with serving(app) as served, await anyio.connect_tcp("127.0.0.1", served.port) as stream:
        await stream.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        received = b""
        while not received.endswith(b"x" * 300_000):
            received += await stream.receive()
        async with open_websocket_stream("ws://localhost/", stream=stream) as conn:
            await conn.send("x")
            assert await conn.receive() == "x"


# --- the answer


@BOTH
async def test_the_answer_has_protocol_and_header_fields(http: str) -> None:
    event = {**ACCEPT, "subprotocol": "two", "headers": [(b"x-a", b"a"), (b"set-cookie", b"b")]}
    async with serving(Recorder(event), http=http, headers=[("x-default", "d")]) as served:
        async with open_websocket_stream(served.url, protocols=["one", "two"]) as conn:
            assert conn.protocol == "two"
            assert conn.response is not None
            headers = conn.response.headers
            assert (headers["x-a"], headers["set-cookie"], headers["x-default"]) == ("a", "b", "d")
            assert headers["server"] == "uvicorn"
            assert "date" in headers


@pytest.mark.parametrize("compression", [True, False])
async def test_compression_is_negotiated_if_uvicorn_is_set_so(compression: bool) -> None:
    async with serving(echo, ws_per_message_deflate=compression) as served:
        async with open_websocket_stream(served.url, compression=True) as conn:
            assert bool(conn.extensions) is compression
            await conn.send("x" * 100_000)
            assert await conn.receive() == "x" * 100_000


async def test_a_close_before_the_answer_is_a_403() -> None:
    app = Recorder({"type": "websocket.close"})
    async with serving(app) as served:
        assert (await rejected(served.url)).status == 403
        await served.idle()
    assert app.events[-1] == {"type": "websocket.disconnect", "code": 1006}


def response(status: int, *headers: tuple[bytes, bytes]) -> dict[str, Any]:
    return {"type": "websocket.http.response.start", "status": status, "headers": [*headers]}


def body(data: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "websocket.http.response.body", "body": data, "more_body": more}


@pytest.mark.parametrize(
    ("says", "status", "content"),
    [
        ([response(404), body(b"hard")], 404, b"hard"),
        ([response(400, (b"Content-Length", b"20")), body(b"x" * 10, more=True), body(b"y" * 10)], 400, b"x" * 10 + b"y" * 10),
        ([response(204), body(b"ignored")], 204, b""),
        ([response(700)], 500, b"Internal Server Error"),
        ([response(101)], 500, b"Internal Server Error"),
        ([response(404), response(404)], 404, b""),
        ([response(404, (b"x", b"a\nb")), body(b"")], 500, b"Internal Server Error"),
        ([{"type": "websocket.send", "text": "x"}], 500, b"Internal Server Error"),
        ([{**ACCEPT, "subprotocol": "not offered"}], 500, b"Internal Server Error"),
    ],
)  # fmt: skip
async def test_refusals_are_what_the_application_says(says: Any, status: int, content: bytes) -> None:
    async with serving(Recorder(*says)) as served:
        refusal = await rejected(served.url)
        await served.idle()
    assert (refusal.status, refusal.body) == (status, content)
    assert refusal.headers["connection"] == "close"


async def test_an_application_that_does_not_answer_is_a_500(caplog: pytest.LogCaptureFixture) -> None:
    async def returns(_scope: Any, _receive: Any, _send: Any) -> None:
        pass

    async def raises(_scope: Any, _receive: Any, _send: Any) -> None:
        raise ValueError("on purpose")

    for app, said in ((returns, "without completing handshake"), (raises, "Exception in ASGI application")):
        async with serving(app) as served:
            assert (await rejected(served.url)).status == 500
            await served.idle()
        assert said in caplog.text


async def test_what_is_no_handshake_is_refused() -> None:
    async with serving(echo) as served:
        sock = wire.ask(served.port, "/", "Content-Length: 0", "Origin: a", "Origin: b")
        try:
            assert b" 400 " in await anyio.to_thread.run_sync(sock.read_head)
        finally:
            sock.drop()
        await served.idle()


# --- the end


@pytest.mark.parametrize(
    ("said", "info"),
    [({}, CloseInfo(1000)), ({"code": 1001, "reason": None}, CloseInfo(1001)),
     ({"code": 1002}, CloseInfo(1002)), ({"code": 4000, "reason": "ä" * 100}, CloseInfo(4000, "ä" * 61))],
)  # fmt: skip
async def test_the_application_closes_with_code_and_reason(said: Any, info: CloseInfo) -> None:
    app = Recorder(ACCEPT, {"type": "websocket.send", "text": "last"}, {"type": "websocket.close", **said})
    async with serving(app) as served:
        async with open_websocket_stream(served.url) as conn:
            assert [message async for message in conn] == ["last"]
            assert await conn.closed == info
        await served.idle()
    assert app.events[-1]["code"] == info.code


async def test_an_application_that_leaves_the_connection_open_closes_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def returns(_scope: Any, _receive: Any, send: Any) -> None:
        await send(ACCEPT)
        await send({"type": "websocket.send", "bytes": b"x" * 300_000})

    async def returns_a_value(_scope: Any, _receive: Any, send: Any) -> int:
        await send(ACCEPT)
        return 123

    async def raises(_scope: Any, _receive: Any, send: Any) -> None:
        await send(ACCEPT)
        raise ValueError("on purpose")

    async def accepts_twice(_scope: Any, _receive: Any, send: Any) -> None:
        await send(ACCEPT)
        await send(ACCEPT)

    codes = []
    for app in (returns, returns_a_value, raises, accepts_twice):
        async with serving(app) as served:
            async with open_websocket_stream(served.url) as conn:
                codes.append((await conn.closed).code)
            await served.idle()
    assert codes == [1000, 1011, 1011, 1011]
    assert "should return None" in caplog.text
    assert caplog.text.count("Exception in ASGI application") == 2


async def test_after_a_close_nothing_more_can_be_said() -> None:
    errors = []

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(ACCEPT)
        await send({"type": "websocket.close", "code": 4000, "reason": "bye"})
        for event in ({"type": "websocket.send", "text": "x"}, {"type": "websocket.close"}):
            try:
                await send(event)
            except RuntimeError as exc:
                errors.append(str(exc))
        assert await receive() == {"type": "websocket.disconnect", "code": 4000, "reason": "bye"}

    async with serving(app) as served:
        async with open_websocket_stream(served.url) as conn:
            assert (await conn.closed).code == 4000
        await served.idle()
    assert len(errors) == 2


async def test_a_client_that_vanishes_is_1006_and_then_an_oserror() -> None:
    seen: list[Any] = []

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(ACCEPT)
        seen.append(await receive())
        try:
            await send({"type": "websocket.send", "text": "x"})
        except OSError as exc:
            seen.append(exc)
            raise

    async with serving(app) as served:
        sock = await anyio.to_thread.run_sync(wire.connect, served.port)
        sock.reset()
        await served.idle()
    assert seen[0] == {"type": "websocket.disconnect", "code": 1006}
    assert isinstance(seen[1], OSError)


async def test_a_client_that_leaves_before_the_answer_is_told_to_who_waits() -> None:
    seen: list[Any] = []

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        seen.append(await receive())
        try:
            await send(ACCEPT)
        except OSError as exc:
            seen.append(exc)

    async with serving(app) as served:
        sock = wire.ask(served.port)
        await until(lambda: served.state.tasks)
        sock.drop()
        await served.idle()
    assert seen[0] == {"type": "websocket.disconnect", "code": 1006}
    assert isinstance(seen[1], OSError)


@pytest.mark.parametrize("native", [False, True])
async def test_an_accept_that_is_cancelled_in_the_middle_gives_the_client_up(native: bool) -> None:
    seen: list[Any] = []
    headers = [(b"x-large", b"x" * 2**23)]  # more than the system takes

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def answer() -> None:
            if native:
                async with accept(scope, receive, send, headers={"X-Large": "x" * 2**23}):
                    pass
            else:
                await receive()
                await send({**ACCEPT, "headers": headers})

        visit = scope["extensions"]["websocketstream"]["visit"]
        async with anyio.create_task_group() as tasks:
            call = Call.start(tasks, answer)
            await until(lambda: visit.phase is Phase.OPEN)
            assert not call.done
            call.scope.cancel()
            await call.finished()
        seen.append(await receive())
        with pytest.raises(OSError, match="gone away"):
            await send({"type": "websocket.send", "text": "x"})

    async with serving(app) as served:
        sock = wire.ask(served.port)
        try:
            await until(lambda: served.state.tasks)
            await served.idle()
        finally:
            sock.drop()
    assert seen == [{"type": "websocket.disconnect", "code": 1006}]


# --- limits


@pytest.mark.parametrize("app", [echo, native_echo])
async def test_a_message_may_be_as_large_as_ws_max_size(app: Any) -> None:
    async with serving(app, ws_max_size=10) as served:
        async with open_websocket_stream(served.url) as conn:
            await conn.send("x" * 10)
            assert await conn.receive() == "x" * 10
            await conn.send("x" * 11)
            with pytest.raises(ConnectionClosed):
                await conn.receive()
            assert (await conn.closed).code == 1009
        await served.idle()


async def test_the_application_learns_of_a_limit() -> None:
    app = Recorder(ACCEPT)
    async with serving(app, ws_max_size=10) as served:
        async with open_websocket_stream(served.url) as conn:
            await conn.send("x" * 11)
            await conn.closed
        await served.idle()
    assert app.events[-1]["code"] == 1009
    assert "max_message_size" in app.events[-1]["reason"]


async def test_pings_go_out_as_uvicorn_is_set() -> None:
    async with serving(echo, ws_ping_interval=0.05) as served:
        sock = await anyio.to_thread.run_sync(wire.connect, served.port)
        try:
            frame = await anyio.to_thread.run_sync(sock.read_frame)
            assert frame.opcode == wire.Opcode.PING
        finally:
            sock.drop()
        await served.idle()


# --- backpressure


@pytest.mark.parametrize("native", [False, True])
async def test_a_client_that_does_not_read_holds_the_application_and_lives(native: bool) -> None:
    sent = [0]
    size = 100_000

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if native:
            async with accept(scope, receive, send) as conn:
                for sent[0] in range(1, 1001):
                    await conn.send(b"x" * size)
        else:
            await send(ACCEPT)
            for sent[0] in range(1, 1001):
                await send({"type": "websocket.send", "bytes": b"x" * size})
            await send({"type": "websocket.close"})

    async with serving(app, ws_ping_interval=0.05, ws_ping_timeout=0.05) as served:
        async with open_websocket_stream(served.url, read_buffer=1) as conn:
            await at_rest(lambda: sent[0])  # for longer than a keepalive has patience
            assert sent[0] < 200
            assert [len(message) async for message in conn] == [size] * 1000
        await served.idle()


@pytest.mark.parametrize("native", [False, True])
async def test_an_application_that_does_not_read_holds_the_client(native: bool) -> None:
    go_on = anyio.Event()
    received = [0]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if native:
            async with accept(scope, receive, send) as conn:
                await go_on.wait()
                async for _ in conn:
                    received[0] += 1
        else:
            await receive()
            await send(ACCEPT)
            await go_on.wait()
            while (await receive())["type"] == "websocket.receive":
                received[0] += 1

    sent = [0]

    async def flood(conn: WebSocketStream) -> None:
        for sent[0] in range(1, 1001):
            await conn.send(b"x" * 100_000)
        conn.close()

    async with serving(app) as served:
        async with anyio.create_task_group() as tasks, open_websocket_stream(served.url) as conn:
            tasks.start_soon(flood, conn)
            await at_rest(lambda: sent[0])
            assert sent[0] < 200
            go_on.set()
            await conn.closed
        await served.idle()
    assert received == [1000]


# --- shutdown


async def test_shutdown_closes_with_1012(caplog: pytest.LogCaptureFixture) -> None:
    app = Recorder(ACCEPT)
    for each in (app, native_echo):
        async with anyio.create_task_group() as tasks:

            async def stay(served: Served, infos: list[CloseInfo]) -> None:
                async with open_websocket_stream(served.url) as conn:
                    infos.append(await conn.closed)

            infos: list[CloseInfo] = []
            async with serving(each) as served:
                tasks.start_soon(stay, served, infos)
                await until(lambda: served.state.tasks)
                await anyio.wait_all_tasks_blocked()
        assert infos == [CloseInfo(1012)]
    assert app.events[-1] == {"type": "websocket.disconnect", "code": 1012}
    assert not served.state.connections
    assert "Exception" not in caplog.text


async def test_shutdown_refuses_who_is_not_answered() -> None:
    app = Recorder()
    refusals: list[HandshakeRejected] = []

    async def knock(served: Served) -> None:
        refusals.append(await rejected(served.url))

    async with anyio.create_task_group() as tasks:
        async with serving(app) as served:
            tasks.start_soon(knock, served)
            await until(lambda: served.state.tasks)
    assert refusals[0].status == 500


async def test_shutdown_cancels_an_application_that_does_not_end(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        async with accept(scope, receive, send):
            await anyio.sleep_forever()

    async with anyio.create_task_group() as tasks:

        async def stay(served: Served) -> None:
            async with open_websocket_stream(served.url) as conn:
                assert (await conn.closed).code == 1012

        async with serving(app, timeout_graceful_shutdown=0.1) as served:
            tasks.start_soon(stay, served)
            await until(lambda: served.state.tasks)
            await anyio.wait_all_tasks_blocked()
    await until(lambda: not served.state.tasks)
    assert "timeout graceful shutdown exceeded" in caplog.text


# --- logs


async def test_the_log_has_uvicorns_lines(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "uvicorn.error")
    lines = []
    for ws in ({}, {"ws": "websockets-sansio"}):
        caplog.clear()
        for app in (Recorder(ACCEPT, {"type": "websocket.close"}), Recorder({"type": "websocket.close"})):
            async with serving(app, **ws) as served:
                try:
                    async with open_websocket_stream(f"{served.url}/a%20b?c=d") as conn:
                        await conn.closed
                except HandshakeRejected:
                    pass
                await served.idle()
        said = [record.getMessage() for record in caplog.records]
        lines.append([line.partition(" - ")[2] for line in said if '"WebSocket' in line])
    assert lines[0] == lines[1] == ['"WebSocket /a%20b?c=d" [accepted]', '"WebSocket /a%20b?c=d" 403']


# --- TLS


@pytest.mark.parametrize("app", [echo, native_echo])
async def test_everything_goes_through_tls(
    app: Any, server_ssl: ssl.SSLContext, client_ssl: ssl.SSLContext
) -> None:
    async with serving(app, context=server_ssl) as served:
        url = f"wss://127.0.0.1:{served.port}"
        async with open_websocket_stream(url, ssl_context=client_ssl) as conn:
            for message in ("x", b"x" * 1_000_000, "ä" * 100_000):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(conn.send, message)
                    assert await conn.receive() == message
            conn.close(1000)
            assert (await conn.closed).clean
        await served.idle()


async def test_all_that_is_sent_before_a_close_arrives_through_tls(
    server_ssl: ssl.SSLContext, client_ssl: ssl.SSLContext
) -> None:
    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send(ACCEPT)
        for _ in range(20):
            await send({"type": "websocket.send", "bytes": b"x" * 200_000})

    async with serving(app, context=server_ssl) as served:
        url = f"wss://127.0.0.1:{served.port}"
        async with open_websocket_stream(url, ssl_context=client_ssl, read_buffer=1) as conn:
            await at_rest(lambda: conn.statistics().readable.buffered_bytes)
            assert [len(message) async for message in conn] == [200_000] * 20
            assert await conn.closed == CloseInfo(1000)
        await served.idle()


async def test_a_client_that_vanishes_through_tls_is_let_go(
    server_ssl: ssl.SSLContext, client_ssl: ssl.SSLContext
) -> None:
    app = Recorder(ACCEPT)
    async with serving(app, context=server_ssl) as served:
        sock = await anyio.to_thread.run_sync(partial(wire.connect, served.port, tls=client_ssl))
        sock.drop()
        await served.idle()
    assert app.events[-1]["code"] == 1006


# --- the native stream


async def test_the_native_stream_is_the_connection_itself() -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async with accept(scope, receive, send, protocol="chat", headers={"X-A": "a"}) as conn:
            seen.append(await conn.ping())
            await conn.send("pinged")
            seen.append(conn.url)
            seen.append(conn.protocol)
            with pytest.raises(RuntimeError, match="cannot be sent"):
                await send(ACCEPT)
            seen.extend([message async for message in conn])
        seen.append(conn.close_info)
        seen.append(await receive())

    async with serving(app) as served:
        async with open_websocket_stream(f"{served.url}/x?y", protocols=["chat"]) as conn:
            assert conn.response is not None
            assert conn.response.headers["x-a"] == "a"
            assert await conn.receive() == "pinged"
            await conn.send("x")
            conn.close(4000, "bye")
        await served.idle()
    assert seen[0] > 0
    assert seen[1:] == [
        f"{conn.url}",
        "chat",
        "x",
        CloseInfo(4000, "bye"),
        {"type": "websocket.disconnect", "code": 4000, "reason": "bye"},
    ]


async def test_the_native_stream_has_the_lower_of_two_limits() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        async with accept(scope, receive, send, max_message_size=10) as conn:
            with pytest.raises(ConnectionBroken, match="more than 10 bytes"):
                await conn.receive()

    async with serving(app, ws_max_size=1000) as served:
        async with open_websocket_stream(served.url) as conn:
            await conn.send("x" * 11)
            assert (await conn.closed).code == 1009
        await served.idle()


async def test_an_answer_that_somebody_on_the_way_has_changed_breaks_the_block(
    caplog: pytest.LogCaptureFixture,
) -> None:
    errors: list[Exception] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def refuse_instead(_event: Any) -> None:
            await send({"type": "websocket.close"})

        try:
            async with accept(scope, receive, refuse_instead):
                pytest.fail("it must not come to this")
        except ConnectionBroken as error:
            errors.append(error)
            raise

    async with serving(app) as served:
        assert (await rejected(served.url)).status == 403
        await served.idle()
    assert "otherwise" in str(errors[0])
    assert "Exception in ASGI application" not in caplog.text


async def test_a_native_stream_can_be_taken_once() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(ACCEPT)
        scope["extensions"]["websocketstream"]["visit"].claim(None)

    async with serving(app) as served:
        async with open_websocket_stream(served.url) as conn:
            assert (await conn.closed).code == 1011
        await served.idle()


async def test_refusing_natively_is_a_response() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await reject(scope, receive, send, status=404, headers={"X-A": "a"}, body="no such room")

    async with serving(app) as served:
        refusal = await rejected(served.url)
        assert (refusal.status, refusal.body, refusal.headers["x-a"]) == (404, b"no such room", "a")
        await served.idle()


@pytest.mark.parametrize("by", ["the application", "the client", "the server"])
@pytest.mark.parametrize("what", ["receive", "send"])
async def test_an_application_that_goes_on_at_the_end_does_not_hold_the_event_loop(
    by: str, what: str
) -> None:
    most = 20_000  # calls: more than any turn has
    counts = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(ACCEPT)
        if by == "the application":
            await send({"type": "websocket.close"})
        else:
            await receive()
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().call_soon(task.cancel)
        count = 0
        try:
            while count < most:
                count += 1
                with suppress(OSError, RuntimeError):
                    await (receive() if what == "receive" else send({"type": "websocket.send", "text": "!"}))
        finally:
            counts.append(count)

    async with serving(app) as served:
        async with open_websocket_stream(served.url) as conn:
            if by == "the client":
                await conn.aclose()
            elif by == "the server":
                for connection in list(served.state.connections):
                    connection.shutdown()
            await until(lambda: bool(counts))
        await served.idle()
    assert counts[0] < most
