"""``bench``: what is counted, from when, and what is said of servers that do something else."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

from edges.serving import echo, serving
from waiting import Call, until
from websocketstream import ConnectFailed, WebSocketRequest
from websocketstream._cli import bench, bench_report
from websocketstream._cli.bench_run import Bench
from websocketstream._cli.bench_values import Load, NoEcho, Result
from websocketstream._cli.failures import CommandFailed
from websocketstream._cli.parsing import Parser
from websocketstream.testing import serve_in_memory

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: Any) -> str:
    """The event loops that the command line offers."""
    return request.param


def arguments(*words: str) -> argparse.Namespace:
    parser = Parser()
    bench.add_parser(parser.add_subparsers(parser_class=Parser))
    return parser.parse_args(["bench", *words])


# --- the measurement


@pytest.mark.parametrize(
    "load",
    [
        Load(messages=50),
        Load(messages=50, text=True),
        Load(messages=3, size=2**20, connections=2),
        Load(messages=200, connections=4, in_flight=7),
        Load(messages=2, connections=4),
        Load(messages=100, connections=3, rate=10_000),
        Load(messages=20, size=2**17, in_flight=20),  # more than there is room for
        Load(messages=5, size=0),
    ],
    ids=repr,
)
async def test_every_message_is_sent_and_timed_once(load: Load) -> None:
    received = 0

    async def count(request: WebSocketRequest) -> None:
        nonlocal received
        async with request.accept() as conn:
            async for message in conn:
                received += 1
                assert message == load.payload()
                await conn.send(message)

    async with serve_in_memory(count) as connect:
        result = await Bench(connect, load).run()
    assert result.went_well
    assert result.opened.count == load.connections
    assert result.sent == result.echoed == result.latencies.count == load.messages
    assert received == load.messages + load.connections  # each has been asked whether it echoes
    assert result.seconds >= result.latencies.most


async def test_with_seconds_it_ends_in_time_and_waits_for_the_last_echoes() -> None:
    async with serve_in_memory(echo) as connect:
        result = await Bench(connect, Load(seconds=0.1, connections=2, in_flight=2)).run()
    assert result.went_well
    assert result.sent == result.echoed > 4


async def test_with_a_rate_and_seconds_as_many_are_sent_as_were_due() -> None:
    async with serve_in_memory(echo) as connect:
        result = await Bench(connect, Load(seconds=0.2, rate=200, connections=3)).run()
    assert result.went_well
    assert result.sent == 40


async def test_a_latency_counts_from_when_the_message_was_due_not_from_when_it_left() -> None:
    """The server reads nothing for a while, so that nothing can be sent; that is not to be forgotten."""
    load = Load(messages=30, size=2**18, rate=300)
    reads = anyio.Event()

    async def stall(request: WebSocketRequest) -> None:
        async with request.accept() as conn:
            await conn.send(await conn.receive())
            await reads.wait()
            async for message in conn:
                await conn.send(message)

    async with serve_in_memory(stall, read_buffer=1) as connect, anyio.create_task_group() as tasks:
        measurement = Bench(connect, load)
        running = Call.start(tasks, measurement.run)
        await until(lambda: measurement._links and len(measurement._links[0].due) >= 20)
        reads.set()
        result = await running.finished()
    assert result.echoed == 30
    assert result.went_well
    # The 20 that waited were due at intervals of 1/300 s, and none came back before all of them were.
    assert result.latencies.most >= 18 / 300
    assert result.latencies.total >= sum(range(19)) / 300


async def test_what_has_not_come_back_counts_with_the_time_that_it_has_waited() -> None:
    async def swallow(request: WebSocketRequest) -> None:
        async with request.accept() as conn:
            for _ in range(1 + 3):
                await conn.send(await conn.receive())
            async for _ in conn:
                pass

    async with serve_in_memory(swallow) as connect:
        result = await Bench(connect, Load(messages=5, rate=1000, timeout=0.2)).run()
    assert (result.sent, result.echoed, result.overdue) == (5, 3, 2)
    assert result.latencies.count == 5
    assert result.latencies.most >= 0.2
    assert not result.went_well


async def test_a_number_of_messages_ends_also_when_the_server_falls_silent() -> None:
    async def fall_silent(request: WebSocketRequest) -> None:
        async with request.accept() as conn:
            for _ in range(1 + 3):
                await conn.send(await conn.receive())
            async for _ in conn:
                pass

    async with serve_in_memory(fall_silent) as connect:
        with anyio.fail_after(15):
            result = await Bench(connect, Load(messages=1000, timeout=1)).run()
    assert (result.sent, result.echoed, result.overdue) == (4, 3, 1)
    assert not result.went_well


async def test_a_greeting_is_no_echo_and_no_obstacle() -> None:
    async def greet(request: WebSocketRequest) -> None:
        async with request.accept() as conn:
            await conn.send("welcome")
            async for message in conn:
                await conn.send(message)

    async with serve_in_memory(greet) as connect:
        assert (await Bench(connect, Load(messages=3)).run()).went_well


async def test_a_server_that_says_something_else_in_between_is_noted() -> None:
    async def chatter(request: WebSocketRequest) -> None:
        async with request.accept() as conn:
            async for message in conn:
                await conn.send(message)
                await conn.send("by the way")

    async with serve_in_memory(chatter) as connect:
        result = await Bench(connect, Load(messages=3)).run()
    assert (result.echoed, result.overdue) == (3, 0)
    assert result.unexpected >= 3
    assert not result.went_well


@pytest.mark.parametrize(
    ("answer", "shown"), [("hello\x1b[2J", r"'hello\\e[2J'"), (b"\xff\x00", r"'\\xff\\x00'")]
)
async def test_a_server_that_answers_something_else_does_not_echo(answer: Any, shown: str) -> None:
    async def answering(request: WebSocketRequest) -> None:
        async with request.accept() as conn:
            async for _ in conn:
                await conn.send(answer)

    async with serve_in_memory(answering) as connect:
        with pytest.raises(NoEcho) as caught:
            await Bench(connect, Load(timeout=0.1)).run()
    sentence = bench_report.not_an_echo(caught.value, 0.1)
    assert sentence.startswith("the server does not echo")
    assert sentence.endswith(f"within 0.1 s it sent 1 other message, the last {shown}")


async def test_a_server_that_says_nothing_does_not_echo() -> None:
    async def silent(request: WebSocketRequest) -> None:
        async with request.accept() as conn:
            async for _ in conn:
                pass

    async with serve_in_memory(silent) as connect:
        with pytest.raises(NoEcho) as caught:
            await Bench(connect, Load(timeout=0.1, connections=3)).run()
    assert bench_report.not_an_echo(caught.value, 0.1).endswith("it sent nothing back")


@pytest.mark.parametrize("rate", [None, 1000.0])
async def test_a_connection_that_ends_is_an_error_and_the_others_go_on(rate: float | None) -> None:
    visits = 0

    async def one_breaks(request: WebSocketRequest) -> None:
        nonlocal visits
        visits += 1
        breaks = visits == 2
        async with request.accept() as conn:
            async for message in conn:
                await conn.send(message)
                if breaks:
                    conn.close(1011, "out of memory")

    async with serve_in_memory(one_breaks) as connect:
        result = await Bench(connect, Load(seconds=0.2, connections=3, rate=rate, timeout=1)).run()
    assert result.echoed > 0
    assert not result.went_well
    assert "out of memory" in " ".join(result.errors)


async def test_when_all_connections_end_it_does_not_wait_any_longer() -> None:
    async def once(request: WebSocketRequest) -> None:
        async with request.accept() as conn:
            await conn.send(await conn.receive())

    async with serve_in_memory(once) as connect:
        with anyio.fail_after(15):
            result = await Bench(connect, Load(seconds=1000, connections=2)).run()
    assert not result.went_well
    assert result.errors["the server closed the connection"] == 2


async def test_when_nothing_can_be_opened_the_first_failure_comes_out() -> None:
    def connect() -> Any:
        raise_ = ConnectFailed("cannot connect")

        class Block:
            async def __aenter__(self) -> None:
                raise raise_

            async def __aexit__(self, *_: object) -> None: ...

        return Block()

    with pytest.raises(ConnectFailed):
        await Bench(connect, Load(connections=3)).run()


# --- the command


async def test_the_command_shows_figures_and_writes_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "out.json"
    async with serving() as listener:
        url = listener.url.replace("//", "//me:secret@")
        code = await bench.run(arguments("-c", "2", "--messages", "30", "--text", "--json", str(file), url))
    assert code == 0
    shown = capsys.readouterr().out
    assert "2 connections, text messages of 64 B, 1 under way in each, 30 messages" in shown
    assert "30 of 30 came back" in shown
    assert "p99.9" in shown
    assert "#####" in shown
    assert "secret" not in shown
    figures = json.loads(file.read_text())
    assert figures["messages"]["echoed"] == 30
    assert figures["latency"].keys() == {"mean", "p50", "p90", "p99", "p99.9", "max"}
    assert sum(bar["count"] for bar in figures["histogram"]) == 30
    assert figures["url"] == listener.url


async def test_the_figures_may_go_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    async with serving() as listener:
        await bench.run(arguments("--messages", "3", "--rate", "1000", "--json", "-", listener.url))
    figures = json.loads(capsys.readouterr().out)
    assert figures["load"]["rate"] == 1000
    assert figures["messages"]["sent"] == 3


async def test_the_command_says_that_a_server_does_not_echo() -> None:
    async def silent(request: WebSocketRequest) -> None:
        async with request.accept() as conn:
            async for _ in conn:
                pass

    async with serving(silent) as listener:
        with pytest.raises(CommandFailed, match="does not echo") as caught:
            await bench.run(arguments("--timeout", "0.1", listener.url))
    assert caught.value.code == 1


async def test_options_that_make_no_sense_are_explained(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CommandFailed) as caught:
        await bench.run(arguments("htp://localhost"))
    assert caught.value.code == 2
    for words in (["--rate", "0"], ["--rate", "5", "--in-flight", "2"], ["--messages", "0"], ["--size", "x"]):
        with pytest.raises(SystemExit):
            arguments(*words, "ws://localhost")


async def test_figures_that_cannot_be_written_are_said(tmp_path: Path) -> None:
    async with serving() as listener:
        with pytest.raises(CommandFailed, match="cannot write"):
            await bench.run(arguments("--messages", "3", "--json", str(tmp_path / "no" / "x"), listener.url))


def test_on_a_terminal_it_is_drawn_in_colour(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("rich")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    result = Result(sent=3, echoed=2, seconds=1.0, overdue=1)
    for latency in (0.001, 0.002, 0.1):
        result.latencies.add(latency)
    result.fail(OSError("broken\x1b[2J"))
    bench_report.show("ws://localhost", Load(), result)
    shown = capsys.readouterr().out
    assert "\u2588" in shown
    assert "missing" in shown
    assert r"broken\e[2J" in shown


async def test_a_rare_slow_message_is_seen_in_the_histogram() -> None:
    result = Result()
    for _ in range(100_000):
        result.latencies.add(0.001)
    result.latencies.add(1.0)
    rows = list(bench_report.histogram(result.latencies))
    assert rows[0][1] == "#" * bench_report.BAR
    assert rows[-1][1] == "#"
    assert not any(bar for _, bar, _ in rows[1:-1])


def test_messages_are_binary_unless_they_are_to_be_text() -> None:
    assert not arguments("ws://localhost").text
    assert not arguments("--binary", "ws://localhost").text
    assert arguments("--text", "ws://localhost").text
