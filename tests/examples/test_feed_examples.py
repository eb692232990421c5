"""The ticker, which goes on where its connection was cut, and the plot of a feed."""

from __future__ import annotations

import io
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream

from edges.serving import serving
from examples.example_kit import ended, example, part, stopped, url_of
from waiting import PATIENCE, until
from websocketstream import Backoff, ConnectionClosed, HandshakeRejected, WebSocketRequest
from websocketstream.testing import serve_in_memory, websocket_stream_pair

pytestmark = pytest.mark.anyio

as_a_program = pytest.mark.parametrize("anyio_backend", ["asyncio"])  # the program's own is what matters
needs_signals = pytest.mark.skipif(sys.platform == "win32", reason="sends signals")


# --- the ticker


class Line:
    """A TCP proxy that cuts its connections after so many bytes to the client, and lets the last one be."""

    def __init__(self, port: int, patience: list[int], when_cut: Callable[[], object]) -> None:
        self._port = port
        self._patience = patience
        self._when_cut = when_cut
        self.cuts = 0

    async def carry(self, client: SocketStream) -> None:
        left = self._patience.pop(0) if self._patience else sys.maxsize
        async with client, await anyio.connect_tcp("127.0.0.1", self._port) as server:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._send_on, client, server)
                try:
                    while left:
                        data = await server.receive(min(left, 100))
                        left -= len(data)
                        await client.send(data)
                    self.cuts += 1
                    self._when_cut()  # before the client knows of it
                except (anyio.EndOfStream, anyio.BrokenResourceError):
                    return
                finally:
                    tasks.cancel_scope.cancel()

    async def _send_on(self, client: SocketStream, server: SocketStream) -> None:
        try:
            async for data in client:
                await server.send(data)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass


@asynccontextmanager
async def line_to(
    port: int, *patience: int, when_cut: Callable[[], object]
) -> AsyncIterator[tuple[Line, str]]:
    line = Line(port, [*patience], when_cut)
    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, line.carry)
        yield line, f"ws://127.0.0.1:{listener.extra(SocketAttribute.local_port)}"
        tasks.cancel_scope.cancel()


@pytest.fixture
def ticker() -> Any:
    return part("ticker_server")


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Any:
    module = part("ticker_client")
    monkeypatch.setattr(module, "Backoff", lambda **_options: Backoff(initial=0.01, maximum=0.01))
    return module


async def test_a_client_whose_line_is_cut_misses_nothing_and_gets_nothing_twice(
    ticker: Any, client: Any
) -> None:
    seen: list[str] = []

    def take(text: str) -> None:
        seen.append(text)
        ticker.tick("and another one")  # so that there is always one under way
        if len(seen) >= 400:
            following.cancel()

    def tick_while_away() -> None:
        for _ in range(5):
            ticker.tick("while nobody listens")

    with anyio.fail_after(PATIENCE):
        async with (
            serving(ticker.handle) as listener,
            line_to(listener.port, 700, 333, 2001, when_cut=tick_while_away) as (line, url),
            anyio.create_task_group() as tasks,
        ):
            following = tasks.cancel_scope
            tasks.start_soon(client.follow, url, take)
            await until(lambda: len(ticker.hub))
            ticker.tick("the first one")
    assert line.cuts == 3
    assert [text.partition(" ")[0] for text in seen] == [str(number) for number in range(1, len(seen) + 1)]
    assert any("while nobody listens" in text for text in seen)


async def test_a_client_that_was_away_for_too_long_is_not_left_in_the_dark(ticker: Any, client: Any) -> None:
    ticker.kept = deque(ticker.kept, maxlen=3)

    def take(_text: str) -> None:
        ticker.tick("enough for the line to be cut")

    def tick_while_away() -> None:
        for _ in range(10):
            ticker.tick("while nobody listens")

    with anyio.fail_after(PATIENCE):
        async with (
            serving(ticker.handle) as listener,
            line_to(listener.port, 500, when_cut=tick_while_away) as (_, url),
        ):
            with pytest.raises(RuntimeError, match=r"ticks [0-9]+ to [0-9]+ are not kept any more"):
                await with_the_first(ticker, client.follow, url, take)


async def with_the_first(ticker: Any, follow: Any, url: str, take: Any) -> None:
    """Follow; the first tick comes when somebody listens."""

    async def begin() -> None:
        await until(lambda: len(ticker.hub))
        ticker.tick("the first one")

    failures: list[RuntimeError] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(begin)
        try:
            await follow(url, take)
        except RuntimeError as failure:
            failures.append(failure)
    raise failures[0]


@pytest.mark.parametrize("after", ["1", "-1", "", "x", "9" * 5000])
async def test_a_place_that_the_feed_does_not_have_is_refused(ticker: Any, after: str) -> None:
    async with serve_in_memory(ticker.handle) as connect:
        with pytest.raises(HandshakeRejected) as caught:
            async with connect(f"/?after={after}"):
                pass
    assert caught.value.status == 409


async def test_who_asks_for_all_gets_all_and_then_what_comes(ticker: Any) -> None:
    for number in range(1, 101):
        ticker.tick(f"old {number}")
    async with serve_in_memory(ticker.handle) as connect, connect("/?after=0") as conn:
        ticker.tick("new")
        for number in range(1, 101):
            assert await conn.receive() == f"{number} old {number}"
        assert await conn.receive() == "101 new"
        await until(lambda: len(ticker.hub))
        ticker.tick("newer")
        assert await conn.receive() == "102 newer"


@needs_signals
@as_a_program
async def test_the_ticker_consists_of_programs(tmp_path: Path) -> None:
    with example(tmp_path, "ticker_server", 0) as server:
        with example(tmp_path, "ticker_client", url_of(server)) as follower:
            follower.says(r"\d+ 10\d\.\d\n\d+ 10\d\.\d\n")
            stopped(follower)
        stopped(server)


# --- the plot


@pytest.fixture
def plot() -> Any:
    pytest.importorskip("rich")
    return part("live_plot")


def console(width: int, *, live: bool = False) -> tuple[Any, io.StringIO]:
    from rich.console import Console

    output = io.StringIO()
    return Console(file=output, width=width, height=20, force_terminal=live, color_system=None), output


async def test_the_plot_shows_the_newest_numbers(plot: Any) -> None:
    screen, output = console(41)
    async with websocket_stream_pair() as (reader, feed), anyio.create_task_group() as tasks:
        tasks.start_soon(plot.draw, reader, screen)
        for number in range(100):
            await feed.send(str(number))
        feed.close(1000)
    top, *rows, bottom = output.getvalue().splitlines()
    assert (float(top), float(bottom)) == (99, 60)
    assert len(rows) == 10
    assert rows[0].lstrip()[-1] == "█"
    assert rows[-1][0] == "▁"
    heights = [sum(" ▁▂▃▄▅▆▇█".index(row.ljust(40)[column]) for row in rows) for column in range(40)]
    assert heights == sorted(heights)
    assert (heights[0], heights[-1]) == (1, 80)


async def test_a_feed_that_breaks_down_is_no_plot(plot: Any) -> None:
    screen, _ = console(41)
    async with websocket_stream_pair() as (reader, feed):
        await feed.send("1")
        feed.close(1011, "out of numbers")
        with pytest.raises(ConnectionClosed, match="out of numbers"):
            await plot.draw(reader, screen)


async def test_without_a_url_the_plot_feeds_itself(plot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    screen, output = console(41, live=True)
    monkeypatch.setattr(plot, "Console", lambda: screen)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(plot.main, "")
        await until(lambda: output.getvalue().count("█") > 100)
        tasks.cancel_scope.cancel()


@as_a_program
async def test_the_plot_is_a_program(plot: Any, tmp_path: Path) -> None:
    async def numbers(request: WebSocketRequest) -> None:
        async with request.accept() as conn:
            for number in range(300):
                await conn.send(str(number))
            conn.close(1000)

    async with serving(numbers) as listener:
        with example(tmp_path, "live_plot", listener.url) as program:
            await until(lambda: program.process.poll() is not None)
            assert "299.00\n" in ended(program)
