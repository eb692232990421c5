"""The tool that changes the code to see whether tests notice does change it, and tells who noticed."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "tools"))

from mutations import mutants, mutated

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    ("before", "afters"),
    [
        ("x = a < b", {"x = a <= b", "x = a >= b"}),
        ("x = a and b", {"x = a or b", "x = a and a", "x = b and b"}),
        ("x = a + b", {"x = a - b"}),
        ("x += a", {"x -= a", "pass"}),
        ("x = not a", {"x = not (not a)"}),
        ("x = 7", {"x = 8"}),
        ("x = True", {"x = False"}),
        ("x = 'word'", {"x = 'wordX'"}),
        ("x = min(a, b)", {"x = max(a, b)"}),
        ("f()", {"pass"}),
        ("self.x = a", {"pass"}),
        ("if a:\n    x = b", {"if not a:\n    x = b"}),
        ("def f():\n    return a", {"def f():\n    return None"}),
        ("def f():\n    raise E('words')", {"def f():\n    pass"}),
        ("while a:\n    break", {"while not a:\n    break", "while a:\n    continue"}),
        # No change of these would make a difference that a test should see.
        ("def f(x: 'int') -> 'str':\n    '''Words.'''", set()),
        ("x = f'{a} words'", set()),
    ],
)
def test_each_place_is_changed_in_each_way(before: str, afters: set[str]) -> None:
    found = {ast.unparse(mutated(before, mutant)) for mutant in mutants(before)}
    assert found == {ast.unparse(ast.parse(after)) for after in afters}


@pytest.mark.skipif(not hasattr(os, "fork") or sys.platform != "linux", reason="forks, and reads /proc")
def test_it_names_what_survives_and_counts_what_is_noticed(tmp_path: Path) -> None:
    tests = tmp_path / "test_it.py"
    tests.write_text(
        "from websocketstream._protocol.close import is_valid_on_the_wire\n"
        "def test_it():\n    assert is_valid_on_the_wire(1000)\n    assert not is_valid_on_the_wire(999)\n"
    )
    source = (ROOT / "src/websocketstream/_protocol/close.py").read_text().splitlines()
    line = next(number for number, text in enumerate(source, 1) if "def is_valid_on_the_wire" in text)
    command = [
        sys.executable,
        "tests/tools/mutate.py",
        "src/websocketstream/_protocol/close.py",
        str(tests),
        f"--lines={line}-{line + 2}",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    verdicts = [line for line in done.stdout.splitlines() if ": survived: " in line]
    assert any("3000 becomes 3001" in verdict for verdict in verdicts)
    assert not any("return None" in verdict for verdict in verdicts)
    assert "never run" not in done.stdout
    assert " noticed" in done.stdout.splitlines()[-1]
