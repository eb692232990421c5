"""What is public is chosen, not leaked: `__all__`, what can be imported and what the reference documents are the same."""

from __future__ import annotations

import inspect
import re
import typing
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import websocketstream
from websocketstream import (
    Compression,
    HandshakeLimits,
    accept_upgraded,
    asgi,
    blocking,
    open_websocket_stream,
    serve_websocket_streams,
    testing,
    uvicorn,
)
from websocketstream._cli.reference import readable

REFERENCE = Path(__file__).parent.parent / "docs" / "reference"
DIRECTIVE = re.compile(
    r"^\.\. auto(?:class|exception|function|data):: (websocketstream[.\w]*)\.(\w+)", re.MULTILINE
)
PUBLIC_MODULES = [websocketstream, asgi, blocking, testing, uvicorn]
ROW = re.compile(r"^\| `(\w+)` \| (.*) \|$", re.MULTILINE)


def documented(module: str) -> list[str]:
    text = "".join(page.read_text("utf-8") for page in sorted(REFERENCE.glob("*.md")))
    return [name for owner, name in DIRECTIVE.findall(text) if owner == module]


def test_all_is_what_can_be_imported() -> None:
    leaked = {name for name in vars(websocketstream) if not name.startswith("_")}
    # Submodules are attributes once somebody has imported them, and `annotations` comes from __future__.
    leaked -= {name for name in leaked if isinstance(getattr(websocketstream, name), ModuleType)} | {
        "annotations"
    }
    assert sorted(leaked) == sorted(websocketstream.__all__)


def test_all_is_sorted_and_has_no_name_twice() -> None:
    for module in PUBLIC_MODULES:
        assert len(set(module.__all__)) == len(module.__all__)
        assert module is websocketstream or sorted(module.__all__) == module.__all__


@pytest.mark.parametrize("module", PUBLIC_MODULES, ids=lambda module: module.__name__)
def test_the_reference_documents_every_public_name_once(module: ModuleType) -> None:
    assert sorted(documented(module.__name__)) == sorted(module.__all__)


@pytest.mark.parametrize("module", PUBLIC_MODULES, ids=lambda module: module.__name__)
def test_every_public_name_has_a_docstring_that_starts_with_a_sentence(module: ModuleType) -> None:
    for name in module.__all__:
        if isinstance(getattr(module, name), str):
            continue  # data has no docstring of its own; the reference says what it is
        doc = inspect.getdoc(getattr(module, name))
        assert doc, name
        first = doc.split("\n\n")[0]
        assert re.search(r"[.:]$|\.\s", first), f"{name}: {first!r}"


@pytest.mark.parametrize("name", websocketstream.__all__)
def test_every_public_method_has_a_docstring(name: str) -> None:
    value = getattr(websocketstream, name)
    if not inspect.isclass(value):
        return
    for member, thing in vars(value).items():
        if member.startswith("_") or not (inspect.isfunction(thing) or isinstance(thing, property)):
            continue
        assert inspect.getdoc(thing), f"{name}.{member}"


@pytest.mark.parametrize("module", PUBLIC_MODULES, ids=lambda module: module.__name__)
def test_what_is_public_says_where_users_import_it_from(module: ModuleType) -> None:
    for name in module.__all__:
        value = getattr(module, name)
        if not isinstance(value, str):
            assert value.__module__ == module.__name__, name


@pytest.mark.parametrize("name", [name for name in websocketstream.__all__ if name[0].isupper()])
def test_the_bases_of_what_is_public_are_public(name: str) -> None:
    for base in getattr(websocketstream, name).__mro__:
        if base.__module__.partition(".")[0] == "websocketstream":
            assert getattr(websocketstream, base.__qualname__) is base
            assert base.__module__ == "websocketstream"


@pytest.mark.parametrize("name", websocketstream.__all__)
def test_the_types_of_what_is_public_can_be_resolved(name: str) -> None:
    value = getattr(websocketstream, name)
    if not isinstance(value, str):
        typing.get_type_hints(value)


def defaults(function: object) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(function).parameters)  # type: ignore[arg-type]


def shown(value: object) -> str:
    return "(required)" if value is inspect.Parameter.empty else readable(value)


def test_the_option_tables_have_every_option_with_its_real_default() -> None:
    client, server = defaults(open_websocket_stream), defaults(serve_websocket_streams)
    sections = (REFERENCE / "options.md").read_text("utf-8").split("\n## ")
    tables = {section.splitlines()[0]: ROW.findall(section) for section in sections}

    def check(row: tuple[str, str], columns: list[dict[str, inspect.Parameter]]) -> str:
        name, rest = row
        cells = [cell.strip() for cell in rest.split(" | ")]
        for cell, parameters in zip(cells, columns, strict=False):
            default = parameters[name].default
            text = shown(default)
            assert cell == text, f"{name}: the table says {cell}, the code {text}"
        return name

    both = {check(row, [client, server]) for row in tables["Of one connection"]}
    of_client = {check(row, [client]) for row in tables["Of a client"]}
    of_server = {check(row, [server]) for row in tables["Of a server"]}
    assert both | of_client | {"url"} == client.keys()
    assert both | of_server | {"handler", "task_status"} == server.keys()


@pytest.mark.parametrize("options", [Compression, HandshakeLimits])
def test_the_options_of_a_value_are_keyword_only_or_have_defaults(options: type) -> None:
    assert all(
        parameter.default is not inspect.Parameter.empty for parameter in defaults(options).values()
    ), "each has a default"


@pytest.mark.parametrize(
    ("function", "positional"),
    [
        (open_websocket_stream, ["url"]),
        (serve_websocket_streams, ["handler", "host", "port"]),
        (accept_upgraded, ["stream", "request"]),
        (asgi.accept, ["scope", "receive", "send"]),
    ],
)
def test_options_are_keyword_only(function: object, positional: list[str]) -> None:
    kinds = {name: parameter.kind for name, parameter in defaults(function).items()}
    assert [name for name, kind in kinds.items() if kind is not inspect.Parameter.KEYWORD_ONLY] == positional


@pytest.mark.parametrize("function", [asgi.accept, asgi.reject])
def test_a_signature_that_the_reference_writes_out_is_the_real_one(function: Any) -> None:
    text = (REFERENCE / "asgi.md").read_text("utf-8")
    shown = re.search(rf"websocketstream\.asgi\.{function.__name__}(\(.*\))", text)
    assert shown is not None
    written = inspect.signature(eval(f"lambda {shown[1][1:-1]}: None"))
    real = inspect.signature(function).parameters.values()
    assert [(each.name, each.default, each.kind) for each in written.parameters.values()] == [
        (each.name, each.default, each.kind) for each in real
    ]
