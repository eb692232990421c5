"""The package's own source, for tests that read it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

PACKAGE = "websocketstream"
SOURCE = Path(__file__).parent.parent / "src" / PACKAGE
ROOMS = ("_protocol", "_network", "_streams", "_server", "_cli")
COMPILED = "_fast"  # no room of its own: modules of `_protocol`, `_network` and `_streams`, compiled
MODULES = sorted([*SOURCE.rglob("*.py"), *SOURCE.rglob("*.pyx")])


def module_name(path: Path) -> str:
    parts = [PACKAGE, *path.relative_to(SOURCE).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = frozenset(map(module_name, MODULES))


def parse(path: Path) -> ast.Module:
    """Parse a module; of Cython's, only the imports of Python modules."""
    text = path.read_text("utf-8")
    if path.suffix == ".pyx":
        lines = re.findall(r"^(?:from \S+ )?import .+$", text, re.MULTILINE)
        text = "\n".join(line for line in lines if not line.endswith("("))
    return ast.parse(text)


def imports(tree: ast.Module, module: str, *, is_package: bool = False) -> Iterator[str]:
    """Yield the absolute names of what a module imports, also inside functions and `if TYPE_CHECKING`."""
    package = module if is_package else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from _from_import(node, package)


def _from_import(node: ast.ImportFrom, package: str) -> Iterator[str]:
    base = base_of(node, package)
    # `from . import close` names a module with the imported name, `from .close import X` does not.
    if base == PACKAGE or base.rpartition(".")[2] in ROOMS:
        yield from (f"{base}.{alias.name}" for alias in node.names)
    else:
        yield base


def base_of(node: ast.ImportFrom, package: str) -> str:
    """Return the absolute name of what stands between `from` and `import`."""
    if not node.level:
        return node.module or ""
    above = package.split(".")[: len(package.split(".")) - node.level + 1]
    return ".".join([*above, *([node.module] if node.module else [])])
