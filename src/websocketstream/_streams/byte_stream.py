"""A WebSocket as a stream of bytes, and two streams of bytes as one: for tunnels, and for whatever reads and writes bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

from anyio import BrokenResourceError, ClosedResourceError, EndOfStream, ResourceGuard, create_task_group
from anyio.abc import ByteStream
from anyio.lowlevel import checkpoint

from .._network.any_stream import half_close
from .._protocol.close import OK_CODES
from .errors import ConnectionClosed
from .stream import WebSocketStream

# What one message carries, at the most: far less than any peer's limit, and enough not to be felt.
MESSAGE_BYTES = 2**16
RELAYED_BYTES = 2**16  # what one receive of a relay takes

HalfClose: TypeAlias = Literal["close", "empty"]


class WebSocketByteStream(ByteStream):
    """The binary messages of a connection as a stream of bytes, whose boundaries are nobody's business.

    See :func:`as_byte_stream`.
    """

    def __init__(self, conn: WebSocketStream, eof: HalfClose) -> None:
        self._conn = conn
        self._eof = eof
        self._rest = memoryview(b"")  # of a message that was longer than was asked for
        self._ended = False  # by the peer
        self._sending_ended = False
        self._receiving = ResourceGuard("receiving from")
        self._sending = ResourceGuard("sending to")

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Wait for bytes and return them. Cancelling is safe: nothing is lost.

        :raises anyio.EndOfStream: the peer has ended its direction
        :raises anyio.BrokenResourceError: the connection ended with an error, or brought text
        :raises anyio.ClosedResourceError: this end was closed
        :raises anyio.BusyResourceError: another task is receiving already
        """
        if max_bytes < 1:
            raise ValueError(f"max_bytes must be at least 1, not {max_bytes}")
        with self._receiving:
            if self._rest:
                await checkpoint()
            while not self._rest:
                if self._ended:
                    await checkpoint()
                    raise EndOfStream
                self._take(await self._next_message())
            taken = bytes(self._rest[:max_bytes])
            self._rest = self._rest[max_bytes:]
            return taken

    async def _next_message(self) -> str | bytes:
        try:
            return await self._conn.readable.receive()
        except ConnectionClosed as closed:
            if closed.close_code not in OK_CODES:
                raise BrokenResourceError(str(closed)) from closed
            raise

    @property
    def ends_as_a_whole(self) -> bool:
        """Whether the end of the peer's direction is the end of ours."""
        return self._eof == "close"

    def _take(self, message: str | bytes) -> None:
        if isinstance(message, str):
            self._conn.readable.cancel()
            raise BrokenResourceError("the peer sent a text message into a stream of bytes")
        self._rest = memoryview(message)
        self._ended = not message and self._eof == "empty"

    async def send(self, item: bytes) -> None:
        """Send bytes, and wait until what is unsent fits the write buffer.

        Cancelling is safe for up to 64 KiB: they are sent whole or not at all. Of more than that, a part may be sent.

        :raises anyio.BrokenResourceError: the connection has ended
        :raises anyio.ClosedResourceError: this end was closed, or its direction ended
        :raises anyio.BusyResourceError: another task is sending already: their bytes would be mixed
        """
        with self._sending:
            if self._sending_ended:
                raise ClosedResourceError
            view = memoryview(item)
            for start in range(0, len(view), MESSAGE_BYTES):
                await self._conn.writable.send(view[start : start + MESSAGE_BYTES])
            if not view:  # which would be no bytes, but the end
                await checkpoint()

    async def send_eof(self) -> None:
        """End our direction; the other one goes on as far as the peer knows of half-closes. Idempotent."""
        with self._sending:
            if self._sending_ended:
                await checkpoint()
                return
            if self._eof == "empty":
                await self._conn.writable.send(b"")
            else:
                await self._conn.send_eof()
            self._sending_ended = True  # not before: who was cancelled has to be able to say it again

    async def aclose(self) -> None:
        """Close the connection, as :meth:`WebSocketStream.aclose` does."""
        await self._conn.aclose()

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """The typed attributes of the transport."""
        return self._conn.extra_attributes


def as_byte_stream(conn: WebSocketStream, *, eof: HalfClose = "close") -> WebSocketByteStream:
    """Return a connection as an anyio byte stream: binary messages in and out, their boundaries forgotten.

    Backpressure and the promises for cancellation are the connection's. Text messages have no place here. An end by a code
    other than 1000, 1001 and 1005 is an :exc:`anyio.BrokenResourceError`, not the end of the stream.

    :param eof: how one direction is ended. ``"close"``: by the Close frame, which most peers answer at once with theirs, so
        the other direction ends as well. ``"empty"``: by an empty binary message, if the two programs have agreed on that
    :raises ValueError: ``eof`` is something else
    """
    if eof not in ("close", "empty"):
        raise ValueError(f"eof must be 'close' or 'empty', not {eof!r:.100}")
    return WebSocketByteStream(conn, eof)


async def relay(one: ByteStream | WebSocketStream, other: ByteStream | WebSocketStream) -> None:
    """Move bytes both ways between two streams, until both directions have ended.

    Each waits for the other: nothing is read that cannot be written, and at most 64 KiB are in between. The end of a direction is
    handed on by ``send_eof()``; that of a connection which ends by the Close frame is the end of both. Neither stream is closed
    in the end; that is for the blocks that own them. Cancelling is safe for the connections, what is in between is lost.

    :param one: an anyio byte stream; for a connection :func:`as_byte_stream` is called
    :param other: the other one
    :raises anyio.BrokenResourceError: one of them has failed; the other direction is given up
    :raises anyio.ClosedResourceError: one of them was closed on this side
    """
    left, right = _bytes_of(one), _bytes_of(other)
    failures: list[Exception] = []
    async with create_task_group() as tasks:

        async def move(source: ByteStream, target: ByteStream) -> None:
            try:
                await _move(source, target)
            except Exception as exc:  # noqa: BLE001  (a group would wrap it)
                failures.append(exc)
                tasks.cancel_scope.cancel()
            else:
                if isinstance(source, WebSocketByteStream) and source.ends_as_a_whole:
                    tasks.cancel_scope.cancel()  # nobody is there who could take what the other one says

        tasks.start_soon(move, left, right)
        tasks.start_soon(move, right, left)
    if failures:
        try:
            raise failures[0]
        finally:
            failures.clear()  # which hold this frame


async def _move(source: ByteStream, target: ByteStream) -> None:
    while True:
        try:
            data = await source.receive(RELAYED_BYTES)
        except EndOfStream:
            data = b""
        try:
            if not data:
                await half_close(target)
                return
            await target.send(data)
        except ConnectionClosed as closed:
            if closed.close_code in OK_CODES:
                return  # it wants no more, and that is no error
            raise


def _bytes_of(stream: ByteStream | WebSocketStream) -> ByteStream:
    return as_byte_stream(stream) if isinstance(stream, WebSocketStream) else stream
