"""Completion in the shells: the scripts are made from the parsers, and the shells themselves take them."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from pathlib import Path

import pytest

from cli.cli_kit import LIMIT
from websocketstream._cli import completion
from websocketstream._cli.completion import SHELLS, Option, described, script
from websocketstream._cli.parsing import COMMANDS

ALL_HERE = all(importlib.util.find_spec(f"websocketstream._cli.{name}") for name in COMMANDS)

COMPLETED = {
    "": [Option(("-x", "--send"), "send it's [text]: now", ()), Option(("--kind",), "which", ("one", "two"))],
    "serve": [Option(("--echo",), "answer", None), Option((), "", ("a", "b"))],
}


@pytest.mark.skipif(not ALL_HERE, reason="a command is missing")
def test_every_command_and_every_option_is_in_the_scripts() -> None:
    commands = dict(described())
    assert [*commands] == ["", *COMMANDS]
    for shell in SHELLS:
        text = script(shell, commands)
        for options in commands.values():
            for flag in (flag for option in options for flag in option.flags):
                assert (flag.lstrip("-") if shell == "fish" else flag) in text


def run_bash(tmp_path: Path, words: list[str]) -> list[str]:
    """Return what bash completes the last of some words to."""
    file = tmp_path / "completion.bash"
    file.write_text(script("bash", COMPLETED))
    line = " ".join(f"'{word}'" for word in words)
    done = subprocess.run(
        ["bash", "-c", f'. "$0"; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _websocketstream; printf "%s\\n" "${{COMPREPLY[@]}}"', str(file)],
        capture_output=True, text=True, timeout=LIMIT, check=True, cwd=tmp_path,
    )  # fmt: skip
    assert not done.stderr
    return done.stdout.split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
@pytest.mark.parametrize(
    ("words", "completed"),
    [
        (["wstream", ""], ["serve", "-x", "--send", "--kind"]),
        (["wstream", "se"], ["serve"]),
        (["wstream", "--k"], ["--kind"]),
        (["wstream", "--kind", ""], ["one", "two"]),
        (["wstream", "--send", "comp"], ["completion.bash"]),
        (["wstream", "serve", ""], ["--echo", "a", "b"]),
        (["wstream", "serve", "--e"], ["--echo"]),
    ],
)
def test_bash_completes(tmp_path: Path, words: list[str], completed: list[str]) -> None:
    assert run_bash(tmp_path, words) == completed


@pytest.mark.parametrize(("shell", "check"), [("bash", ["-n"]), ("zsh", ["-n"]), ("fish", ["--no-execute"])])
def test_the_shell_finds_nothing_wrong(shell: str, check: list[str], tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell}")
    file = tmp_path / "script"
    file.write_text(script(shell, COMPLETED))
    done = subprocess.run([shell, *check, str(file)], capture_output=True, timeout=LIMIT, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_the_script_is_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from websocketstream._cli.main import main

    monkeypatch.setattr(completion, "described", lambda: iter(COMPLETED.items()))
    for shell in SHELLS:
        assert main(["completion", shell]) == 0
        assert capsys.readouterr().out == script(shell, COMPLETED)
