"""Every piece of Python in README.md and docs/ runs, and prints what the page says.

A block that begins with `# name.py` or starts an event loop is a program: it runs in a process of its own, and a ``text``
block right behind it is its output. One with `server` in its name runs in the background until the end of its page.
Any other block is a fragment: it runs with `conn`, an open stream, and the public names at hand. What needs more than that around it
runs in test_docs_surroundings.py. Names of example.com stand for a server of this test.
"""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.from_thread import start_blocking_portal

from running_snippets import ENVIRONMENT, LIMIT, PORT, localised, namespace, run_fragment
from snippets import PAGES, ROOT, Block, blocks, name_of
from websocketstream import WebSocketRequest, open_websocket_stream, serve_websocket_streams

LINK = re.compile(r"\]\(([^)#]+?)(?:#[^)]*)?\)")
both_backends = pytest.mark.parametrize("backend", ["asyncio", "trio"])


def with_python(pages: list[Path]) -> Any:
    pages = [page for page in pages if blocks(page)]
    return pytest.mark.parametrize("page", pages, ids=[name_of(page) for page in pages])


# --- the server that example.com stands for


async def example_com(request: WebSocketRequest) -> None:
    """Send three messages at /feed and wait for three answers; echo everywhere else."""
    async with request.accept(protocol=request.protocols[0] if request.protocols else "") as conn:
        if request.path == "/feed" and "authorization" not in request.headers:
            for message in ("one", "two", "three"):
                await conn.send(message)
            for _ in range(3):
                await conn.receive()
            conn.close(1000)
            return
        async for message in conn:
            await conn.send(message)


@pytest.fixture
def example_url() -> Iterator[str]:
    serve = partial(serve_websocket_streams, example_com, "127.0.0.1", 0, origins=None, compression=True)
    with start_blocking_portal("asyncio") as portal:
        future, listener = portal.start_task(serve)
        yield listener.url
        portal.call(listener.aclose)
        future.result(LIMIT)


# --- running programs


@contextmanager
def in_background(command: list[str], directory: Path, port: str) -> Iterator[None]:
    with subprocess.Popen(
        command, cwd=directory, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            wait_for_port(int(port), process)
            yield
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=LIMIT)


def wait_for_port(port: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + LIMIT
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    pytest.fail(f"nothing listens: {process.communicate()[1]}")


def run_program(command: list[str], directory: Path) -> str:
    done = subprocess.run(
        command, cwd=directory, env=ENVIRONMENT, capture_output=True, text=True, timeout=LIMIT, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout


@both_backends
@with_python(PAGES)
def test_the_programs_of_a_page_run(page: Path, backend: str, example_url: str, tmp_path: Path) -> None:
    ports: dict[str, str] = {}
    with ExitStack() as background:
        for block in blocks(page):
            if not (block.is_program and not block.needs_something):
                continue
            code = localised(block.code, example_url, ports)
            code = re.sub(
                r"^anyio\.run\((\w+)\)", rf'anyio.run(\1, backend="{backend}")', code, flags=re.MULTILINE
            )
            script = tmp_path / f"line_{block.line}.py"
            script.write_text(code, "utf-8")
            command = [sys.executable, "-W", "error", str(script)]
            if block.is_for_the_background:
                port = ports[PORT.findall(block.code)[0]]
                background.enter_context(in_background(command, tmp_path, port))
                continue
            output = run_program(command, tmp_path)
            if block.output is not None:
                assert sorted(output.splitlines()) == sorted(block.output.splitlines()), f"line {block.line}"


# --- running fragments


async def run_with_a_connection(block: Block, example_url: str) -> None:
    async with open_websocket_stream(f"{example_url}/") as conn:
        await run_fragment(block, example_url, namespace(conn=conn))


@both_backends
@with_python(PAGES)
def test_the_fragments_of_a_page_run(
    page: Path, backend: str, example_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for block in blocks(page):
        if not block.needs_something and not block.is_program:
            anyio.run(run_with_a_connection, block, example_url, backend=backend)


# --- the pages themselves


@pytest.mark.parametrize("page", [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")], ids=name_of)
def test_links_inside_the_project_lead_somewhere(page: Path) -> None:
    targets = [target for target in LINK.findall(page.read_text("utf-8")) if "://" not in target]
    missing = [target for target in targets if not (page.parent / target).exists()]
    assert not missing
