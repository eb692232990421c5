"""An import never points up: the protocol layer knows no event loop, the streams know no client and no server.

The order inside the two lower layers is written down here too, so that a new import between modules is a decision.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = "websocketstream"
SOURCE = Path(__file__).parent.parent / "src" / PACKAGE

# What each layer may import beside itself; an edge may import everything.
ALLOWED: dict[str, frozenset[str]] = {
    "_protocol": frozenset({"h11", "wsproto", "idna"}),
    "_network": frozenset({"anyio", "sniffio", "trio", "python_socks", "websocketstream._protocol"}),
    "_streams": frozenset({"anyio", "sniffio", "websocketstream._protocol", "websocketstream._network"}),
}
EVENT_LOOPS = frozenset(
    {"asyncio", "selectors", "socket", "ssl", "threading", "concurrent", "multiprocessing"}
)


def layer_of(module: str) -> str:
    """Name the layer of a module of the package: _protocol, _streams or edge."""
    part = module.split(".")[1] if "." in module else ""
    return part if part in ALLOWED else "edge"


def module_name(path: Path) -> str:
    parts = [PACKAGE, *path.relative_to(SOURCE).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(source: str, module: str, *, is_package: bool = False) -> Iterator[str]:
    """Yield the absolute names of what a module imports, also inside functions and `if TYPE_CHECKING`."""
    package = module if is_package else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from _from_import(node, package)


def _from_import(node: ast.ImportFrom, package: str) -> Iterator[str]:
    if not node.level:
        base = node.module or ""
    else:
        above = package.split(".")[: len(package.split(".")) - node.level + 1]
        base = ".".join([*above, *([node.module] if node.module else [])])
    # `from . import close` names a module with the imported name, `from .close import X` does not.
    if base == PACKAGE or base.rpartition(".")[2] in ALLOWED:
        yield from (f"{base}.{alias.name}" for alias in node.names)
    else:
        yield base


def violations(source: str, module: str, *, is_package: bool = False) -> list[str]:
    """Say which imports of a module point up."""
    layer = layer_of(module)
    if layer == "edge":
        return []
    return [
        f"{module} imports {name}"
        for name in imports(source, module, is_package=is_package)
        if not _is_allowed(name, layer)
    ]


def _is_allowed(name: str, layer: str) -> bool:
    top = name.partition(".")[0]
    if top == PACKAGE:
        return layer_of(name) == layer or any(
            name == below or name.startswith(f"{below}.") for below in ALLOWED[layer]
        )
    if top in sys.stdlib_module_names:
        return layer != "_protocol" or top not in EVENT_LOOPS
    return top in ALLOWED[layer]


MODULES = sorted(SOURCE.rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=[module_name(path) for path in MODULES])
def test_no_import_points_up(path: Path) -> None:
    assert not violations(path.read_text("utf-8"), module_name(path), is_package=path.stem == "__init__")


@pytest.mark.parametrize("path", sorted((SOURCE / "_protocol").rglob("*.py")), ids=lambda path: path.stem)
def test_the_protocol_layer_never_awaits(path: Path) -> None:
    forbidden = (ast.Await, ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith)
    assert not [
        node.lineno for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, forbidden)
    ]


@pytest.mark.parametrize("layer", sorted(ALLOWED))
def test_inside_a_layer_the_imports_have_an_order(layer: str) -> None:
    """No cycles: every module of a layer can be understood with the modules before it."""
    prefix = f"{PACKAGE}.{layer}"
    graph = {
        module_name(path): {
            name
            for name in _runtime_imports(path)
            if name.startswith(f"{prefix}.") and name != module_name(path)
        }
        for path in sorted((SOURCE / layer).rglob("*.py"))
    }
    while graph:
        ready = [module for module, needs in graph.items() if not needs & graph.keys()]
        assert ready, f"these import each other in a circle: {sorted(graph)}"
        for module in ready:
            del graph[module]


def _runtime_imports(path: Path) -> Iterator[str]:
    """Only what is imported at run time: a name that only the type checker needs makes no cycle."""
    tree = ast.parse(path.read_text("utf-8"))
    tree.body = [node for node in tree.body if not _is_for_type_checkers(node)]
    yield from imports(ast.unparse(tree), module_name(path), is_package=path.stem == "__init__")


def _is_for_type_checkers(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("_protocol.url", "import anyio"),
        ("_protocol.url", "import anyio.abc as abc"),
        ("_protocol.url", "from anyio import EndOfStream"),
        ("_protocol.url", "import asyncio"),
        ("_protocol.url", "from .._streams.errors import ConnectionClosed"),
        ("_protocol.url", "from .. import _streams"),
        ("_protocol.url", "from .. import _client"),
        ("_protocol.url", "from websocketstream import WebSocketStream"),
        ("_protocol.url", "def f():\n    import trio"),
        ("_protocol.url", "if TYPE_CHECKING:\n    from .._streams.stream import WebSocketStream"),
        ("_streams.stream", "from .._client import open_websocket_stream"),
        ("_streams.stream", "import wsproto"),
        ("_streams.stream", "import h11"),
        ("_streams.stream", "import trio"),
        ("_streams.stream", "from .. import open_websocket_stream"),
    ],
)
def test_the_checker_sees_an_import_that_points_up(module: str, line: str) -> None:
    assert violations(line, f"{PACKAGE}.{module}")


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("_protocol.url", "import h11, zlib"),
        ("_protocol.url", "from wsproto.frame_protocol import FrameProtocol"),
        ("_protocol.url", "from .close import CloseCode"),
        ("_protocol.url", "from . import close"),
        ("_network.dial", "import asyncio"),
        ("_streams.stream", "from anyio.abc import ObjectStream"),
        ("_streams.stream", "from .errors import ConnectionClosed"),
        ("_streams.stream", "from .._protocol import close"),
        ("_streams.stream", "from .._protocol.close import CloseCode"),
        ("_client", "import wsproto, trio, rich"),
        ("_client", "from ._server import serve_websocket_streams"),
    ],
)
def test_the_checker_lets_pass_what_is_allowed(module: str, line: str) -> None:
    assert not violations(line, f"{PACKAGE}.{module}")
