"""Without ``async``: a client for scripts, notebooks and threads.

.. code-block:: python

    with open_websocket_stream("wss://example.com/feed") as conn:
        for message in conn:
            conn.send(message.upper())
"""

from __future__ import annotations

import warnings
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

from anyio import ClosedResourceError, fail_after

from . import _client
from ._protocol.arguments import check_seconds
from ._protocol.close import OK_CODES, CloseInfo, check_close, check_codes
from ._protocol.codec import Message
from ._protocol.http import Response
from ._session import Session
from ._streams.errors import ConnectionClosed
from ._streams.hints import NAMES_OF_OTHERS_WITHOUT_ASYNC, explain_names, public_names
from ._streams.send_buffer import Sendable
from ._streams.statistics import ConnectionStatistics

__all__ = ["BlockingWebSocketStream", "open_websocket_stream"]


def __dir__() -> list[str]:
    return __all__


Result = TypeVar("Result")


def open_websocket_stream(
    url: str,
    *,
    backend: str = "asyncio",
    backend_options: Mapping[str, Any] | None = None,
    **options: Any,  # noqa: ANN401  (those of another function)
) -> BlockingWebSocketStream:
    """Open a WebSocket, wait until it is open, and return it: as a context manager, which closes it, and as an iterator.

    It runs on an event loop in a thread of its own, which ends with the connection. Ctrl-C comes through at once, here as in
    all that waits, and what was being opened is given up.

    :param url: as for :func:`websocketstream.open_websocket_stream`, whose other options may follow, but for ``stream``
    :param backend: which event loop runs in the thread, ``"asyncio"`` or ``"trio"``
    :param backend_options: as for ``anyio.run()``, such as ``{"use_uvloop": True}``
    :raises ValueError: an argument is not allowed; the message says which and why
    :raises TypeError: an argument is unknown or has the wrong type
    :raises HandshakeError: there is no connection, for one of the reasons that :func:`websocketstream.open_websocket_stream` lists
    :raises LookupError: there is no such backend
    """
    if options.get("stream") is not None:
        raise TypeError("a stream belongs to the event loop that it was made on, and cannot be used here")
    session = Session(_client.open_websocket_stream(url, **options))
    try:
        session.open(backend, backend_options)
        return BlockingWebSocketStream(session)
    except BaseException:
        session.abandon()
        raise


class BlockingWebSocketStream:
    """An open WebSocket whose methods wait, and may be called from any thread, also at the same time.

    It behaves as :class:`websocketstream.WebSocketStream` does: the same errors, the same backpressure. Text messages are str,
    binary messages are bytes. Each of several threads that receive gets other messages. All timeouts are seconds, and None, the
    default, is no limit.

    Leaving its ``with`` block closes it, with 1011 if the block raised, with 1001 if it was Ctrl-C.
    """

    __dir__ = public_names

    def __init__(self, session: Session) -> None:
        self._conn = session.conn
        self._session = session

    def __repr__(self) -> str:
        return repr(self._conn).replace("WebSocketStream", type(self).__name__, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._session.leave(exc)

    def __del__(self) -> None:
        session = getattr(self, "_session", None)  # there is none where Ctrl-C came first
        if session is not None and not session.is_over:
            try:
                if not session.is_left:
                    warnings.warn(f"{self!r} was not closed", ResourceWarning, stacklevel=2, source=self)
            finally:
                session.abandon()

    @property
    def url(self) -> str:
        """The URL in normal form, without user info."""
        return self._conn.url

    @property
    def protocol(self) -> str:
        """The subprotocol that was agreed on, "" when there is none."""
        return self._conn.protocol

    @property
    def extensions(self) -> str:
        """The extensions that were agreed on, "" when there are none."""
        return self._conn.extensions

    @property
    def response(self) -> Response | None:
        """The server's answer to the opening handshake."""
        return self._conn.response

    @property
    def close_info(self) -> CloseInfo | None:
        """How the connection ended, None while it has not."""
        return self._conn.close_info

    @property
    def end_error(self) -> Exception | None:
        """How the connection ended, as an error; see :attr:`websocketstream.WebSocketStream.end_error`."""
        return self._conn.end_error

    @property
    def latency(self) -> float | None:
        """The round-trip time of the last answered ping in seconds, None before the first."""
        return self._conn.latency

    def receive(self, timeout: float | None = None) -> Message:
        """Wait for the next message and return it. A timeout loses none, and neither does Ctrl-C while it waits.

        :param timeout: 0 returns what is there already
        :raises TimeoutError: none came in time
        :raises ConnectionClosed: the peer has closed the connection (an :exc:`anyio.EndOfStream`)
        :raises ConnectionBroken: the connection ended in another way (an :exc:`anyio.BrokenResourceError`)
        :raises anyio.ClosedResourceError: we have closed the connection
        """
        _check_timeout(timeout)
        return self._session.receive(timeout)

    def __iter__(self) -> Iterator[Message]:
        return self

    def __next__(self) -> Message:
        try:
            return self._session.receive(None)
        except ConnectionClosed:
            raise StopIteration from None

    def messages(self, *, ok: Iterable[int] = OK_CODES) -> Iterator[Message]:
        """Iterate over the messages of the peer, and raise at an end that was an error.

        See :meth:`websocketstream.WebSocketStream.messages`.
        """
        return _Messages(self, check_codes(ok))

    def send(self, message: Sendable, *, timeout: float | None = None, compress: bool = True) -> None:
        """Queue one message and wait until what is unsent fits the write buffer.

        A timeout or Ctrl-C leaves the connection usable: the message goes out whole, now or later, or not at all.

        :param compress: false sends this message plain although permessage-deflate was negotiated
        :raises TimeoutError: there was no room in time
        :raises TypeError: the message is neither str nor bytes-like; nothing was sent
        :raises ValueError: the text has a lone surrogate, which UTF-8 cannot carry; nothing was sent
        :raises ConnectionClosed: the peer has closed the connection (also an :exc:`anyio.BrokenResourceError`)
        :raises ConnectionBroken: the connection ended in another way (an :exc:`anyio.BrokenResourceError`)
        :raises anyio.ClosedResourceError: we have closed the connection
        """
        message = _as_it_is(message)
        self._call(timeout, "send", lambda: self._conn.send(message, compress=compress))

    def send_batch(
        self, messages: Iterable[Sendable], *, timeout: float | None = None, compress: bool = True
    ) -> None:
        """Queue several messages, in order; far faster than one by one.

        A timeout or Ctrl-C may leave some of them sent. The errors are those of :meth:`send`.
        """
        if not isinstance(messages, (str, bytes, bytearray, memoryview)):
            # Here: they may come from anywhere and take their time, and be changed behind the call.
            messages = [_as_it_is(message) for message in messages]
        self._call(timeout, "send", lambda: self._conn.writable.send_batch(messages, compress=compress))

    def send_eof(self) -> None:
        """Say that nothing more will be sent, and go on receiving until the peer closes: see the stream's own method."""
        self._call(None, "send_eof", self._conn.send_eof)

    def ping(self, timeout: float | None = None) -> float:
        """Send a Ping frame, wait for its pong and return the round-trip time in seconds.

        :raises TimeoutError: it was not answered in time
        :raises ConnectionClosed: the peer has closed the connection
        :raises ConnectionBroken: the connection ended in another way
        :raises anyio.ClosedResourceError: we have closed the connection
        """
        return self._call(timeout, "ping", self._conn.ping)

    def close(self, code: int | None = None, reason: str = "") -> None:
        """Close the connection and wait until that is done, at most ``close_timeout`` seconds. Idempotent.

        Other threads that wait get :exc:`anyio.ClosedResourceError`. A slow goodbye of the peer is no exception;
        :attr:`close_info` says how it went. Ctrl-C drops the connection.

        :param code: 1000 or 3000-4999; None sends an empty Close frame
        :param reason: at most 123 bytes of UTF-8; a reason without a code makes the code 1000
        :raises ValueError: the code or the reason is not allowed
        :raises TypeError: the code is not an int, or the reason is not a str
        """
        self._session.leave(None, *check_close(code, reason))

    def statistics(self) -> ConnectionStatistics:
        """Return what is buffered in each direction and for how long each was held back; behind the end, the last figures."""

        async def read() -> ConnectionStatistics:
            return self._conn.statistics()

        if self._session.statistics is None:
            try:
                return self._session.call(read)
            except ClosedResourceError:
                if self._session.statistics is None:
                    raise
        return self._session.statistics

    def _call(self, timeout: float | None, what: str, function: Callable[[], Awaitable[Result]]) -> Result:
        _check_timeout(timeout)
        if timeout is None:
            return self._session.call(function)

        async def within_the_time() -> Result:
            with fail_after(timeout, reason=f"{what}() took longer than {timeout} s"):
                return await function()

        return self._session.call(within_the_time)


explain_names(BlockingWebSocketStream, NAMES_OF_OTHERS_WITHOUT_ASYNC)


class _Messages(Iterator[Message]):
    """The messages of the peer up to a good end: no generator, which Ctrl-C would end as if that were all."""

    def __init__(self, conn: BlockingWebSocketStream, ok: frozenset[int]) -> None:
        self._conn = conn
        self._ok = ok

    def __next__(self) -> Message:
        try:
            return self._conn.receive()
        except ConnectionClosed as closed:
            if closed.close_code in self._ok:
                raise StopIteration from None
            raise


def _as_it_is(message: Sendable) -> Sendable:
    """Return what nobody can change between the call and the moment when the event loop gets to it."""
    return bytes(message) if isinstance(message, (bytearray, memoryview)) else message


def _check_timeout(timeout: float | None) -> None:
    if timeout is not None:
        check_seconds("timeout", timeout)
