"""A run of the tests as on a system that lacks something: ``WEBSOCKETSTREAM_TEST_WITHOUT=epoll`` and the like.

Only ``tests/conftest.py`` looks at that, before anything else is imported; the library knows nothing of it.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

VARIABLE = "WEBSOCKETSTREAM_TEST_WITHOUT"


def _without_compiler() -> None:
    """As where the compiled engine could not be built."""
    sys.modules["websocketstream._protocol._compiled"] = None  # type: ignore[assignment]
    _without_zlib_header()


def _without_zlib_header() -> None:
    """As where the compiled engine was built without zlib's header, or zlib itself is gone."""
    sys.modules["websocketstream._protocol._zlib"] = None  # type: ignore[assignment]


def _without_epoll() -> None:
    """As on macOS, Windows and the BSDs; the event loops themselves keep theirs."""
    for module in ("asyncio_loop", "trio_loop"):
        _network(module).select = SimpleNamespace()


def _without_tcp_info() -> None:
    """As wherever TCP does not tell about the other host."""
    _network("tcp").sys = SimpleNamespace(platform="something else")


def _without_direct_writes() -> None:
    """As on Windows, where a socket is no file, and nothing of POSIX can be built."""
    sys.modules["websocketstream._network._sockets"] = None  # type: ignore[assignment]
    _network("asyncio_transport").DIRECT_WRITES = False


def _without_openssl() -> None:
    """As where OpenSSL's functions are not found, for they are a part of Python, or could not be built upon."""
    sys.modules["websocketstream._network._openssl"] = None  # type: ignore[assignment]


def _network(module: str) -> Any:
    return importlib.import_module(f"websocketstream._network.{module}")


# The first three come before anything of the library is imported, as the others do.
ABSENCES: dict[str, Callable[[], None]] = {
    "compiler": _without_compiler,
    "zlib-header": _without_zlib_header,
    "openssl": _without_openssl,
    "epoll": _without_epoll,
    "tcp-info": _without_tcp_info,
    "direct-writes": _without_direct_writes,
}


def simulated() -> list[str]:
    """Return what this run goes without: names with commas between them.

    :raises ValueError: there is no absence of that name
    """
    wanted = [name for name in os.environ.get(VARIABLE, "").split(",") if name]
    for name in wanted:
        if name not in ABSENCES:
            raise ValueError(f"{VARIABLE} must name some of {', '.join(ABSENCES)}, not {name!r}")
    return [name for name in ABSENCES if name in wanted]


def simulate() -> None:
    """Take away what this run goes without."""
    for name in simulated():
        ABSENCES[name]()
