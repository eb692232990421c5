"""What the body of the `async with` raises comes out unchanged, and nothing hangs."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest

from waiting import until
from websocketstream import ConnectionClosed, open_websocket_stream

if TYPE_CHECKING:
    from promises.conftest import Serve
    from wpt.server import Connection

pytestmark = pytest.mark.anyio


def polite(connection: Connection) -> None:
    connection.accept()
    connection.answer_close(connection.read_close())


def rude(connection: Connection) -> None:
    """Never answer anything."""
    connection.accept()
    connection.wait_for_test()


def unread(connection: Connection) -> None:
    """Send more than is read."""
    connection.accept()
    for _ in range(64):
        connection.send_message(bytes(2**20))
    connection.answer_close(connection.read_close())


ERRORS: list[BaseException] = [
    ValueError("mine"),
    ExceptionGroup("mine", [ValueError("one"), ExceptionGroup("inner", [KeyError("two")])]),
    BaseExceptionGroup("mine", [KeyboardInterrupt(), ValueError("one")]),
    KeyboardInterrupt(),
    SystemExit(3),
    StopAsyncIteration(),
    anyio.EndOfStream(),
    TimeoutError("mine"),
]


@pytest.mark.wpt("6.20.13")
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("handler", [polite, rude, unread])
async def test_an_exception_of_the_body_leaves_as_the_same_object(
    error: BaseException, handler, serve: Serve
) -> None:
    server = serve(handler)
    cause, error.__context__ = OSError("cause"), None
    error.__cause__ = cause
    members = getattr(error, "exceptions", None)
    close_timeout = 0.2 if handler is rude else 10
    with anyio.fail_after(20), pytest.raises(type(error)) as caught:
        async with open_websocket_stream(server.url("/"), close_timeout=close_timeout):
            raise error
    assert caught.value is error
    assert error.__cause__ is cause
    assert error.__context__ is None
    assert getattr(error, "exceptions", None) == members
    if handler is not rude:
        await until(lambda: server.closes)
        assert server.closes == [(1011 if isinstance(error, Exception) else 1001, "")]


async def test_an_error_that_the_connection_raised_leaves_as_itself(serve: Serve) -> None:
    def close_first(connection: Connection) -> None:
        connection.accept()
        connection.start_close(4000, "enough")

    with pytest.raises(ConnectionClosed) as caught:
        async with open_websocket_stream(serve(close_first).url("/")) as conn:
            while True:
                await conn.receive()
    assert (caught.value.close_code, caught.value.reason) == (4000, "enough")


async def test_a_group_of_the_users_own_task_group_comes_out_as_it_is(serve: Serve) -> None:
    error = ValueError("in a child task")

    async def fail() -> None:
        raise error

    with pytest.raises(ExceptionGroup) as caught:
        async with open_websocket_stream(serve(polite).url("/")), anyio.create_task_group() as group:
            group.start_soon(fail)
    assert caught.value.exceptions == (error,)


@pytest.mark.parametrize("handler", [polite, rude, unread])
async def test_a_cancelled_body_ends_soon_and_as_cancelled(handler, serve: Serve) -> None:
    server = serve(handler)
    with anyio.CancelScope() as scope:
        async with open_websocket_stream(server.url("/")):
            scope.cancel()
            started = anyio.current_time()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert anyio.current_time() - started < 1.5
    if handler is polite:
        assert server.closes == [(1001, "")]


@pytest.mark.parametrize(
    "anyio_backend", ["asyncio", ("asyncio", {"use_uvloop": True})], ids=["asyncio", "uvloop"]
)
async def test_a_natively_cancelled_task_ends_as_cancelled(anyio_backend, serve: Serve) -> None:
    server = serve(polite)
    opened = asyncio.Event()

    async def stay() -> None:
        async with open_websocket_stream(server.url("/")):
            opened.set()
            await anyio.sleep_forever()

    task = asyncio.create_task(stay())
    await opened.wait()
    task.cancel("mine")
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    assert caught.value.args == ("mine",)
    assert task.cancelled()
    assert server.closes == [(1001, "")]


PROGRAM = """
import sys, anyio
from websocketstream import open_websocket_stream

async def main(url):
    async with open_websocket_stream(url) as conn:
        print("open", flush=True)
        await conn.receive()

anyio.run(main, sys.argv[1], backend=sys.argv[2])
"""


# Several times: the signal may come while any of the tasks runs.
@pytest.mark.parametrize("backend", ["asyncio", "trio", "trio", "trio", "trio"])  # noqa: PT014  (on purpose)
def test_control_c_ends_a_program_at_once_and_says_goodbye(backend: str, serve: Serve) -> None:
    server = serve(polite)
    source = str(Path(__file__).parents[2] / "src")
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, server.url("/"), backend],
        env={"PYTHONPATH": source},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "open\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=5)
    assert process.returncode != 0
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert server.closes == [(1001, "")]
