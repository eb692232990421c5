"""What was accepted arrives, and whoever sends goes on, also with many tasks at once, large buffers and a peer that pauses."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from threading import Event
from typing import TYPE_CHECKING, Any, TypeAlias

import anyio
import pytest

from network.transport_kit import transport_and_peer
from waiting import at_rest, until
from websocketstream import (
    CloseInfo,
    WebSocketRequest,
    WebSocketStream,
    open_websocket_stream,
    serve_websocket_streams,
)
from websocketstream._protocol.codec import CodecLimits
from websocketstream._protocol.engine import make_codec
from websocketstream._streams.connection import Connection as OpenConnection
from websocketstream._streams.options import StreamOptions
from wire import PeerClosed, connect

if TYPE_CHECKING:
    import ssl

    from promises.conftest import Serve
    from wire import Wire
    from wpt.server import Connection

pytestmark = pytest.mark.anyio

Body: TypeAlias = Callable[[WebSocketStream], Awaitable[None]]

MIB = 2**20
STUCK = 20  # seconds; only a failing test waits so long


def read_all(wire: Wire, may_read: Event, received: list[str | bytes]) -> None:
    """Read up to the Close frame, when it is time, and answer that."""
    assert may_read.wait(20)
    try:
        while True:
            received.append(wire.read_message())
    except PeerClosed as close:
        wire.send_close(close.code, close.reason)


@dataclass
class Ends:
    """Opens connections: one end is the library's, the other a bare peer that reads everything when it is let."""

    name: str
    serve: Serve
    server_ssl: ssl.SSLContext
    client_ssl: ssl.SSLContext
    may_read: Event = field(default_factory=Event)
    received: list[str | bytes] = field(default_factory=list)

    async def use(self, body: Body, **options: Any) -> CloseInfo | None:
        """Run the body of a block, leave it, and return how the connection ended."""
        tls = self.name.endswith("wss")
        if self.name.startswith("client"):
            url = self.serve(self._serve, self.server_ssl if tls else None).url("/")
            async with open_websocket_stream(
                url, ssl_context=self.client_ssl if tls else None, **options
            ) as conn:
                await body(conn)
            return conn.close_info
        infos: list[CloseInfo | None] = []

        async def handler(request: WebSocketRequest) -> None:
            async with request.accept() as conn:
                await body(conn)
            infos.append(conn.close_info)

        async with anyio.create_task_group() as group:
            listen = partial(
                serve_websocket_streams,
                origins=None,
                ssl_context=self.server_ssl if tls else None,
                **options,
            )
            listener = await group.start(listen, handler, "127.0.0.1", 0)
            await anyio.to_thread.run_sync(self._visit, listener.port)
            await listener.aclose()
        return infos[0]

    def _serve(self, connection: Connection) -> None:
        connection.accept()
        self._read(connection)

    def _visit(self, port: int) -> None:
        wire = connect(port, tls=self.client_ssl if self.name.endswith("wss") else None)
        with wire.sock:
            self._read(wire)
            wire.read_to_eof()

    def _read(self, wire: Wire) -> None:
        assert self.may_read.wait(STUCK)
        try:
            while True:
                self.received.append(wire.read_message())
        except PeerClosed as close:
            wire.send_close(close.code, close.reason)


@pytest.fixture(params=["client-ws", "client-wss", "server-ws", "server-wss"])
def ends(
    request: pytest.FixtureRequest, serve: Serve, server_ssl: ssl.SSLContext, client_ssl: ssl.SSLContext
) -> Ends:
    return Ends(request.param, serve, server_ssl, client_ssl)


async def test_tasks_that_send_large_messages_to_a_peer_that_reads_all_go_on(ends: Ends) -> None:
    messages = [bytes([number]) * (3 * MIB) for number in range(3)]
    ends.may_read.set()

    async def body(conn: WebSocketStream) -> None:
        with anyio.fail_after(STUCK):
            async with anyio.create_task_group() as group:
                for message in messages:
                    group.start_soon(conn.send, message)

    assert await ends.use(body) == CloseInfo(1005)
    assert sorted(ends.received, key=bytes) == messages  # type: ignore[arg-type]


async def test_many_tasks_go_on_when_a_peer_that_pauses_reads_at_last(ends: Ends) -> None:
    messages = [bytes([number]) * 65536 for number in range(100)]

    async def body(conn: WebSocketStream) -> None:
        with anyio.fail_after(STUCK):
            async with anyio.create_task_group() as group:
                for message in messages:
                    group.start_soon(conn.send, message)
                await until(lambda: conn.statistics().writable.buffered_bytes)
                await at_rest(lambda: conn.statistics().writable.buffered_bytes)
                assert conn.statistics().writable.buffered_bytes > 0
                ends.may_read.set()

    assert await ends.use(body) == CloseInfo(1005)
    assert sorted(ends.received, key=bytes) == messages  # type: ignore[arg-type]


async def test_all_messages_that_were_accepted_arrive_although_the_block_is_left_at_once(ends: Ends) -> None:
    """The peer begins to read when nothing more can be sent."""
    messages = [b"%04d" % number + bytes(996) for number in range(3000)]

    async def let_read() -> None:
        await anyio.wait_all_tasks_blocked()
        ends.may_read.set()

    async with anyio.create_task_group() as group:

        async def body(conn: WebSocketStream) -> None:
            for message in messages:
                conn.writable.send_nowait(message)
            group.start_soon(let_read)

        assert await ends.use(body, write_buffer=8 * MIB) == CloseInfo(1005)
    assert ends.received == messages


@pytest.mark.parametrize("kind", ["socket", "socket in tasks", "memory"])
@pytest.mark.parametrize("size", [10, 65535, 65536, 300_000])
async def test_the_keepalive_is_told_of_all_that_was_written_also_in_the_senders_turn(
    kind: str, size: int
) -> None:
    async with transport_and_peer(kind) as (transport, peer):
        codec = make_codec(client=False, limits=CodecLimits())
        connection = OpenConnection(transport, codec, server=True, options=StreamOptions())
        connection.start()
        conn = WebSocketStream(connection, url="ws://peer/")
        total = size + (2 if size < 126 else 4 if size < 65536 else 10)
        for _ in range(3):
            async with anyio.create_task_group() as group:
                group.start_soon(conn.send, bytes(size))
                frame = await peer.receive(total)
        assert connection.writer.written == 3 * len(frame)
        connection.drop()
