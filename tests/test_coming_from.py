"""Programs of other libraries beside ours, in docs/how-to/coming-from-*.md: they run, and print the same.

A pair stands in a container of two columns; what it prints is the `text` block behind it. Names of example.com stand for a
server of this test, ports 876x for free ones.
"""

from __future__ import annotations

import ast
import gc
import inspect
import re
import socket
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.from_thread import start_blocking_portal

from websocketstream import WebSocketRequest, serve_websocket_streams

HOW_TO = Path(__file__).parent.parent / "docs" / "how-to"
PAIR = re.compile(
    r"^## (?P<title>[^\n]+)$"
    r"(?:(?!^## ).)*?"
    r"^````\{container\} side-by-side\n(?P<columns>.*?)^````$\n+"
    r"```text\n(?P<output>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
COLUMN = re.compile(r"^```python\n# (?P<name>[\w-]+)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
OURS = "websocketstream"
BACKENDS = {"websockets": "asyncio", "aiohttp": "asyncio", "trio-websocket": "trio", "httpx-ws": "asyncio"}
LIMIT = 20  # seconds for one column


@dataclass(frozen=True)
class Pair:
    peer: str
    title: str
    columns: dict[str, str]
    output: list[str]


def pairs_of(peer: str) -> list[Pair]:
    text = (HOW_TO / f"coming-from-{peer}.md").read_text("utf-8")
    return [
        Pair(
            peer,
            match["title"],
            {column["name"]: column["code"] for column in COLUMN.finditer(match["columns"])},
            match["output"].splitlines(),
        )
        for match in PAIR.finditer(text)
    ]


PAIRS = [pair for peer in BACKENDS for pair in pairs_of(peer)]


async def example_com(request: WebSocketRequest) -> None:
    """Play the server of all pages."""
    if request.path == "/members" and "authorization" not in request.headers:
        await request.reject(403, body="members only")
        return
    async with request.accept(protocol=next(iter(request.protocols), "")) as conn:
        match request.path:
            case "/members":
                await conn.send("welcome")
            case "/feed":
                for message in ("one", "two", "three"):
                    await conn.send(message)
                conn.close(1000)
            case "/fails":
                for message in ("one", "two"):
                    await conn.send(message)
                conn.close(1011, "out of memory")
        async for message in conn:
            await conn.send(message)


@pytest.fixture(scope="module")
def example_url() -> Iterator[str]:
    serve = partial(serve_websocket_streams, example_com, "127.0.0.1", 0, origins=None)
    with start_blocking_portal("asyncio") as portal:
        future, listener = portal.start_task(serve)
        yield listener.url
        portal.call(listener.aclose)
        future.result(LIMIT)


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the environment's proxies from libraries that use them unasked."""
    for scheme in ("http", "https", "ws", "wss", "all", "socks"):
        monkeypatch.delenv(f"{scheme}_proxy", raising=False)
        monkeypatch.delenv(f"{scheme.upper()}_PROXY", raising=False)


def localised(code: str, example_url: str) -> str:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    return re.sub(r"\b876\d\b", str(port), code.replace("wss://example.com", example_url))


def printed_by(code: str, backend: str) -> list[str]:
    """Run a column and return its lines."""
    lines: list[str] = []
    # A frame that is evaluated has no globals but these.
    names: dict[str, Any] = {"print": lambda *values: lines.append(" ".join(map(str, values)))}
    program = compile(code, "column", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    coroutine = eval(program, names)

    async def finish() -> None:
        with anyio.fail_after(LIMIT):
            await coroutine

    if inspect.iscoroutine(coroutine):
        anyio.run(finish, backend=backend)
    return lines


def test_every_page_is_run_here() -> None:
    pages = {page.stem.removeprefix("coming-from-") for page in HOW_TO.glob("coming-from-*.md")}
    assert pages == set(BACKENDS)


@pytest.mark.parametrize("peer", BACKENDS)
def test_no_column_is_left_out(peer: str) -> None:
    text = (HOW_TO / f"coming-from-{peer}.md").read_text("utf-8")
    pairs = pairs_of(peer)
    assert all(set(pair.columns) == {peer, OURS} for pair in pairs)
    assert text.count("```python\n") == 2 * len(pairs)
    assert text.count("{container} side-by-side") == len(pairs)


@pytest.mark.parametrize("name", ["theirs", "ours"])
@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: f"{pair.peer}: {pair.title}")
def test_a_column_prints_what_the_page_says(pair: Pair, name: str, example_url: str) -> None:
    if name == "theirs" and find_spec(pair.peer.replace("-", "_")) is None:
        pytest.skip(f"{pair.peer} is not installed")
    code = localised(pair.columns[pair.peer if name == "theirs" else OURS], example_url)
    if name == "ours":
        assert printed_by(code, BACKENDS[pair.peer]) == pair.output
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # what they leave behind is no concern of ours
        assert printed_by(code, BACKENDS[pair.peer]) == pair.output
        gc.collect()
