"""The reference of what is installed, as text: from signatures and docstrings, for a terminal of any width."""

from __future__ import annotations

import ast
import difflib
import inspect
import sys
import textwrap
from dataclasses import dataclass, is_dataclass
from enum import Enum
from importlib import import_module
from pathlib import Path
from typing import Any

from .docstrings import first_sentence, rendered

PACKAGE = "websocketstream"
SUBMODULES = ("asgi", "blocking", "testing", "uvicorn")
# Every public name, as the pages of the reference group them.
GROUPS = {
    "Client": """open_websocket_stream reconnecting Connections Backoff Attempt is_transient basic_auth bearer_auth
        blocking.open_websocket_stream blocking.BlockingWebSocketStream""",
    "Server": """serve_websocket_streams run_server accept_upgraded WebSocketListener WebSocketRequest TrustedProxies
        QueryParams asgi.accept asgi.reject uvicorn.Protocol""",
    "Streams": """WebSocketStream ReadableStream WritableStream ChunkedMessages IncomingMessage OutgoingMessage
        as_byte_stream relay WebSocketByteStream""",
    "Broadcast": "Broadcast Subscription CloseWhenBehind DropOldest LatestOnly",
    "Errors": """WebSocketError ConnectionClosed SendAfterClose ConnectionBroken HandshakeError ConnectFailed
        HandshakeRejected HandshakeTimeout InvalidHandshake HandshakeTooLarge""",
    "Values": "CloseInfo CloseCode Headers Request Response Compression HandshakeLimits engine",
    "Statistics": """ConnectionStatistics DirectionStatistics Discarded ServerStatistics SubscriptionStatistics""",
    "Trace": "TraceEvent ConnectionOpened FrameReceived FrameSent ConnectionEnded",
    "Testing": """testing.websocket_stream_pair testing.serve_in_memory testing.memory_byte_stream_pair
        testing.MemoryByteStream""",
}
# The classes that users call; all others are handed out.
CALLED = frozenset(
    [
        "Backoff",
        "Broadcast",
        "CloseInfo",
        "CloseWhenBehind",
        "Compression",
        "DropOldest",
        "HandshakeLimits",
        "LatestOnly",
        "QueryParams",
        "TrustedProxies",
        "WebSocketError",
    ]
)
DATA = {"engine": "Which codec engine is in use, ``compiled`` or ``wsproto``."}
MIB, KIB = 2**20, 2**10


@dataclass(frozen=True, slots=True)
class Entry:
    """Something public: what it is called, what it is, and of what it is a member."""

    name: str
    value: Any
    owner: type | None = None

    @property
    def doc(self) -> str:
        """Its docstring, or what stands in its place."""
        if self.owner is not None and isinstance(self.value, str):
            return self.value
        if isinstance(self.value, str):
            return DATA[self.name]
        return inspect.cleandoc(self.value.__doc__ or "")


def all_names() -> list[str]:
    """Return every public name, without the package's in front of it."""
    return [name for names in GROUPS.values() for name in names.split()]


def overview(width: int) -> str:
    """Return every public name with a line on what it is, by groups."""
    column = min(max(map(len, all_names())), width // 2) + 2
    parts = []
    for title, names in GROUPS.items():
        lines = [_row(name, first_sentence(find(name).doc), column, width) for name in names.split()]
        parts.append("\n".join([title, *lines]))
    return (
        "\n\n".join(parts)
        + f"\n\n{PACKAGE} docs NAME tells more, of a method as well: {PACKAGE} docs WebSocketStream.send"
    )


def _row(name: str, text: str, column: int, width: int) -> str:
    if width < 2 * column:  # a narrow terminal: below each other
        return textwrap.fill(f"{name}: {text}", width, initial_indent="  ", subsequent_indent="      ")
    line = f"  {name:{column}}{text}"
    return line if len(line) <= width else f"{line[: width - 3].rpartition(' ')[0].rstrip(',:;')}..."


def find(name: str) -> Entry:
    """Return what a name stands for.

    :raises LookupError: nothing public is called so; the message says what is called alike
    """
    wanted = name.removesuffix("()").removeprefix(f"{PACKAGE}.")
    module, _, rest = wanted.partition(".") if wanted.partition(".")[0] in SUBMODULES else ("", "", wanted)
    top, _, member = rest.partition(".")
    where = import_module(f"{PACKAGE}.{module}" if module else PACKAGE)
    if top in where.__all__:
        value = getattr(where, top)
        if not member:
            return Entry(wanted, value)
        if isinstance(value, type) and member in (found := members(value)):
            return Entry(wanted, found[member], value)
    raise LookupError(f"nothing public is called {name!a:.60}{_alike(wanted)}")


def _alike(wanted: str) -> str:
    everything = {name: name for name in all_names()}
    for name in all_names():
        if isinstance(value := find(name).value, type):
            everything |= {f"{name}.{member}": member for member in members(value)}
    last = wanted.rpartition(".")[2].lower()
    same = [name for name, short in everything.items() if short.rpartition(".")[2].lower() == last]
    close = (
        same
        or difflib.get_close_matches(wanted, everything, 3)
        or [
            name
            for name, short in everything.items()
            if short in difflib.get_close_matches(last, everything.values(), 2)
        ]
    )
    return f"; did you mean {' or '.join(close[:3])}?" if close else f"; `{PACKAGE} docs` lists what is"


def members(cls: type) -> dict[str, Any]:
    """Return the public methods and properties of a class, and what is said of its attributes, in order."""
    found: dict[str, Any] = {}
    for each in reversed(cls.__mro__):
        if each.__module__.partition(".")[0] == PACKAGE:
            found |= _attributes(each)
            if issubclass(each, Enum):
                found |= {item.name: f"``{item.value}``" for item in each}
            found |= {
                name: value
                for name, value in vars(each).items()
                if not name.startswith("_")
                and (callable(value) or isinstance(value, (property, classmethod)))
            }
    return found


def _attributes(cls: type) -> dict[str, str]:
    """Return the annotated attributes of a class and the strings behind them: from its source, for nothing else has them."""
    tree = _source(cls)
    if tree is None:
        return {}
    bodies = [tree.body]
    bodies += [
        node.body for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "__init__"
    ]
    found = {}
    for body in bodies:
        for node, behind in zip(body, [*body[1:], None], strict=True):
            if isinstance(node, ast.AnnAssign) and not (
                name := ast.unparse(node.target).removeprefix("self.")
            ).startswith("_"):
                is_text = isinstance(behind, ast.Expr) and isinstance(behind.value, ast.Constant)
                text = str(behind.value.value) if is_text else ""  # type: ignore[union-attr]
                found[name] = text or f"``{ast.unparse(node.annotation)}``"
    return found


def _source(cls: type) -> ast.ClassDef | None:
    """Find where a class is written; it claims to be the package's own."""
    for module in [module for name, module in sorted(sys.modules.items()) if name.startswith(f"{PACKAGE}.")]:
        if vars(module).get(cls.__name__) is cls and str(module.__file__).endswith(".py"):
            for node in ast.parse(Path(str(module.__file__)).read_text("utf-8")).body:
                if isinstance(node, ast.ClassDef) and node.name == cls.__name__:
                    return node
    return None


def page(name: str, width: int) -> str:
    """Return what there is to say of a name.

    :raises LookupError: as :func:`find`
    """
    entry = find(name)
    parts = [heading(entry, width), rendered(entry.doc, width, defaults(entry))]
    if isinstance(entry.value, type) and entry.owner is None:
        bases = [_base(each) for each in entry.value.__bases__ if each is not object]
        if bases:
            parts.insert(1, textwrap.fill(f"A kind of {', '.join(bases)}.", width, break_long_words=False))
        listed = [
            _member(Entry(member, value, entry.value), width)
            for member, value in members(entry.value).items()
        ]
        if listed:
            parts.append("\n".join(["Members", *listed]))
    return "\n\n".join(part for part in parts if part)


def _base(cls: type) -> str:
    return (
        cls.__qualname__
        if cls.__module__ in (PACKAGE, "builtins")
        else f"{cls.__module__}.{cls.__qualname__}"
    )


def _member(entry: Entry, width: int) -> str:
    prefix = "async " if inspect.iscoroutinefunction(entry.value) else ""
    call = "()" if inspect.isroutine(entry.value) or isinstance(entry.value, classmethod) else ""
    text = first_sentence(entry.doc)
    return textwrap.fill(
        f"{prefix}{entry.name}{call}: {text}", width, initial_indent="  ", subsequent_indent="      "
    )


def heading(entry: Entry, width: int) -> str:
    """Return the name with its signature, on one line or one line for each parameter."""
    kind = "async " if inspect.iscoroutinefunction(entry.value) else ""
    signature = _signature(entry)
    start = f"{kind}{PACKAGE}.{entry.name}"
    if signature is None:
        return start
    parameters, result = _written(signature)
    line = f"{start}({', '.join(parameters)}){result}"
    if len(line) <= width:
        return line
    return "\n".join([f"{start}(", *(f"    {parameter}," for parameter in parameters), f"){result}"])


def _signature(entry: Entry) -> inspect.Signature | None:
    if isinstance(entry.value, type):
        return inspect.signature(entry.value) if entry.name in CALLED else None
    if isinstance(entry.value, classmethod):
        return inspect.signature(entry.value.__func__)
    if not inspect.isroutine(entry.value):
        return None
    signature = inspect.signature(entry.value)
    if inspect.isasyncgenfunction(inspect.unwrap(entry.value)):  # a block that is written as a generator
        result = str(signature.return_annotation).replace("AsyncIterator", "AbstractAsyncContextManager", 1)
        signature = signature.replace(return_annotation=result)
    return signature


def _written(signature: inspect.Signature) -> tuple[list[str], str]:
    shown: list[str] = []
    for parameter in signature.parameters.values():
        if parameter.name in ("self", "cls"):
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in shown:
            shown.append("*")
        stars = (
            "**"
            if parameter.kind is parameter.VAR_KEYWORD
            else "*" * (parameter.kind is parameter.VAR_POSITIONAL)
        )
        kind = "" if parameter.annotation is parameter.empty else f": {_annotation(parameter.annotation)}"
        default = "" if parameter.default is parameter.empty else f" = {readable(parameter.default)}"
        shown.append(f"{stars}{parameter.name}{kind}{default}")
    result = (
        "" if signature.return_annotation in (signature.empty, None, "None") else signature.return_annotation
    )
    return shown, f" -> {_annotation(result)}" if result else ""


def _annotation(annotation: object) -> str:
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def defaults(entry: Entry) -> dict[str, str]:
    """Return the defaults of what is called, as they are shown."""
    signature = _signature(entry)
    if signature is None:
        return {}
    return {
        name: readable(parameter.default)
        for name, parameter in signature.parameters.items()
        if parameter.default is not parameter.empty
    }


def readable(value: object) -> str:
    """Return a value as people say it: sizes by their units, and objects by what makes them."""
    if type(value) is int and value >= KIB and value % KIB == 0:
        return f"{value // MIB} MiB" if value % MIB == 0 else f"{value // KIB} KiB"
    if callable(value):
        return str(getattr(value, "__name__", value))
    if is_dataclass(value) and not isinstance(value, type):
        made = type(value)()
        return f"{type(value).__name__}()" if made == value else repr(value)
    return repr(value)
