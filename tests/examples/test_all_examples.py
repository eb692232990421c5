"""What holds for every example: short, explained, on the list, and honest about what it needs."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.example_kit import EXAMPLES

PROGRAMS = sorted(EXAMPLES.glob("*.py"))
LIST = (EXAMPLES / "README.md").read_text("utf-8")
MOST_LINES = 60
ALWAYS_THERE = {*sys.stdlib_module_names, "anyio", "websocketstream"}

each_program = pytest.mark.parametrize("path", PROGRAMS, ids=[path.name for path in PROGRAMS])


def first_lines(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        match node:
            case ast.Import(names=names):
                yield from (alias.name.partition(".")[0] for alias in names)
            case ast.ImportFrom(module=str() as module):
                yield module.partition(".")[0]


@each_program
def test_it_is_short(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) < MOST_LINES


@each_program
def test_its_first_lines_say_how_it_is_run(path: Path) -> None:
    command = rf"^ *(?:python|pytest|uvicorn) .*\b{path.stem}\b"
    belongs_to_another = re.findall(r"\b(\w+)\.py serves it", first_lines(path))
    for program in [EXAMPLES / f"{name}.py" for name in belongs_to_another] or [path]:
        assert re.search(command.replace(path.stem, program.stem), first_lines(program), re.MULTILINE)


@each_program
def test_its_first_lines_say_what_it_needs(path: Path) -> None:
    beside = {program.stem for program in PROGRAMS}
    asked_for = set(re.findall(r"[\w-]+", " ".join(re.findall(r"pip install (.*)", first_lines(path)))))
    needs = {*imported(path)} - ALWAYS_THERE
    assert not [name for name in needs - beside if name not in asked_for]
    assert not [name for name in needs & beside if f"{name}.py" not in first_lines(path)]


def test_the_list_names_all_of_them_and_nothing_else() -> None:
    assert set(re.findall(r"\]\((\w+\.py)\)", LIST)) == {path.name for path in PROGRAMS}
