"""What every test gets: the three event loops, certificates, and a check that nothing was left behind."""

from __future__ import annotations

import asyncio
import gc
import ssl
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest
import sniffio
import trustme

import absences
from backends import BACKENDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

absences.simulate()  # pytest imports this module before any other of the tests

# What these ask is answered alike by every interpreter, at length: programs of others, the system, the docs, the tools.
SAME_EVERYWHERE = [
    "autobahn",
    "interop",
    "peers",
    "liveness/test_hosts.py",
    "liveness/test_questions.py",
    "cli/test_cli_docs.py",
    "cli/test_lines.py",
    "wpt/test_conformance_table.py",
    "test_absences.py",
    "test_benchmarks.py",
    "test_coming_from.py",
    "test_docs_site.py",
    "test_docs_types.py",
    "test_mutate.py",
]

FD_DIRECTORY = Path("/proc/self/fd")
FD_PATIENCE = 2.0  # seconds for server threads and helper processes of the test itself to let go


def pytest_report_header() -> str:
    return f"without: {', '.join(absences.simulated()) or 'nothing'}"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "wpt(*ids, deviation=''): the conformance items that this test stands for"
    )
    config.addinivalue_line("markers", "slow: takes more than a few seconds; deselect with -m 'not slow'")
    config.addinivalue_line("markers", "same_everywhere: one interpreter is enough for it")
    config.addinivalue_line(
        "markers", "keeps_descriptors: opens descriptors that outlive the test on purpose"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    places = [here / name for name in SAME_EVERYWHERE]
    for item in items:
        if not {item.path, *item.path.parents}.isdisjoint(places):
            item.add_marker("same_everywhere")


def pytest_collection_finish() -> None:
    # Sixteen thousand tests, all of which stay: the garbage collector need not look at them again and again.
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    gc.unfreeze()  # for those that ask who refers to what


def pytest_sessionstart() -> None:
    # uvloop opens a pipe for the life of the process with its first loop: no test shall be blamed for it.
    for backend in (param.values[0] for param in BACKENDS):
        name, options = (backend, {}) if isinstance(backend, str) else backend
        anyio.run(anyio.sleep, 0, backend=name, backend_options=options)


@pytest.fixture(params=BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


def open_descriptors() -> dict[str, str]:
    """Return what this process has open: descriptor -> target, without those that pytest redirects."""
    found = {}
    for descriptor in FD_DIRECTORY.iterdir():
        try:
            found[descriptor.name] = str(descriptor.readlink())
        except OSError:  # the descriptor of this very listing
            continue
    return {descriptor: target for descriptor, target in found.items() if int(descriptor) > 2}


@pytest.fixture(autouse=True)
def _no_descriptor_is_left() -> Iterator[None]:
    """Fail a test that leaves a descriptor open."""
    if not FD_DIRECTORY.is_dir():
        yield
        return
    before = open_descriptors()
    yield
    deadline = time.monotonic() + FD_PATIENCE
    while left := {fd: target for fd, target in open_descriptors().items() if before.get(fd) != target}:
        if time.monotonic() > deadline:
            pytest.fail(f"left open: {left}")
        time.sleep(0.01)


@pytest.fixture(autouse=True)
def _nothing_is_left(request: pytest.FixtureRequest, _no_descriptor_is_left: None) -> None:
    """Fail an async test that leaves a task running, as well."""
    if "anyio_backend" in request.fixturenames:
        request.getfixturevalue("_no_task_is_left")


def running_tasks() -> set[Any]:
    """Return the tasks of this event loop, without the one that anyio's test runner starts for every call."""
    if sniffio.current_async_library() == "trio":
        return {task.id for task in anyio.get_running_tasks()}
    runners = "TestRunner._call_in_runner_task"
    # An asynchronous generator that the event loop closes has no name.
    return {task for task in asyncio.all_tasks() if getattr(task.get_coro(), "__qualname__", "") != runners}


@pytest.fixture
async def _no_task_is_left(_no_descriptor_is_left: None) -> AsyncIterator[None]:
    before = running_tasks()
    yield
    left = running_tasks() - before
    assert not left, f"left running: {left}"


@pytest.fixture(scope="session")
def certificate_authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def server_ssl(certificate_authority: trustme.CA) -> ssl.SSLContext:
    """A server's context with a certificate for localhost and the loopback addresses."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate_authority.issue_cert("localhost", "127.0.0.1", "::1").configure_cert(context)
    return context


@pytest.fixture(scope="session")
def client_ssl(certificate_authority: trustme.CA) -> ssl.SSLContext:
    """A client's context that trusts the certificates of these tests and verifies as strictly as the default."""
    context = ssl.create_default_context()
    certificate_authority.configure_trust(context)
    return context
