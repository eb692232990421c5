"""What can be changed in a module so that a good test notices: one small change at a time, on the syntax tree."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass

Change = Callable[[], None]

COMPARED: dict[type[ast.cmpop], list[type[ast.cmpop]]] = {
    ast.Lt: [ast.LtE, ast.GtE],
    ast.LtE: [ast.Lt, ast.Gt],
    ast.Gt: [ast.GtE, ast.LtE],
    ast.GtE: [ast.Gt, ast.Lt],
    ast.Eq: [ast.NotEq],
    ast.NotEq: [ast.Eq],
    ast.Is: [ast.IsNot],
    ast.IsNot: [ast.Is],
    ast.In: [ast.NotIn],
    ast.NotIn: [ast.In],
}
CALCULATED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
CALLED = {"min": "max", "max": "min", "any": "all", "all": "any"}


@dataclass(frozen=True)
class Mutant:
    """One change: which of how many, where, and in words."""

    number: int
    line: int
    statement: int  # the line that its statement begins in
    words: str


def mutants(source: str) -> list[Mutant]:
    """Return all changes that can be made to a module."""
    return [
        Mutant(number, line, statement, words)
        for number, (line, statement, words, _) in enumerate(_changes(ast.parse(source)))
    ]


def mutated(source: str, mutant: Mutant) -> ast.Module:
    """Return the module with one change."""
    tree = ast.parse(source)
    for number, (*_, change) in enumerate(_changes(tree)):
        if number == mutant.number:
            change()
            return ast.fix_missing_locations(tree)
    raise ValueError("the source is another")


def _changes(tree: ast.Module) -> Iterator[tuple[int, int, str, Change]]:
    """Yield the places with their changes, always in the same order, before any of them is made."""
    for node, statement in list(_executed(tree, tree.body[0] if tree.body else ast.Pass(lineno=0))):
        for words, change in [*_changes_of(node)]:
            yield getattr(node, "lineno", statement.lineno), statement.lineno, words, change
        for words, change in [*_removals(node)]:
            yield words[0], words[0], words[1], change


def _executed(node: ast.AST, statement: ast.stmt) -> Iterator[tuple[ast.AST, ast.stmt]]:
    """Yield what does something when it runs, and its statement; not annotations, documentation and messages of errors."""
    if isinstance(node, ast.stmt):
        statement = node
    yield node, statement
    for name, value in ast.iter_fields(node):
        if name in {"annotation", "returns", "decorator_list", "type_params", "exc", "msg"}:
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not _is_ignored(child):
                yield from _executed(child, statement)


def _is_ignored(node: ast.AST) -> bool:
    match node:
        case ast.Expr(value=ast.Constant()) | ast.JoinedStr() | ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
        case ast.Assign(targets=[ast.Name(id="__slots__" | "__all__")]):
            return True
    return False


def _set(node: ast.AST, name: str, value: object) -> Change:
    return lambda: setattr(node, name, value)


def _changes_of(node: ast.AST) -> Iterator[tuple[str, Change]]:
    match node:
        case ast.Compare(ops=ops):
            for place, op in enumerate(ops):
                for other in COMPARED[type(op)]:
                    ops_then = [*ops[:place], other(), *ops[place + 1 :]]
                    yield f"{_name(op)} becomes {_name(other())}", _set(node, "ops", ops_then)
        case ast.BoolOp(op=op, values=values):
            other = ast.Or() if isinstance(op, ast.And) else ast.And()
            yield f"{_name(op)} becomes {_name(other)}", _set(node, "op", other)
            for place, value in enumerate(values):
                rest = [*values[:place], *values[place + 1 :]]
                # One operand alone is what an `and` and an `or` of it are, too.
                yield f"without {_short(value)}", _set(node, "values", rest if len(rest) > 1 else rest * 2)
        case ast.BinOp(op=op) | ast.AugAssign(op=op) if type(op) in CALCULATED:
            other_op = CALCULATED[type(op)]()
            yield f"{_name(op)} becomes {_name(other_op)}", _set(node, "op", other_op)
        case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test):
            yield f"not {_short(test)}", _set(node, "test", ast.UnaryOp(ast.Not(), test))
        case ast.UnaryOp(op=ast.Not()):
            twice = ast.UnaryOp(ast.Not(), node.operand)
            yield f"{_short(node)} without its not", _set(node, "operand", twice)
        case ast.UnaryOp(op=ast.USub()):
            yield f"{_short(node)} without its sign", _set(node, "op", ast.UAdd())
        case ast.Constant(value=value) if (other_value := _other_constant(value)) is not None:
            yield f"{value!r} becomes {other_value!r}", _set(node, "value", other_value)
        case ast.Call(func=ast.Name(id=name) as called) if name in CALLED:
            yield f"{name} becomes {CALLED[name]}", _set(called, "id", CALLED[name])
        case ast.Return(value=ast.expr() as value) if not _is_none(value):
            yield f"return None instead of {_short(value)}", _set(node, "value", ast.Constant(None))


def _other_constant(value: object) -> object:
    match value:
        case bool():
            return not value
        case int() | float():
            return value + 1
        case str():
            return value + "X"
        case bytes():
            return value + b"X"
    return None


def _removals(node: ast.AST) -> Iterator[tuple[tuple[int, str], Change]]:
    """Yield the statements of this block that can be left out."""
    for field in ("body", "orelse", "finalbody"):
        block = getattr(node, field, None)
        if not isinstance(block, list):
            continue
        for place, statement in enumerate(block):
            if _can_go(statement):
                instead: ast.stmt = ast.Pass()
                if isinstance(statement, ast.Break):
                    instead = ast.Continue()
                elif isinstance(statement, ast.Continue):
                    instead = ast.Break()
                rest = [*block[:place], instead, *block[place + 1 :]]
                words = f"{_name(instead).lower()} instead of {_short(statement)}"
                yield (statement.lineno, words), _set(node, field, rest)


def _can_go(statement: ast.stmt) -> bool:
    match statement:
        case ast.Expr(value=ast.Constant()):
            return False
        case ast.Expr() | ast.Raise() | ast.Delete() | ast.Break() | ast.Continue() | ast.AugAssign():
            return True
        case ast.Return(value=None):
            return True
        case ast.Assign(targets=targets):  # that of a local name leads to a NameError: everybody notices
            return all(isinstance(target, ast.Attribute | ast.Subscript) for target in targets)
    return False


def _is_none(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value is None


def _name(node: ast.AST) -> str:
    return type(node).__name__


def _short(node: ast.AST) -> str:
    text = ast.unparse(node).replace("\n", " ")
    return text if len(text) <= 60 else text[:57] + "..."
