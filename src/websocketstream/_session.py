"""A connection in a thread of its own, with an event loop, for callers who have none."""

from __future__ import annotations

import asyncio
import atexit
import contextvars
import logging
import math
import os
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future, wait
from contextlib import AbstractAsyncContextManager, suppress
from functools import partial
from time import monotonic
from typing import Any, TypeVar

import anyio
from anyio import CancelScope, Event, create_task_group
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint
from sniffio import current_async_library

from ._protocol.codec import Message
from ._streams.errors import closed_here
from ._streams.hot import Budget
from ._streams.statistics import ConnectionStatistics
from ._streams.stream import Inside, WebSocketStream

Result = TypeVar("Result")

logger = logging.getLogger("websocketstream")

# On Windows, Ctrl-C does not interrupt a wait, only comes behind it; so waits are cut in pieces (seconds).
PIECE = 0.1 if os.name == "nt" else None
# Connections that are open when the interpreter exits say goodbye, and have so long for it (seconds, all together).
LAST_SECONDS = 1.0

DONE: Future[None] = Future()
DONE.set_result(None)


class Session:
    """One connection, an event loop and their thread, from the opening to the end of the thread.

    A thread that waits here can be interrupted at any instruction, by Ctrl-C. Therefore no wait owns anything: what the event
    loop was asked for, it does, whoever is still there to see it; and what it may not have been asked for is asked again.
    """

    _tasks: TaskGroup
    _leaving: Event
    _cancel: Callable[[], None]
    _budget: Budget

    def __init__(self, block: AbstractAsyncContextManager[WebSocketStream]) -> None:
        self._block = block
        self._process = os.getpid()
        # Reentrant: the garbage collector may abandon a session in the very thread that holds the lock.
        self._lock = threading.RLock()
        self._soon: Callable[..., object] | None = None  # calls in the event loop, while that runs
        self._pending: set[Future[Any]] = set()  # what somebody may wait for
        self._ready: deque[Message] = deque()  # fetched, and not handed out
        self._fetch: Future[None] | None = None
        self._thread: int | None = None  # of the event loop, while that runs
        self._opened: Future[WebSocketStream] = Future()
        self._ended: Future[None] = Future()
        self._left = False  # by its user: nothing is handed out any more
        self._abandoned = False
        self._cause: BaseException | None = None
        self.statistics: ConnectionStatistics | None = None  # the last ones

    @property
    def conn(self) -> WebSocketStream:
        """The connection, once it is open."""
        return self._opened.result()

    @property
    def is_over(self) -> bool:
        """Whether there is nothing left to close here."""
        return os.getpid() != self._process or self._ended.done()

    @property
    def is_left(self) -> bool:
        """Whether its user has closed it, or given it up."""
        return self._left

    # --- in the threads of the user

    def open(self, backend: str, backend_options: Mapping[str, Any] | None) -> None:
        """Start the thread and wait for the connection; if that is interrupted, abandon it."""
        run = partial(self._run, backend, dict(backend_options or {}))
        threading.Thread(target=run, name="websocketstream", daemon=True).start()
        try:
            wait_for(self._opened)
        except Exception:
            self._opened = Future()  # the other one holds the error, which holds us
            # No longer than this: asyncio ends only when a name that was looked up is found, or is not.
            with suppress(TimeoutError):
                wait_for(self._ended, LAST_SECONDS)
            raise

    def call(self, function: Callable[[], Awaitable[Result]]) -> Result:
        """Call an async function in the event loop and wait for what becomes of it.

        :raises anyio.ClosedResourceError: the connection is closed on this side
        """
        return wait_for(self._asked(Future(), function))

    def receive(self, timeout: float | None) -> Message:
        """Return the next message; several threads may wait for one each.

        :raises TimeoutError: none came in time; those that come later are kept
        """
        deadline = math.inf if timeout is None else monotonic() + timeout
        while True:
            try:
                return self._ready.popleft()
            except IndexError:
                pass
            more = self._more()
            try:
                with suppress(TimeoutError):
                    wait_for(more, None if timeout is None else max(deadline - monotonic(), 0))
                if not more.done():
                    self.call(_let_others_go_on)  # what has arrived by now counts, and so does the end
                wait_for(more, 0)
            except TimeoutError:
                raise TimeoutError(f"no message within {timeout} s") from None
            finally:
                del more  # it holds the error, which holds this frame

    def _more(self) -> Future[None]:
        """Return what is done when there is a message again, or never will be."""
        with self._lock:
            if self._ready:
                return DONE
            if self._fetch is None:
                self._fetch = Future()
            return self._asked(self._fetch, self._fill)

    def _asked(self, future: Future[Result], function: Callable[[], Awaitable[Result]]) -> Future[Result]:
        """Have a function called, unless that is under way already."""
        with self._lock:
            if os.getpid() != self._process:
                raise RuntimeError("a connection cannot be used in a forked process: open another one there")
            self._check_thread()
            if self._soon is None:
                raise closed_here()
            self._pending.add(future)
            if not future.running():
                self._soon(self._start, future, function)
            return future

    def _check_thread(self) -> None:
        if threading.get_ident() == self._thread and os.getpid() == self._process:
            raise RuntimeError(
                "this is the connection's own thread, as in a trace hook: it would wait for itself"
            )

    def leave(self, cause: BaseException | None, code: int | None = None, reason: str = "") -> None:
        """Close the connection, and wait until that is done and the thread has ended; interrupted, it is dropped."""
        self._check_thread()
        try:
            with self._lock:
                self._left = True
                self._ready.clear()
                if self._soon is not None and os.getpid() == self._process:
                    self._soon(self._begin_to_leave, cause, code, reason)
            self.wait_ended()
        except BaseException:
            self.abandon()
            raise

    def wait_ended(self, timeout: float | None = None) -> None:
        """Wait for the end of the thread.

        :raises TimeoutError: it takes longer
        """
        if not self.is_over:
            wait_for(self._ended, timeout)

    def abandon(self) -> None:
        """Drop the connection, and wait for nothing."""
        with self._lock:
            self._abandoned = self._left = True
            if self._soon is not None and os.getpid() == self._process:
                self._soon(self._cancel)

    def forget_other_threads(self) -> None:
        """Go on in a forked process, where whoever held the lock at that moment is not there to release it."""
        self._lock = threading.RLock()
        self._ready.clear()

    # --- in the thread of the event loop

    def _run(self, backend: str, backend_options: dict[str, Any]) -> None:
        self._thread = threading.get_ident()
        _open_sessions.add(self)
        try:
            anyio.run(self._live, backend=backend, backend_options=backend_options)
        except BaseException as exc:
            if self._opened.done():
                logger.exception("internal error in the thread of a connection")
            else:
                self._opened.set_exception(exc)
        finally:
            if not self._opened.done():  # it was abandoned
                self._opened.set_exception(closed_here())
            _open_sessions.discard(self)
            self._thread = None
            self._ended.set_result(None)

    async def _live(self) -> None:
        try:
            async with create_task_group() as tasks:
                try:
                    with CancelScope() as scope:
                        self._tasks, self._leaving, self._cancel = tasks, Event(), scope.cancel
                        self._soon = _caller()
                        if self._abandoned:
                            scope.cancel()
                        await self._own_the_connection()
                finally:
                    with self._lock:
                        self._soon = None  # a task group that is being left takes no more tasks
                    tasks.cancel_scope.cancel()
        finally:
            self._end()

    async def _own_the_connection(self) -> None:
        try:
            conn = await self._block.__aenter__()
        except Exception as exc:  # noqa: BLE001  (it is raised in the other thread)
            self._opened.set_exception(exc)
            return
        self._budget = conn.extra(Inside.connection).budget
        self._opened.set_result(conn)
        try:
            await self._leaving.wait()
        except BaseException as exc:
            self._cause = exc
            raise
        finally:
            cause, self._cause = self._cause, None
            try:
                await self._block.__aexit__(None if cause is None else type(cause), cause, None)
            finally:
                self.statistics = conn.statistics()

    def _end(self) -> None:
        """Leave nobody waiting."""
        with self._lock:
            pending, self._pending = self._pending, set()
        for future in pending:
            if not future.done():
                future.set_exception(closed_here())

    def _begin_to_leave(self, cause: BaseException | None, code: int | None, reason: str) -> None:
        if code is not None or reason:
            self.conn.close(code, reason)
        self._cause = cause
        self._leaving.set()

    def _start(self, future: Future[Any], function: Callable[[], Awaitable[Any]]) -> None:
        if self._soon is not None and not future.running() and not future.done():
            future.set_running_or_notify_cancel()
            self._tasks.start_soon(self._perform, future, function)

    async def _perform(self, future: Future[Any], function: Callable[[], Awaitable[Any]]) -> None:
        self._budget.waited()  # for each call is a task of its own, and has waited for its first step
        try:
            result = await function()
        except Exception as exc:  # noqa: BLE001  (it is raised in the other thread)
            future.set_exception(exc)
        else:
            future.set_result(result)
        with self._lock:
            self._pending.discard(future)
        del future  # it holds the error, which holds this frame

    async def _fill(self) -> None:
        """Fetch what has arrived; one call brings many messages, and holds as much as ``read_buffer`` does."""
        messages: list[Message] = []
        try:
            messages = await self.conn.readable.receive_batch()
        finally:
            with self._lock:
                self._fetch = None
                if not self._left:
                    self._ready.extend(messages)


def wait_for(future: Future[Result], timeout: float | None = None) -> Result:
    """Wait for a future, in such a way that Ctrl-C gets through at once.

    :raises TimeoutError: it took longer
    """
    try:
        if PIECE is not None:
            deadline = math.inf if timeout is None else monotonic() + timeout
            while not future.done() and (left := deadline - monotonic()) > 0:
                wait([future], min(left, PIECE))
            timeout = 0
        return future.result(None if timeout is None else min(timeout, threading.TIMEOUT_MAX))
    finally:
        del future  # it holds the error, which holds this frame


async def _let_others_go_on() -> None:
    """Let the tasks do what they can do now: to fetch what is there takes two passes of the event loop."""
    for _ in range(3):
        await checkpoint()


def _caller() -> Callable[..., object]:
    """Return what calls a function in the event loop that is running now, from any thread."""
    if current_async_library() == "trio":
        from trio.lowlevel import current_trio_token

        return current_trio_token().run_sync_soon
    # In a context of this thread: the caller's may say that another event loop is running.
    return partial(asyncio.get_running_loop().call_soon_threadsafe, context=contextvars.copy_context())


_open_sessions: set[Session] = set()


def _after_fork() -> None:
    for session in [*_open_sessions]:
        session.forget_other_threads()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@atexit.register
def _say_goodbye() -> None:
    """End what was left open, so that the peers need not find out by themselves."""
    deadline = monotonic() + LAST_SECONDS
    sessions = [session for session in [*_open_sessions] if not session.is_over]
    for session in sessions:
        session.abandon()
    for session in sessions:
        with suppress(TimeoutError):
            session.wait_ended(max(deadline - monotonic(), 0))
