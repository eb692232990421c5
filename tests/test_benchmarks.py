"""The benchmark suite runs: a fraction of a second of it, and nothing is said about how fast."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parent.parent

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the suite reads /proc and polls with epoll")


def run_benchmarks(*arguments: str, status: int = 0, checkout: Path = CHECKOUT) -> str:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "benchmarks", *arguments]
    done = subprocess.run(
        command, cwd=checkout, env=environment, capture_output=True, text=True, timeout=150, check=False
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_a_client_row_and_a_server_row_have_figures_for_us_and_for_a_bare_socket(tmp_path):
    figures, plot = tmp_path / "figures.json", tmp_path / "plot.svg"
    arguments = [
        "--rows",
        "receive-64,many-1",
        "--contenders",
        "websocketstream,raw",
        "--backends",
        "asyncio",
    ]
    output = run_benchmarks(
        *arguments, "--rounds", "1", "--seconds", "0.02", f"--json={figures}", f"--plot={plot}"
    )
    assert "receive-64" in output
    results = json.loads(figures.read_text())
    assert results["failures"] == []
    assert results["figures"]["receive-64"]["asyncio"]["websocketstream"][0]["rate"] > 0
    assert results["figures"]["receive-64"]["none"]["raw"][0]["rate"] > 0
    assert results["figures"]["many-1"]["asyncio"]["websocketstream"][0]["wall"] > 0
    assert plot.read_text().startswith("<svg")


@pytest.mark.parametrize(
    ("row", "figure", "backend", "raw_too"),
    [
        ("receive-deflate", "rate", "trio", False),
        ("send-deflate", "rate", "asyncio", False),
        ("accept", "rate", "trio", True),
        ("accept-tls", "rate_per_cpu", "asyncio", True),
        ("memory-tls", "memory", "trio", False),
        ("memory-deflate", "memory", "asyncio", False),
        ("many-100-tls", "cpu", "trio", True),
        ("broadcast-1000", "cpu", "asyncio", True),
        ("two-processes", "rate", "trio", True),
        ("asgi-echo-100", "cpu", "asyncio", False),
    ],
)
def test_each_kind_of_row_has_a_figure(row, figure, backend, raw_too, tmp_path):
    figures = tmp_path / "figures.json"
    contenders = "websocketstream,raw" if raw_too else "websocketstream"
    run_benchmarks(
        "--rows", row, "--contenders", contenders, "--backends", backend,
        "--rounds", "1", "--seconds", "0.02", f"--json={figures}",
    )  # fmt: skip
    results = json.loads(figures.read_text())
    assert results["failures"] == []
    assert results["figures"][row][backend]["websocketstream"][0][figure] > 0
    if raw_too:
        assert results["figures"][row]["none"]["raw"][0][figure] > 0


@pytest.mark.parametrize("compressed", [True, False])
def test_a_client_that_does_not_compress_although_it_was_asked_to_is_found_out(compressed, monkeypatch):
    monkeypatch.syspath_prepend(CHECKOUT)
    from benchmarks import frames

    command = [sys.executable, "-m", "benchmarks.peer", "", "at-once", ""]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, cwd=CHECKOUT, **pipes) as peer:  # it ends when its input does
        port = json.loads(peer.stdout.readline())["port"]
        with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
            sock.sendall(
                frames.request("here", "/sink?size=4096&text=1&deflate=1&ack=1", frames.DEFLATE_OFFER)
            )
            head = sock.recv(4096)
            assert b"client_max_window_bits=12" in head
            data = frames.records(4096)
            if compressed:
                data = frames.deflated(data, 12)
            frame = frames.client_frame(data, text=True, compressed=compressed)
            sock.sendall(frame[:3])
            sock.sendall(frame[3:])
            assert sock.recv(4096) == (frames.server_frame(b"ok", text=True) if compressed else b"")


def test_the_bars_compare_saved_figures_with_the_right_peer(tmp_path):
    def rounds(*rates):
        return [{"rate": rate, "busy": 1.0} for rate in rates]

    saved = tmp_path / "figures.json"
    on_asyncio = {
        "websocketstream": rounds(100, 260, 5000),
        "picows.websockets": rounds(200),
        "websockets": rounds(40),
    }
    figures = {"receive-64": {"asyncio": on_asyncio}}
    saved.write_text(
        json.dumps({"environment": {}, "skipped": {"aiohttp": "gone"}, "figures": figures, "failures": []})
    )
    tables = tmp_path / "tables.md"
    output = run_benchmarks("--bars", f"--from={saved}", f"--markdown={tables}")
    line = next(line for line in output.splitlines() if "picows.websockets" in line and "receive-64" in line)
    assert "260" in line
    assert "1.30" in line
    assert "NOT" not in line
    assert "skipped: aiohttp: gone" in output
    assert (
        "| receive-64 | asyncio | 260 | picows.websockets | 200 | 1.30 | >= 1.3 | met | +0% |"
        in tables.read_text()
    )


def test_a_bar_may_be_about_another_figure_than_the_first_and_about_our_own_other_row(tmp_path):
    saved, tables = tmp_path / "figures.json", tmp_path / "tables.md"
    ours = {row: {"wall": 1.0, "cpu": cpu} for row, cpu in (("many-10", 10.0), ("many-1000", 12.0))}
    figures = {row: {"trio": {"websocketstream": [each]}} for row, each in ours.items()}
    figures["many-10"]["trio"]["trio-websocket"] = [{"wall": 9.0, "cpu": 50.0}]
    saved.write_text(json.dumps({"environment": {}, "figures": figures}))
    run_benchmarks("--bars", f"--from={saved}", f"--markdown={tables}")
    lines = tables.read_text().splitlines()
    assert (
        "| many-10 cpu | trio | 10 | best peer: trio-websocket | 50 | 0.20 | <= 0.25 | met | +25% |" in lines
    )
    assert "| many-1000 cpu | trio | 12 | ours on 10 | 10 | 1.20 | <= 1.3 | met | +8% |" in lines


def test_a_comparison_tells_worse_from_as_good_from_better_from_noise(tmp_path):
    def rounds(*rates):
        return [{"rate": rate, "busy": 1.0} for rate in rates]

    saved = tmp_path / "figures.json"
    steady = rounds(100, 101, 99, 100, 102, 98, 100, 100)
    afters = {
        "receive-64": rounds(90, 91, 89, 90, 92, 88, 90, 90),
        "receive-1k": rounds(96, 97, 96, 97, 98, 96, 97, 30),
        "send-64": rounds(110, 111, 109, 110, 112, 108, 110, 110),
        "send-1k": rounds(90, 110, 80, 120, 70, 130, 60, 140),
        "receive-16": rounds(10, 10),
    }
    figures = {
        row: {"asyncio": {"before": steady[: len(after)], "after": after}} for row, after in afters.items()
    }
    figures["echo-64"] = {
        "trio": {"before": [{"instructions": 100.0}], "after": [{"instructions": 106.0}]},
    }
    environment = {"before": "abc123 Say hello", "after": "the working tree"}
    saved.write_text(json.dumps({"environment": environment, "figures": figures}))
    output = run_benchmarks("--compare", "abc123", f"--from={saved}", status=1)
    assert {
        cells[0].split()[0]: (cells[5], cells[8])
        for cells in (re.split(" {2,}", line) for line in output.splitlines())
        if cells[1:2] in (["asyncio"], ["trio"])
    } == {
        "receive-64": ("0.900", "WORSE"),
        "receive-1k": ("0.965", "as good"),  # one bad round of eight changes nothing
        "send-64": ("1.100", "better"),
        "send-1k": ("0.995", "noise"),
        "receive-16": ("0.100", "too few rounds"),
        "echo-64": ("0.943", "WORSE"),  # counted, so once is enough
    }


def committed_copy(folder):
    """Commit the library and the benchmarks to a repository of their own."""
    ignored = shutil.ignore_patterns("*.so", "*.c", "__pycache__")
    for name in ("src", "benchmarks"):
        shutil.copytree(CHECKOUT / name, folder / name, ignore=ignored)
    for name in ("setup.py", "pyproject.toml", "README.md", ".gitignore"):
        shutil.copy(CHECKOUT / name, folder)
    for arguments in (
        ["init", "-q"],
        ["add", "."],
        ["-c", "user.name=A", "-c", "user.email=a@b.c", "commit", "-q", "-m", "Fast"],
    ):
        subprocess.run(["git", *arguments], cwd=folder, check=True)
    return folder


def slow_down(copy, statement):
    with (copy / "src" / "websocketstream" / "__init__.py").open("a") as module:
        module.write(
            "\nimport time\n_fast = open_websocket_stream\n"
            "def open_websocket_stream(*args, **options):\n"
            f"    {statement}\n    return _fast(*args, **options)\n"
        )


@pytest.mark.timeout(180)  # twenty processes, one after the other
@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_a_working_tree_that_is_slower_than_its_commit_is_found_out(tmp_path, monkeypatch):
    monkeypatch.setenv("WEBSOCKETSTREAM_BUILD_EXTENSION", "0")  # a build takes longer than all rounds
    copy = committed_copy(tmp_path / "checkout")
    slow_down(copy, "time.sleep(0.1)")
    output = run_benchmarks(
        "--compare=HEAD", "--rows=connect", "--backends=asyncio", "--rounds=5", "--seconds=0.02",
        status=1, checkout=copy,
    )  # fmt: skip
    assert output.splitlines()[1].endswith("WORSE")
    assert "before: " in output
    assert " Fast" in output


@pytest.mark.timeout(180)  # Valgrind makes everything fifty times slower
@pytest.mark.skipif(not (shutil.which("git") and shutil.which("valgrind")), reason="needs git and valgrind")
def test_the_guard_compares_with_the_commit_that_the_change_is_based_on(tmp_path, monkeypatch):
    monkeypatch.setenv("WEBSOCKETSTREAM_BUILD_EXTENSION", "0")
    copy = committed_copy(tmp_path / "checkout")
    slow_down(copy, "sum(range(20_000))")
    output = run_benchmarks(
        "--guard", "--rows=connect,send-64", "--backends=asyncio", status=1, checkout=copy
    )
    connect, send = output.splitlines()[1:3]
    assert connect.endswith("WORSE")
    assert send.endswith("as good")
    assert " Fast" in output


def test_the_guard_is_skipped_without_valgrind(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "guard skipped: valgrind is not installed" in run_benchmarks("--guard")


def test_instructions_are_not_counted_without_valgrind(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    output = run_benchmarks("--compare=HEAD", "--instructions", status=1)
    assert "instructions cannot be counted: valgrind is not installed" in output


def test_a_file_goes_through_the_command_line_and_through_nc(tmp_path):
    command = [sys.executable, "-m", "benchmarks.file_through_cli", "--quick", f"--directory={tmp_path}"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"websocketstream +4 MiB .* MiB/s each way", done.stdout)
    assert "no comparison: " in done.stdout or "of what nc moves" in done.stdout
