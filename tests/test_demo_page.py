"""The server behind the demo's page: its files, whom it answers, and flows that hold back or are held back."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import webbrowser
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from edges.serving import read_all
from waiting import PATIENCE, Call, in_virtual_time, until
from websocketstream import (
    ConnectionClosed,
    HandshakeRejected,
    WebSocketStream,
    open_websocket_stream,
)
from websocketstream._cli.demo_flows import MESSAGE, OFFERED, Pace, Runs, reading_rate
from websocketstream._cli.demo_page import page_files, serve_page
from websocketstream._cli.demo_site import Site, hosts_of

pytestmark = pytest.mark.anyio

FAST = 2**33  # bytes per second: no pace at all

FILES = page_files()


@asynccontextmanager
async def demo_site() -> AsyncIterator[str]:
    """Serve the page for the length of a block; gives the host and port."""
    async with anyio.create_task_group() as tasks:
        url = await tasks.start(Site(FILES, Runs(FAST).find).serve)
        yield url.removeprefix("http://").removesuffix("/")
        tasks.cancel_scope.cancel()


async def fetch(host: str, path: str = "/", *, method: str = "GET", name: str | None = None) -> bytes:
    """Ask for a file and return the whole answer."""
    request = f"{method} {path} HTTP/1.1\r\nHost: {name or host}\r\nAccept: */*\r\n\r\n"
    return await say(host, request.encode())


async def say(host: str, request: bytes) -> bytes:
    async with await anyio.connect_tcp("127.0.0.1", int(host.partition(":")[2])) as stream:
        await stream.send(request)
        return await read_all(stream)


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


async def test_every_file_of_the_page_is_served_as_it_is_with_a_policy() -> None:
    assert {"/", "/style.css", "/script.js", "/plot.js", "/flows.js"} <= FILES.keys()
    async with demo_site() as host:
        for path, file in FILES.items():
            head, _, body = (await fetch(host, path)).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 OK\r\n")
            assert body == file.content
            fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
            assert fields["Content-Type"] == file.content_type
            assert fields["X-Content-Type-Options"] == "nosniff"
            rules = fields["Content-Security-Policy"].split("; ")
            assert {"default-src 'none'", "script-src 'self'", "style-src 'self'"} <= {*rules}
            assert f"connect-src 'self' ws://{host}" in rules


def test_the_page_loads_nothing_but_its_own_files() -> None:
    text = {path: file.content.decode() for path, file in FILES.items()}
    loaded = re.findall(r'<(?!a )[^>]*\b(?:src|href)="([^"]*)"', text["/"])
    assert {address for address in loaded if address != "data:,"} == {"/style.css", "/script.js"}
    for path in ("/script.js", "/plot.js", "/flows.js"):
        assert {f"/{name}" for name in re.findall(r"from '\./([^']*)'", text[path])} <= FILES.keys()
        assert not re.search(
            r"\bfetch\(|XMLHttpRequest|import\(|https?://(?!developer\.chrome\.com)", text[path]
        )
    assert not re.search(r"@import|url\(", text["/style.css"])


def test_the_page_names_the_rate_that_the_server_offers() -> None:
    assert FILES["/"].content.decode().count(f"{OFFERED // 2**20}&nbsp;MiB each second") == 2


@pytest.mark.parametrize(
    ("status", "asked"),
    [
        (404, {"path": "/secret"}),
        (404, {"path": "/../pyproject.toml"}),
        (404, {"path": "/control"}),  # a WebSocket, and this asks for a file
        (405, {"method": "POST"}),
        (421, {"name": "evil.example"}),
        (421, {"name": "127.0.0.1:1"}),
    ],
)
async def test_whoever_asks_for_something_else_is_told_so(status: int, asked: dict[str, Any]) -> None:
    async with demo_site() as host:
        answer = await fetch(host, **asked)
        assert status_of(answer) == status
        assert (b"\r\nAllow: GET, HEAD\r\n" in answer) is (status == 405)  # RFC 9110 section 15.5.6
        assert status_of(await fetch(host)) == 200


@pytest.mark.parametrize("asked", [{}, {"path": "/secret"}, {"name": "evil.example"}, {"path": "/a b"}])
async def test_who_asks_for_the_head_only_gets_the_head_of_what_others_get(asked: dict[str, Any]) -> None:
    async with demo_site() as host:
        head, end, _ = (await fetch(host, **asked)).partition(b"\r\n\r\n")
        assert await fetch(host, method="HEAD", **asked) == head + end


def test_a_browser_may_leave_out_the_port_of_http() -> None:
    assert hosts_of(80) == {"127.0.0.1:80", "127.0.0.1", "localhost:80", "localhost"}
    assert hosts_of(8080) == {"127.0.0.1:8080", "localhost:8080"}


@pytest.mark.parametrize(
    ("status", "request_"),
    [
        (400, b"GET / HTTP/1.1\r\nHost : x\r\n\r\n"),
        (400, b"\x16\x03\x01\x02\x00\r\n\r\n"),
        (400, b"GET http://127.0.0.1/ HTTP/1.1\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\n\r\n"),
        (431, b"GET / HTTP/1.1\r\nX: " + bytes(20000).replace(b"\0", b"x")),
    ],
)
async def test_what_is_no_request_is_refused(status: int, request_: bytes) -> None:
    async with demo_site() as host:
        assert status_of(await say(host, request_)) == status


async def test_a_client_that_goes_away_early_harms_nobody() -> None:
    async with demo_site() as host:
        for beginning in (b"", b"GET / HT"):
            async with await anyio.connect_tcp("127.0.0.1", int(host.partition(":")[2])) as stream:
                await stream.send(beginning)
        assert status_of(await fetch(host)) == 200


@pytest.mark.parametrize(
    ("status", "path", "options"),
    [
        (403, "/control", {"origin": "http://evil.example"}),
        (403, "/control", {"origin": "null"}),
        (404, "/", {}),
        (404, "/download?run=1&flow=a", {}),
    ],
)
async def test_a_websocket_that_is_not_the_pages_is_refused(
    status: int, path: str, options: dict[str, Any]
) -> None:
    async with demo_site() as host:
        with pytest.raises(HandshakeRejected) as caught:
            async with open_websocket_stream(f"ws://{host}{path}", **options):
                pytest.fail("accepted")
    assert caught.value.status == status


async def test_a_handshake_that_is_wrong_is_refused() -> None:
    async with demo_site() as host:
        head = f"GET /control HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
        assert status_of(await say(host, head.encode())) == 426  # there is no version
        answer = await say(host, head.replace("GET", "HEAD").encode())
        assert status_of(answer) == 405
        assert answer.endswith(b"\r\n\r\n")


async def test_the_page_may_connect_from_both_names_of_this_machine() -> None:
    async with demo_site() as host:
        for name in (host, host.replace("127.0.0.1", "localhost")):
            async with await anyio.connect_tcp("127.0.0.1", int(host.partition(":")[2])) as stream:
                url = f"ws://{name}/control"
                async with open_websocket_stream(url, stream=stream, origin=f"http://{name}") as conn:
                    assert json.loads(await conn.receive())["message"] == len(MESSAGE)


class Control:
    """A control connection, as the page has it."""

    def __init__(self, host: str, conn: WebSocketStream, run: str) -> None:
        self._host = host
        self.conn = conn
        self.run = run

    def open(self, kind: str, **options: Any) -> Any:
        """Open a connection for data."""
        return open_websocket_stream(f"ws://{self._host}/{kind}?run={self.run}&flow=it", **options)

    async def report(self) -> dict[str, Any]:
        """Return what is said next."""
        said: dict[str, Any] = json.loads(await self.conn.receive())
        return said

    async def says(self, condition: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """Wait until a flow stands as it should."""
        with anyio.fail_after(PATIENCE):
            while True:
                flow = (await self.report())["flows"].get("it")
                if flow is not None and condition(flow):
                    return flow  # type: ignore[no-any-return]

    async def stands_still(self, what: str, held_back: str) -> dict[str, Any]:
        """Wait until somebody has been held back from one report to the next, and nothing has moved."""
        last = await self.says(lambda flow: flow[held_back] > 0)

        def is_still(flow: dict[str, Any]) -> bool:
            nonlocal last
            last, before = flow, last
            return bool(flow[what] == before[what] and flow[held_back] > before[held_back])

        return await self.says(is_still)


@asynccontextmanager
async def controlling() -> AsyncIterator[Control]:
    async with demo_site() as host, open_websocket_stream(f"ws://{host}/control") as conn:
        hello = json.loads(await conn.receive())
        yield Control(host, conn, hello["run"])


async def receive_for_ever(conn: WebSocketStream) -> None:
    while True:
        await conn.receive()


async def send_for_ever(conn: WebSocketStream) -> None:
    while True:
        await conn.send(MESSAGE)


async def test_the_firehose_is_held_back_while_nobody_reads_and_goes_on_when_somebody_does() -> None:
    async with controlling() as control, control.open("download", read_buffer=2**16) as conn:
        held = await control.stands_still("sent", "senderHeldBack")
        assert 0 < held["sent"] < 2**26  # what the system buffers, and no more
        assert 0 < held["toNetwork"] <= 2**16 + len(MESSAGE) + 100
        async with anyio.create_task_group() as tasks:
            reading = Call.start(tasks, receive_for_ever, conn)
            await control.says(lambda flow: flow["sent"] > held["sent"] + 2**20)
            assert not reading.done
            tasks.cancel_scope.cancel()


async def test_an_upload_is_held_back_while_the_server_does_not_read_and_goes_on_when_it_does() -> None:
    async with controlling() as control:
        await control.conn.send(json.dumps({"reading": 0}))
        async with control.open("upload") as conn, anyio.create_task_group() as tasks:
            writing = Call.start(tasks, send_for_ever, conn)
            held = await control.stands_still("read", "readerHeldBack")
            assert held["read"] == 0
            assert held["toReader"] >= 2**20
            await control.conn.send(json.dumps({"reading": 2**30}))
            await control.says(lambda flow: flow["read"] > 2**22)
            assert not writing.done
            tasks.cancel_scope.cancel()


async def test_the_first_bytes_of_an_upload_wait_for_the_pace_that_the_page_asked_for() -> None:
    async with controlling() as control:
        await control.conn.send(json.dumps({"reading": 2**30}))
        async with control.open("upload") as conn:
            await conn.send(MESSAGE)
            assert (await control.says(lambda flow: flow["read"]))["read"] == len(MESSAGE)


async def test_connections_for_data_end_with_their_control_connection() -> None:
    async with controlling() as control, control.open("download") as down, control.open("upload") as up:
        await control.conn.send(json.dumps({"reading": 0}))
        await control.says(lambda flow: True)
        await control.conn.aclose()
        with anyio.fail_after(PATIENCE), pytest.raises(ConnectionClosed):
            await receive_for_ever(down)
        with anyio.fail_after(PATIENCE):
            assert (await up.closed).clean
        with pytest.raises(HandshakeRejected):
            async with control.open("download"):
                pytest.fail("accepted")


async def test_nonsense_on_the_control_connection_ends_it() -> None:
    async with controlling() as control:
        await control.conn.send("faster!")
        with anyio.fail_after(PATIENCE), pytest.raises(ConnectionClosed):
            await receive_for_ever(control.conn)
        info = await control.conn.closed
        assert (info.code, info.reason) == (1003, "no rate to read with")


@pytest.mark.parametrize(
    ("message", "rate"),
    [
        ('{"reading": 0}', 0),
        ('{"reading": 1.5e6}', 1.5e6),
        ('{"reading": -1}', None),
        ('{"reading": 1e999}', None),
        ('{"reading": NaN}', None),
        ('{"reading": true}', None),
        ('{"reading": "1"}', None),
        ("{}", None),
        ("[]", None),
        ("7", None),
        (b"\xff", None),
        ("[" * 100_000, None),
    ],
)
def test_a_rate_to_read_with_is_a_number_of_a_size_that_makes_sense(
    message: str | bytes, rate: float | None
) -> None:
    assert reading_rate(message) == rate


# --- the pace


@in_virtual_time()
async def test_a_pace_lets_as_much_pass_as_it_says() -> None:
    pace = Pace(1000)
    began = anyio.current_time()
    for _ in range(10):
        await pace.spend(500)
    assert anyio.current_time() - began == pytest.approx(5)


@in_virtual_time()
async def test_a_pace_makes_little_up_for_a_pause() -> None:
    pace = Pace(1000)
    await anyio.sleep(100)
    began = anyio.current_time()
    for _ in range(10):
        await pace.spend(500)
    assert anyio.current_time() - began == pytest.approx(5 - 0.5 - 0.1)


@in_virtual_time()
async def test_a_pace_of_zero_lets_nothing_pass_until_it_is_changed() -> None:
    pace = Pace(0)
    async with anyio.create_task_group() as tasks:
        passing = Call.start(tasks, pace.spend, 500)
        await passing.stays_pending()
        pace.change(1000)
        await until(lambda: passing.done)
    assert passing.error is None


@in_virtual_time()
async def test_who_waits_for_a_slow_pace_goes_on_at_once_with_a_faster_one() -> None:
    pace = Pace(1)
    began = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(pace.spend, 1000)
        await anyio.sleep(10)
        pace.change(990)
    assert anyio.current_time() - began == pytest.approx(11)


# --- the command


@pytest.mark.parametrize("opened", [True, False])
async def test_the_page_is_opened_in_the_browser_if_there_is_one(
    opened: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []

    def open_(url: str) -> bool:
        asked.append(url)
        return opened

    monkeypatch.setattr(webbrowser, "open", open_)
    said = await _said(
        partial(serve_page, 0, open_it=True), capsys, lambda text: asked and text.count("\n") >= 2 - opened
    )
    assert f"The demo is at {asked[0]} until Ctrl-C.\n" in said
    assert ("There is no browser" in said) is not opened


async def test_no_browser_is_opened_where_that_is_not_wanted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(webbrowser, "open", lambda _url: pytest.fail("opened"))
    said = await _said(partial(serve_page, 0, open_it=False), capsys, lambda text: "\n" in text)
    assert re.fullmatch(r"The demo is at http://127\.0\.0\.1:\d+/ until Ctrl-C\.\n", said)


@pytest.mark.skipif(os.name != "posix", reason="its browser is a POSIX shell's")
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_browser_that_goes_on_does_not_hold_up_the_end(backend: str, tmp_path: Path) -> None:
    browser = tmp_path / "browser"
    browser.write_text("#!/bin/sh\necho open\nexec sleep 30\n")
    browser.chmod(0o700)
    run = [sys.executable, "-m", "websocketstream", "demo", "--browser", "--backend", backend]
    environ = {**os.environ, "BROWSER": f"{browser} %s"}
    with subprocess.Popen(
        run, env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        try:
            assert process.stdout
            assert process.stdout.readline().startswith(b"The demo is at")
            assert process.stdout.readline() == b"open\n"
            process.terminate()
            assert process.wait(20) == 143
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


async def _said(
    serve: Callable[[], Awaitable[None]],
    capsys: pytest.CaptureFixture[str],
    is_enough: Callable[[str], object],
) -> str:
    said = ""

    def listen() -> object:
        nonlocal said
        said += capsys.readouterr().out
        return is_enough(said)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serve)
        await until(listen)
        tasks.cancel_scope.cancel()
    return said
