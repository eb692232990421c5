"""The public face of a connection."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn, Self

from anyio import TypedAttributeSet, typed_attribute
from anyio.abc import ObjectStream

from .._protocol.close import OK_CODES, CloseInfo, check_codes
from .._protocol.codec import Message
from .._protocol.http import Request, Response
from .._protocol.url import for_display
from .connection import Connection
from .errors import ConnectionClosed
from .hints import ASYNC_FOR, ASYNC_FOR_OR_RECEIVE, CLOSED_IS_AWAITED, NOT_A_BLOCK, explain_names
from .readable import ReadableStream
from .send_buffer import Sendable
from .statistics import ConnectionStatistics
from .writable import WritableStream


class Inside(TypedAttributeSet):
    """What of ours stands on a stream, such as a hub, asks it for."""

    connection: Connection = typed_attribute()


class Closed:
    """What ``conn.closed`` is: await it, any number of times and from any task."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __await__(self) -> Generator[Any, Any, CloseInfo]:
        return self._connection.wait_closed().__await__()

    if not TYPE_CHECKING:  # mistakes that type checkers see without us

        def __bool__(self) -> NoReturn:
            raise TypeError(CLOSED_IS_AWAITED)

        def __call__(self) -> NoReturn:
            raise TypeError(CLOSED_IS_AWAITED)

        def __getattr__(self, name: str) -> NoReturn:
            raise AttributeError(f"no attribute {name!r} here: {CLOSED_IS_AWAITED}")


class WebSocketStream(ObjectStream[Message]):
    """An open WebSocket: two streams of messages with backpressure, in the client's role or the server's.

    Text messages are str, binary messages are bytes. It is an :class:`anyio.abc.ObjectStream`; ``receive()``,
    ``send()`` and iteration are those of :attr:`readable` and :attr:`writable`.
    """

    if not TYPE_CHECKING:  # mistakes that type checkers see without us

        def __new__(cls, *args: object, **_options: object) -> Self:
            if not args or isinstance(args[0], str):
                raise TypeError(NOT_A_BLOCK)
            return object.__new__(cls)

        def __iter__(self) -> NoReturn:
            raise TypeError(ASYNC_FOR)

    def __init__(
        self,
        connection: Connection,
        *,
        url: str | Callable[[], str],
        protocol: str = "",
        extensions: str = "",
        response: Response | None = None,
        request: Request | None = None,
    ) -> None:
        self._connection = connection
        self.readable: ReadableStream = ReadableStream(connection)
        """The messages of the peer."""
        self._ready = connection.inbox.ready
        self.writable: WritableStream = WritableStream(connection)
        """The way to the peer."""
        self._url = url  # or what makes it, where nobody may ever ask
        self._protocol = protocol
        self._extensions = extensions
        self._response = response
        self._request = request

    def __repr__(self) -> str:
        return f"<WebSocketStream {for_display(self.url)} {self._connection.state.value}>"

    @property
    def id(self) -> str:
        """What the connection is called in the log and in trace events, such as ``"c7"`` on a client, ``"s7"`` on a server."""
        return self._connection.id

    @property
    def url(self) -> str:
        """The URL in normal form: http mapped to ws, default port dropped, no user info (rule U6)."""
        if not isinstance(self._url, str):
            self._url = self._url()
        return self._url

    @property
    def protocol(self) -> str:
        """The subprotocol that was agreed on, "" when there is none (rule P7)."""
        return self._protocol

    @property
    def extensions(self) -> str:
        """The extensions that were agreed on, as in the server's header field, "" when there are none (rule H6)."""
        return self._extensions

    @property
    def response(self) -> Response | None:
        """The server's answer to the opening handshake; None on a server."""
        return self._response

    @property
    def request(self) -> Request | None:
        """The client's opening handshake; None on a client."""
        return self._request

    async def receive(self) -> Message:
        """Wait for the next message and return it; see :meth:`ReadableStream.receive`."""
        if ready := self._ready:  # as there, for the sake of speed
            return ready.pop()
        return await self.readable.receive()

    async def __anext__(self) -> Message:
        if ready := self._ready:
            return ready.pop()
        return await self.readable.__anext__()

    def messages(self, *, ok: Iterable[int] = OK_CODES) -> AsyncIterator[Message]:
        """Iterate over the messages of the peer, and raise at an end that was an error.

        Iteration over :attr:`readable` ends at any Close frame, as in the browser; so what a server sent before it broke down
        (1011) looks like all that there was. This ends only where the peer closed with one of the codes in ``ok``.

        :param ok: the codes that are no error: by default 1000, 1001 (the peer goes away) and 1005 (none was given)
        :raises ConnectionClosed: (while iterating) the peer closed with another code
        :raises ConnectionBroken: (while iterating) the connection ended in another way
        :raises anyio.ClosedResourceError: (while iterating) we have closed the connection
        :raises anyio.BusyResourceError: (while iterating) another task is receiving
        :raises TypeError: ``ok`` is no collection of int
        """
        return _Messages(self.readable, check_codes(ok))

    async def send(self, item: Sendable, *, compress: bool = True) -> None:
        """Queue one message and wait until what is unsent fits the write buffer; see :meth:`WritableStream.send`."""
        await self.writable.send(item, compress=compress)

    async def send_eof(self) -> None:
        """Say that nothing more will be sent, and go on receiving until the peer closes.

        RFC 6455 has no half-close: this sends the Close frame behind what is queued, and most peers answer with
        theirs at once. There is no deadline before the block is left; use a cancel scope. Idempotent.
        """
        self._connection.send_eof()

    def close(self, code: int | None = None, reason: str = "") -> None:
        """Start the closing handshake, as in the browser, and return at once (rules K1-K4).

        Messages already accepted go out first. What still arrives is dropped, receivers and senders get
        :exc:`anyio.ClosedResourceError`. The handshake has ``close_timeout`` seconds; await :attr:`closed` for its
        result. Idempotent.

        :param code: 1000 or 3000-4999 (a server may also use the registered codes); None sends an empty Close frame
        :param reason: at most 123 bytes of UTF-8; a reason without a code makes the code 1000
        :raises ValueError: the code or the reason is not allowed, even when already closed
        :raises TypeError: the code is not an int, or the reason is not a str
        """
        self._connection.close(code, reason)

    async def aclose(self, code: int | None = None, reason: str = "") -> None:
        """Close as :meth:`close` does and wait until it is done, at most ``close_timeout`` seconds.

        A slow or absent goodbye of the peer is no exception; :attr:`close_info` says how it went. Cancelling drops
        the connection at once.

        :raises ValueError: as :meth:`close`
        :raises TypeError: as :meth:`close`
        """
        await self._connection.aclose(code, reason)

    @property
    def closed(self) -> Awaitable[CloseInfo]:
        """Await this for the end of the connection: the peer's code and reason (rules X1-X4).

        :raises ConnectionBroken: (when awaited) there was no complete closing handshake, or a message was cut off
        """
        return Closed(self._connection)

    @property
    def close_info(self) -> CloseInfo | None:
        """How the connection ended, None while it has not; ``clean`` is false for an unclean end."""
        return self._connection.close_info

    @property
    def end_error(self) -> Exception | None:
        """How the connection ended, as an error, for those who decide by it what comes next.

        A :exc:`ConnectionClosed` or :exc:`ConnectionBroken`, as :meth:`receive` raises it behind the last message; None while
        the connection is open, and when we closed it and it did not break meanwhile.
        """
        return self._connection.end_error

    async def ping(self) -> float:
        """Send a Ping frame, wait for its pong and return the round-trip time in seconds.

        Pongs are seen only as far as we read: behind a full read buffer this waits. Cancelling is safe.

        :raises ConnectionClosed: the peer has closed the connection
        :raises ConnectionBroken: the connection ended in another way
        :raises anyio.ClosedResourceError: we have closed the connection
        """
        return await self._connection.ping()

    @property
    def latency(self) -> float | None:
        """The round-trip time of the last answered ping in seconds, None before the first."""
        return self._connection.pings.latency

    def statistics(self) -> ConnectionStatistics:
        """Return what is buffered in each direction and for how long each was held back."""
        return ConnectionStatistics(self.readable.statistics(), self.writable.statistics())

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """The typed attributes of the transport, such as :class:`anyio.abc.SocketAttribute`, for :meth:`extra`."""
        return {
            **self._connection.stream.extra_attributes,
            Inside.connection: lambda: self._connection,
        }


explain_names(WebSocketStream)


class _Messages(AsyncIterator[Message]):
    """The messages of the peer up to a good end; see :meth:`WebSocketStream.messages`."""

    __slots__ = ("_ok", "_readable")

    def __init__(self, readable: ReadableStream, ok: frozenset[int]) -> None:
        self._readable = readable
        self._ok = ok

    def __aiter__(self) -> _Messages:
        return self

    async def __anext__(self) -> Message:
        try:
            return await self._readable.receive()
        except ConnectionClosed as closed:
            if closed.close_code in self._ok:
                raise StopAsyncIteration from None
            raise

    if not TYPE_CHECKING:  # mistakes that type checkers see without us

        def __await__(self) -> NoReturn:
            raise TypeError(ASYNC_FOR_OR_RECEIVE)

        def __iter__(self) -> NoReturn:
            raise TypeError(ASYNC_FOR)
