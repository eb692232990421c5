"""The hot path that runs is the one that is read: compiled from the source beside it, with every attribute declared."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from sources import COMPILED, SOURCE
from websocketstream._network import hot as below
from websocketstream._protocol.engine import ENGINE
from websocketstream._streams import hot

ROOMS = {
    "_protocol": [hot.life],
    "_network": [below.calls, below.readiness, below.system_calls, below.tls_records, below.wakeups],
    "_streams": [hot.budget, hot.receive_buffer, hot.send_buffer, hot.writer, hot.reader, hot.ends],
}
SOURCES = {
    module.__name__.rpartition(".")[2]: SOURCE / room / f"{module.__name__.rpartition('.')[2]}.py"
    for room, modules in ROOMS.items()
    for module in modules
}
each_module = pytest.mark.parametrize("name", SOURCES)
PATHS = [Path(module.__file__ or "") for modules in ROOMS.values() for module in modules]


def slots_of(name: str) -> dict[str, set[str]]:
    """The attributes of a module's classes."""
    tree = ast.parse(SOURCES[name].read_text("utf-8"))
    return {
        definition.name: set(ast.literal_eval(line.value))
        for definition in tree.body
        if isinstance(definition, ast.ClassDef)
        for line in definition.body
        if isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) == "__slots__"
    }


def declared_in(name: str) -> dict[str, set[str]]:
    """The attributes that have C types."""
    text = (SOURCE / COMPILED / f"{name}.pxd").read_text("utf-8")
    classes = re.split(r"^cdef class (\w+):$", text, flags=re.MULTILINE)[1:]
    return {
        title: set(re.findall(r"^    cdef (?:public |readonly )?\w+ (\w+)$", body, re.MULTILINE))
        for title, body in zip(classes[::2], classes[1::2], strict=True)
    }


@each_module
def test_every_attribute_of_a_compiled_class_has_a_type_and_nothing_else_has(name: str) -> None:
    declared = declared_in(name)
    assert declared
    slots = slots_of(name)
    assert declared == {title: slots[title] for title in declared}


def test_whoever_has_the_compiled_codec_has_the_compiled_hot_path() -> None:
    assert (ENGINE == "compiled") == hot.IS_COMPILED == below.IS_COMPILED
    for room, modules in ROOMS.items():
        assert {module.__name__.split(".")[1] for module in modules} == {
            COMPILED if hot.IS_COMPILED else room
        }


@pytest.mark.skipif(not hot.IS_COMPILED, reason="the hot path was not compiled")
@pytest.mark.parametrize("path", PATHS, ids=[path.name.partition(".")[0] for path in PATHS])
def test_what_was_compiled_is_no_older_than_its_source(path: Path) -> None:
    if not path.is_relative_to(SOURCE):
        pytest.skip("it was not built in place")
    name = path.name.partition(".")[0]
    # All types, not only its own: modules know the layout of each other's objects in memory.
    types = [SOURCE / COMPILED / f"{other.name.partition('.')[0]}.pxd" for other in PATHS]
    changed = max(file.stat().st_mtime for file in (SOURCES[name], *types))
    assert path.stat().st_mtime >= changed, "pip install -e . again: tests would not see what was changed"
