"""Reconnecting: one connection at a time, and another one when it ends, for the length of a block."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from types import TracebackType
from typing import Any

from anyio import current_time

from ._client import open_websocket_stream
from ._protocol.backoff import Attempt, Backoff, Row, check_limits_of_row
from ._series import Block, Series
from ._streams.hints import OnlyAsyncWith, explain_names, names_inside
from ._streams.stream import WebSocketStream
from ._transient import is_transient

DEFAULT_BACKOFF = Backoff()


def reconnecting(
    url: str | Callable[[], Block],
    *,
    backoff: Backoff = DEFAULT_BACKOFF,
    retry: Callable[[Exception], bool] = is_transient,
    on_attempt: Callable[[Attempt], object] | None = None,
    max_attempts: int | None = None,
    give_up_after: float | None = None,
    **options: Any,  # noqa: ANN401  (those of another function)
) -> AbstractAsyncContextManager[Connections]:
    """Connect, and connect again when the connection has ended, for the length of an ``async with`` block.

    .. code-block:: python

        async with reconnecting("wss://example.com/feed") as connections:
            async for conn in connections:
                async with connections.retrying():
                    async for message in conn.messages():
                        print(message)

    Leaving the block closes the connection that there is. A cancel scope may end it anywhere: while it waits, connects, closes,
    or runs the body; nothing is left. What was under way when a connection ended is lost, in both directions:
    :doc:`/how-to/reconnect` shows how to go on where it ended.

    The arguments are checked by the call itself.

    :param url: as for :func:`open_websocket_stream`; or a function that returns a block which opens a connection, called for
        each attempt: for a URL or header fields that change, and for streams of your own
    :param backoff: how long to wait between attempts
    :param retry: tells whether what failed an attempt or ended a connection is worth another one
    :param on_attempt: called with each :class:`Attempt` that is about to be waited for and made
    :param max_attempts: most attempts in a row without a healthy connection; None for no limit
    :param give_up_after: seconds in such a row after which no more attempt begins; None for no limit
    :param options: those of :func:`open_websocket_stream`, but for ``stream``
    :raises ValueError: an argument is not allowed; the message says which and why
    :raises TypeError: an argument is unknown, or has the wrong type
    """
    if not isinstance(backoff, Backoff):
        raise TypeError(f"backoff must be a Backoff, not {type(backoff).__name__}: write Backoff(initial=5)")
    check_limits_of_row(max_attempts, give_up_after)
    for name, function in (("retry", retry), ("on_attempt", on_attempt), ("url", url)):
        if inspect.iscoroutinefunction(function):
            raise TypeError(f"{name} must be a plain function, not an async one: nothing would await it")
    open_block = _opener(url, options)

    def begin() -> Series:
        now = current_time()
        row = Row(backoff, max_attempts=max_attempts, give_up_after=give_up_after, now=now)
        return Series(open_block, row, retry, on_attempt)

    return _ReconnectingBlock(begin)


def _opener(url: str | Callable[[], Block], options: dict[str, Any]) -> Callable[[], Block]:
    if callable(url):
        if options:
            raise TypeError(f"{min(options)} is for the function to pass on, which opens the connections")
        return url
    if options.get("stream") is not None:
        raise TypeError(
            "a stream is good for one connection: give a function that opens one instead of a URL"
        )
    # What can be iterated over only once would be empty at the second attempt.
    kept: dict[str, Any] = {
        name: list(option) if isinstance(option, Iterator) else option for name, option in options.items()
    }
    open_it = partial(open_websocket_stream, url, **kept)
    open_it()  # so that the arguments are checked
    return open_it


class Connections(AsyncIterator[WebSocketStream]):
    """What the block of :func:`reconnecting` gets: one connection after the other, by ``async for``.

    A step of the iteration closes the connection before, waits for as long as the backoff says, and connects, as often as that is
    worth it. The iteration ends when the peer closed with 1000 or without a code, unless ``retry`` wants more. Any other end
    that is not worth another attempt raises its error; so does reaching a limit, and a note at the error says how much was tried.

    A connection that the body leaves while it is open is followed by another one, too; ``break`` ends the loop.

    What the body raises leaves the loop, as it leaves any: Python tells no iterator of it. :meth:`retrying` is for that.
    """

    def __init__(self, series: Series) -> None:
        self._series = series

    async def __anext__(self) -> WebSocketStream:
        return await self._series.next()

    def retrying(self) -> AbstractAsyncContextManager[None]:
        """Return a block for the body of the loop that swallows what this connection's end raises, if that is worth another attempt.

        It closes the connection. A :exc:`ConnectionClosed` or :exc:`ConnectionBroken`, or an exception group of nothing else, ends
        this block and no more when it is this connection that has ended. Everything else comes out unchanged.
        """
        return _RetryingBlock(self._series)


explain_names(Connections, names_inside("`async for conn in connections:`"))


class _ReconnectingBlock(OnlyAsyncWith, AbstractAsyncContextManager[Connections]):
    """The block around the loop."""

    def __init__(self, make_series: Callable[[], Series]) -> None:
        self._make_series = make_series
        self._series: Series | None = None

    @property
    def how(self) -> str:
        """The line that enters it."""
        return "`async with reconnecting(...) as connections:`"

    async def __aenter__(self) -> Connections:
        if self._series is not None:
            raise RuntimeError("this block has been entered before; call reconnecting() again instead")
        self._series = self._make_series()
        return Connections(self._series)

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if self._series is None:
            raise RuntimeError("this block has not been entered")
        return await self._series.finish(exc_type, exc, traceback)


class _RetryingBlock(OnlyAsyncWith, AbstractAsyncContextManager[None]):
    """The block around the body of the loop."""

    def __init__(self, series: Series) -> None:
        self._series = series

    @property
    def how(self) -> str:
        """The line that enters it."""
        return "`async with connections.retrying():`"

    async def __aenter__(self) -> None:
        if self._series.current is None:
            raise RuntimeError(
                "there is no connection: retrying() is for the body of the loop, and once in it"
            )

    async def __aexit__(
        self, _type: type[BaseException] | None, exc: BaseException | None, _traceback: TracebackType | None
    ) -> bool:
        return await self._series.leave(exc)
