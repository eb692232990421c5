"""What docs/explanation/comparison.md says of each library, tried with each, and that each row names a test.

A library that is not installed is left out. What is found has to be what the table says, for better or worse.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import re
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.from_thread import start_blocking_portal

from promises.open_sockets import in_passes
from waiting import at_rest, until
from websocketstream import WebSocketRequest, open_websocket_stream, serve_websocket_streams
from wire import Opcode
from wpt.server import Connection, Server

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "explanation" / "comparison.md"
LIMIT = 30  # seconds for one library
MIB = 2**20

Receive = Callable[[], Awaitable[Any]]
Seconds = float | None


class Ended(Exception):
    """How a library without an exception for it says that there is no next message."""


# --- each library, as far as the tests need it: a block that gives a function to receive with


@asynccontextmanager
async def ours(url: str, patience: Seconds = None) -> AsyncIterator[Receive]:
    async with open_websocket_stream(url, ping_interval=patience, ping_timeout=patience) as conn:
        yield conn.receive


@asynccontextmanager
async def websockets(url: str, patience: Seconds = None) -> AsyncIterator[Receive]:
    from websockets.asyncio.client import connect

    async with connect(url, proxy=None, ping_interval=patience, ping_timeout=patience) as connection:
        yield connection.recv


@asynccontextmanager
async def websockets_trio(url: str, patience: Seconds = None) -> AsyncIterator[Receive]:
    from websockets.trio.client import connect

    async with connect(url, proxy=None, ping_interval=patience, ping_timeout=patience) as connection:
        yield connection.recv


@asynccontextmanager
async def aiohttp(url: str, patience: Seconds = None) -> AsyncIterator[Receive]:
    from aiohttp import ClientSession, WSMsgType

    async with ClientSession() as session, session.ws_connect(url, heartbeat=patience) as connection:

        async def receive() -> Any:
            message = await connection.receive()
            if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                raise Ended(message)
            return message.data

        yield receive


@asynccontextmanager
async def trio_websocket(url: str, patience: Seconds = None) -> AsyncIterator[Receive]:
    import trio
    from trio_websocket import open_websocket_url

    async def heartbeat(connection: Any, seconds: float) -> None:  # as its documentation has it
        while True:
            with trio.fail_after(seconds):
                await connection.ping()
            await trio.sleep(seconds)

    async with open_websocket_url(url, disconnect_timeout=1) as connection:
        if patience is None:
            yield connection.get_message
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(heartbeat, connection, patience)
            yield connection.get_message
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def httpx_ws(url: str, patience: Seconds = None) -> AsyncIterator[Receive]:
    from httpx import AsyncClient
    from httpx_ws import aconnect_ws

    async with AsyncClient(trust_env=False) as client:
        keepalive = {
            "keepalive_ping_interval_seconds": patience,
            "keepalive_ping_timeout_seconds": patience,
        }
        async with aconnect_ws(url, client, **keepalive) as connection:

            async def receive() -> Any:
                return (await connection.receive()).data

            yield receive


@asynccontextmanager
async def picows(url: str, patience: Seconds = None) -> AsyncIterator[Receive]:
    from picows.websockets import connect

    async with connect(url, proxy=None, ping_interval=patience, ping_timeout=patience) as connection:
        yield connection.recv


@dataclass(frozen=True)
class Library:
    name: str  # of its column
    module: str
    backend: str
    open: Callable[..., AbstractAsyncContextManager[Receive]]

    @property
    def is_installed(self) -> bool:
        return find_spec(self.module) is not None

    def run(self, program: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
        """Run a program that gets this library and these arguments on its event loop."""

        async def main() -> Any:
            with anyio.fail_after(LIMIT):
                return await program(self, *arguments)

        if self.module == "websocketstream":
            return anyio.run(main, backend=self.backend)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # what they leave behind is no concern of ours
            try:
                return anyio.run(main, backend=self.backend)
            finally:
                gc.collect()


LIBRARIES = [
    Library("websocketstream", "websocketstream", "asyncio", ours),
    Library("websocketstream on trio", "websocketstream", "trio", ours),
    Library("websockets", "websockets", "asyncio", websockets),
    Library("websockets on trio", "websockets", "trio", websockets_trio),
    Library("aiohttp", "aiohttp", "asyncio", aiohttp),
    Library("trio-websocket", "trio_websocket", "trio", trio_websocket),
    Library("httpx-ws", "httpx_ws", "asyncio", httpx_ws),
    Library("httpx-ws on trio", "httpx_ws", "trio", httpx_ws),
    Library("picows", "picows", "asyncio", picows),
]
INSTALLED = [library for library in LIBRARIES if library.is_installed]
each_library = pytest.mark.parametrize("library", INSTALLED, ids=lambda library: library.name)


@contextmanager
def server_of(handler: Callable[[Connection], object]) -> Iterator[Server]:
    server = Server({"/": handler})
    try:
        yield server
    finally:
        server.close()


# --- the rows


@each_library
def test_the_event_loop_that_it_runs_on(library: Library) -> None:
    def greet(connection: Connection) -> None:
        connection.accept()
        connection.send_message("hello")
        connection.answer_close(connection.read_close())

    async def program(library: Library, url: str) -> Any:
        async with library.open(url) as receive:
            return await receive()

    with server_of(greet) as server:
        assert library.run(program, server.url("/")) == "hello"


@pytest.mark.parametrize(
    ("name", "backend"), [("aiohttp", "trio"), ("trio-websocket", "asyncio"), ("picows", "trio")]
)
def test_the_event_loop_that_it_does_not_run_on(name: str, backend: str) -> None:
    (library,) = (library for library in LIBRARIES if library.name == name)
    pytest.importorskip(library.module)

    async def program(library: Library, url: str) -> str:
        try:
            async with library.open(url):
                return "opened"
        except Exception:
            return "failed"

    with server_of(Connection.accept) as server:
        assert replace(library, backend=backend).run(program, server.url("/")) == "failed"


PASSES = range(8)


@each_library
def test_a_message_that_comes_when_a_receive_is_cancelled(library: Library) -> None:
    opened: list[Connection] = []

    def hand_over(connection: Connection) -> None:
        connection.accept()
        opened.append(connection)
        connection.answer_close(connection.read_close())

    async def attempt(library: Library, receive: Receive, received: list[int], passes: int) -> None:
        async def take() -> None:
            received.append(int(await receive()))

        if library.backend == "trio":
            with anyio.CancelScope() as scope:
                in_passes(passes, scope.cancel)
                await take()
            return
        task = asyncio.create_task(take())
        in_passes(passes, task.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await task

    async def program(library: Library, url: str) -> tuple[list[int], list[int]]:
        received: list[int] = []
        sent: list[int] = []

        def send() -> None:
            sent.append(len(sent))
            opened[0].send_message(str(sent[-1]))

        async with library.open(url) as receive:
            await until(lambda: opened)
            attempts = list(product(PASSES, PASSES))
            for arrival, patience in attempts:
                in_passes(arrival, send)
                await attempt(library, receive, received, patience)
            while len(sent) < len(attempts):
                await anyio.sleep(0)
            send()
            while not received or received[-1] != sent[-1]:
                received.append(int(await receive()))
        return received, sent

    with server_of(hand_over) as server:
        received, sent = library.run(program, server.url("/"))
    if library.name == "httpx-ws":
        assert received == sorted(set(received))
        if received == sent:  # it depends on what the system is busy with
            pytest.skip("nothing was lost this time")
    else:
        assert received == sent


FLOOD = 10_000  # messages of 2 kB: more than all buffers on the way
PATIENCE = 1.0  # seconds
PAUSE = 3.0
KEPT = {"websocketstream", "websocketstream on trio"}


def test_a_reader_that_pauses_longer_than_its_own_keepalive_has_patience_for() -> None:
    async def flood(request: WebSocketRequest) -> None:
        async with request.accept() as conn:
            for _ in range(FLOOD):
                await conn.send("x" * 2000)
            await conn.closed

    async def program(library: Library, url: str) -> bool:
        try:
            async with library.open(url, PATIENCE) as receive:
                await anyio.sleep(PAUSE)
                for _ in range(FLOOD):
                    await receive()
        except Exception:
            return False
        return True

    serve = partial(
        serve_websocket_streams, flood, "127.0.0.1", 0, origins=None, ping_interval=None, close_timeout=1
    )
    with start_blocking_portal("asyncio") as portal:
        future, listener = portal.start_task(serve)
        # All of them wait at the same time.
        with ThreadPoolExecutor(len(INSTALLED)) as threads:
            kept = threads.map(lambda library: library.run(program, listener.url), INSTALLED)
            found = {library.name: is_kept for library, is_kept in zip(INSTALLED, kept, strict=True)}
        portal.call(listener.aclose)
        future.result(LIMIT)
    assert found == {library.name: library.name in KEPT for library in INSTALLED}


GROUPED = {"httpx-ws", "httpx-ws on trio"}


@each_library
def test_what_the_body_raises_comes_out_of_the_block(library: Library) -> None:
    def accept(connection: Connection) -> None:
        connection.accept()
        connection.answer_close(connection.read_close())

    async def program(library: Library, url: str) -> BaseException | None:
        try:
            async with library.open(url):
                raise LookupError("of mine")
        except BaseException as error:
            return error
        return None

    with server_of(accept) as server:
        error = library.run(program, server.url("/"))
    assert isinstance(error, ExceptionGroup if library.name in GROUPED else LookupError)


async def iterated_ours(url: str) -> list[Any]:
    async with open_websocket_stream(url) as conn:
        return [message async for message in conn.messages()]


async def iterated_websockets(url: str) -> list[Any]:
    from websockets.asyncio.client import connect

    async with connect(url, proxy=None) as connection:
        return [message async for message in connection]


async def iterated_aiohttp(url: str) -> list[Any]:
    from aiohttp import ClientSession

    async with ClientSession() as session, session.ws_connect(url) as connection:
        return [message.data async for message in connection]


async def iterated_picows(url: str) -> list[Any]:
    from picows.websockets import connect

    async with connect(url, proxy=None) as connection:
        return [message async for message in connection]


@pytest.mark.parametrize(
    ("module", "iterate", "is_told"),
    [
        ("websocketstream", iterated_ours, True),
        ("websockets", iterated_websockets, True),
        ("aiohttp", iterated_aiohttp, False),
        ("picows", iterated_picows, True),
    ],
)
def test_an_iteration_that_the_peer_ends_with_1011(module: str, iterate: Any, is_told: bool) -> None:
    pytest.importorskip(module)

    def fail(connection: Connection) -> None:
        connection.accept()
        connection.send_message("half an answer")
        connection.start_close(1011)

    with server_of(fail) as server:
        if is_told:
            with pytest.raises(Exception, match="1011"):
                anyio.run(iterate, server.url("/"))
        else:
            assert anyio.run(iterate, server.url("/")) == ["half an answer"]


LIMITS = {
    "websocketstream": 16 * MIB,
    "websockets": MIB,
    "aiohttp": 4 * MIB,
    "trio-websocket": MIB,
    "httpx-ws": None,
    "picows": MIB,
}


@each_library
def test_the_largest_message_that_is_taken_by_default(library: Library) -> None:
    limit = LIMITS[library.name.removesuffix(" on trio")]

    def send_large(connection: Connection) -> None:
        size = sizes.pop(0)
        connection.accept()
        connection.send(Opcode.BINARY, bytes(size))
        with contextlib.suppress(Exception):
            connection.answer_close(connection.read_close())

    async def program(library: Library, url: str) -> int | None:
        try:
            async with library.open(url) as receive:
                return len(await receive())
        except Exception:
            return None

    if limit is None:
        sizes = [16 * MIB + 1]
        with server_of(send_large) as server:
            assert library.run(program, server.url("/")) == 16 * MIB + 1
        return
    sizes = [limit - 1, limit + 1]  # whether it may be as large as the limit, they do not agree on
    with server_of(send_large) as server:
        assert library.run(program, server.url("/")) == limit - 1
        assert library.run(program, server.url("/")) is None


@pytest.mark.parametrize("name", ["websocketstream", "websockets"])
def test_the_beginning_of_a_large_frame_before_its_end(name: str) -> None:
    def send_half(connection: Connection) -> None:
        connection.accept()
        connection.write(b"\x82\x7f" + (MIB).to_bytes(8, "big") + bytes(MIB // 2))
        connection.wait_for_test()
        connection.write(bytes(MIB // 2))
        connection.answer_close(connection.read_close())

    async def program(server: Server) -> tuple[bool, int]:
        early, size = False, 0
        async with contextlib.AsyncExitStack() as stack:
            parts: AsyncIterator[bytes]
            if name == "websockets":
                from websockets.asyncio.client import connect

                opening = connect(server.url("/"), proxy=None)
                parts = (await stack.enter_async_context(opening)).recv_streaming()
            else:
                conn = await stack.enter_async_context(open_websocket_stream(server.url("/")))
                parts = await anext(conn.readable.chunked())

            async def read() -> None:
                nonlocal early, size
                async for part in parts:
                    early = early or not server.gate.is_set()
                    size += len(part)

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(read)
                await (at_rest if name == "websockets" else until)(lambda: size)
                server.gate.set()
        return early, size

    with server_of(send_half) as server:
        early, size = anyio.run(program, server)
    assert size == MIB
    assert early is (name == "websocketstream")


# --- the page


def test_each_row_of_the_page_names_a_test_that_exists() -> None:
    page = PAGE.read_text("utf-8")
    rows = re.findall(r"^\| (\d+) \|", page, re.MULTILINE)
    notes = dict(re.findall(r"^(\d+)\. (.*?)(?=^\S)", page, re.MULTILINE | re.DOTALL))
    assert list(notes) == rows != []
    there = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"def (test_\w+)\(", path.read_text("utf-8"))
    }
    for note in notes.values():
        named = set(re.findall(r"`(test_\w+)`", note))
        assert named
        assert named <= there


def test_each_comparison_stands_on_the_page() -> None:
    tests = set(re.findall(r"^def (test_\w+)\(", Path(__file__).read_text("utf-8"), re.MULTILINE))
    page = PAGE.read_text("utf-8")
    assert all(name in page for name in tests if "page" not in name)
