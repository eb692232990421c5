"""An import never points back: not from one room to a later one, and not from one module of a room to a later one.

Both orders are those in which data flows, and they are written down here, so that a new import is a decision.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from sources import COMPILED, MODULES, NAMES, PACKAGE, ROOMS, SOURCE, imports, module_name, parse

# What each room may import beside itself; the edges may import everything.
ALLOWED: dict[str, frozenset[str]] = {
    "_protocol": frozenset({"h11", "wsproto", "idna"}),
    "_network": frozenset(
        {"anyio", "sniffio", "trio", "python_socks", "websocketstream._protocol", "websocketstream._fast"}
    ),
    "_streams": frozenset(
        {"anyio", "sniffio", "websocketstream._protocol", "websocketstream._network", "websocketstream._fast"}
    ),
    "_server": frozenset(
        {"anyio", "sniffio"}
        | {f"websocketstream.{room}" for room in ("_protocol", "_network", "_streams")}
    ),
}  # fmt: skip
EDGES = "the edges"
COMMAND_LINE = "_cli"  # which stands on the edges, and may import everything as well
EVENT_LOOPS = frozenset(
    {"asyncio", "selectors", "socket", "ssl", "threading", "concurrent", "multiprocessing"}
)

# The modules of each room: each may import those above it, so that it can be understood with what one has read by then.
ORDER: dict[str, list[str]] = {
    "_protocol": [
        # values
        "arguments",
        "cookies",
        "authorization",
        "host",
        "url",
        "http",
        "close",
        "errors",
        "redirect",
        "parameters",
        "forwarded",
        "proxy_header",
        "environment",
        "backoff",
        # the opening handshake
        "head",
        "extensions",
        "negotiation",
        "deflate",
        "client_handshake",
        "server_handshake",
        "connect",
        # bytes to events, messages to bytes
        "codec",
        "assembly",
        "_zlib",
        "_compiled",
        "wsproto_codec",
        "engine",
        "shared",
        # the life of a connection
        "state",
        "life",
        "keepalive",
        "pace",
        # what is told of it
        "trace",
    ],
    "_network": [
        # what an event loop offers
        "wakeups",
        "turns",
        "calls",
        "readiness",
        # what reads and writes
        "transport",
        "_sockets",
        "socket_calls",
        "system_calls",
        "_openssl",
        "tls_calls",
        "tls_records",
        "hot",
        "openssl",
        "large_reads",
        # the event loop that is running
        "timers",
        "event_loop",
        "asyncio_readiness",
        "asyncio_loop",
        "trio_readiness",
        "trio_loop",
        "loop",
        # what calls a connection back
        "addresses",
        "stream_transport",
        "direct_stream",
        "asyncio_transport",
        "adopted_transport",
        "watched_stream",
        "selector_transport",
        "trio_transport",
        "any_stream",
        "task_transport",
        "tcp",
        # how a byte stream comes about
        "failures",
        "sockets",
        "arrivals",
        "dial",
        "tls_sessions",
        "tls",
        "tls_client",
        "proxy",
    ],
    "_streams": [
        "errors",
        "hints",
        "options",
        "statistics",
        "backlog",
        # from the codec to the user and back
        "budget",
        "receive_buffer",
        "send_buffer",
        "waits",
        "writer",
        "reader",
        "ends",
        "hot",
        "paced_pings",
        "connection",
        # what users hold
        "incoming",
        "outgoing",
        "readable",
        "writable",
        "stream",
        "byte_stream",
        "hub",
        "broadcast",
        "block",
    ],
    "_server": [
        # how a client comes in
        "options",
        "origins",
        "listener",
        "accepting",
        # what becomes of it
        "outcome",
        "answer",
        "proxied",
        "request",
        "report",
        "tally",
        "visit",
        "patience",
        "server",
        "program",
        # connections that somebody else's server has accepted
        "upgraded",
        "asgi_stream",
        "asgi_refusal",
        "asgi_visit",
    ],
    COMMAND_LINE: [
        # words for people
        "exit_codes",
        "escape",
        "units",
        "failures",
        "parsing",
        # what is installed, to read
        "docstrings",
        "reference",
        "docs",
        # what passes through a pipe
        "traffic",
        "standard",
        "json_text",
        "framing",
        "rendering",
        "pipe",
        "meter",
        # talking in a terminal
        "talk_commands",
        "terminals",
        "interactive",
        # the commands
        "connect_options",
        "connect",
        "demo_run",
        "demo_display",
        "demo_site",
        "demo_flows",
        "demo_page",
        "serve_echo",
        "serve_broadcast",
        "serve_tcp",
        "serve_framing",
        "serve_process",
        "serve_pipes",
        "serve_exec",
        "serve_talk",
        "serve_options",
        "serve",
        "latencies",
        "bench_values",
        "bench_run",
        "bench_report",
        "bench",
        "demo",
        "completion",
        "main",
    ],
    EDGES: [
        "_opening",
        "_client",
        "_transient",
        "_series",
        "_reconnect",
        "_session",
        "blocking",
        "__init__",
        "testing",
        "asgi",
        "uvicorn",
        "__main__",
    ],
}


def room_of(module: str) -> str:
    """Name the room of a module of the package."""
    part = module.split(".")[1] if "." in module else ""
    return part if part in ROOMS else EDGES


def violations(source: str, module: str, *, is_package: bool = False) -> list[str]:
    """Say which imports of a module point to a later room."""
    return _pointing_back(ast.parse(source), module, is_package=is_package)


def _pointing_back(tree: ast.Module, module: str, *, is_package: bool) -> list[str]:
    room = room_of(module)
    if room in {EDGES, COMMAND_LINE}:
        return []
    return [
        f"{module} imports {name}"
        for name in imports(tree, module, is_package=is_package)
        if not _is_allowed(name, room)
    ]


def _is_allowed(name: str, room: str) -> bool:
    top = name.partition(".")[0]
    if top == PACKAGE:
        return room_of(name) == room or any(
            name == below or name.startswith(f"{below}.") for below in ALLOWED[room]
        )
    if top in sys.stdlib_module_names:
        return room != "_protocol" or top not in EVENT_LOOPS
    return top in ALLOWED[room]


@pytest.mark.parametrize("path", MODULES, ids=[module_name(path) for path in MODULES])
def test_no_import_points_to_a_later_room(path: Path) -> None:
    assert not _pointing_back(parse(path), module_name(path), is_package=path.stem == "__init__")


@pytest.mark.parametrize("path", sorted((SOURCE / "_protocol").rglob("*.py")), ids=lambda path: path.stem)
def test_the_protocol_layer_never_awaits(path: Path) -> None:
    forbidden = (ast.Await, ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith)
    assert not [
        node.lineno for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, forbidden)
    ]


def needs(room: str) -> dict[str, set[str]]:
    """Return for each module of a room which modules of the room it imports, if only for the type checker."""
    found: dict[str, set[str]] = {}
    for path in MODULES:
        if path.parent == (SOURCE if room == EDGES else SOURCE / room) and (
            room == EDGES or path.stem != "__init__"
        ):
            named = imports(parse(path), module_name(path), is_package=path.stem == "__init__")
            found[path.stem] = {
                stem for name in named if (stem := _in_room(name, room)) and stem != path.stem
            }
    return found


def _in_room(name: str, room: str) -> str:
    """Return which module of the room a name belongs to, if any."""
    if name.partition(".")[0] != PACKAGE or room_of(name) != room:
        return ""
    if room != EDGES:
        return name.split(".")[2]
    return name.split(".")[1] if name in NAMES - {PACKAGE} else "__init__"


def complaints(room: str, order: list[str], needed: dict[str, set[str]]) -> list[str]:
    """Say what to change so that the list is the order of the room's imports."""
    here = f"ORDER[{room!r}] of tests/test_layers.py"
    found = [
        f'{here}: take out the line "{name}", there is no such module'
        for name in order
        if name not in needed
    ]  # fmt: skip
    for module, imported in needed.items():
        last = max(imported & {*order}, key=order.index, default=None)
        below = f'below "{last}"' if last else "wherever it fits"
        if module not in order:
            found.append(f'{here}: add the line "{module}" {below}, where data comes to it')
        elif last and order.index(last) > order.index(module):
            found.append(
                f'{here}: {module} imports {last}, so move the line "{module}" {below}; if that is not how data '
                f"flows, it is the import that has to go"
            )
    return found


@pytest.mark.parametrize("room", [*ROOMS, EDGES])
def test_the_modules_of_a_room_import_only_those_before_them(room: str) -> None:
    wrong = complaints(room, ORDER[room], needs(room))
    assert not wrong, "\n".join(wrong)


def test_a_new_module_an_import_that_points_back_and_a_module_that_is_gone_are_complained_about() -> None:
    assert complaints("_streams", ["a", "b", "c"], {"a": set(), "b": {"a"}, "c": {"a", "b"}}) == []
    here = "ORDER['_streams'] of tests/test_layers.py: "
    assert complaints("_streams", ["gone", "a"], {"a": set(), "new": {"a"}, "free": set()}) == [
        here + 'take out the line "gone", there is no such module',
        here + 'add the line "new" below "a", where data comes to it',
        here + 'add the line "free" wherever it fits, where data comes to it',
    ]
    [backward] = complaints("_streams", ["a", "b", "c"], {"a": {"c"}, "b": set(), "c": set()})
    assert backward.startswith(here + 'a imports c, so move the line "a" below "c"')


def test_every_room_is_listed() -> None:
    folders = {path.name for path in SOURCE.iterdir() if (path / "__init__.py").exists()}
    assert {*ROOMS, COMPILED} == folders
    assert [*ORDER] == [*ROOMS, EDGES]


def test_what_needs_compiling_has_its_place_in_the_order_too() -> None:
    assert "codec" in needs("_protocol")["_compiled"]


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
        ("_network.dial", "from .._streams.errors import ConnectionClosed"),
        ("_streams.stream", "from .._client import open_websocket_stream"),
        ("_streams.stream", "from .._server.request import WebSocketRequest"),
        ("_streams.stream", "import wsproto"),
        ("_streams.stream", "import h11"),
        ("_streams.stream", "import trio"),
        ("_streams.stream", "from .. import open_websocket_stream"),
        ("_server.visit", "from .._client import open_websocket_stream"),
        ("_server.visit", "import trio"),
    ],
)
def test_the_checker_sees_an_import_that_points_to_a_later_room(module: str, line: str) -> None:
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
        ("_server.visit", "from .._streams.errors import ConnectionClosed"),
        ("_client", "import wsproto, trio, rich"),
        ("_client", "from ._server import serve_websocket_streams"),
    ],
)
def test_the_checker_lets_pass_what_is_allowed(module: str, line: str) -> None:
    assert not violations(line, f"{PACKAGE}.{module}")
