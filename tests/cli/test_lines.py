"""The table of daily lines in docs/reference/command-line.md: every line of ours runs, and none is longer than the other."""

from __future__ import annotations

import re
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio
import pytest
import trustme
from anyio.abc import SocketStream
from anyio.from_thread import start_blocking_portal

from cli.cli_kit import LIMIT, LOGIN, command, environment, run, serving

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "command-line.md"
HEADING = "## Lines for every day"
ROW = re.compile(r"^\|(?P<what>[^|]*)\| `(?P<theirs>(?:[^|`]|\\\|)+)` \| `(?P<ours>(?:[^|`]|\\\|)+)` \|$")

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the lines are for a shell of POSIX")


@dataclass(frozen=True)
class Line:
    theirs: str
    ours: str

    @property
    def serves(self) -> bool:
        return self.ours.startswith("wstream serve")


def lines() -> Iterator[Line]:
    section = PAGE.read_text("utf-8").partition(HEADING)[2].partition("\n## ")[0]
    for row in section.splitlines():
        if row.startswith("|") and "`" in row:
            match = ROW.match(row)
            assert match, f"not a row of the table: {row}"
            yield Line(match["theirs"].replace("\\|", "|"), match["ours"].replace("\\|", "|"))


LINES = list(lines())
TALKING = list(dict.fromkeys(line.ours for line in LINES if not line.serves))
SERVING = list(dict.fromkeys(line.ours for line in LINES if line.serves))

# What each line writes; a line that is not among them is one that nobody has thought about.
WRITES = {
    "wstream ws://localhost:8765": b"typed\n",
    "wstream -x hello ws://localhost:8765": b"hello\n",
    "echo hello | wstream -n1 ws://localhost:8765": b"hello\n",
    "wstream ws://localhost:8765 < lines.txt": b"one\ntwo\n",
    "wstream -N ws://localhost:8765/feed > feed.log": b"",
    "cat video.ts | wstream ws://localhost:8765": bytes(70_000),
    "wstream -1 ws://localhost:8765 < photo.jpg": b"\xff\xd8" * 1000,
    "wstream -H X-Team:a ws://localhost:8765/headers": b'{"x-team": "a"}\n',
    "wstream -s chat ws://localhost:8765/headers": b'{"sec-websocket-protocol": "chat"}\n',
    "wstream -o http://a.example ws://localhost:8765/headers": b'{"origin": "http://a.example"}\n',
    "wstream --auth me:secret ws://localhost:8765/headers": f'{{"authorization": "{LOGIN}"}}\n'.encode(),
    "wstream --ca ca.pem wss://localhost:8443": b"typed\n",
    "wstream -k wss://localhost:8443": b"typed\n",
    "wstream -k --cert me.pem wss://localhost:8443": b"typed\n",
    "wstream --proxy http://localhost:3128 ws://localhost:8765": b"typed\n",
    "wstream -L ws://localhost:8765/moved": b"typed\n",
    "wstream --reconnect ws://localhost:8765": b"typed\n",
    "wstream --ping 30 ws://localhost:8765": b"typed\n",
}


@pytest.mark.parametrize("line", LINES, ids=[line.ours for line in LINES])
def test_no_line_is_longer_than_that_of_the_other_program(line: Line) -> None:
    assert len(line.ours) <= len(line.theirs)


async def proxy(client: SocketStream) -> None:
    """Be an HTTP proxy that opens tunnels."""

    async def pass_on(source: SocketStream, sink: SocketStream) -> None:
        async for data in source:
            await sink.send(data)
        await sink.send_eof()

    async with client:
        head = await client.receive()
        _, host, port = re.split(rb"[ :]", head.partition(b" HTTP/")[0])
        async with (
            await anyio.connect_tcp(host.decode(), int(port)) as server,
            anyio.create_task_group() as both,
        ):
            await client.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
            both.start_soon(pass_on, client, server)
            both.start_soon(pass_on, server, client)


async def serve_tcp(handler: object, *, task_status: anyio.abc.TaskStatus[int]) -> None:
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        task_status.started(listener.extra(anyio.abc.SocketAttribute.local_port))
        await listener.serve(handler)  # type: ignore[arg-type]


async def greet(client: SocketStream) -> None:
    async with client:
        await client.send((await client.receive()).upper())


@pytest.fixture(scope="module")
def substituted(server_ssl: ssl.SSLContext) -> Iterator[dict[str, str]]:
    """What the ports of the page are here."""
    with ExitStack() as stack:
        plain = stack.enter_context(serving()).rstrip("/")
        secure = stack.enter_context(serving(server_ssl)).rstrip("/")
        portal = stack.enter_context(start_blocking_portal("asyncio"))
        tcp = {}
        for port, handler in (("3128", proxy), ("5432", greet)):
            future, tcp[port] = portal.start_task(partial(serve_tcp, handler))
            stack.callback(future.cancel)
        yield {
            "ws://localhost:8765": plain,
            "wss://localhost:8443": secure.replace("127.0.0.1", "localhost"),
            "http://localhost:3128": f"http://127.0.0.1:{tcp['3128']}",
            "localhost:5432": f"127.0.0.1:{tcp['5432']}",
        }


@pytest.fixture(scope="module")
def written(
    substituted: dict[str, str], certificate_authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Future[subprocess.CompletedProcess[bytes]]]:
    """Run all lines that connect, four at a time: most of their time they wait for answers that do not come."""
    directory = tmp_path_factory.mktemp("lines")
    (directory / "lines.txt").write_bytes(b"one\ntwo\n")
    (directory / "video.ts").write_bytes(bytes(70_000))
    (directory / "photo.jpg").write_bytes(b"\xff\xd8" * 1000)
    certificate_authority.cert_pem.write_to_path(str(directory / "ca.pem"))
    certificate_authority.issue_cert("me").private_key_and_cert_chain_pem.write_to_path(
        str(directory / "me.pem")
    )
    with ThreadPoolExecutor(4) as pool:
        return {line: pool.submit(run_in_shell, line, substituted, directory) for line in TALKING}


def run_in_shell(
    line: str, substituted: dict[str, str], directory: Path
) -> subprocess.CompletedProcess[bytes]:
    quoted = " ".join(f"'{word}'" for word in command())
    for here, there in substituted.items():
        line = line.replace(here, there)
    script = f'wstream() {{ {quoted} "$@"; }}\n{line}\n'
    return subprocess.run(
        ["/bin/sh", "-c", script],
        input=b"typed\n",
        env=environment(),
        cwd=directory,
        capture_output=True,
        timeout=LIMIT,
        check=False,
    )


@pytest.mark.parametrize("line", TALKING)
def test_each_line_that_connects_does_what_it_is_there_for(
    line: str, written: dict[str, Future[subprocess.CompletedProcess[bytes]]]
) -> None:
    done = written[line].result()
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == WRITES[line]


def test_every_line_is_in_the_table() -> None:
    assert {*TALKING} == {*WRITES}
    assert {*SERVING} == {*ANSWERS}


# --- servers: what a client gets for "hello"

ANSWERS = {
    "wstream serve --echo": b"hello\n",
    "wstream serve --broadcast": b"",  # to all others, and there is nobody
    "wstream serve --talk": b"typed\n",
    "wstream serve --exec cat": b"hello",
    "wstream serve --tcp localhost:5432": b"HELLO",
}


@pytest.mark.parametrize("line", SERVING)
def test_each_line_that_serves_does_what_it_is_there_for(line: str, substituted: dict[str, str]) -> None:
    pytest.importorskip("websocketstream._cli.serve")
    expected = ANSWERS[line]
    for here, there in substituted.items():
        line = line.replace(here, there)
    words = line.split()[1:]
    words.insert(1, "--port=0")
    with subprocess.Popen(
        command(*words),
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin
        assert process.stderr
        process.stdin.write("typed\n")
        process.stdin.flush()
        hang_guard = threading.Timer(LIMIT, process.kill)
        hang_guard.start()
        try:
            served = process.stderr.readline().removeprefix("serving ").strip()
            kind = ["-b"] if "--tcp" in words or "--exec" in words else []
            enough = ["-n1"] if expected else ["-w0"]
            done = run(*kind, "-x", "hello", *enough, served)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(LIMIT)
            hang_guard.cancel()
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == expected
    assert process.returncode == 0
