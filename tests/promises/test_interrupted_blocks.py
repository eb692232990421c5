"""On trio: Ctrl-C at any place of a block, and descriptors that are used up as one is entered."""

from __future__ import annotations

import errno
import os
import select
import signal
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import pytest
import trio

from websocketstream import ConnectFailed, ConnectionBroken, open_websocket_stream, serve_websocket_streams
from websocketstream._network import trio_loop
from websocketstream._network.task_transport import AnyStreamTransport
from websocketstream._streams.connection import Connection as OurConnection
from websocketstream._streams.statistics import Stopwatch
from websocketstream.testing import memory_byte_stream_pair, over_stream, websocket_stream_pair
from wire import connect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from promises.conftest import Serve
    from websocketstream import WebSocketRequest, WebSocketStream
    from websocketstream._network.transport import Buffer
    from wpt.server import Connection

has_epoll = pytest.mark.skipif(not hasattr(trio_loop.select, "epoll"), reason="there is no epoll")
on_trio = pytest.mark.parametrize("anyio_backend", ["trio"])


def polite(connection: Connection) -> None:
    connection.accept()
    connection.answer_close(connection.read_close())


def interrupted(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let Ctrl-C come in the middle of a call."""

    def call(*args: Any, **options: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        return function(*args, **options)

    return call


@pytest.fixture
def interrupt_the_next_write(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Give what lets Ctrl-C come in the middle of the next write to a stream in memory."""
    write = AnyStreamTransport.write
    asked_for: list[bool] = []

    def interrupted_write(transport: AnyStreamTransport, data: Buffer) -> int:
        if asked_for:
            asked_for.pop()
            signal.raise_signal(signal.SIGINT)
        return write(transport, data)

    monkeypatch.setattr(AnyStreamTransport, "write", interrupted_write)
    return lambda: asked_for.append(True)


@pytest.mark.parametrize("call", ["start_close", "_carry_out", "_release", "start"])
def test_ctrl_c_in_the_middle_of_a_block_leaves_no_connection_behind(
    call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    streams: list[Any] = []
    opened: list[WebSocketStream] = []

    async def main() -> None:
        async with websocket_stream_pair():
            pass  # from the first one on, Ctrl-C waits for the next checkpoint
        ours, theirs = memory_byte_stream_pair()
        streams[:] = ours, theirs
        block = over_stream(ours, server=False, close_timeout=0.2)
        if call == "start":
            monkeypatch.setattr(OurConnection, "start", interrupted(start))
        try:
            async with block as conn:
                opened.append(conn)
                connection = conn._connection
                if call != "start":
                    monkeypatch.setattr(connection, call, interrupted(getattr(connection, call)))
        finally:
            with trio.CancelScope(shield=True), trio.fail_after(3):
                with pytest.raises(anyio.EndOfStream):
                    while True:
                        await theirs.receive()

    start = OurConnection.start
    with pytest.raises(KeyboardInterrupt):
        trio.run(main)
    assert opened
    assert opened[0].close_info is not None


def test_ctrl_c_in_the_middle_of_sending_comes_behind_it(
    interrupt_the_next_write: Callable[[], None],
) -> None:
    async def main() -> None:
        async with websocket_stream_pair() as (client, server):
            interrupt_the_next_write()
            await client.send("whole")
            with pytest.raises(KeyboardInterrupt):
                await trio.lowlevel.checkpoint()
            await client.send("next")
            assert [await server.receive(), await server.receive()] == ["whole", "next"]

    trio.run(main)


@pytest.mark.parametrize("by_batch", [False, True])
def test_ctrl_c_in_the_middle_of_receiving_comes_behind_it(
    by_batch: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with websocket_stream_pair(read_buffer=1000) as (client, server):
            for _ in range(
                2
            ):  # the first one fills the buffer, and what comes behind it has to wait for room
                await server.send("x" * 2000)
                await anyio.wait_all_tasks_blocked()
            with monkeypatch.context() as patch:
                patch.setattr(Stopwatch, "stop", interrupted(Stopwatch.stop))
                if by_batch:
                    assert await client.readable.receive_batch() == ["x" * 2000]
                else:
                    assert await client.receive() == "x" * 2000
            with pytest.raises(KeyboardInterrupt):
                await trio.lowlevel.checkpoint()
            assert await client.receive() == "x" * 2000

    trio.run(main)


def test_ctrl_c_interrupts_who_makes_the_messages_of_a_batch_and_nothing_is_sent() -> None:
    def messages() -> Iterator[str]:
        yield "one"
        signal.raise_signal(signal.SIGINT)
        went_on.append(True)
        yield "two"

    went_on: list[bool] = []

    async def main() -> None:
        async with websocket_stream_pair() as (client, server):
            with pytest.raises(KeyboardInterrupt):
                await client.writable.send_batch(messages())
            assert not went_on
            await client.send("next")
            assert await server.receive() == "next"

    trio.run(main)


def test_ctrl_c_in_the_middle_of_sending_a_batch_comes_behind_it(
    interrupt_the_next_write: Callable[[], None],
) -> None:
    async def main() -> None:
        async with websocket_stream_pair() as (client, server):
            interrupt_the_next_write()
            await client.writable.send_batch(["one", "two"])
            with pytest.raises(KeyboardInterrupt):
                await trio.lowlevel.checkpoint()
            await client.send("next")
            assert [await server.receive() for _ in range(3)] == ["one", "two", "next"]

    trio.run(main)


@pytest.fixture
def no_descriptor(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Give what lets the system have no descriptor left, for what waits for sockets."""

    def fail() -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    return lambda: monkeypatch.setattr(select, "epoll", fail)


async def stay(request: WebSocketRequest) -> None:
    async with request.accept() as conn:
        async for _ in conn:
            pass


@pytest.mark.anyio
@on_trio
@has_epoll
async def test_a_client_that_gets_no_descriptor_to_wait_with_has_failed_to_connect(
    no_descriptor: Callable[[], None], serve: Serve
) -> None:
    server = serve(polite)
    async with open_websocket_stream(server.url("/")):
        pass
    no_descriptor()
    with pytest.raises(ConnectFailed, match="Too many open files"):
        async with open_websocket_stream(server.url("/")):
            pass


@pytest.mark.anyio
@on_trio
@has_epoll
async def test_a_server_that_gets_no_descriptor_to_wait_with_drops_the_client_and_goes_on(
    no_descriptor: Callable[[], None], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caught: list[BaseException] = []

    async def handle(request: WebSocketRequest) -> None:
        try:
            await stay(request)
        except BaseException as exc:
            caught.append(exc)
            raise

    async with anyio.create_task_group() as tasks:
        listener = await tasks.start(partial(serve_websocket_streams, handle, "127.0.0.1", origins=None))
        no_descriptor()
        wire = await anyio.to_thread.run_sync(connect, listener.port)
        assert await anyio.to_thread.run_sync(wire.read_to_eof) == b""
        wire.drop()
        monkeypatch.undo()
        async with open_websocket_stream(listener.url) as conn:
            await conn.send("x")
        await listener.aclose()
    assert isinstance(caught[0], ConnectionBroken)
    assert isinstance(caught[0].__cause__, OSError)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
