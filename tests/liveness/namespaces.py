"""Two hosts on one machine: network namespaces that a link joins, for hosts that vanish.

Nothing is left behind, however a test ends: the near namespace belongs to a thread and ends with it (and its sockets),
the far one belongs to a process that ends with its standard input, and a link ends with one of its namespaces.
"""

from __future__ import annotations

import ctypes
import functools
import json
import os
import shutil
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CLONE_NEWNET = 0x40000000  # sched.h; os.unshare() is there from Python 3.12 on


TCP_RTO_MAX_MS = 44  # linux/tcp.h


class Link(NamedTuple):
    """The names of the two ends of a link."""

    near: str = "near"
    far: str = "far"


LINK = Link()


def enter_new_namespace() -> None:
    """Give this thread a network of its own.

    :raises OSError: it must not
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    ip("link", "set", "lo", "up")


def ip(*arguments: str) -> None:
    """Run ip(8) in this thread's namespace."""
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


@functools.cache
def why_not() -> str | None:
    """Say why there can be no namespaces here; None when there can."""
    if sys.platform != "linux":
        return "network namespaces are Linux's"
    if shutil.which("ip") is None:
        return "ip(8) is missing (package iproute2)"

    def attempt() -> None:
        enter_new_namespace()
        ip("link", "add", LINK.near, "type", "veth", "peer", "name", LINK.far)

    try:
        with ThreadPoolExecutor(1) as thread:
            thread.submit(attempt).result()
    except OSError as error:
        return f"no permission to make a network namespace, which takes root: {error}"
    except subprocess.CalledProcessError as error:
        return f"no link between namespaces: {error.stderr}"
    return None


def can_probe_often() -> bool:
    """Whether TCP can be told how often to ask a silent host (Linux 6.15 and later)."""
    with socket.socket() as sock:
        try:
            sock.setsockopt(socket.IPPROTO_TCP, TCP_RTO_MAX_MS, 1000)
        except OSError:
            return False
        return True


class FarHost:
    """What a test knows of the other host."""

    def __init__(self, number: int, process: subprocess.Popen[str]) -> None:
        self.near_address = f"198.18.{number}.1"  # RFC 2544: for tests of networks
        self.address = f"198.18.{number}.2"
        self._process = process
        self._read()  # it is in its namespace
        name = f"{LINK.near}{number}"
        ip("link", "add", name, "type", "veth", "peer", "name", LINK.far, "netns", str(process.pid))
        ip("link", "set", name, "up")
        ip("address", "add", f"{self.near_address}/24", "dev", name)
        self.tell("join", address=self.address)

    def tell(self, command: str, **options: Any) -> Any:
        """Give a command of `far.Far`; return what it returns."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([command, options]) + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the far host ended with {self._process.wait()}"
        return json.loads(line)


@contextmanager
def far_host(number: int, directory: Path) -> Iterator[FarHost]:
    """Start another host; the directory has its certificates."""
    here = Path(__file__).parent
    path = os.pathsep.join([str(here), str(here.parent)])
    with subprocess.Popen(
        [sys.executable, str(here / "far.py"), str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    ) as process:
        try:
            yield FarHost(number, process)
        finally:
            process.kill()


def in_a_namespace(function: Callable[..., Any], directory: Path, *, hosts: int) -> Any:
    """Call a function with so many other hosts, in a thread whose network is joined to theirs; return its result."""

    def run() -> Any:
        enter_new_namespace()
        with ExitStack() as stack:
            return function(*(stack.enter_context(far_host(number, directory)) for number in range(hosts)))

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(run).result()
