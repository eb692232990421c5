"""The examples that are a program by themselves, or a server and a client: run as their users do."""

from __future__ import annotations

import re
import signal
import sys
from pathlib import Path

import anyio
import pytest

from edges.serving import serving
from examples.example_kit import (
    ENVIRONMENT,
    EXAMPLES,
    both_backends,
    copied,
    ended,
    example,
    part,
    stopped,
    url_of,
)
from interop.programs import running
from ports import free_port
from waiting import PATIENCE
from websocketstream import ConnectFailed, open_websocket_stream
from websocketstream.testing import serve_in_memory

needs_signals = pytest.mark.skipif(sys.platform == "win32", reason="sends signals")


@needs_signals
@both_backends
def test_the_echo_programs_talk_to_each_other_and_ctrl_c_ends_the_server(
    tmp_path: Path, backend: str
) -> None:
    with example(tmp_path, "echo_server", 0, backend=backend) as server:
        with example(tmp_path, "echo_client", url_of(server), "one", "two", backend=backend) as client:
            assert ended(client) == "one\ntwo\nthe server said: CloseInfo(code=1005, reason='', clean=True)\n"
        assert "shutting down because of SIGINT" in stopped(server)


def test_the_echo_client_explains_a_failure(tmp_path: Path) -> None:
    with example(tmp_path, "echo_client", f"ws://127.0.0.1:{free_port()}") as client:
        assert ended(client, code=1).startswith("no connection: cannot connect to 127.0.0.1 port")


@pytest.mark.parametrize(
    ("name", "others"), [("camera", []), ("voice_caller", []), ("live_plot", []), ("echo_client", ["hello"])]
)
def test_a_client_whose_server_does_not_run_says_so(tmp_path: Path, name: str, others: list[str]) -> None:
    if name == "live_plot":
        pytest.importorskip("rich")
    url = f"ws://127.0.0.1:{free_port()}"
    with example(tmp_path, name, url, *others) as client:
        assert re.fullmatch(r"no connection: cannot connect to 127\.0\.0\.1 port .*\n", ended(client, code=1))


@pytest.mark.parametrize("name", ["file_server", "tcp_bridge_server", "tcp_bridge_client"])
def test_who_gives_no_arguments_where_some_are_needed_reads_how_it_is_run(tmp_path: Path, name: str) -> None:
    with example(tmp_path, name) as program:
        said = ended(program, code=1)
    assert f"\n    python {name}.py " in said
    assert "Traceback" not in said


@pytest.mark.anyio
async def test_the_slow_reader_loses_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    await part("slow_reader").main()
    said = capsys.readouterr().out
    assert "producer: all handed over, held back for" in said
    assert "reader: all 100 read, then connection closed by the peer" in said


@pytest.mark.anyio
async def test_tls_lets_in_who_knows_the_authority_and_nobody_else(
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("trustme")
    await part("tls_with_trustme").main()
    one, other = capsys.readouterr().out.splitlines()
    assert one == "hello came back over TLSv1.3"
    assert other.startswith("who does not know the authority:")
    assert "certificate" in other


@pytest.mark.anyio
async def test_typed_commands_are_carried_out_and_the_others_explained(
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("msgspec")
    await part("typed_json").main()
    assert capsys.readouterr().out.splitlines() == [
        "Answer(value=3.0, problem=None)",
        "Answer(value='hahaha', problem=None)",
        "Answer(value=None, problem='Expected `float`, got `str` - at `$.numbers[0]`')",
    ]


@pytest.mark.anyio
async def test_what_is_no_command_costs_no_connection() -> None:
    msgspec = pytest.importorskip("msgspec")
    typed = part("typed_json")
    async with serve_in_memory(typed.calculate) as connect, connect() as conn:
        for nonsense in ("", "{", b"\xff", '{"type": "Explode"}', "[]", '{"type": "Add"}'):
            await conn.send(nonsense)
            answer = msgspec.json.decode(await conn.receive(), type=typed.Answer)
            assert answer.value is None
            assert answer.problem
        await conn.send('{"type": "Add", "numbers": [2, 2]}')
        assert msgspec.json.decode(await conn.receive(), type=typed.Answer).value == 4


# --- graceful shutdown


@needs_signals
@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_what_clients_have_sent_is_saved_before_the_program_ends(tmp_path: Path) -> None:
    with example(tmp_path, "graceful_shutdown", 0) as server:
        async with open_websocket_stream(url_of(server)) as conn:
            for number in (1, 2, 3):
                await conn.send("a line")
                assert await conn.receive() == f"{number} noted"
            server.process.send_signal(signal.SIGTERM)
            assert (await conn.closed).code == 1001
        output = ended(server)
        with pytest.raises(ConnectFailed):
            async with open_websocket_stream(url_of(server)):
                pass
    assert "Traceback" not in output
    assert output.index("saved 3 lines of s") < output.index("all is saved")


@pytest.mark.anyio
async def test_the_lines_of_a_client_that_leaves_are_saved_too(capsys: pytest.CaptureFixture[str]) -> None:
    async with serving(part("graceful_shutdown").collect) as listener:
        async with open_websocket_stream(listener.url) as conn:
            await conn.send("a line")
            assert await conn.receive() == "1 noted"
        with anyio.fail_after(PATIENCE):
            await listener.aclose()
    assert capsys.readouterr().out.startswith("saved 1 lines of s")


# --- the tests of one's own application


def test_the_tests_of_ones_own_application_run_in_a_clone_with_what_they_need_and_no_more(
    tmp_path: Path,
) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:timeout", "-p", "no:cacheprovider"]
    environment = {**ENVIRONMENT, "PYTEST_ADDOPTS": ""}
    with running([*command, EXAMPLES / "test_my_app.py"], tmp_path, environment) as tests:
        assert "6 passed" in ended(tests)


def test_the_tests_of_ones_own_application_pass_and_notice_a_mistake(tmp_path: Path) -> None:
    right = copied(tmp_path, "test_my_app")
    mistaken = right.read_text("utf-8").replace("(int(start), 0, -1)", "(int(start), 1, -1)")
    right.with_name("test_with_a_mistake.py").write_text(mistaken, "utf-8")
    command = [sys.executable, "-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider", tmp_path]
    with running(command, tmp_path, {**ENVIRONMENT, "PYTEST_ADDOPTS": ""}) as tests:
        output = ended(tests, code=1)
    assert "2 failed, 10 passed" in output
    assert output.count("FAILED test_with_a_mistake.py::test_it_counts_and_says_goodbye") == 2
