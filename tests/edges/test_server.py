"""The server: requests, answers, handlers that fail, limits and shutdown."""

from __future__ import annotations

import errno
import logging
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest

from edges.serving import ask, echo, read_all, read_head, request_bytes, say, serving
from websocketstream import (
    CloseInfo,
    ConnectionClosed,
    HandshakeRejected,
    WebSocketRequest,
    open_websocket_stream,
    serve_websocket_streams,
)
from websocketstream._server.server import _Server

pytestmark = pytest.mark.anyio

SERVER_LOG = "websocketstream.server"


async def test_a_client_and_a_server_of_ours_talk() -> None:
    async with serving() as listener, open_websocket_stream(listener.url) as conn:
        for message in ("text", b"binary", "", b""):
            await conn.send(message)
            assert await conn.receive() == message
        assert conn.request is None
        assert conn.response is not None
        assert conn.response.status == 101


async def test_small_messages_are_not_held_back_by_the_system() -> None:
    """Nagle's algorithm and delayed acknowledgements together cost 40 ms a message."""
    options = []

    async def handler(request: WebSocketRequest) -> None:
        options.append(no_delay(request))
        await echo(request)

    def no_delay(attributes: anyio.TypedAttributeProvider) -> int:
        raw_socket = attributes.extra(anyio.abc.SocketAttribute.raw_socket)
        return raw_socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)  # type: ignore[no-any-return]

    async with serving(handler) as listener, open_websocket_stream(listener.url) as conn:
        options.append(no_delay(conn))
    assert all(options)
    assert len(options) == 2


async def test_over_tls(server_ssl: object, client_ssl: object) -> None:
    async with serving(ssl_context=server_ssl) as listener:
        assert listener.url.startswith("wss://127.0.0.1:")
        async with open_websocket_stream(listener.url, ssl_context=client_ssl) as conn:  # type: ignore[arg-type]
            await conn.send("hello")
            assert await conn.receive() == "hello"
        assert conn.close_info == CloseInfo(1005)


async def test_over_ipv6() -> None:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError as exc:
        pytest.skip(f"no IPv6 on this machine: {exc}")
    async with serving(host="::1") as listener, open_websocket_stream(listener.url) as conn:
        assert listener.url.startswith("ws://[::1]:")
        await conn.send("hello")
        assert await conn.receive() == "hello"


async def test_over_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    async with serving(listener=await anyio.create_unix_listener(path)) as listener:
        assert listener.addresses == [str(path)]
        with pytest.raises(ValueError, match="does not listen on TCP"):
            _ = listener.url
        stream = await anyio.connect_unix(path)
        async with open_websocket_stream("ws://localhost/", stream=stream) as conn:
            await conn.send("hello")
            assert await conn.receive() == "hello"


async def test_a_listener_tells_where_it_is() -> None:
    async with serving(host=None) as listener:
        assert listener.url.endswith(f":{listener.port}")
        assert all(address[1] == listener.port for address in listener.addresses[:1])
        assert listener.extra(anyio.abc.SocketAttribute.local_port) == listener.addresses[-1][1]
        async with open_websocket_stream(listener.url) as conn:
            await conn.send("hello")
            assert await conn.receive() == "hello"


async def test_a_handler_sees_the_request() -> None:
    seen: list[WebSocketRequest] = []

    async def handler(request: WebSocketRequest) -> None:
        seen.append(request)
        async with request.accept(headers={"X-Answer": "42"}) as conn:
            await conn.send(conn.url)
            assert conn.request is not None
            assert conn.request.headers["x-question"] == "6x7"
            assert conn.response is None

    async with serving(handler, protocols=["b", "a"]) as listener:
        async with open_websocket_stream(
            listener.url + "/p%20q?x=1",
            protocols=["a", "b", "c"],
            headers={"X-Question": "6x7"},
            origin="https://example.com",
        ) as conn:
            assert await conn.receive() == listener.url + "/p%20q?x=1"
            assert conn.protocol == "a"
            assert conn.response is not None
            assert conn.response.headers["X-Answer"] == "42"
    request = seen[0]
    assert (request.path, request.query, request.target) == ("/p%20q", "x=1", "/p%20q?x=1")
    assert request.protocols == ("a", "b", "c")
    assert request.origin == "https://example.com"
    assert request.headers["x-question"] == "6x7"
    assert repr(request) == "<WebSocketRequest '/p%20q'>"


async def test_a_handler_chooses_the_protocol_or_none() -> None:
    async def handler(request: WebSocketRequest) -> None:
        with pytest.raises(ValueError, match="was not offered"):
            request.accept("unheard-of")
        async with request.accept("b") as conn:
            await conn.send(conn.protocol)

    async with serving(handler, protocols=["a", "b"]) as listener:
        async with open_websocket_stream(listener.url, protocols=["a", "b"]) as conn:
            assert conn.protocol == await conn.receive() == "b"


async def test_a_rejection_reaches_the_client_with_status_headers_and_body() -> None:
    async def handler(request: WebSocketRequest) -> None:
        await request.reject(401, {"WWW-Authenticate": "Basic"}, "who are you?")
        with pytest.raises(RuntimeError, match="answered already"):
            request.accept()
        with pytest.raises(RuntimeError, match="answered already"):
            await request.reject()

    async with serving(handler) as listener:
        with pytest.raises(HandshakeRejected) as caught:
            async with open_websocket_stream(listener.url):
                pytest.fail("must not open")
    assert (caught.value.status, caught.value.body) == (401, b"who are you?")
    assert caught.value.headers["WWW-Authenticate"] == "Basic"


@pytest.mark.parametrize(
    ("origins", "origin", "admitted"),
    [
        (None, None, True),
        (None, "https://anywhere.example", True),
        (["https://good.example"], "https://good.example", True),
        (["https://good.example"], "HTTPS://GOOD.example", True),
        (["https://good.example"], None, False),
        (["https://good.example", None], None, True),
        (["https://good.example"], "http://good.example", False),
        (["https://good.example"], "https://good.example:8443", False),
        (["https://good.example"], "https://good.example.evil", False),
        (["https://good.example"], "https://evil-good.example", False),
        (["https://good.example"], "null", False),
        ([], "https://good.example", False),
    ],
)
async def test_only_admitted_origins_reach_the_handler_B21(
    origins: list[str | None] | None, origin: str | None, admitted: bool
) -> None:
    calls = []

    async def handler(request: WebSocketRequest) -> None:
        calls.append(request.origin)
        await echo(request)

    async with serving(handler, origins=origins) as listener:
        if admitted:
            async with open_websocket_stream(listener.url, origin=origin):
                pass
        else:
            with pytest.raises(HandshakeRejected) as caught:
                async with open_websocket_stream(listener.url, origin=origin):
                    pass
            assert caught.value.status == 403
    assert bool(calls) is admitted


async def test_a_handler_that_raises_closes_with_1011_and_is_logged_and_the_server_goes_on_B25(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def handler(request: WebSocketRequest) -> None:
        async with request.accept() as conn:
            if await conn.receive() == "fail":
                raise LookupError("a bug in the handler")
            await conn.send("fine")

    async with serving(handler) as listener:
        async with open_websocket_stream(listener.url) as conn:
            await conn.send("fail")
            with pytest.raises(ConnectionClosed):
                await conn.receive()
            assert await conn.closed == CloseInfo(1011)
        async with open_websocket_stream(listener.url) as conn:
            await conn.send("work")
            assert await conn.receive() == "fine"
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "a bug in the handler" in caplog.text


async def _raise(_: WebSocketRequest) -> None:
    raise LookupError("a bug in the handler")


async def _forget(_: WebSocketRequest) -> None:
    pass


@pytest.mark.parametrize("handler", [_raise, _forget])
async def test_a_handler_that_does_not_answer_is_a_500_and_is_logged_B25(
    handler: object, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(handler) as listener:
        with pytest.raises(HandshakeRejected) as caught:
            async with open_websocket_stream(listener.url):
                pass
        assert caught.value.status == 500
    assert [record.levelname for record in caplog.records] == ["ERROR"]


async def test_a_peer_that_goes_away_is_no_error_of_the_handler(caplog: pytest.LogCaptureFixture) -> None:
    ended = anyio.Event()

    async def handler(request: WebSocketRequest) -> None:
        try:
            async with request.accept() as conn, anyio.create_task_group() as tasks:
                tasks.start_soon(conn.receive)
        finally:
            ended.set()

    caplog.set_level(logging.INFO, SERVER_LOG)
    async with serving(handler) as listener:
        async with await say(listener, request_bytes(listener)) as stream:
            await read_head(stream)
        await ended.wait()
    assert caplog.records == []


async def test_a_bad_request_gets_an_answer_and_the_end(caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as listener:
        answer = await ask(listener, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b"connection: close" in answer.lower()
        answer = await ask(listener, b"x" * 20_000)
        assert answer.startswith(b"HTTP/1.1 4")
    assert caplog.records == []


async def test_frames_glued_to_the_request_are_not_lost_B15_W11() -> None:
    async with serving() as listener:
        frames = b"\x81\x82\x00\x00\x00\x00hi" * 10 + b"\x88\x80\x00\x00\x00\x00"
        answer = await ask(listener, request_bytes(listener) + frames)
        assert answer.endswith(b"\r\n\r\n" + b"\x81\x02hi" * 10 + b"\x88\x00")


async def test_a_client_that_says_nothing_is_dropped_after_open_timeout_B1() -> None:
    async with serving(open_timeout=0.05) as listener:
        async with await say(listener, b"GET / HT") as stream:
            assert await read_all(stream) == b""


async def test_a_handler_that_never_answers_is_a_503_after_open_timeout_B26(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def handler(request: WebSocketRequest) -> None:
        await anyio.sleep_forever()

    async with serving(handler, open_timeout=0.05) as listener:
        with pytest.raises(HandshakeRejected) as caught:
            async with open_websocket_stream(listener.url):
                pass
        assert caught.value.status == 503
    assert "did not answer" in caplog.text


async def test_an_accepted_connection_lives_longer_than_open_timeout() -> None:
    async with serving(open_timeout=0.2) as listener, open_websocket_stream(listener.url) as conn:
        await anyio.sleep(0.3)
        await conn.send("hello")
        assert await conn.receive() == "hello"


async def test_plain_http_on_a_tls_port_ends_quietly(server_ssl: object) -> None:
    async with serving(ssl_context=server_ssl) as listener:
        async with await say(listener, b"GET / HTTP/1.1\r\n\r\n") as stream:
            with suppress(anyio.BrokenResourceError):
                await read_all(stream)


async def test_connections_over_the_limit_wait_for_their_turn() -> None:
    async with serving(max_connections=1) as listener:
        async with open_websocket_stream(listener.url) as first:
            with anyio.move_on_after(0.1) as scope:
                async with open_websocket_stream(listener.url):
                    pytest.fail("one connection too many")
            assert scope.cancelled_caught
            await first.send("hello")
            assert await first.receive() == "hello"
        async with open_websocket_stream(listener.url) as second:
            await second.send("hello")
            assert await second.receive() == "hello"


async def test_a_listener_that_the_program_closes_ends_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("websocketstream._server.server.LOOK_EVERY", 0.01)
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with anyio.create_task_group() as tasks:
        server = await tasks.start(_serve_on, listener)
        async with open_websocket_stream(server.url) as conn:
            await listener.aclose()
            assert await conn.closed == CloseInfo(1001)
        with pytest.raises(OSError, match="refused"):
            async with open_websocket_stream(server.url):
                pass


async def test_a_flood_of_connections_leaves_others_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    clients: list[socket.socket] = []

    async def accept(listening: object, waiting: object) -> socket.socket:
        if len(clients) == 100:
            await anyio.sleep_forever()
        accepted, client = socket.socketpair()
        accepted.setblocking(False)
        clients.append(client)
        return accepted

    monkeypatch.setattr("websocketstream._server.server.accept", accept)
    turns = set()
    async with serving():
        while len(clients) < 100:
            turns.add(len(clients))
            await anyio.lowlevel.checkpoint()
        for client in clients:
            client.close()
    assert turns & {32, 64, 96}


async def test_a_system_out_of_descriptors_is_logged_once_and_tried_again_B28(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = 3

    async def accept(listening: object, waiting: object) -> str:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise OSError(errno.EMFILE, "Too many open files")
        return "stream"

    monkeypatch.setattr("websocketstream._server.server.ACCEPT_PAUSE", 0)
    monkeypatch.setattr("websocketstream._server.server.accept", accept)
    assert await _Server._accept_one(None, None, None) == "stream"  # type: ignore[arg-type]
    assert [record.levelname for record in caplog.records] == ["ERROR"]


async def test_a_handler_that_a_shutdown_ends_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(request: WebSocketRequest) -> None:
        async with request.accept() as conn, anyio.create_task_group() as tasks:
            tasks.start_soon(conn.receive)

    async with serving(handler) as listener, open_websocket_stream(listener.url):
        await anyio.wait_all_tasks_blocked()
        await listener.aclose()
    assert caplog.records == []


async def test_graceful_shutdown_closes_every_connection_with_1001_and_waits_for_the_handlers() -> None:
    finished = []

    async def handler(request: WebSocketRequest) -> None:
        async with request.accept() as conn:
            info = await conn.closed
        await anyio.sleep(0.01)
        finished.append(info)

    async with serving(handler) as listener:
        async with open_websocket_stream(listener.url) as one, open_websocket_stream(listener.url) as other:
            await listener.aclose()
            assert await one.closed == await other.closed == CloseInfo(1001)
        assert finished == [CloseInfo(1001), CloseInfo(1001)]
        with pytest.raises(OSError, match="cannot connect"):
            async with open_websocket_stream(listener.url):
                pass
        await listener.aclose()


async def test_handlers_that_do_not_end_are_cancelled_after_shutdown_timeout() -> None:
    cancelled = anyio.Event()

    async def handler(request: WebSocketRequest) -> None:
        async with request.accept():
            try:
                await anyio.sleep_forever()
            finally:
                cancelled.set()

    async with serving(handler, shutdown_timeout=0.05) as listener:
        async with open_websocket_stream(listener.url):
            await listener.aclose()
            assert cancelled.is_set()


async def test_a_request_that_is_answered_during_the_shutdown_is_closed_with_1001() -> None:
    go_on = anyio.Event()

    async def handler(request: WebSocketRequest) -> None:
        await go_on.wait()
        await echo(request)

    async with serving(handler) as listener, anyio.create_task_group() as tasks:

        async def client() -> None:
            async with open_websocket_stream(listener.url) as conn:
                assert await conn.closed == CloseInfo(1001)

        tasks.start_soon(client)
        await anyio.wait_all_tasks_blocked()
        await anyio.sleep(0.05)
        tasks.start_soon(listener.aclose)
        await anyio.wait_all_tasks_blocked()
        go_on.set()


async def test_a_cancelled_server_closes_every_connection_with_1001_P15() -> None:
    async with anyio.create_task_group() as tasks:

        async def clients() -> None:
            async with open_websocket_stream(listener.url) as conn:
                opened.set()
                assert await conn.closed == CloseInfo(1001)

        async with anyio.create_task_group() as server:
            opened = anyio.Event()
            listener = await server.start(_serve_echo)
            tasks.start_soon(clients)
            await opened.wait()
            server.cancel_scope.cancel()


async def _serve_on(listener: anyio.abc.Listener[Any], *, task_status: anyio.abc.TaskStatus[object]) -> None:
    await serve_websocket_streams(echo, listener=listener, origins=None, task_status=task_status)  # type: ignore[arg-type]


async def _serve_echo(*, task_status: anyio.abc.TaskStatus[object]) -> None:
    await serve_websocket_streams(echo, "127.0.0.1", 0, origins=None, task_status=task_status)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"origins": "https://one.example"}, TypeError),
        ({"origins": [1]}, TypeError),
        ({"protocols": "chat"}, TypeError),
        ({"protocols": ["not a token"]}, ValueError),
        ({"max_message_size": 0}, ValueError),
        ({"max_message_size": True}, TypeError),
        ({"max_connections": 0}, ValueError),
        ({"open_timeout": -1}, ValueError),
        ({"shutdown_timeout": float("nan")}, ValueError),
        ({"compression": "yes"}, TypeError),
        ({"port": "x"}, (TypeError, ValueError, OSError)),
    ],
    ids=repr,
)
async def test_a_wrong_option_is_an_error_before_anything_listens(
    options: dict[str, object], error: type[Exception]
) -> None:
    options = {"origins": None, **options}
    with pytest.raises(error):
        await serve_websocket_streams(echo, "127.0.0.1", **options)  # type: ignore[arg-type]


async def test_an_address_in_use_is_an_os_error_and_comes_out_plain() -> None:
    async with serving() as listener:
        with pytest.raises(OSError, match="in use"):
            await serve_websocket_streams(echo, "127.0.0.1", listener.port, origins=None)
