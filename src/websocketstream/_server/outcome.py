"""What a handler lets out, and whether that is its own doing or the end of the server."""

from __future__ import annotations

import asyncio
import math
from contextlib import suppress

from anyio import current_effective_deadline, get_cancelled_exc_class
from sniffio import current_async_library


class Owner:
    """The task that runs the server. Only what ends the server passes by a handler."""

    def __init__(self) -> None:
        self._task = asyncio.current_task() if current_async_library() == "asyncio" else None
        self._cancelled_before = 0 if self._task is None else self._task.cancelling()
        self.shuts_down_gracefully = (
            False  # its own cancel scopes move the task on then, which is nothing to handlers
        )

    def lets_pass(self, exc: BaseException) -> bool:
        """Tell whether an exception is for those around the handler, not the handler's own end.

        That is a cancellation from outside, which on asyncio looks the same as one of the handler's making.
        """
        if isinstance(exc, Exception | GeneratorExit):
            return False
        if isinstance(exc, BaseExceptionGroup):
            ends_the_program = exc.split((KeyboardInterrupt, SystemExit))[0] is not None
            return ends_the_program or all(map(self.lets_pass, exc.exceptions))
        if isinstance(exc, get_cancelled_exc_class()):
            return self._is_cancelled_around()
        return isinstance(exc, KeyboardInterrupt | SystemExit)

    def _is_cancelled_around(self) -> bool:
        if current_effective_deadline() == -math.inf:
            return True
        if self._task is None or self.shuts_down_gracefully:
            return False
        # The end of asyncio.run() cancels all tasks at once, in any order.
        return self._task.cancelling() > self._cancelled_before

    async def absorb_cancellation(self) -> None:
        """Use up a cancellation of this very task on asyncio: a task that ends with one takes its group along."""
        task = None if self._task is None else asyncio.current_task()
        if task is not None and task.cancelling() and not self._is_cancelled_around():
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0)  # it may not have been raised yet
            while task.cancelling():
                task.uncancel()
