"""The command ``serve`` as its users run it: where it serves, how it stops, and what it says to a wrong command line."""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shlex
import signal
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, nullcontext, suppress
from pathlib import Path

import anyio
import pytest
import trustme
from anyio.abc import Process
from anyio.lowlevel import checkpoint

from edges.serving import serving
from websocketstream import ConnectionClosed, HandshakeRejected, open_websocket_stream
from websocketstream._cli import serve, serve_options
from websocketstream._cli.failures import CommandFailed
from websocketstream._cli.parsing import Parser
from websocketstream._cli.serve_broadcast import make_handler, make_hub

SOURCE = Path(__file__).parent.parent.parent / "src"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(SOURCE), "PYTHONIOENCODING": "utf-8"}
CLI = [sys.executable, "-W", "error", "-m", "websocketstream"]

posix = pytest.mark.skipif(os.name != "posix", reason="there are no such signals on Windows")
both_backends = pytest.mark.parametrize("backend", ["asyncio", "trio"])


@pytest.fixture
def anyio_backend() -> str:
    """The event loop of the clients, which makes no difference here."""
    return "asyncio"


def arguments(*words: str) -> argparse.Namespace:
    parser = Parser()
    serve.add_parser(parser.add_subparsers(parser_class=Parser))
    return parser.parse_args(["serve", *words])


class Served:
    """A server in a process of its own."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.said = b""

    async def line(self) -> str:
        """Return the next line on stderr."""
        assert self.process.stderr is not None
        while b"\n" not in self.said:
            self.said += await self.process.stderr.receive()
        line, _, self.said = self.said.partition(b"\n")
        return line.decode()

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        with anyio.fail_after(20):
            return await self.process.wait()


@asynccontextmanager
async def served(*words: str) -> AsyncIterator[tuple[Served, str]]:
    """Run ``serve``; give the process and where it serves."""
    command = [*CLI, "serve", *words]
    async with await anyio.open_process(command, env=ENVIRONMENT, stdin=subprocess.DEVNULL) as process:
        try:
            server = Served(process)
            while not (line := await server.line()).startswith("serving "):
                pass
            yield server, line.removeprefix("serving ")
        finally:
            if process.returncode is None:
                process.kill()


@pytest.fixture
def sighup() -> Iterator[Callable[[signal.Handlers], None]]:
    """Say what becomes of SIGHUP in programs that are started: they inherit that from the tests, which may be behind nohup."""
    before = signal.getsignal(signal.SIGHUP)
    yield lambda handler: signal.signal(signal.SIGHUP, handler)
    signal.signal(signal.SIGHUP, before)


@posix
@pytest.mark.parametrize(
    ("backend", "number", "code"),
    [("asyncio", "SIGTERM", 0), ("trio", "SIGINT", 130), ("asyncio", "SIGHUP", 0), ("trio", "SIGHUP", 0)],
)
@pytest.mark.anyio
async def test_a_signal_closes_all_connections_and_the_exit_code_tells_which(
    backend: str, number: str, code: int, sighup: Callable[[signal.Handlers], None]
) -> None:
    sighup(signal.SIG_DFL)
    async with served("--echo", "--port", "0", "-v", "--backend", backend) as (server, url):
        async with open_websocket_stream(url) as conn:
            await conn.send("hello")
            assert await conn.receive() == "hello"
            assert await server.stop(signal.Signals[number]) == code
            assert (await conn.closed).code == 1001
        rest = server.said.decode()
        assert server.process.stderr is not None
        async for data in server.process.stderr:
            rest += data.decode()
    assert re.search(r"127\.0\.0\.1 '/': closed with 1001 after .* 1 messages in, 1 out", rest)
    assert "Traceback" not in rest


@posix
@both_backends
@pytest.mark.anyio
async def test_a_log_that_nobody_reads_holds_no_client_up(backend: str) -> None:
    reading, writing = os.pipe()
    command = [*CLI, "serve", "--echo", "--port", "0", "-vv", "--backend", backend]
    async with await anyio.open_process(
        command, env=ENVIRONMENT, stdin=subprocess.DEVNULL, stderr=writing
    ) as process:
        said = ""
        while not (found := re.search(r"serving (\S+)\n", said)):
            said += os.read(reading, 1000).decode()
        os.set_blocking(writing, False)
        with suppress(BlockingIOError):
            while True:
                os.write(writing, b"x")
        os.set_blocking(writing, True)
        try:
            with anyio.fail_after(20):
                for _ in range(3):
                    async with open_websocket_stream(found[1]) as conn:
                        await conn.send("hello")
                        assert await conn.receive() == "hello"
                process.terminate()
                assert await process.wait() == 0
        finally:
            if process.returncode is None:
                process.kill()
    os.close(reading)
    os.close(writing)


@posix
@pytest.mark.anyio
async def test_behind_nohup_the_end_of_the_terminal_is_no_matter(
    sighup: Callable[[signal.Handlers], None],
) -> None:
    sighup(signal.SIG_IGN)
    async with served("--echo", "--port", "0") as (server, url):
        server.process.send_signal(signal.SIGHUP)
        async with open_websocket_stream(url) as conn:
            await conn.send("hello")
            assert await conn.receive() == "hello"
        assert await server.stop() == 0


@posix
@pytest.mark.anyio
async def test_ctrl_c_ends_the_processes_of_clients_too() -> None:
    words = ["--port", "0", "--grace", "1000", "--lines", "--exec", "sh", "-c", "echo $$; exec cat"]
    async with served(*words) as (server, url):
        async with open_websocket_stream(url) as conn:
            pid = int(await conn.receive())
            assert await server.stop(signal.SIGINT) == 130
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)


@pytest.mark.anyio
async def test_a_certificate_makes_it_wss(
    certificate_authority: trustme.CA, client_ssl: ssl.SSLContext, tmp_path: Path
) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    issued = certificate_authority.issue_cert("127.0.0.1")
    cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    parsed = arguments("--echo", "--cert", str(cert), "--key", str(key))
    async with serving(serve.make_handler(parsed), **serve_options.server_options(parsed)) as listener:
        async with open_websocket_stream(listener.url, ssl_context=client_ssl) as conn:
            await conn.send("hello")
            assert await conn.receive() == "hello"


@posix
@pytest.mark.anyio
async def test_it_may_serve_at_a_unix_socket_and_removes_it(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    async with served("--echo", "--unix", str(path)) as (server, where):
        assert where == str(path)
        stream = await anyio.connect_unix(path)
        async with open_websocket_stream("ws://localhost/", stream=stream) as conn:
            await conn.send("hello")
            assert await conn.receive() == "hello"
        assert await server.stop() == 0
    assert not path.exists()


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("words", "origin", "is_admitted"),
    [
        ([], None, True),
        ([], "https://evil.example", False),
        (["--origin", "https://good.example"], "https://good.example", True),
        (["--origin", "https://good.example"], "https://evil.example", False),
        (["--origin", "https://good.example"], None, True),
        (["--any-origin"], "https://evil.example", True),
    ],
)
async def test_web_pages_of_other_origins_are_refused_unless_they_are_let_in(
    words: list[str], origin: str | None, is_admitted: bool
) -> None:
    parsed = arguments("--echo", *words)
    async with serving(serve.make_handler(parsed), **serve_options.server_options(parsed)) as listener:
        with nullcontext() if is_admitted else pytest.raises(HandshakeRejected):
            async with open_websocket_stream(listener.url, origin=origin):
                pass


@posix
@both_backends
def test_a_file_comes_back_intact(backend: str, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(os.urandom(2**20) * 5 + b"the end")
    command = [*CLI, "serve", "--echo", "--port", "0", "--backend", backend]
    with subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            url = server.stderr.readline().split()[-1]
            client = [*CLI, "--binary", "--one-message", "--count", "1", "--backend", backend, url]
            with source.open("rb") as stdin, target.open("wb") as stdout:
                subprocess.run(client, env=ENVIRONMENT, stdin=stdin, stdout=stdout, timeout=30, check=True)
        finally:
            server.terminate()
    assert hashlib.sha256(target.read_bytes()).hexdigest() == hashlib.sha256(source.read_bytes()).hexdigest()


# --- wrong command lines


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--exec"], "--exec needs a command"),
        (["--exec", "--"], "--exec needs a command"),
        (["--exec", "no-such-program-anywhere"], "there is no program 'no-such-program-anywhere'"),
        (["--echo", "hello"], "'hello' has no place here"),
        (["--talk", "hello"], "'hello' has no place here"),
        (["--lines", "--one-message", "--exec", sys.executable], "contradict each other"),
        (["--echo", "--key", "key.pem"], "--key is for the certificate of --cert"),
        (["--echo", "--cert", "/no/such/cert.pem"], "there is no file /no/such/cert.pem"),
        (["--echo", "--cert", __file__], "has no certificate with a key that fits"),
        (["--echo", "--cert", __file__, "--key", "/no/such/key.pem"], "there is no file /no/such/key.pem"),
        (["--echo", "--port", "0", "--origin", "*"], "origin '*' is a pattern"),
        (["--echo", "--port", "0", "--protocol", "a b"], "a b"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_explained(words: list[str], sentence: str) -> None:
    with pytest.raises(CommandFailed) as caught:
        anyio.run(serve.run, arguments(*words))
    assert sentence in caught.value.sentence
    assert caught.value.code == 2


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--echo", "--broadcast"],
        ["--echo", "--exec", "cat"],
        ["--talk", "--wait", "soon"],
        ["cat"],
        ["--tcp", "nowhere"],
        ["--echo", "--port", "65536"],
        ["--echo", "--port", "-1"],
        ["--echo", "--max-connections", "0"],
        ["--echo", "--max-size", "0"],
        ["--broadcast", "--policy", "none"],
    ],
)
def test_a_command_line_that_cannot_be_read_is_explained(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        arguments(*words)
    assert caught.value.code == 2
    assert "usage: " in capsys.readouterr().err


def test_an_address_that_cannot_be_listened_on_is_said() -> None:
    with pytest.raises(CommandFailed, match=r"cannot listen on 192\.0\.2\.1 port 1: ") as caught:
        anyio.run(serve.run, arguments("--echo", "--host", "192.0.2.1", "--port", "1"))
    assert caught.value.code == 3


@posix
def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "precious"
    file.write_text("data")
    with pytest.raises(CommandFailed, match=f"cannot listen on {re.escape(str(file))}"):
        anyio.run(serve.run, arguments("--echo", "--unix", str(file)))
    assert file.read_text() == "data"


def test_all_that_follows_exec_is_the_commands() -> None:
    parsed = arguments("--port", "0", "--exec", sys.executable, "--port", "1", "--", "--echo")
    assert parsed.port == 0
    assert serve_options.exec_options(parsed).command == (sys.executable, "--port", "1", "--", "--echo")
    assert serve_options.exec_options(arguments("--shell", "--exec", "a | b")).command == "a | b"


def test_limits_depend_on_what_is_served() -> None:
    def limits(*words: str) -> tuple[int | None, int]:
        options = serve_options.server_options(arguments(*words))
        return options["max_message_size"], options["max_connections"]

    assert limits("--echo") == (None, 10_000)
    assert limits("--broadcast") == (2**20, 10_000)
    assert limits("--broadcast", "--max-size", "2KiB") == (2048, 10_000)
    assert limits("--broadcast", "--max-size", "none") == (None, 10_000)
    assert limits("--tcp", "h:1") == (2**24, 10_000)
    assert limits("--exec", "cat") == (None, 100)
    assert limits("--max-connections", "5", "--exec", "cat") == (None, 5)
    assert limits("--talk") == (2**24, 1)


# --- the pages


def lines_of_pages(command: str) -> list[str]:
    """Return the command lines of a kind that the pages show."""
    docs = SOURCE.parent / "docs"
    found = []
    for page in (docs / "how-to" / "command-line-server.md", docs / "reference" / "command-line-serve.md"):
        for block in re.findall(r"^```sh\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL):
            found += [line for line in block.splitlines() if line.startswith(f"websocketstream {command} ")]
    return found


@pytest.mark.parametrize("line", lines_of_pages("serve"))
def test_a_line_of_a_page_is_a_command_line(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve_options.shutil, "which", lambda name: f"/usr/bin/{name}")  # installed or not
    parsed = arguments(*shlex.split(line, comments=True)[2:])

    async def make() -> None:
        if parsed.talk:
            party = serve.make_party(parsed)
            assert party
            async with party.hosted():
                pass
        else:
            serve.make_handler(parsed)

    anyio.run(make)
    serve_options.server_options(parsed)


def test_the_pages_have_lines() -> None:
    assert len(lines_of_pages("serve")) >= 6


def test_the_reference_lists_every_option() -> None:
    page = (SOURCE.parent / "docs" / "reference" / "command-line-serve.md").read_text("utf-8")
    shown = set(re.findall(r"`(--?[a-z1-9-]+)", page))
    parser = Parser()
    serve.add_parser(commands := parser.add_subparsers(parser_class=Parser))
    options = {flag for action in commands.choices["serve"]._actions for flag in action.option_strings}
    assert options - {"-h", "--help"} <= shown


@pytest.mark.anyio
async def test_a_client_that_the_hub_has_closed_is_no_failure_of_the_server(
    caplog: pytest.LogCaptureFixture,
) -> None:
    hub = make_hub("close", behind=1)
    async with serving(make_handler(hub)) as listener, open_websocket_stream(listener.url) as conn:
        while not len(hub):
            await checkpoint()
        for _ in range(3):
            hub.send(bytes(2**22))
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                await conn.receive()
    assert closed.value.close_code == 1013
    assert not caplog.records
