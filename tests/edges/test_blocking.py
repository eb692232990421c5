"""The blocking face: the same behaviour for threads without an event loop, and Ctrl-C at any time."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from typing import Any

import anyio
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from websocketstream import (
    CloseInfo,
    ConnectFailed,
    ConnectionBroken,
    ConnectionClosed,
    HandshakeRejected,
    SendAfterClose,
    WebSocketRequest,
    WebSocketStream,
    _session,
    serve_websocket_streams,
)
from websocketstream.blocking import BlockingWebSocketStream, open_websocket_stream

PATIENCE = 20  # seconds; only a failing test waits so long
AT_ONCE = 2  # seconds: far less than any timeout here, far more than a busy machine needs

# No fixture of async tests: here they run in threads.
LOOPS: dict[str, dict[str, Any]] = {"asyncio": {"backend": "asyncio"}, "trio": {"backend": "trio"}}
if sys.platform != "win32" and sys.implementation.name == "cpython":
    LOOPS["uvloop"] = {"backend": "asyncio", "backend_options": {"use_uvloop": True}}

interrupts = pytest.mark.skipif(
    sys.platform == "win32" or threading.current_thread() is not threading.main_thread(),
    reason="sends SIGINT to the main thread",
)


class Server:
    """A server in a thread; each path does something else."""

    def __init__(self, portal: BlockingPortal) -> None:
        self.portal = portal
        self.ends: list[CloseInfo] = []
        self.received: list[Any] = []
        self.go_on: anyio.Event | None = None
        self.url = ""

    async def handle(self, request: WebSocketRequest) -> None:
        if request.path == "/refused":
            await request.reject(404, body="nothing here")
        elif request.path == "/never":
            await anyio.sleep_forever()
        else:
            async with request.accept() as conn:
                try:
                    await getattr(self, request.path[1:] or "echo")(conn)
                finally:
                    with anyio.CancelScope(), contextlib.suppress(ConnectionBroken):
                        self.ends.append(await conn.closed)

    async def echo(self, conn: Any) -> None:
        async for message in conn:
            await conn.send(message)

    async def ten(self, conn: Any) -> None:
        await conn.writable.send_batch(map(str, range(10)))
        await conn.aclose(1000, "done")

    async def failing(self, conn: Any) -> None:
        await conn.send("last")
        await conn.aclose(1011, "out of memory")

    async def silent(self, conn: Any) -> None:
        with contextlib.suppress(ConnectionBroken):
            await conn.closed

    async def slow(self, conn: Any) -> None:
        """Read nothing until told to."""
        await self._event().wait()
        with contextlib.suppress(ConnectionBroken):
            async for message in conn:
                self.received.append(message)

    async def on_demand(self, conn: Any) -> None:
        await self._event().wait()
        await conn.writable.send_batch(["a", "b", "c"])
        await self.silent(conn)

    def _event(self) -> anyio.Event:
        self.go_on = self.go_on or anyio.Event()
        return self.go_on

    def let_go(self) -> None:
        self.portal.call(lambda: self._event().set())

    def until(self, condition: Callable[[], object]) -> None:
        wait_until(condition)


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline
        pause.wait(0.002)


@pytest.fixture
def server() -> Iterator[Server]:
    with start_blocking_portal("asyncio") as portal:
        it = Server(portal)
        serve = partial(
            serve_websocket_streams,
            it.handle,
            "127.0.0.1",
            0,
            origins=None,
            shutdown_timeout=0.1,
            close_timeout=1,
        )
        future, listener = portal.start_task(serve)
        it.url = listener.url
        yield it
        portal.call(listener.aclose)
        future.result(PATIENCE)


@pytest.fixture(params=LOOPS)
def opened(request: pytest.FixtureRequest, server: Server) -> Any:
    """Open connections on each of the event loops."""
    return lambda path="/", **more: open_websocket_stream(server.url + path, **LOOPS[request.param], **more)


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    wait_until(lambda: not [thread for thread in threading.enumerate() if thread.name == "websocketstream"])


# --- as an ordinary context manager and iterator


def test_messages_go_both_ways(opened: Any, server: Server) -> None:
    with opened() as conn:
        for message in ("text", b"bytes", "x" * 300_000, ""):
            conn.send(message)
            assert conn.receive() == message
        conn.send(bytearray(b"a"))
        assert conn.receive() == b"a"
        conn.send_batch(["1", "2", b"3"])
        assert [conn.receive() for _ in range(3)] == ["1", "2", b"3"]
        assert 0 < conn.ping() < PATIENCE
        assert conn.latency is not None
        assert conn.close_info is None
        assert conn.statistics().readable.messages == 8
        assert repr(conn).startswith("<BlockingWebSocketStream ws://127.0.0.1")
        assert (conn.url, conn.protocol, conn.extensions) == (server.url + "/", "", "")
        assert conn.response is not None
    assert conn.close_info == CloseInfo(1005)
    assert conn.statistics().writable.messages == 8
    server.until(lambda: server.ends == [CloseInfo(1005)])


def test_iteration_ends_when_the_peer_closes(opened: Any) -> None:
    with opened("/ten") as conn:
        assert [*conn] == [str(number) for number in range(10)]
        assert [*conn] == []
        with pytest.raises(ConnectionClosed, match="done"):
            conn.receive()
        with pytest.raises(SendAfterClose):
            conn.send("too late")
        with pytest.raises(ConnectionClosed):
            conn.ping()
    assert conn.close_info == CloseInfo(1000, "done")


def test_an_end_that_was_an_error_is_raised_where_that_is_wanted(opened: Any) -> None:
    with opened("/failing") as conn:
        assert [*conn] == ["last"]
    with opened("/failing") as conn:
        messages = conn.messages()
        assert next(messages) == "last"
        with pytest.raises(ConnectionClosed, match="out of memory"):
            next(messages)
    with opened("/ten") as conn:
        assert len([*conn.messages()]) == 10
    with opened("/failing") as conn:
        assert [*conn.messages(ok=[1011])] == ["last"]
        with pytest.raises(TypeError, match="ok must be"):
            conn.messages(ok=5)


def test_what_the_block_raises_comes_out_and_is_told_to_the_peer(opened: Any, server: Server) -> None:
    error = ValueError("mine")
    with pytest.raises(ValueError, match="mine") as caught, opened():
        raise error
    assert caught.value is error
    server.until(lambda: server.ends == [CloseInfo(1011)])


def test_it_can_be_closed_with_words_and_any_number_of_times(opened: Any, server: Server) -> None:
    conn = opened()
    conn.send("never read")
    with pytest.raises(ValueError, match="close code 5"):
        conn.close(5)
    conn.close(4000, "enough")
    conn.close()
    with conn:
        pass
    server.until(lambda: server.ends == [CloseInfo(4000, "enough")])
    for use in (conn.receive, conn.ping, conn.send_eof, lambda: conn.send("x"), lambda: next(conn)):
        with pytest.raises(anyio.ClosedResourceError):
            use()
    assert conn.statistics().writable.messages == 1


def test_our_direction_can_end_first(opened: Any, server: Server) -> None:
    with opened() as conn:
        conn.send("last")
        conn.send_eof()
        assert [*conn] == ["last"]
        with pytest.raises(anyio.ClosedResourceError):
            conn.send("x")


def test_failures_to_open_are_those_of_the_async_client(opened: Any, server: Server) -> None:
    with pytest.raises(HandshakeRejected) as caught:
        opened("/refused")
    assert (caught.value.status, caught.value.body) == (404, b"nothing here")
    with pytest.raises(TimeoutError, match="open_timeout"):
        opened("/never", open_timeout=0.05)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectFailed):
            open_websocket_stream(f"ws://127.0.0.1:{taken.getsockname()[1]}/")


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"nonsense": 1}, TypeError),
        ({"stream": object()}, TypeError),
        ({"open_timeout": -1}, ValueError),
        ({"backend": "nonsense"}, LookupError),
    ],
)
def test_wrong_arguments_are_said_plainly(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        open_websocket_stream("ws://127.0.0.1:9/", **options)


def test_it_works_over_tls(
    server: Server, server_ssl: ssl.SSLContext, client_ssl: ssl.SSLContext, opened: Any
) -> None:
    serve = partial(
        serve_websocket_streams, server.handle, "127.0.0.1", 0, origins=None, ssl_context=server_ssl
    )
    future, listener = server.portal.start_task(serve)
    with open_websocket_stream(listener.url, ssl_context=client_ssl) as conn:
        conn.send("x" * 2**20)
        assert len(conn.receive()) == 2**20
    server.portal.call(listener.aclose)
    future.result(PATIENCE)


# --- timeouts


def test_a_timeout_loses_no_message(opened: Any, server: Server) -> None:
    with opened("/on_demand") as conn:
        for timeout in (0, 0.01):
            with pytest.raises(TimeoutError, match=f"no message within {timeout} s"):
                conn.receive(timeout=timeout)
        server.let_go()
        assert [conn.receive(timeout=PATIENCE) for _ in range(3)] == ["a", "b", "c"]
        with pytest.raises(TimeoutError):
            conn.receive(timeout=0.01)
        assert conn.close_info is None


def test_who_only_looks_in_learns_of_the_end(opened: Any) -> None:
    def look(conn: BlockingWebSocketStream) -> Any:
        try:
            return conn.receive(timeout=0)
        except TimeoutError:
            return None

    with opened("/failing") as conn:
        wait_until(lambda: look(conn) == "last")
        with pytest.raises(ConnectionClosed, match="out of memory"):
            wait_until(lambda: look(conn))
        assert isinstance(conn.end_error, ConnectionClosed)


def test_who_only_looks_in_gets_what_has_arrived(opened: Any, server: Server) -> None:
    with opened("/on_demand") as conn:
        server.let_go()
        wait_until(lambda: conn.statistics().readable.buffered_messages == 3)
        assert [conn.receive(timeout=0) for _ in range(3)] == ["a", "b", "c"]
        with pytest.raises(TimeoutError):
            conn.receive(timeout=0)


def test_no_time_at_all_is_enough_where_there_is_room(opened: Any) -> None:
    with opened() as conn:
        for number in range(50):
            conn.send(str(number), timeout=0)
        conn.send_batch(map(str, range(50, 100)), timeout=0)
        assert [conn.receive(timeout=PATIENCE) for _ in range(100)] == [*map(str, range(100))]


def test_a_timeout_may_be_longer_than_any_clock_counts(opened: Any) -> None:
    with opened() as conn:
        conn.send("x", timeout=1e12)
        assert conn.receive(timeout=1e12) == "x"


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_name_that_is_looked_up_for_ever_does_not_hold_who_asked(
    monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    go_on = threading.Event()

    def look_up(*arguments: Any, **_: object) -> list[Any]:
        if arguments[5] & socket.AI_NUMERICHOST:  # which trio asks for first, without waiting
            raise socket.gaierror(socket.EAI_NONAME, "it is a name")
        go_on.wait(PATIENCE)
        raise socket.gaierror(socket.EAI_NONAME, "there is no such name")

    with monkeypatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", look_up)
        patch.setattr(_session, "LAST_SECONDS", 0.1)
        began = time.monotonic()
        try:
            with pytest.raises(TimeoutError, match="open_timeout"):
                open_websocket_stream("ws://name.invalid/", backend=backend, open_timeout=0.05)
            assert time.monotonic() - began < AT_ONCE
        finally:
            go_on.set()


def test_a_send_that_finds_no_room_in_time_leaves_the_connection_usable(opened: Any, server: Server) -> None:
    with opened("/slow", write_buffer=1000) as conn:
        sent = 0
        with pytest.raises(TimeoutError, match=r"send\(\) took longer than 0.2 s"):
            while True:
                conn.send(b"x" * 2**20, timeout=0.2)
                sent += 1
        server.let_go()
        conn.send("after", timeout=PATIENCE)
        server.until(lambda: "after" in server.received)
    assert server.received[-1] == "after"
    assert len(server.received) - 1 in (sent, sent + 1)
    assert all(len(message) == 2**20 for message in server.received[:-1])


def test_backpressure_reaches_the_sender(opened: Any, server: Server) -> None:
    with opened("/slow", write_buffer=1000) as conn:
        with pytest.raises(TimeoutError):
            for _ in range(100):
                conn.send_batch([b"x" * 2**18] * 4, timeout=0.1)
        assert conn.statistics().writable.buffered_bytes < 2**21
        server.let_go()


@pytest.mark.parametrize("timeout", [-1, float("inf"), "1"])
def test_a_timeout_that_is_none_is_refused(server: Server, timeout: Any) -> None:
    with open_websocket_stream(server.url) as conn:
        for use in (conn.receive, conn.ping, partial(conn.send, "x")):
            with pytest.raises((ValueError, TypeError), match="timeout must be"):
                use(timeout=timeout)


def test_what_cannot_be_sent_is_refused(server: Server) -> None:
    with open_websocket_stream(server.url) as conn:
        for message, error in ((5, TypeError), ("\ud800", ValueError)):
            with pytest.raises(error):
                conn.send(message)
        with pytest.raises(TypeError):
            conn.send_batch("one")
        conn.send("fine")
        assert conn.receive() == "fine"


# --- threads


def in_threads(*functions: Callable[[], object]) -> list[Any]:
    results: list[Any] = [None] * len(functions)

    def run(number: int, function: Callable[[], object]) -> None:
        try:
            results[number] = function()
        except Exception as error:
            results[number] = error

    threads = [threading.Thread(target=run, args=each) for each in enumerate(functions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    return results


def test_some_threads_may_send_while_another_one_receives(opened: Any) -> None:
    with opened() as conn:

        def send(name: str) -> None:
            for number in range(50):
                conn.send(f"{name}{number}")

        def receive() -> list[Any]:
            return [conn.receive(timeout=PATIENCE) for _ in range(150)]

        *_, seen = in_threads(*(partial(send, name) for name in "abc"), receive)
    for name in "abc":
        assert [each for each in seen if each[0] == name] == [f"{name}{number}" for number in range(50)]


def test_threads_that_receive_share_the_messages(opened: Any) -> None:
    with opened("/ten") as conn:
        shares = in_threads(*[lambda: [*conn]] * 4)
    assert sorted(message for share in shares for message in share) == [str(number) for number in range(10)]


def test_threads_may_share_an_iteration(opened: Any) -> None:
    with opened("/ten") as conn:
        messages = conn.messages()
        shares = in_threads(*[lambda: [*messages]] * 4)
    assert sorted(message for share in shares for message in share) == [str(number) for number in range(10)]


def test_a_close_ends_the_waits_of_other_threads(opened: Any) -> None:
    with opened("/silent") as conn:

        def close() -> None:
            wait_until(lambda: conn.statistics() and conn._session._fetch is not None)
            conn.close()

        results = in_threads(conn.receive, lambda: next(conn), close, conn.ping)
    assert [type(result) for result in results[:2]] == [anyio.ClosedResourceError] * 2
    assert results[2] is None


@pytest.mark.parametrize("round_", range(20))
def test_a_call_in_the_moment_of_the_close_is_not_left_waiting(server: Server, round_: int) -> None:
    with open_websocket_stream(server.url) as conn:

        def use() -> None:
            with pytest.raises(anyio.ClosedResourceError):
                while True:
                    conn.send("x")

        results = in_threads(use, use, conn.close, conn.close)
    assert results == [None] * 4


def test_a_call_that_comes_as_the_event_loop_ends_is_answered(
    opened: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    late: Future[float] = Future()
    leave = _session.Session._own_the_connection

    async def leave_and_be_called(session: Any) -> None:
        await leave(session)
        session._pending.add(late)
        session._soon(session._start, late, session.conn.ping)

    monkeypatch.setattr(_session.Session, "_own_the_connection", leave_and_be_called)
    with opened():
        pass
    with pytest.raises(anyio.ClosedResourceError):
        late.result(PATIENCE)
    assert not caplog.records


def test_who_would_wait_for_itself_is_told_so(opened: Any) -> None:
    said: list[str] = []
    held: list[BlockingWebSocketStream] = []

    def hook(_event: object) -> None:
        for conn in held:
            for use in (conn.statistics, conn.ping, conn.close):
                with pytest.raises(RuntimeError) as caught:
                    use()
                said.append(str(caught.value))
        held.clear()

    with opened(trace=hook) as conn:
        held.append(conn)
        conn.send("x")
        assert conn.receive() == "x"
    assert len(said) == 3
    assert all("wait for itself" in each for each in said)


def test_connections_in_many_threads_do_not_disturb_each_other(opened: Any) -> None:
    def talk() -> Any:
        with opened() as conn:
            conn.send("hello")
            return conn.receive()

    assert in_threads(*[talk] * 8) == ["hello"] * 8


def test_it_works_beside_a_running_event_loop_of_another_kind(server: Server) -> None:
    def talk() -> Any:
        with open_websocket_stream(server.url) as conn:
            conn.send("hello")
            return conn.receive()

    async def main() -> Any:
        assert talk() == "hello"  # which blocks this event loop
        return await anyio.to_thread.run_sync(talk)

    assert anyio.run(main, backend="trio") == "hello"
    assert anyio.run(main, backend="asyncio") == "hello"


# --- Ctrl-C


@contextlib.contextmanager
def interrupted_when(condition: Callable[[], object]) -> Iterator[None]:
    """Send SIGINT to the main thread, which waits, once something is true; one that comes late is nobody's."""
    main = threading.main_thread().ident
    assert main is not None
    is_wanted = True

    def handle(*_: object) -> None:
        if is_wanted:
            raise KeyboardInterrupt

    def interrupt() -> None:
        wait_until(condition)
        threading.Event().wait(0.05)  # so that it is in its wait
        signal.pthread_kill(main, signal.SIGINT)

    before = signal.signal(signal.SIGINT, handle)
    thread = threading.Thread(target=interrupt)
    thread.start()
    began = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            yield
        assert time.monotonic() - began < AT_ONCE
    finally:
        is_wanted = False
        thread.join()
        signal.signal(signal.SIGINT, before)


@interrupts
def test_ctrl_c_comes_through_while_a_message_is_waited_for_and_loses_none(
    opened: Any, server: Server
) -> None:
    with opened("/on_demand") as conn:
        with interrupted_when(lambda: conn._session._fetch is not None):
            conn.receive()
        server.let_go()
        assert [conn.receive() for _ in range(3)] == ["a", "b", "c"]


@interrupts
def test_ctrl_c_does_not_end_an_iteration(opened: Any, server: Server) -> None:
    with opened("/on_demand") as conn:
        messages = conn.messages()
        with interrupted_when(lambda: conn._session._fetch is not None):
            next(messages)
        server.let_go()
        assert [next(messages) for _ in range(3)] == ["a", "b", "c"]


@interrupts
def test_ctrl_c_in_the_block_closes_the_connection(opened: Any, server: Server) -> None:
    conn: Any = None
    with interrupted_when(lambda: conn is not None and conn._session._fetch is not None):
        with opened("/silent") as conn:
            conn.receive()
    assert conn.close_info == CloseInfo(1001)
    server.until(lambda: server.ends == [CloseInfo(1001)])


@interrupts
def test_ctrl_c_comes_through_while_there_is_no_room_to_send(opened: Any, server: Server) -> None:
    with opened("/slow", write_buffer=1000) as conn:
        with interrupted_when(lambda: is_stuck(conn)):
            while True:
                conn.send(b"x" * 2**20)
        server.let_go()
        conn.send("after")
        server.until(lambda: "after" in server.received)
    assert {len(message) for message in server.received} == {2**20, 5}


def is_stuck(conn: BlockingWebSocketStream) -> bool:
    before = conn.statistics().writable
    threading.Event().wait(0.1)
    return before.buffered_bytes > 0 and before.messages == conn.statistics().writable.messages


@interrupts
def test_ctrl_c_gives_up_what_is_being_opened(opened: Any) -> None:
    with interrupted_when(lambda: _session._open_sessions):
        opened("/never")
    wait_until(lambda: not _session._open_sessions)


@interrupts
def test_a_second_ctrl_c_comes_through_while_it_is_closed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=accept_and_say_nothing, args=[listening])
        thread.start()
        conn = open_websocket_stream(f"ws://127.0.0.1:{listening.getsockname()[1]}", close_timeout=60)
        with interrupted_when(lambda: conn._session._left):
            conn.close()
        conn.close()
        assert conn.statistics().writable.messages == 0
        thread.join()


def accept_and_say_nothing(listening: socket.socket) -> None:
    """Open a WebSocket, and never close it."""
    from websocketstream._protocol.http import accept_key

    peer, _ = listening.accept()
    with peer:
        head = b""
        while b"\r\n\r\n" not in head:
            head += peer.recv(4096)
        key = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key:"))
        answer = accept_key(key.partition(b":")[2].strip())
        peer.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: %s\r\n\r\n" % answer
        )
        with contextlib.suppress(ConnectionError):
            while peer.recv(4096):
                pass


def test_where_waits_cannot_be_interrupted_they_are_cut_in_pieces(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_session, "PIECE", 0.01)
    with open_websocket_stream(f"{server.url}/on_demand") as conn:
        for timeout in (0, 0.005, 0.05):
            with pytest.raises(TimeoutError):
                conn.receive(timeout=timeout)
        threading.Timer(0.05, server.let_go).start()
        assert conn.receive() == "a"
        assert conn.receive(timeout=PATIENCE) == "b"


# --- what is left behind


def test_a_connection_that_nobody_holds_any_more_is_dropped_with_a_warning(
    opened: Any, server: Server
) -> None:
    held = [opened("/silent")]
    with pytest.warns(ResourceWarning, match="was not closed"):
        held.clear()
    server.until(lambda: server.ends == [CloseInfo(1001)])


def test_an_iteration_holds_its_connection(opened: Any) -> None:
    messages = opened("/ten").messages()
    gc.collect()
    assert len([*messages]) == 10
    messages._conn.close()


def test_a_warning_that_is_made_an_error_does_not_keep_the_connection(
    opened: Any, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda what: said.append(what.exc_type))
    held = [opened("/silent")]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        held.clear()
    server.until(lambda: server.ends == [CloseInfo(1001)])
    assert said == [ResourceWarning]


def test_nothing_waits_for_the_garbage_collector(opened: Any) -> None:
    def use() -> None:
        with pytest.raises(HandshakeRejected):
            opened("/refused")
        with opened("/failing") as conn:
            assert [*conn] == ["last"]
            for meet_the_end in (
                conn.receive,
                conn.ping,
                partial(conn.receive, timeout=0),
                partial(conn.send, "x"),
            ):
                with pytest.raises(ConnectionClosed):
                    meet_the_end()

    use()
    gc.collect()
    gc.disable()
    try:
        use()
        wait_until(lambda: not _session._open_sessions)
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        # What an event loop leaves is its own.
        assert not [each for each in gc.garbage if isinstance(each, (_session.Session, WebSocketStream))]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_process_is_told_and_closes_nothing(server: Server) -> None:
    with open_websocket_stream(server.url) as conn:
        conn.send("before")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # there are threads, and that is the point
            with held(conn._session._lock):  # by another one, at the moment of the fork
                child = os.fork()
                if not child:
                    what_a_child_does(conn)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert conn.receive() == "before"
        conn.send("after")
        assert conn.receive() == "after"


@contextlib.contextmanager
def held(lock: Any) -> Iterator[None]:
    """Let another thread hold a lock."""
    is_held, is_over = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            is_held.set()
            is_over.wait(PATIENCE)

    thread = threading.Thread(target=hold)
    thread.start()
    is_held.wait(PATIENCE)
    yield
    is_over.set()
    thread.join()


def what_a_child_does(conn: BlockingWebSocketStream) -> None:
    """Never return, and end for sure: who waits for this process should not wait for ever."""
    code = 3
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(10)
        code = what_a_child_meets(conn)
    finally:
        os._exit(code)


def what_a_child_meets(conn: BlockingWebSocketStream) -> int:
    for use in (conn.receive, conn.ping, partial(conn.send, "x")):
        try:
            use()
        except RuntimeError as error:
            if "forked process" not in str(error):
                return 1
        else:
            return 2
    conn.__exit__(None, None, None)
    _session._say_goodbye()
    return 0


def test_a_program_that_ends_with_an_open_connection_says_goodbye(server: Server) -> None:
    program = f"""if True:
        import sys, threading
        from websocketstream.blocking import open_websocket_stream
        conn = open_websocket_stream({server.url + "/silent"!r})
        threading.Thread(target=conn.receive, daemon=True).start()
    """
    subprocess.run([sys.executable, "-c", program], check=True, timeout=PATIENCE)
    server.until(lambda: server.ends == [CloseInfo(1001)])
