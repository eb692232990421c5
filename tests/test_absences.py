"""Where the system lacks something, the library goes on without: a short form of `nox -s absences`.

Each absence is simulated in a process of its own, for a module of tests that meets it.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
import trio
from anyio.abc import SocketAttribute

import absences
import websocketstream
from websocketstream._network import asyncio_transport, openssl
from websocketstream._network.tcp import ask_tcp
from websocketstream._network.trio_loop import TrioLoop
from websocketstream._network.trio_readiness import TaskReadiness

ROOT = Path(__file__).parent.parent
REPRESENTATIVES = {
    "compiler": "tests/promises/test_wire_errors.py",
    "zlib-header": "tests/protocol/test_discard.py",
    "openssl": "tests/network/test_tls_by_hand.py",
    "epoll": "tests/network/test_trio_loop.py",
    "tcp-info": "tests/promises/test_paused_peer.py",
    "direct-writes": "tests/network/test_asyncio_transport.py",
}


def run_pytest(*arguments: str, without: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", *arguments],
        cwd=ROOT,
        env={**os.environ, absences.VARIABLE: without},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.skipif(bool(absences.simulated()), reason="this is such a run")
@pytest.mark.timeout(180)
@pytest.mark.parametrize("absence", absences.ABSENCES)
def test_the_tests_that_meet_an_absence_pass_without(absence: str) -> None:
    done = run_pytest(REPRESENTATIVES[absence], str(Path(__file__).relative_to(ROOT)), without=absence)
    assert done.returncode == 0, done.stdout
    assert f"without: {absence}\n" in done.stdout


def test_an_absence_that_does_not_exist_is_refused() -> None:
    done = run_pytest("--collect-only", without="electricity")
    assert done.returncode != 0
    assert (
        "must name some of compiler, zlib-header, openssl, epoll, tcp-info, direct-writes, not 'electricity'"
        in done.stderr
    )


def test_nox_runs_all_tests_without_each_of_them() -> None:
    listed = ", ".join(f'"{absence}"' for absence in absences.ABSENCES)
    assert f'parametrize("without", [{listed}])' in (ROOT / "noxfile.py").read_text("utf-8")


# --- is it really absent?


def has_compiled_engine() -> bool:
    return websocketstream.engine == "compiled"


def has_zlib_header() -> bool:
    return find_spec("websocketstream._protocol._zlib") is not None


def has_openssl() -> bool:
    return openssl.own is not None


def has_epoll() -> bool:
    async def main() -> bool:
        return not isinstance(TrioLoop()._sockets, TaskReadiness)

    return trio.run(main)


class _OnSocket:
    def __init__(self, raw_socket: socket.socket) -> None:
        self._socket = raw_socket

    def extra(self, attribute: object, default: object) -> object:
        assert attribute is SocketAttribute.raw_socket
        return self._socket


def has_tcp_info() -> bool:
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        socket.create_connection(listening.getsockname()) as connected,
    ):
        return ask_tcp(_OnSocket(connected)) is not None  # type: ignore[arg-type]


def has_direct_writes() -> bool:
    return asyncio_transport.DIRECT_WRITES


PRESENT: dict[str, Callable[[], bool]] = {
    "compiler": has_compiled_engine,
    "zlib-header": has_zlib_header,
    "openssl": has_openssl,
    "epoll": has_epoll,
    "tcp-info": has_tcp_info,
    "direct-writes": has_direct_writes,
}


@pytest.mark.parametrize("name", absences.simulated())
def test_what_this_run_goes_without_is_not_there(name: str) -> None:
    assert not PRESENT[name]()


@pytest.mark.skipif(
    sys.platform != "linux" or bool(absences.simulated()), reason="only a whole Linux has everything"
)
@pytest.mark.parametrize(
    "name", [name for name in PRESENT if name not in {"compiler", "zlib-header", "openssl"}]
)
def test_what_others_go_without_is_there_on_linux(name: str) -> None:
    assert PRESENT[name]()
