"""What a task of asyncio's waits for, and who lets it go on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextvars import Context
from typing import Any


class Wakeups:
    """Lets tasks go on: one for each event loop.

    A task that is woken by one of the loop's callbacks goes on at the end of that, not in the next pass: a pass costs as much as
    a message. Where it wakes several, the others go on in the next pass: what the first one does is nothing for them to wait for.
    """

    __slots__ = ("_is_callback", "_woken", "done", "is_going_on", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop: asyncio.AbstractEventLoop = loop
        self.done: asyncio.Future[None] = asyncio.Future(loop=loop)  # for whoever goes on
        self.done.set_result(None)
        self.is_going_on: bool = False  # a task does, in a callback
        self._is_callback = False
        self._woken: TaskWaiter | None = None  # who is to go on at the end of the callback

    def waiter(self) -> TaskWaiter:
        """Make something for one task to wait for."""
        return TaskWaiter(self)

    def wake(self, waiter: TaskWaiter) -> None:
        """Let the task go on that waits; further calls change nothing.

        :raises RuntimeError: somebody waits in an event loop that was closed
        """
        if waiter.is_done:
            return
        waiter.is_done = True
        if self._is_callback and self._woken is None:
            self._woken = waiter
        else:
            waiter.go_on_soon()

    def begin(self) -> None:
        """The event loop has called us, from no task."""
        self._is_callback = True

    def end(self) -> None:
        """All that it has called us for is done: let the one go on that was woken meanwhile."""
        self._is_callback = False
        woken = self._woken
        if woken is not None:
            self._woken = None
            self.is_going_on = True
            try:
                woken.go_on()
            finally:
                self.is_going_on = False


class TaskWaiter:
    """What one task waits for, once. To the task it is a future.

    Other than one of asyncio's, it lets anyio cancel a task that is about to go on, so that one which never waits for longer than a
    pass can be cancelled as well.
    """

    __slots__ = (
        "_asyncio_future_blocking",
        "_callback",
        "_context",
        "_message",
        "_wakeups",
        "is_cancelled",
        "is_done",
    )

    def __init__(self, wakeups: Wakeups) -> None:
        self._wakeups: Wakeups = wakeups
        self._asyncio_future_blocking: bool = False  # asyncio's word for "it is awaited, by a task"
        self._callback: Callable[[Any], object] | None = None  # the task's
        self._context: Context | None = None
        self._message: object = None
        self.is_done: bool = False
        self.is_cancelled: bool = False

    def go_on(self) -> None:
        """Let the task go on, now; nothing else may be running in the event loop."""
        callback = self._callback
        if callback is None:
            return
        self._callback = None
        try:
            # A task takes any future for the one that it has waited for, and one of asyncio's in a third of the time.
            self._context.run(callback, self._wakeups.done)  # type: ignore[union-attr]
        except RuntimeError:
            # A task is running, or the context is in use: somebody else has called the loop's callback.
            self._callback = callback
            self.go_on_soon()
        except BaseException as exc:  # noqa: BLE001  (what a task does not keep is the loop's, not its callback's)
            self._wakeups.loop.call_soon(_raise, exc)

    def go_on_soon(self) -> None:
        """Let the task go on in the next pass."""
        callback, self._callback = self._callback, None
        if callback is not None:
            try:
                future = self if self.is_cancelled else self._wakeups.done
                self._wakeups.loop.call_soon(callback, future, context=self._context)
            except RuntimeError:
                if not self._wakeups.loop.is_closed():  # nobody waits in one that is
                    raise

    def __await__(self) -> Generator[Any, None, None]:
        return self  # type: ignore[return-value]

    def __next__(self) -> TaskWaiter:
        if not self.is_done:
            self._asyncio_future_blocking = True
            return self
        self.result()
        raise StopIteration

    # --- called by the task, and by anyio

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._wakeups.loop

    def add_done_callback(self, callback: Callable[[Any], object], *, context: Context | None = None) -> None:
        self._callback = callback
        self._context = context
        if self.is_done:
            self.go_on_soon()

    def cancel(self, msg: object = None) -> bool:
        if self.is_done:
            return False
        self.is_done = self.is_cancelled = True
        self._message = msg
        self.go_on_soon()
        return True

    def done(self) -> bool:
        return self.is_done

    def cancelled(self) -> bool:
        return self.is_cancelled

    def result(self) -> None:
        if self.is_cancelled:
            raise asyncio.CancelledError if self._message is None else asyncio.CancelledError(self._message)


def _raise(error: BaseException) -> None:
    raise error
