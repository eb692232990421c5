"""A WebSocket as a stream of bytes, and two streams of bytes as one: for tunnels, and for whatever reads and writes bytes."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Literal, TypeAlias

from anyio import (
    BrokenResourceError,
    ClosedResourceError,
    EndOfStream,
    create_task_group,
    current_time,
    get_cancelled_exc_class,
    sleep,
)
from anyio.abc import ByteStream
from anyio.lowlevel import checkpoint
from anyio.streams.tls import TLSAttribute

from .._protocol.close import OK_CODES, CloseCode
from .errors import ConnectionBroken, ConnectionClosed
from .stream import Inside, WebSocketStream
from .waits import OneAtATime

# What one message carries, at the most: far less than any peer's limit, and enough not to be felt.
MESSAGE_BYTES = 2**16
RELAYED_BYTES = 2**16  # what one receive of a relay takes
# How long (seconds) a stream may be silent that could not be told that nothing more comes.
SILENT_SECONDS = 10.0

_OF_TLS = frozenset(value for name, value in vars(TLSAttribute).items() if not name.startswith("_"))

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
        self.is_over: bool = False  # the connection is, not only the peer's direction
        self._sending_ended = False
        self._receiving = OneAtATime("receiving from")
        self._sending = OneAtATime("sending to")

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Wait for bytes and return them. Cancelling is safe: nothing is lost.

        :raises anyio.EndOfStream: the peer has ended its direction
        :raises anyio.BrokenResourceError: the connection ended with an error, or brought text
        :raises anyio.ClosedResourceError: this end was closed
        :raises anyio.BusyResourceError: another task is receiving already
        """
        if max_bytes < 1:
            raise ValueError(f"max_bytes must be at least 1, not {max_bytes}")
        async with self._receiving:
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
            self.is_over = True
            if closed.close_code not in OK_CODES:
                raise BrokenResourceError(str(closed)) from closed
            raise
        except ConnectionBroken as broken:
            self.is_over = True
            if broken.close_code not in OK_CODES:
                raise
            # It closed well, and what it did not wait for was ours: all of its own is here.
            raise EndOfStream from broken

    def _take(self, message: str | bytes) -> None:
        if isinstance(message, str):
            connection = self._conn.extra(Inside.connection)
            raise connection.refuse(
                CloseCode.UNSUPPORTED_DATA, "the peer sent a text message into a stream of bytes"
            )
        self._rest = memoryview(message)
        self._ended = not message and self._eof == "empty"

    async def wait_closed(self) -> None:
        """Wait, behind the end of the peer's direction, for that of the connection, which nobody would see otherwise.

        What still arrives is dropped.

        :raises anyio.BrokenResourceError: the connection ended with an error
        :raises anyio.ClosedResourceError: this end was closed
        :raises anyio.BusyResourceError: another task is receiving
        """
        async with self._receiving:
            with suppress(EndOfStream):
                while True:
                    await self._next_message()

    async def send(self, item: bytes) -> None:
        """Send bytes, and wait until what is unsent fits the write buffer.

        Cancelling is safe for up to 64 KiB: they are sent whole or not at all. Of more than that, a part may be sent.

        :raises anyio.BrokenResourceError: the connection has ended
        :raises anyio.ClosedResourceError: this end was closed, or its direction ended
        :raises anyio.BusyResourceError: another task is sending already: their bytes would be mixed
        """
        async with self._sending:
            if self._sending_ended:
                await checkpoint()
                raise ClosedResourceError
            view = memoryview(item)
            for start in range(0, len(view), MESSAGE_BYTES):
                await self._conn.writable.send(view[start : start + MESSAGE_BYTES])
            if not view:  # which would be no bytes, but the end
                await checkpoint()

    async def send_eof(self) -> None:
        """End our direction; the other one goes on as far as the peer knows of half-closes. Idempotent."""
        async with self._sending:
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
        """The typed attributes of the transport, without those of TLS.

        That is between the ends of the connection, and the bytes may be for somebody behind one of them. Those of the connection
        itself have it.
        """
        attributes = self._conn.extra_attributes
        return {name: value for name, value in attributes.items() if name not in _OF_TLS}


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
    handed on by ``send_eof()``; the end of a connection, by the Close frame, is the end of both. A stream without a half-close, such
    as anyio's TLS, learns of an end when it is closed: that is, as soon as it has said nothing for ten seconds. Neither stream is
    closed in the end; that is for the blocks that own them. Cancelling is safe for the connections, what is in between is lost.

    :param one: an anyio byte stream; for a connection :func:`as_byte_stream` is called
    :param other: the other one
    :raises anyio.BrokenResourceError: one of them has failed; the other direction is given up
    :raises anyio.ClosedResourceError: one of them was closed on this side
    """
    left, right = _bytes_of(one), _bytes_of(other)
    there, back = _Direction(left, right), _Direction(right, left)
    failures: list[BaseException] = []
    moving = 2
    try:
        async with create_task_group() as tasks:

            async def move(direction: _Direction, opposite: _Direction) -> None:
                nonlocal moving
                try:
                    end_of_both = await direction.move(opposite)
                    moving -= 1
                    if moving and end_of_both is not None:
                        await end_of_both()
                        moving = 0
                except get_cancelled_exc_class():
                    raise
                except BaseException as exc:  # noqa: BLE001  (a group would wrap it)
                    failures.append(exc)
                    moving = 0
                if not moving:
                    tasks.cancel_scope.cancel()

            tasks.start_soon(move, there, back)
            tasks.start_soon(move, back, there)
        if failures:
            raise failures[0]
    finally:
        failures.clear()  # which hold this frame


class _Direction:
    """One of the two directions of a relay."""

    def __init__(self, source: ByteStream, target: ByteStream) -> None:
        self._source = source
        self._target = target
        self._receiving_since = math.inf  # seconds of the event loop's clock

    async def move(self, opposite: _Direction) -> Callable[[], Awaitable[object]] | None:
        """Move bytes until the source has ended, or the target wants no more.

        Return what to wait for as the end of the other direction as well; None where that one has an end of its own.
        """
        while True:
            data = await self._receive()
            try:
                if not data:
                    return await self._hand_on_the_end(opposite)
                await self._target.send(data)
            except (ConnectionClosed, ConnectionBroken) as end:
                if end.close_code not in OK_CODES:
                    raise
                return (
                    None  # it wants no more, and that is no error; the other direction moves what it has said
                )

    async def _receive(self) -> bytes:
        """Return what comes, nothing at the end."""
        self._receiving_since = current_time()
        try:
            return await self._source.receive(RELAYED_BYTES)
        except EndOfStream:
            return b""
        finally:
            self._receiving_since = math.inf

    async def _hand_on_the_end(self, opposite: _Direction) -> Callable[[], Awaitable[object]] | None:
        source = self._source
        connection = source if isinstance(source, WebSocketByteStream) else None
        try:
            await self._target.send_eof()
        except NotImplementedError:
            # Its transport's half-close would do, but not for TLS: it looks cut off then, and cannot say goodbye any more.
            return opposite.wait_silent if connection is None or not connection.is_over else checkpoint
        except (
            OSError,
            RuntimeError,
            TypeError,
        ) as exc:  # of anyio where it has failed: TCP on trio, on uvloop, TLS
            raise BrokenResourceError("the end of a direction could not be handed on") from exc
        return None if connection is None else connection.wait_closed

    async def wait_silent(self) -> None:
        """Wait until the source has said nothing for a while, as one that does not know that nothing more comes."""
        # To be woken by each byte would cost more.
        while (left := self._receiving_since + SILENT_SECONDS - current_time()) > 0:  # noqa: ASYNC110
            await sleep(min(left, SILENT_SECONDS))


def _bytes_of(stream: ByteStream | WebSocketStream) -> ByteStream:
    return as_byte_stream(stream) if isinstance(stream, WebSocketStream) else stream
