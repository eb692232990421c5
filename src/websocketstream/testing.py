"""Testing without a network: byte streams in memory, and two connected WebSocket streams.

.. code-block:: python

    async with websocket_stream_pair() as (client, server):
        await client.send("hello")
        assert await server.receive() == "hello"

Everything runs in one process and without real time, on trio and asyncio.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from types import TracebackType
from typing import Any

from anyio import (
    BrokenResourceError,
    ClosedResourceError,
    EndOfStream,
    Event,
    create_memory_object_stream,
    create_task_group,
    get_cancelled_exc_class,
)
from anyio.abc import AnyByteStream, ByteStream, Listener, TaskGroup
from anyio.lowlevel import checkpoint

from ._client import open_websocket_stream
from ._protocol.engine import make_codec
from ._protocol.negotiation import Compression, DeflateParameters
from ._server.server import serve_websocket_streams
from ._server.visit import Handler
from ._streams.block import StreamBlock
from ._streams.connection import Connection
from ._streams.hints import OnlyAsyncWith, async_block, public_names
from ._streams.options import StreamOptions, check_compression
from ._streams.stream import WebSocketStream

__all__ = ["MemoryByteStream", "memory_byte_stream_pair", "serve_in_memory", "websocket_stream_pair"]


def __dir__() -> list[str]:
    return __all__


class _Pipe:
    """One direction: at most ``capacity`` bytes on their way, like the buffers of a TCP connection."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._data = bytearray()
        self._ended = False
        self._reset = False
        self._changed = Event()

    async def send(self, item: bytes, closed: _Flag) -> None:
        await checkpoint()
        left = memoryview(item)
        while True:
            closed.check()
            if self._reset:
                raise BrokenResourceError("the peer has closed its end")
            if not left:
                return
            room = self._capacity - len(self._data)
            if room > 0:
                self._data += left[:room]
                left = left[room:]
                self._change()
            else:
                await self._changed.wait()

    async def receive(self, max_bytes: int, closed: _Flag) -> bytes:
        await checkpoint()
        while True:
            closed.check()
            if self._data:
                taken = bytes(self._data[:max_bytes])
                del self._data[:max_bytes]
                self._change()
                return taken
            if self._reset:
                raise BrokenResourceError("the connection was reset")
            if self._ended:
                raise EndOfStream
            await self._changed.wait()

    def end(self) -> None:
        self._ended = True
        self._change()

    def reset(self) -> None:
        self._reset = True
        self._change()

    def _change(self) -> None:
        self._changed.set()
        self._changed = Event()


class _Flag:
    """Whether an end was closed on its own side."""

    def __init__(self) -> None:
        self.raised = False

    def check(self) -> None:
        if self.raised:
            raise ClosedResourceError


class MemoryByteStream(ByteStream):
    """One end of a connected pair, which behaves like a TCP socket: bounded buffers, half-close, reset."""

    __dir__ = public_names

    def __init__(self, incoming: _Pipe, outgoing: _Pipe) -> None:
        self._incoming = incoming
        self._outgoing = outgoing
        self._closed = _Flag()

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Wait for bytes and return them. Cancelling is safe: no byte is lost.

        :raises anyio.EndOfStream: the peer has ended its direction
        :raises anyio.BrokenResourceError: the connection was reset
        :raises anyio.ClosedResourceError: this end was closed
        """
        return await self._incoming.receive(max_bytes, self._closed)

    async def send(self, item: bytes) -> None:
        """Send bytes, waiting for room. Cancelling may leave a part of them sent.

        :raises anyio.BrokenResourceError: the peer has closed its end
        :raises anyio.ClosedResourceError: this end was closed
        """
        await self._outgoing.send(item, self._closed)

    async def send_eof(self) -> None:
        """End our direction; the other one goes on."""
        self._outgoing.end()

    async def aclose(self) -> None:
        """Close both directions: the peer reads what is under way and then the end, and cannot send any more."""
        self._closed.raised = True
        self._outgoing.end()
        self._incoming.reset()
        await checkpoint()

    def reset(self) -> None:
        """Break the connection for both ends, as a TCP reset does."""
        self._outgoing.reset()
        self._incoming.reset()


def memory_byte_stream_pair(capacity: int = 65536) -> tuple[MemoryByteStream, MemoryByteStream]:
    """Return two connected byte streams; each direction holds at most ``capacity`` bytes."""
    one, other = _Pipe(capacity), _Pipe(capacity)
    return MemoryByteStream(one, other), MemoryByteStream(other, one)


@async_block("`async with websocket_stream_pair() as (client, server):`")
async def websocket_stream_pair(
    *,
    capacity: int = 65536,
    compression: bool | Compression = False,
    **options: Any,  # noqa: ANN401
) -> AsyncIterator[tuple[WebSocketStream, WebSocketStream]]:
    """Open a client's and a server's stream that are connected in memory, and close both at the end of the block.

    :param capacity: bytes that each direction of the transport holds
    :param compression: whether permessage-deflate was negotiated, with its default parameters
    :param options: those of :func:`websocketstream.open_websocket_stream` that concern an open connection, for both
    :raises ValueError: an option is not allowed
    :raises TypeError: an option is unknown or has the wrong type
    """
    client_end, server_end = memory_byte_stream_pair(capacity)
    deflate = check_compression(compression)
    async with (
        over_stream(client_end, server=False, compression=deflate, **options) as client,
        over_stream(server_end, server=True, compression=deflate, **options) as server,
    ):
        yield client, server


@async_block("`async with serve_in_memory(handler) as connect:`")
async def serve_in_memory(
    handler: Handler,
    *,
    capacity: int = 65536,
    **options: Any,  # noqa: ANN401
) -> AsyncIterator[Callable[..., AbstractAsyncContextManager[WebSocketStream]]]:
    """Serve a handler without a port: the block gets ``connect(path, ...)``, which opens a client's stream to it.

    .. code-block:: python

        async with serve_in_memory(handler, origins=["https://example.com"]) as connect:
            async with connect("/room?name=x", headers={"Authorization": "..."}, origin="https://example.com") as conn:
                ...

    The opening handshake is the real one, so paths, header fields, origins, subprotocols and refusals are as over the
    network. ``connect()`` takes the options of :func:`websocketstream.open_websocket_stream`. At the end of the block the
    server is cancelled. What the body raises leaves the block unchanged.

    :param handler: as for :func:`websocketstream.serve_websocket_streams`
    :param capacity: bytes that each direction of a transport holds
    :param options: those of :func:`websocketstream.serve_websocket_streams`; all origins are admitted unless ``origins`` says
        something else
    :raises ValueError: an option is not allowed
    :raises TypeError: an option is unknown or has the wrong type
    """
    if "listener" in options:
        raise TypeError("serve_in_memory() has a listener of its own")
    listener = _MemoryListener()
    serve = partial(serve_websocket_streams, handler, listener=listener, **{"origins": None, **options})

    def connect(
        path: str = "/",
        **client_options: Any,  # noqa: ANN401
    ) -> AbstractAsyncContextManager[WebSocketStream]:
        if not path.startswith("/"):
            raise ValueError(f"path must start with a slash, unlike {path!r:.100}")
        one, other = _Pipe(capacity), _Pipe(capacity)
        ours, theirs = MemoryByteStream(one, other), _ServerEnd(other, one, listener.ends)
        block = open_websocket_stream(f"ws://localhost{path}", stream=ours, **client_options)
        return _ConnectBlock(block, partial(listener.connect, theirs))

    failure: BaseException | None = None
    try:
        async with create_task_group() as tasks:
            try:
                await tasks.start(serve)
                yield connect
            except get_cancelled_exc_class():
                raise
            except BaseException as exc:  # noqa: BLE001  (a group would wrap it)
                failure = exc
            finally:
                tasks.cancel_scope.cancel()
    except get_cancelled_exc_class():
        if failure is None:  # as everywhere, an error goes before a cancellation
            raise
    finally:
        listener.close()
    if failure is not None:
        try:
            raise failure
        finally:
            del failure  # which holds this frame


class _ConnectBlock(OnlyAsyncWith, AbstractAsyncContextManager[WebSocketStream]):
    """A client's block, whose server learns of it when it is entered."""

    def __init__(
        self, block: AbstractAsyncContextManager[WebSocketStream], connect: Callable[[], object]
    ) -> None:
        self._block = block
        self._connect = connect

    @property
    def how(self) -> str:
        """The line that enters it."""
        return "`async with connect(...) as conn:`"

    async def __aenter__(self) -> WebSocketStream:
        self._connect()
        return await self._block.__aenter__()

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._block.__aexit__(exc_type, exc, traceback)


class _ServerEnd(MemoryByteStream):
    """The server's end, which its listener knows of until it is closed."""

    def __init__(self, incoming: _Pipe, outgoing: _Pipe, ends: set[MemoryByteStream]) -> None:
        super().__init__(incoming, outgoing)
        self._ends = ends

    async def aclose(self) -> None:
        self._ends.discard(self)
        await super().aclose()


class _MemoryListener(Listener[MemoryByteStream]):
    """Where connections in memory arrive."""

    def __init__(self) -> None:
        self._send, self._arrived = create_memory_object_stream[MemoryByteStream](math.inf)
        self.ends: set[MemoryByteStream] = set()

    def connect(self, stream: MemoryByteStream) -> None:
        """Let a connection arrive; when nobody listens any more, it is reset."""
        try:
            self._send.send_nowait(stream)
            self.ends.add(stream)
        except (BrokenResourceError, ClosedResourceError):
            stream.reset()

    async def serve(
        self, handler: Callable[[MemoryByteStream], Any], task_group: TaskGroup | None = None
    ) -> None:
        """Hand on what arrives, until it is closed."""
        assert task_group is not None
        async for stream in self._arrived:
            task_group.start_soon(handler, stream)
        raise ClosedResourceError

    def close(self) -> None:
        """Listen no more."""
        self._send.close()
        self._arrived.close()
        while self.ends:  # of those that nobody had begun to serve
            self.ends.pop().reset()

    async def aclose(self) -> None:
        """Listen no more."""
        self._send.close()
        self._arrived.close()

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """There are none."""
        return {}


def over_stream(
    stream: AnyByteStream,
    *,
    server: bool,
    compression: Compression | None = None,
    **options: Any,  # noqa: ANN401
) -> StreamBlock:
    """Return the block of a connection over a byte stream on which the opening handshake is done."""
    checked = StreamOptions(**options)
    deflate = None if compression is None else DeflateParameters()

    async def open_stream() -> tuple[Connection, WebSocketStream]:
        codec = make_codec(client=not server, limits=checked.limits, deflate=deflate, compression=compression)
        connection = Connection(stream, codec, server=server, options=checked)
        return connection, WebSocketStream(connection, url="ws://memory/")

    return StreamBlock(open_stream)
