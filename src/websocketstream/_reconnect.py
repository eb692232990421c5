"""Reconnecting: one connection at a time, and another one when it ends, for the length of a block."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, NoReturn, TypeAlias

from anyio import ResourceGuard, current_time, get_cancelled_exc_class, sleep_until

from ._client import open_websocket_stream
from ._network.loop import uninterrupted
from ._protocol.backoff import Attempt, Backoff, Row, check_limits_of_row
from ._protocol.close import CloseCode
from ._streams.errors import ConnectionBroken, ConnectionClosed
from ._streams.stream import WebSocketStream
from ._transient import is_transient, retry_after

Block: TypeAlias = AbstractAsyncContextManager[WebSocketStream]

DEFAULT_BACKOFF = Backoff()
# The peer has said all that it had to say. (1001 says that the server goes away, not that there is no more.)
DONE = (CloseCode.NORMAL_CLOSURE, CloseCode.NO_STATUS_RECEIVED)


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
    for name, function in (("retry", retry), ("on_attempt", on_attempt)):
        if inspect.iscoroutinefunction(function):
            raise TypeError(f"{name} must be a plain function, not an async one: nothing would await it")
    open_block = _opener(url, options)

    def begin() -> _Series:
        now = current_time()
        row = Row(backoff, max_attempts=max_attempts, give_up_after=give_up_after, now=now)
        return _Series(open_block, row, retry, on_attempt)

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
    open_it = partial(open_websocket_stream, url, **options)
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

    def __init__(self, series: _Series) -> None:
        self._series = series

    async def __anext__(self) -> WebSocketStream:
        return await self._series.next()

    def retrying(self) -> AbstractAsyncContextManager[None]:
        """Return a block for the body of the loop that swallows what this connection's end raises, if that is worth another attempt.

        It closes the connection. A :exc:`ConnectionClosed` or :exc:`ConnectionBroken`, or an exception group of nothing else, ends
        this block and no more when it is this connection that has ended. Everything else comes out unchanged.
        """
        return _RetryingBlock(self._series)


@dataclass(frozen=True, slots=True)
class _Current:
    """The connection that was handed out."""

    conn: WebSocketStream
    block: Block
    opened: float


@dataclass(slots=True)
class _Ended:
    """An attempt that failed, or a connection that is over; one without an error was left while it was open."""

    error: Exception | None
    opened: float | None = None
    worth_another: bool | None = None  # until somebody asks


class _Series:
    """The attempts and connections of one block, and what lies between them."""

    def __init__(
        self,
        open_block: Callable[[], Block],
        row: Row,
        retry: Callable[[Exception], bool],
        on_attempt: Callable[[Attempt], object] | None,
    ) -> None:
        self._open_block = open_block
        self._row = row
        self._retry = retry
        self._on_attempt = on_attempt
        self._due: float | None = None  # when the next attempt is made, None before the first was announced
        self._ended: _Ended | None = None  # what the next attempt has to be decided by
        self._over = False
        self._stepping = ResourceGuard("iterating over")
        self.current: _Current | None = None

    async def next(self) -> WebSocketStream:
        """Close the last connection, wait, and return the next one; where this is cancelled, the next call goes on."""
        with self._stepping:
            await self.leave(None)
            while True:
                await sleep_until(self._plan())
                self._row.attempts += 1
                try:
                    await self._enter(self._open_block())
                except Exception as exc:  # noqa: BLE001  (the rule decides about it)
                    self._ended = _Ended(exc)
                if self.current is not None:
                    return self.current.conn

    @uninterrupted
    async def _enter(self, block: Block) -> None:
        conn = await block.__aenter__()
        if self._over:  # another task has left the block meanwhile
            await block.__aexit__(None, None, None)
        else:
            self.current = _Current(conn, block, current_time())

    @uninterrupted
    async def leave(self, exc: BaseException | None) -> bool:
        """Close the connection; tell whether what the body raised is its end, and that worth another attempt."""
        current, self.current = self.current, None
        if current is None:
            return False
        # Asked now, while it is known who has ended it; what is still open, or not told yet, is ended by us.
        ended = self._ended = _Ended(current.conn.end_error, current.opened)
        if exc is not None and not (ended.error is not None and _is_an_end(exc)):
            return bool(await current.block.__aexit__(type(exc), exc, exc.__traceback__))
        try:
            await current.block.__aexit__(None, None, None)
        except get_cancelled_exc_class():
            # As in every block: what the body raised goes before a cancellation, unless it is swallowed.
            if exc is None or self._is_worth_another(ended):
                raise
        return exc is not None and self._is_worth_another(ended)

    @uninterrupted
    async def finish(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        """Close the connection if there is one; there will be no other."""
        current, self.current = self.current, None
        self._over, self._ended = True, None
        return current is not None and bool(await current.block.__aexit__(exc_type, exc, traceback))

    def _plan(self) -> float:
        """Decide about the next attempt by how the last one ended: return when it is made, or say why there is none."""
        if self._over:
            raise StopAsyncIteration
        ended, self._ended = self._ended, None
        if ended is None and self._due is not None:
            return self._due  # the wait for it was cancelled
        delay = 0.0 if ended is None else self._delay(ended)
        self._due = current_time() + delay
        if self._on_attempt is not None:
            self._on_attempt(Attempt(self._row.attempts + 1, ended.error if ended else None, delay))
        return self._due

    def _delay(self, ended: _Ended) -> float:
        now = current_time()
        if ended.error is None:
            self._row.begin(now)
            return self._row.next_delay()
        if not self._is_worth_another(ended):
            self._end(ended)
        if ended.opened is not None:
            self._row.connection_ended(now, opened=ended.opened)
        delay = self._row.next_delay(retry_after(ended.error))
        if not self._row.allows_attempt_at(now + delay):
            ended.error.add_note(self._row.describe(now))
            self._end(ended, given_up=True)
        return delay

    def _is_worth_another(self, ended: _Ended) -> bool:
        if ended.worth_another is None:
            ended.worth_another = ended.error is None or bool(self._retry(ended.error))
        return ended.worth_another

    def _end(self, ended: _Ended, *, given_up: bool = False) -> NoReturn:
        """End the iteration, with the error unless it is none."""
        self._over = True
        error, ended.error = ended.error, None
        try:
            if isinstance(error, ConnectionClosed) and error.close_code in DONE and not given_up:
                raise StopAsyncIteration
            assert error is not None
            raise error
        finally:
            del error  # which holds this frame


def _is_an_end(exc: BaseException) -> bool:
    """Tell whether this is what the end of a connection raises, and nothing else."""
    if isinstance(exc, BaseExceptionGroup):
        return all(map(_is_an_end, exc.exceptions))
    return isinstance(exc, (ConnectionClosed, ConnectionBroken))


class _ReconnectingBlock(AbstractAsyncContextManager[Connections]):
    """The block around the loop."""

    def __init__(self, make_series: Callable[[], _Series]) -> None:
        self._make_series = make_series
        self._series: _Series | None = None

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


class _RetryingBlock(AbstractAsyncContextManager[None]):
    """The block around the body of the loop."""

    def __init__(self, series: _Series) -> None:
        self._series = series

    async def __aenter__(self) -> None:
        if self._series.current is None:
            raise RuntimeError(
                "there is no connection: retrying() is for the body of the loop, and once in it"
            )

    async def __aexit__(
        self, _type: type[BaseException] | None, exc: BaseException | None, _traceback: TracebackType | None
    ) -> bool:
        return await self._series.leave(exc)
