"""``serve --exec``: a process per client, held back by it and holding it back, and none is left behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import SocketAttribute

from edges.serving import MemoryListener, serving
from waiting import Call, at_rest, until
from websocketstream import (
    ConnectionClosed,
    HandshakeRejected,
    WebSocketRequest,
    WebSocketStream,
    open_websocket_stream,
    serve_websocket_streams,
)
from websocketstream._cli import serve_pipes, serve_process
from websocketstream._cli.serve_exec import ExecOptions, farewell, make_handler
from websocketstream._cli.serve_framing import Binary, Framing, Lines, Text
from websocketstream._cli.serve_process import start, until_all_have_ended
from websocketstream._protocol.client_handshake import ClientHandshake
from websocketstream._protocol.url import parse_url
from websocketstream.testing import serve_in_memory
from wire import Frame, Opcode

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(os.name != "posix", reason="its programs are a POSIX shell's"),
]


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: Any) -> str:
    """The event loops that the command line offers."""
    return request.param


def python(code: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", code]


def sh(code: str) -> list[str]:
    return ["/bin/sh", "-c", code]


def handler(
    command: str | list[str], framing: Callable[[], Framing] = Binary, *, grace: float = 10.0, **options: Any
) -> Any:
    return make_handler(ExecOptions(command, framing, grace=grace, **options))


@asynccontextmanager
async def client(command: str | list[str], *args: Any, **options: Any) -> AsyncIterator[WebSocketStream]:
    """Run a command for one client."""
    async with serve_in_memory(handler(command, *args, **options)) as connect, connect() as conn:
        yield conn


async def end_of(conn: WebSocketStream) -> tuple[int | None, str]:
    """Receive until the end; return its code and reason."""
    with pytest.raises(ConnectionClosed) as caught:
        while True:
            await conn.receive()
    return caught.value.close_code, caught.value.reason


async def first_line(conn: WebSocketStream) -> str:
    line = b""
    while not line.endswith(b"\n"):
        line += await conn.receive()
    return line.decode().strip()


def is_there(pid: int | str) -> bool:
    """Tell whether there is such a process, a zombie included."""
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    return True


class Ends:
    """Tells whether processes are there: those that have a named pipe open, also when only their number is left otherwise."""

    def __init__(self, fifo: Path) -> None:
        self.fifo = fifo
        os.mkfifo(fifo)
        self._reading = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)

    def nobody(self) -> bool:
        try:
            return os.read(self._reading, 1) == b""
        except BlockingIOError:
            return False

    def close(self) -> None:
        os.close(self._reading)


@pytest.fixture
def ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ends]:
    monkeypatch.setattr(
        serve_process, "CANCELLED_SECONDS", 0.1
    )  # some systems keep the numbers of the dead for longer
    ends = Ends(tmp_path / "fifo")
    yield ends
    ends.close()


async def gone(pid: int | str) -> None:
    await until(lambda: not is_there(pid))


# --- what passes


async def test_messages_are_the_input_and_the_output_comes_back() -> None:
    async with client(["cat"]) as conn:
        await conn.send(b"binary, ")
        assert await conn.receive() == b"binary, "
        await conn.send("text Ü")
        assert await conn.receive() == "text Ü".encode()


async def test_both_directions_may_be_full_at_the_same_time() -> None:
    sent = os.urandom(2**16) * 128  # 8 MiB
    async with client(["cat"]) as conn, anyio.create_task_group() as tasks:
        chunks = [sent[start : start + 2**16] for start in range(0, len(sent), 2**16)]
        sending = Call.start(tasks, conn.writable.send_batch, chunks)
        await sending.stays_pending()  # nobody reads what comes back
        back = b""
        while len(back) < len(sent):
            back += await conn.receive()
        assert back == sent
        await sending.finished()


async def test_a_message_larger_than_any_buffer_passes_in_chunks() -> None:
    size = 24 * 2**20
    count = f"import sys; n = 0\nwhile n < {size}: n += len(sys.stdin.buffer.read1())\nprint(n)"
    async with client(python(count)) as conn:
        async with conn.writable.message() as part:
            for _ in range(24):
                await part.send(bytes(2**20))
        assert await first_line(conn) == str(size)
        assert await end_of(conn) == (1000, "")


async def test_a_client_that_pauses_holds_the_process_back(tmp_path: Path) -> None:
    done = tmp_path / "done"
    flood = f"import os\nfor _ in range(512): os.write(1, bytes(65536))\nopen({str(done)!r}, 'w').close()"
    async with serve_in_memory(handler(python(flood))) as connect, connect(read_buffer=2**16) as conn:
        await until(lambda: conn.statistics().readable.buffered_bytes >= 2**16)
        for _ in range(50):
            await anyio.wait_all_tasks_blocked()
        assert not done.exists()  # 32 MiB are more than there is room for on the way
        received = 0
        async for message in conn.messages():
            received += len(message)
        assert received == 2**25
        assert done.exists()


async def test_a_client_that_pauses_at_the_end_has_all_the_time_it_wants(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    handle = handler(sh(f"echo $$ > {pid}; head -c 100000 /dev/zero"))
    is_done = False

    async def watched(request: WebSocketRequest) -> None:
        nonlocal is_done
        await handle(request)
        is_done = True

    async with serve_in_memory(watched, close_timeout=0.01) as connect, connect(read_buffer=1) as conn:
        await until(lambda: pid.exists() and pid.read_text() and not is_there(pid.read_text()))
        await at_rest(lambda: is_done)  # which takes longer than close_timeout
        assert not is_done
        assert sum([len(message) async for message in conn.messages()]) == 100_000
        await until(lambda: is_done)


async def test_lines_are_messages_and_messages_are_lines() -> None:
    number = 'n=0; while read -r line; do n=$((n+1)); echo "$n: $line"; done; echo "$n in all"'
    async with client(sh(number), partial(Lines, 100)) as conn:
        await conn.writable.send_batch(["one", "two\n", b"three"])
        assert [await conn.receive() for _ in range(3)] == ["1: one", "2: two", "3: three"]


async def test_a_line_that_is_too_long_ends_the_connection() -> None:
    async with client(sh("printf 'short\n'; printf '%0200d' 0; cat"), partial(Lines, 100)) as conn:
        assert await conn.receive() == "short"
        assert await end_of(conn) == (1011, "a line has more than 100 bytes, see --max-size")


async def test_text_is_text() -> None:
    async with client(["cat"], Text) as conn:
        await conn.send(b"\xc3")
        await conn.send(b"\x9c")
        assert await conn.receive() == "Ü"


async def test_one_message_is_all_the_input_and_all_the_output_is_one_message() -> None:
    twice = "import sys; data = sys.stdin.buffer.read(); sys.stdout.buffer.write(data + data); sys.exit(3)"
    data = os.urandom(2**16) * 32
    async with client(python(twice), one_message=True) as conn:
        messages = conn.readable.chunked()
        await conn.writable.send_chunks([data] * 2)
        message = await anext(messages)
        assert b"".join([chunk async for chunk in message]) == data * 4
        assert [left async for left in messages] == []
        assert (await conn.closed).reason == "exit status 3"


async def test_a_message_may_be_limited() -> None:
    async with client(["cat"], max_size=100) as conn:
        await conn.send(bytes(100))
        assert await conn.receive() == bytes(100)
        await conn.send(bytes(101))
        assert (await end_of(conn))[0] == 1009


# --- what it is run with


async def test_the_environment_tells_of_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HTTP_PROXY", raising=False)
    show = "import json, os; print(json.dumps(dict(os.environ)))"
    headers = {
        "X-Team": "a",
        "Proxy": "http://evil.example",
        "Authorization": "Bearer secret",
        "Cookie": "c=1",
    }
    async with serving(handler(python(show)), protocols=["v2"]) as listener:
        url = f"{listener.url}/a%20b/%00?x=1&y=%20"
        async with open_websocket_stream(url, headers=headers, protocols=["v1", "v2"]) as conn:
            environ = json.loads(await first_line(conn))
    expected = {
        "REQUEST_METHOD": "GET",
        "REQUEST_URI": "/a%20b/%00?x=1&y=%20",
        "PATH_INFO": "/a b/%00",
        "QUERY_STRING": "x=1&y=%20",
        "REMOTE_ADDR": "127.0.0.1",
        "WEBSOCKET_PROTOCOL": "v2",
        "HTTP_X_TEAM": "a",
        "HTTP_COOKIE": "c=1",
        "PATH": os.environ["PATH"],
    }
    assert {name: environ.get(name) for name in expected} == expected
    assert not {"HTTP_PROXY", "HTTP_AUTHORIZATION"} & environ.keys()


async def test_a_field_cannot_pass_for_another_one_in_the_environment() -> None:
    # Of a proxy, which drops a client's X-Real-IP and sets its own.
    headers = [("X-Real-IP", "192.0.2.1"), ("X_Real_IP", "127.0.0.1"), ("X-Real_IP", "127.0.0.1")]
    async with serving(handler(sh('echo "$HTTP_X_REAL_IP"'))) as listener:
        async with open_websocket_stream(listener.url, headers=headers) as conn:
            assert await first_line(conn) == "192.0.2.1"


async def test_the_environment_has_the_bytes_of_the_request() -> None:
    async with serving(handler(sh('printf "%s %s\\n" "$HTTP_X_NAME" "$PATH_INFO"'))) as listener:
        headers = {"X-Name": "é\xff"}
        async with open_websocket_stream(f"{listener.url}/%c3%a9%ff", headers=headers) as conn:
            line = b""
            while not line.endswith(b"\n"):
                line += await conn.receive()
    assert line == "é\xff".encode("latin-1") + b" /\xc3\xa9\xff\n"


async def test_no_shell_sees_the_command_unless_it_is_asked_to() -> None:
    async with client(["echo", "$HOME; `ls`", "*"]) as conn:
        assert await first_line(conn) == "$HOME; `ls` *"
    async with client("echo a b | tr a-z A-Z") as conn:
        assert await first_line(conn) == "A B"


async def test_a_program_that_cannot_be_run_refuses_the_client(caplog: pytest.LogCaptureFixture) -> None:
    async with serve_in_memory(handler(["/nonexistent/program"])) as connect:
        with pytest.raises(HandshakeRejected) as caught:
            async with connect():
                pass
    assert caught.value.status == 500
    assert "cannot run '/nonexistent/program'" in caplog.text


# --- how it ends


@pytest.mark.parametrize(
    ("command", "code", "reason"),
    [
        ("exit 0", 1000, ""),
        ("exit 3", 1011, "exit status 3"),
        ("kill -9 $$", 1011, "killed by SIGKILL"),
        ("echo last words; exit 1", 1011, "exit status 1"),
    ],
)
async def test_the_end_of_the_process_closes_the_connection_and_says_how_it_went(
    command: str, code: int, reason: str
) -> None:
    async with client(sh(command)) as conn:
        assert await end_of(conn) == (code, reason)


def test_a_signal_without_a_name_has_its_number() -> None:
    assert farewell(-40)[1] == "killed by signal 40"


async def test_a_client_that_sends_to_a_process_that_dies_at_once_learns_how_it_died() -> None:
    async with client(sh("exit 7")) as conn, anyio.create_task_group() as tasks:

        async def send() -> None:
            with pytest.raises((anyio.BrokenResourceError, anyio.ClosedResourceError)):
                while True:
                    await conn.send(bytes(2**16))

        tasks.start_soon(send)
        assert await end_of(conn) == (1011, "exit status 7")


async def test_a_process_that_takes_no_input_is_not_bothered_with_it(tmp_path: Path) -> None:
    go = tmp_path / "go"
    wait = f"while [ ! -e {go} ]; do sleep 0.02; done"
    async with client(sh(f"exec <&-; echo closed; {wait}; exit 5")) as conn:
        assert await first_line(conn) == "closed"
        for _ in range(64):
            await conn.send(bytes(2**16))  # it is dropped, or this would wait for ever
        go.touch()
        assert await end_of(conn) == (1011, "exit status 5")


async def test_a_process_that_closes_its_output_goes_on_reading() -> None:
    async with client(sh("exec >&-; read -r line; exit ${#line}")) as conn:
        await conn.send(b"12345")
        await conn.send(b"67\n")
        assert await end_of(conn) == (1011, "exit status 7")


async def test_what_a_process_leaves_behind_does_not_keep_the_connection() -> None:
    async with client(sh("sleep 5 & echo hi"), grace=0.05) as conn:
        assert await first_line(conn) == "hi"
        assert await end_of(conn) == (1000, "")


async def test_a_client_that_leaves_ends_the_input_and_the_process_may_finish(tmp_path: Path) -> None:
    out = tmp_path / "out"
    async with client(sh(f"echo $$; cat > {out}; echo done >> {out}")) as conn:
        pid = await first_line(conn)
        for _ in range(16):
            await conn.send(bytes(2**16))
        await conn.aclose()
        await gone(pid)
    assert out.read_bytes() == bytes(2**20) + b"done\n"


async def test_what_a_client_sent_before_it_left_gets_past_an_output_that_nobody_reads(
    tmp_path: Path,
) -> None:
    out, pid = tmp_path / "out", tmp_path / "pid"
    listener = MemoryListener()
    async with serving(handler(sh(f"echo $$ > {pid}; tee {out}")), listener=listener):
        stream = listener.connect()
        await stream.send(ClientHandshake(parse_url("ws://localhost/")).request())
        for _ in range(14):  # which tee takes only while somebody takes what it writes
            await stream.send(Frame(Opcode.BINARY, bytes(2**16)).encode(masked=True))
        await stream.send_eof()  # and reads nothing
        await until(lambda: pid.exists() and pid.read_text())
        await gone(pid.read_text())
        await stream.aclose()
    assert out.stat().st_size == 14 * 2**16


@pytest.mark.parametrize(
    ("what", "code"),
    [
        ("ignores its input", "exec sleep 1000"),
        ("ignores SIGTERM", "exec sleep 1000"),
        ("floods", "exec yes"),
        ("ignores that nobody reads", "trap '' PIPE; while :; do echo x; done 2>/dev/null"),
        ("stops itself", "kill -STOP $$"),
        ("has a child", "sleep 1000; :"),
    ],
)
@pytest.mark.parametrize("how", ["closes", "vanishes", "vanishes in mid-flood"])
async def test_no_process_outlives_its_client(
    what: str, code: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve_pipes, "LOOK_SECONDS", 0.05)
    trap = "trap '' TERM; " if what == "ignores SIGTERM" else ""
    async with serving(handler(sh(f"{trap}echo $$; {code}"), grace=0.05)) as listener:
        stream = await anyio.connect_tcp("127.0.0.1", listener.port)
        async with open_websocket_stream(listener.url, stream=stream, close_timeout=0.1) as conn:
            pid = (await conn.receive()).split()[0].decode()
            if how == "vanishes in mid-flood":
                with anyio.move_on_after(0.1):  # or until there is no room anywhere
                    while True:
                        await conn.send(bytes(2**16))
            if how != "closes":
                raw = stream.extra(SocketAttribute.raw_socket)
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
                await anyio.aclose_forcefully(stream)
        await gone(pid)


@pytest.mark.parametrize("how", ["closes", "is cancelled"])
async def test_no_child_outlives_a_process_that_is_made_to_end(how: str, ends: Ends) -> None:
    child = f"(trap '' TERM; exec 9>{ends.fifo}; echo ready; exec sleep 1000) & wait"
    async with anyio.create_task_group() as tasks:
        serve = partial(serve_websocket_streams, handler(sh(child), grace=0.05), "127.0.0.1", 0, origins=None)
        listener = await tasks.start(serve)
        async with open_websocket_stream(listener.url, close_timeout=0.1) as conn:
            assert await first_line(conn) == "ready"
            assert not ends.nobody()
            if how == "closes":
                await conn.aclose()
                await until(ends.nobody)
            tasks.cancel_scope.cancel()
    await until(ends.nobody)


@pytest.mark.parametrize("how", ["nobody leaves", "the client leaves", "is cancelled"])
@pytest.mark.parametrize("trap", ["", "trap '' TERM; "])
async def test_what_a_process_leaves_behind_ends_with_the_connection(how: str, trap: str, ends: Ends) -> None:
    writes = "while echo more; do sleep 0.01; done" if how != "nobody leaves" else "exec sleep 1000"
    left = f"({trap}exec 9>{ends.fifo}; echo ready; {writes}) & exit 0"
    async with anyio.create_task_group() as tasks:
        serve = partial(serve_websocket_streams, handler(sh(left), grace=0.05), "127.0.0.1", 0, origins=None)
        listener = await tasks.start(serve)
        async with open_websocket_stream(listener.url, close_timeout=0.1) as conn:
            assert (await first_line(conn)).startswith("ready")
            if how == "nobody leaves":
                assert await end_of(conn) == (1000, "")
                await until(ends.nobody)
            elif how == "the client leaves":
                await conn.aclose()
                await until(ends.nobody)
            tasks.cancel_scope.cancel()
    await until(ends.nobody)


async def test_a_group_that_is_gone_gets_no_signal_as_its_number_may_be_anothers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    process, stdin = await start(sh("exit 0"), {})
    async with until_all_have_ended(process, stdin, 0.05) as group:
        await group.watch()
        monkeypatch.setattr(os, "killpg", lambda pid, number: pytest.fail(f"signal {number} for {pid}"))


async def test_a_group_that_nobody_has_looked_at_for_a_while_gets_no_signal(
    monkeypatch: pytest.MonkeyPatch, ends: Ends
) -> None:
    process, stdin = await start(sh(f"(exec 9>{ends.fifo}; exec sleep 1000) & exit 0"), {})
    async with until_all_have_ended(process, stdin, 0.05):
        await process.wait()
        await until(lambda: not ends.nobody())
        monkeypatch.setattr(serve_process, "UNSEEN_SECONDS", -1.0)
        monkeypatch.setattr(os, "killpg", lambda pid, number: pytest.fail(f"signal {number} for {pid}"))
    monkeypatch.undo()
    os.killpg(process.pid, signal.SIGKILL)  # it is theirs


async def test_a_process_that_starts_while_its_client_vanishes_is_not_left() -> None:
    async with serving(handler(sh("cat"), grace=0.05)) as listener:
        for _ in range(5):
            stream = await anyio.connect_tcp("127.0.0.1", listener.port)
            await stream.send(b"GET / HTTP/1.1\r\n")
            await stream.aclose()
        await until(lambda: not listener.statistics().connections)


async def test_fifty_clients_have_fifty_processes() -> None:
    pids: set[str] = set()
    async with serving(handler(sh("echo $$; exec cat"))) as listener, anyio.create_task_group() as tasks:

        async def talk(number: int) -> None:
            async with open_websocket_stream(listener.url) as conn:
                pids.add(await first_line(conn))
                message = b"%d" % number * 1000
                await conn.send(message)
                back = b""
                while len(back) < len(message):
                    back += await conn.receive()
                assert back == message

        for number in range(50):
            tasks.start_soon(talk, number)
    assert len(pids) == 50
    for pid in pids:
        await gone(pid)


@pytest.mark.parametrize("graceful", [False, True], ids=["cancelled", "shut down"])
@pytest.mark.parametrize("command", ["echo $$; exec cat", "trap '' TERM; echo $$; while :; do sleep 1; done"])
async def test_the_end_of_the_server_is_the_end_of_its_processes(graceful: bool, command: str) -> None:
    async with anyio.create_task_group() as tasks:
        serve = partial(
            serve_websocket_streams, handler(sh(command), grace=0.05), "127.0.0.1", 0, origins=[None]
        )
        listener = await tasks.start(serve)
        async with open_websocket_stream(listener.url) as conn:
            pid = await first_line(conn)
            if graceful:
                await listener.aclose()
            else:
                tasks.cancel_scope.cancel()
                with anyio.CancelScope(shield=True, deadline=anyio.current_time() + 10):
                    await listener.wait_stopped()
            assert not is_there(pid)
