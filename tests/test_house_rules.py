"""Rules of the house for which the source is read.

No shield without a deadline, no private name of somebody else's, and no test that sleeps in real time.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from sources import MODULES, NAMES, PACKAGE, base_of, module_name, parse

TAKES_SECONDS = {"move_on_after", "fail_after"}
TAKES_TIME = {"move_on_at", "fail_at"}  # trio's

TESTS = Path(__file__).parent
# Who may sleep in real time, and why.
SLEEPERS = {
    "asgi_servers/test_real_servers.py": "looks again until a program listens",
    "autobahn/run.py": "looks again until a program is there",
    "conftest.py": "looks again until descriptors are closed",
    "interop/programs.py": "looks again until a program has said or done something",
    "interop/test_proxies.py": "is idle for longer than a proxy has patience",
    "liveness/far.py": "reads slowly: TCP has no other time",
    "liveness/test_hosts.py": "waits for what TCP finds out: it has no other time",
    "liveness/test_questions.py": "waits for what TCP finds out: it has no other time",
    "network/test_event_loop.py": "has a clock of its own for a run of trio's",
    "peers/loop_thread.py": "looks again until another thread is done",
    "peers/test_comparison.py": "pauses for longer than another library's keepalive has patience",
    "promises/test_connect_failures.py": "lets another thread have the interpreter",
    "promises/test_paused_peer.py": "pauses for longer than a keepalive over real TCP has patience",
    "promises/test_slow_consumer.py": "pauses for longer than another library's keepalive has patience",
    "test_docs.py": "looks again until a program listens",
    "waiting.py": "looks again until another thread has done something",
    "wpt/test_wpt_abort.py": "lets the deadline of an abort signal pass",
}

# Types of the standard library that have no public name.
NAMELESS = {"zlib._Compress", "zlib._Decompress", "argparse._SubParsersAction"}


def endless_shields(tree: ast.Module) -> Iterator[str]:
    """Say what keeps a cancellation away without any end in sight."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(attr=name) | ast.Name(id=name)):
                if name == "shield" or (_shields(node, name) and not _is_finite(_deadline(node, name))):
                    yield f"line {node.lineno}: {ast.unparse(node)}"
            case (
                ast.Assign(targets=[ast.Attribute(attr="shield")], value=value)
                | ast.AnnAssign(target=ast.Attribute(attr="shield"), value=value)
                | ast.AugAssign(target=ast.Attribute(attr="shield"), value=value)
            ) if not _is_false(value):
                yield f"line {node.lineno}: {ast.unparse(node)}"


def _is_false(value: ast.expr | None) -> bool:
    return isinstance(value, ast.Constant) and value.value is False


def _keyword(call: ast.Call, name: str) -> ast.expr | None:
    return next((keyword.value for keyword in call.keywords if keyword.arg == name), None)


def _shields(call: ast.Call, name: str) -> bool:
    shield = _keyword(call, "shield")
    if shield is None and name in TAKES_SECONDS | TAKES_TIME and len(call.args) > 1:
        shield = call.args[1]
    return shield is not None and not _is_false(shield)


def _deadline(call: ast.Call, name: str) -> ast.expr | None:
    if name in TAKES_SECONDS | TAKES_TIME:
        return call.args[0] if call.args else _keyword(call, "delay") or _keyword(call, "seconds")
    return _keyword(call, "deadline") or _keyword(call, "relative_deadline")


def _is_finite(value: ast.expr | None) -> bool:
    """Tell what is visibly endless; whether a variable is finite is for its owner to say."""
    match value:
        case None | ast.Constant(value=None) | ast.Name(id="inf") | ast.Attribute(attr="inf"):
            return False
        case ast.Call(func=ast.Name(id="float"), args=[ast.Constant(value=str())]):
            return False
        case ast.BinOp(left=left, right=right):
            return _is_finite(left) and _is_finite(right)
        case ast.BoolOp(values=values):
            return all(map(_is_finite, values))
        case ast.IfExp(body=body, orelse=orelse):
            return _is_finite(body) and _is_finite(orelse)
    return True


def borrowed_privates(tree: ast.Module, module: str, *, is_package: bool = False) -> Iterator[str]:
    """Say which private names of other objects and other modules are used."""
    package = module if is_package else module.rpartition(".")[0]
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=owner, attr=name) if _is_private(name) and not _is_own(owner):
                if ast.unparse(node) not in NAMELESS:
                    yield f"line {node.lineno}: {ast.unparse(node)}"
            case ast.ImportFrom(names=names):
                base = base_of(node, package)
                for alias in names:
                    if _is_private(alias.name) and f"{base}.{alias.name}" not in NAMES:
                        yield f"line {node.lineno}: from {base} import {alias.name}"


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def _is_own(owner: ast.expr) -> bool:
    match owner:
        case ast.Name(id="self" | "cls") | ast.Call(func=ast.Name(id="super")):
            return True
    return False


def real_sleeps(tree: ast.AST) -> Iterator[str]:
    """Say who sleeps, but for those in virtual time."""
    for node in ast.iter_child_nodes(tree):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                if any("in_virtual_time" in ast.unparse(decorator) for decorator in node.decorator_list):
                    continue
            case ast.Call(
                func=ast.Attribute(attr="sleep" | "sleep_until") | ast.Name(id="sleep"), args=[time]
            ):
                if ast.unparse(time) != "0":
                    yield f"line {node.lineno}: {ast.unparse(node)}"
        yield from real_sleeps(node)


PYTHON = [path for path in MODULES if path.suffix == ".py"]
each_module = pytest.mark.parametrize("path", PYTHON, ids=[module_name(path) for path in PYTHON])


@each_module
def test_nothing_is_shielded_from_cancellation_without_a_deadline(path: Path) -> None:
    assert not [*endless_shields(parse(path))]


@each_module
def test_nobody_uses_a_private_name_of_somebody_else(path: Path) -> None:
    assert not [*borrowed_privates(parse(path), module_name(path), is_package=path.stem == "__init__")]


@pytest.mark.parametrize(
    "line",
    [
        "with CancelScope(shield=True): pass",
        "with anyio.CancelScope(shield=True, deadline=inf): pass",
        "with trio.CancelScope(shield=shielded): pass",
        "with move_on_after(None, shield=True): pass",
        "with anyio.move_on_after(math.inf, shield=True): pass",
        "with anyio.move_on_after(None, True): pass",
        "with fail_after(None if late else 3, shield=True): pass",
        "with fail_after(float('inf'), shield=True): pass",
        "with move_on_after(delay=None, shield=True): pass",
        "with CancelScope(deadline=now() + inf, shield=True): pass",
        "scope.shield = True",
        "self.scope.shield = wanted",
        "await asyncio.shield(task)",
    ],
)
def test_the_checker_sees_a_shield_without_a_deadline(line: str) -> None:
    assert [*endless_shields(ast.parse(f"async def f():\n    {line}"))]


@pytest.mark.parametrize(
    "line",
    [
        "with CancelScope(): pass",
        "with CancelScope(shield=False): pass",
        "with CancelScope(shield=True, deadline=now() + 3): pass",
        "with trio.CancelScope(shield=True, relative_deadline=3): pass",
        "with move_on_after(3, shield=True): pass",
        "with move_on_after(SECONDS, True): pass",
        "with move_on_after(None): pass",
        "scope.shield = False",
    ],
)
def test_the_checker_lets_a_shield_with_a_deadline_pass(line: str) -> None:
    assert not [*endless_shields(ast.parse(line))]


@pytest.mark.parametrize(
    "line",
    [
        "stream._buffer",
        "self.stream._buffer",
        "stream._buffer = b''",
        "make()._buffer",
        "Stream._make()",
        "del stream._buffer",
        "from .reader import _portion",
        "from anyio._core import _eventloop",
    ],
)
def test_the_checker_sees_a_private_name_of_somebody_else(line: str) -> None:
    assert [*borrowed_privates(ast.parse(line), f"{PACKAGE}._streams.stream")]


@pytest.mark.parametrize(
    "line",
    [
        "self._buffer",
        "cls._make()",
        "super()._make()",
        "stream.buffer",
        "stream.__class__",
        "from .._protocol import _compiled",
        "from .._client import open_websocket_stream",
    ],
)
def test_the_checker_lets_ones_own_private_names_pass(line: str) -> None:
    assert not [*borrowed_privates(ast.parse(line), f"{PACKAGE}._streams.stream")]


def test_only_those_tests_sleep_for_which_there_is_no_other_time() -> None:
    found = {
        str(path.relative_to(TESTS)): sleeps
        for path in TESTS.rglob("*.py")
        if (sleeps := [*real_sleeps(ast.parse(path.read_text("utf-8")))])
    }
    assert {path: sleeps for path, sleeps in found.items() if path not in SLEEPERS} == {}
    assert SLEEPERS.keys() <= found.keys(), "some do not sleep any more"


def test_the_checker_sees_a_sleep_outside_of_virtual_time() -> None:
    source = "async def test():\n  await anyio.sleep({})\n  while x: time.sleep(0)"
    assert [*real_sleeps(ast.parse(source.format("0.1")))] == ["line 2: anyio.sleep(0.1)"]
    assert [*real_sleeps(ast.parse(source.format("WHILE")))] == ["line 2: anyio.sleep(WHILE)"]
    assert not [*real_sleeps(ast.parse(source.format("0")))]
    assert not [*real_sleeps(ast.parse("@in_virtual_time()\n" + source.format("5")))]
