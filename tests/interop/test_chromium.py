"""Chromium's classic WebSocket, and its WebSocketStream, which this library is named after."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from edges.serving import serving
from interop.programs import DONE, END, GO, HERE, Contract, Running, program, running
from waiting import at_rest, until
from websocketstream import WebSocketRequest

# Of this peer, no more than one of our loops needs to know.
pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]

LARGE = {"max_message_size": 4 * 2**20}
CHUNKS = 1000  # of 64 KiB: more than the browser and the system hold


@pytest.fixture(autouse=True)
def _is_installed() -> None:
    program("chromium")  # before any task group is open, which would wrap the skip


class Page:
    """Our side of browser.html: the contract, a flood, and what the page tells."""

    def __init__(self) -> None:
        self.contract = Contract()
        self.go = anyio.Event()
        self.written = 0
        self.sent = 0
        self.result: Any = None

    async def __call__(self, request: WebSocketRequest) -> None:
        match request.path:
            case "/control":
                await self._control(request)
            case "/flood":
                async with request.accept() as conn:
                    for _ in range(CHUNKS):
                        await conn.send(bytes(65536))
                        self.sent += 1
            case _:
                await self.contract(request)

    async def _control(self, request: WebSocketRequest) -> None:
        async with request.accept(protocol="") as conn, anyio.create_task_group() as tasks:

            async def say_go() -> None:
                await self.go.wait()
                await conn.send("go")

            tasks.start_soon(say_go)
            async for message in conn:
                news = json.loads(message)
                self.written = news.get("written", self.written)
                self.result = news.get("result")
                if self.result is not None:
                    break
            tasks.cancel_scope.cancel()


@contextmanager
def browsing(url: str, scenario: str, directory: Path) -> Iterator[Running]:
    """Let a browser without a window show the page."""
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    page = f"file://{HERE}/browser.html#{url},{scenario}"
    arguments = [program("chromium"), *flags, f"--user-data-dir={directory / 'profile'}", page]
    with running(arguments, directory) as browser:
        yield browser


@pytest.mark.parametrize("compression", [False, True], ids=["plain", "compressed"])
@pytest.mark.parametrize("kind", ["WebSocket", "WebSocketStream"])
async def test_every_message_of_a_page_comes_back_and_close_codes_go_both_ways(
    kind: str, compression: bool, tmp_path: Path
) -> None:
    page = Page()
    async with serving(page, protocols=["echo"], compression=compression, **LARGE) as listener:
        with browsing(listener.url, kind, tmp_path):
            await until(lambda: page.result is not None, within=END)
            await until(lambda: len(page.contract.ends) == 2)
    echoed, closed = page.result
    assert echoed.pop("extensions").startswith("permessage-deflate") is compression
    assert echoed == {"protocol": "echo", "wrong": 0, "close": DONE, "clean": True}
    assert (closed["close"], closed["clean"]) == (GO, True)
    assert page.contract.ends == [DONE, GO]


async def test_a_page_that_does_not_read_its_websocketstream_holds_our_send_back(tmp_path: Path) -> None:
    page = Page()
    async with serving(page) as listener:
        with browsing(listener.url, "slowReader", tmp_path):
            await until(lambda: page.sent, within=END)
            await at_rest(lambda: page.sent)
            assert page.sent < CHUNKS
            page.go.set()
            await until(lambda: page.result is not None, within=END)
    assert page.result == {"total": CHUNKS * 65536}


async def test_a_pages_websocketstream_is_held_back_while_we_do_not_read(tmp_path: Path) -> None:
    page = Page()
    async with serving(page, read_buffer=2**16) as listener:
        with browsing(listener.url, "fastWriter", tmp_path):
            await until(lambda: page.written, within=END)
            await at_rest(lambda: page.written)
            assert page.written < CHUNKS
            page.contract.resume.set()
            await until(lambda: page.result is not None, within=END)
    assert page.result == {"close": DONE}
    assert page.contract.received == CHUNKS * 65536
