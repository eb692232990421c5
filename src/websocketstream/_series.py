"""The attempts and connections of a block that reconnects: which is the current one, and what lies between two."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import NoReturn, TypeAlias

from anyio import current_time, get_cancelled_exc_class, sleep_until
from anyio.lowlevel import checkpoint

from ._network.loop import uninterrupted
from ._protocol.backoff import Attempt, Row
from ._protocol.close import CloseCode
from ._streams.errors import ConnectionBroken, ConnectionClosed
from ._streams.stream import WebSocketStream
from ._streams.waits import OneAtATime
from ._transient import retry_after

Block: TypeAlias = AbstractAsyncContextManager[WebSocketStream]

# The peer has said all that it had to say. (1001 says that the server goes away, not that there is no more.)
DONE = (CloseCode.NORMAL_CLOSURE, CloseCode.NO_STATUS_RECEIVED)


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
    at: float
    opened: float | None = None
    worth_another: bool | None = None  # until somebody asks


class Series:
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
        self._stepping = OneAtATime("iterating over")
        self.current: _Current | None = None

    async def next(self) -> WebSocketStream:
        """Close the last connection, wait, and return the next one; where this is cancelled, the next call goes on."""
        async with self._stepping:
            await self.leave(None)
            if self._over:
                await checkpoint()  # for those who go on asking
            while True:
                await sleep_until(self._plan())
                if self._over:  # another task has left the block in this time
                    raise StopAsyncIteration
                self._row.attempts += 1
                try:
                    await self._enter(self._open_block())
                except Exception as exc:  # noqa: BLE001  (the rule decides about it)
                    self._ended = _Ended(exc, current_time())
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
        ended = self._ended = _Ended(current.conn.end_error, current_time(), current.opened)
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
        ended = self._ended
        if ended is None and self._due is not None:
            return self._due  # the wait for it was cancelled, or the hook has raised
        delay = 0.0 if ended is None else self._delay(ended)
        self._ended = None  # not before: a rule that raises has decided nothing
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
            self._row.connection_ended(ended.at, opened=ended.opened)
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
