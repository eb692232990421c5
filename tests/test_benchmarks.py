"""The benchmark suite runs: a fraction of a second of it, and nothing is said about how fast."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parent.parent

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the suite reads /proc and polls with epoll")


def run_benchmarks(*arguments: str) -> str:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "benchmarks", *arguments]
    done = subprocess.run(
        command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


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
