"""The block that owns a connection."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType

from anyio import get_cancelled_exc_class

from .._network.loop import uninterrupted
from .._protocol.close import CloseCode
from .._protocol.errors import ConnectFailed
from .connection import Connection
from .errors import ConnectionBroken
from .hints import OnlyAsyncWith
from .stream import WebSocketStream

CANCEL_GRACE = 0.5  # a cancelled block says goodbye, but not for longer than this (seconds)


class StreamBlock(OnlyAsyncWith, AbstractAsyncContextManager[WebSocketStream]):
    """The ``async with`` block that owns a connection: it opens it, and leaving it closes it.

    What the body raises leaves unchanged: never in an exception group, and also when the exit is cancelled.
    """

    __slots__ = ("_called", "_connection", "_open")

    def __init__(
        self,
        open_connection: Callable[[], Awaitable[tuple[Connection, WebSocketStream]]],
        *,
        called: str = "open_websocket_stream(...)",
    ) -> None:
        self._called = called  # who made it, for those who do not enter it
        self._open: Callable[[], Awaitable[tuple[Connection, WebSocketStream]]] | None = open_connection
        self._connection: Connection | None = None

    @property
    def how(self) -> str:
        """The line that enters it."""
        return f"`async with {self._called} as conn:`"

    @uninterrupted
    async def __aenter__(self) -> WebSocketStream:
        if self._open is None:
            raise RuntimeError("this block has been entered before; open a new stream instead")
        open_connection, self._open = self._open, None
        connection, stream = await open_connection()
        try:
            connection.start()
        except OSError as exc:
            # It is released already: this is for what is left of the transport.
            await connection.leave(None, cancelled=True, grace=0)
            kind = ConnectionBroken if connection.server else ConnectFailed
            raise kind(f"cannot wait for the connection's bytes: {exc}") from exc
        self._connection = connection
        return stream

    @uninterrupted
    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            raise RuntimeError("this block has not been entered, or has been left before")
        if exc is not None:
            self._about_to_leave(connection, exc)
        cancelled = exc is not None and not isinstance(exc, Exception)
        try:
            await connection.leave(_farewell_code(exc), cancelled=cancelled, grace=CANCEL_GRACE)
        except get_cancelled_exc_class():
            # The exit was cancelled. What the body raised says more, and a task group keeps it as well: the cancellation
            # is not lost by that, its scope goes on being cancelled.
            if exc is None:
                raise

    def _about_to_leave(self, connection: Connection, exc: BaseException) -> None:
        """Do what else is to be done when the body has let something out; this is for subclasses."""


def _farewell_code(exc: BaseException | None) -> int | None:
    if exc is None:
        return None
    return CloseCode.INTERNAL_ERROR if isinstance(exc, Exception) else CloseCode.GOING_AWAY
