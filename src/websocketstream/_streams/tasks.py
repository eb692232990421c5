"""Background tasks: few, started when needed, and none for a connection on asyncio that only waits."""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from functools import partial
from typing import Any, TypeAlias

from anyio import CancelScope
from anyio.abc import TaskGroup
from sniffio import current_async_library, current_async_library_cvar

from .._network.backend import Backend
from .heartbeat import Pulse

Task: TypeAlias = Callable[..., Coroutine[Any, Any, None]]


class Background:
    """Where the tasks and timers of connections live: the owner's task group, a client's or a server's."""

    def __init__(self, task_group: TaskGroup, backend: Backend) -> None:
        self._task_group = task_group
        # Tasks are started from callbacks of the event loop, too. There, anyio finds no current task on asyncio, and
        # that is how it knows which event loop is running.
        self._context: Context = copy_context()
        self._context.run(current_async_library_cvar.set, current_async_library())
        self.backend = backend
        self.pulse: Pulse = Pulse(backend, partial(self.start_soon, name="keepalive"))

    def new_scope(self, deadline: float) -> CancelScope:
        """Make the shielded cancel scope of a task."""
        return self._context.run(partial(CancelScope, shield=True, deadline=deadline))

    def start_soon(self, task: Task, *arguments: object, name: str) -> None:
        """Start a task; it must not raise."""
        self.backend.mark_background(task)
        self._context.run(
            partial(self._task_group.start_soon, task, *arguments, name=f"websocketstream {name}")
        )

    def stop(self) -> None:
        """End what belongs to no connection."""
        self.pulse.stop()


class Tasks:
    """The tasks of one connection, each of them once, under one deadline."""

    __slots__ = ("_background", "_deadline", "_on_end", "_on_error", "_scopes")

    def __init__(self, *, on_error: Callable[[Exception], object], on_end: Callable[[], object]) -> None:
        self._background: Background | None = None
        self._on_error = on_error
        self._on_end = on_end
        self._scopes: dict[str, CancelScope] = {}
        self._deadline = math.inf

    def __bool__(self) -> bool:
        return bool(self._scopes)

    @property
    def allowed(self) -> bool:
        """Whether tasks can be started."""
        return self._background is not None

    def allow(self, background: Background) -> None:
        """Let tasks be started from now on."""
        self._background = background

    def start_soon(self, name: str, task: Task) -> None:
        """Start a task.

        It is shielded: a cancellation around the owner's block must not take it away before it has said goodbye. The
        end of the block always cancels it.
        """
        assert self._background is not None
        self._scopes[name] = self._background.new_scope(self._deadline)
        self._background.start_soon(self._run, name, task, name=name)

    async def run(self, name: str, task: Task, *, shield: bool) -> None:
        """Run a task here and now."""
        self._scopes[name] = CancelScope(shield=shield, deadline=self._deadline)
        await self._run(name, task)

    async def _run(self, name: str, task: Task) -> None:
        try:
            with self._scopes[name]:
                await task()
        except Exception as exc:  # noqa: BLE001  (users meet it as the end of the connection)
            self._on_error(exc)
        finally:
            del self._scopes[name]
            self._on_end()

    def limit(self, deadline: float) -> bool:
        """Cancel all tasks at this time of the event loop's clock; false when an earlier one is set."""
        if deadline >= self._deadline:
            return False
        self._deadline = deadline
        for scope in self._scopes.values():
            scope.deadline = deadline
        return True

    def stop(self, *names: str) -> None:
        """Cancel these tasks, or all."""
        for name in names or self._scopes:
            if name in self._scopes:
                self._scopes[name].cancel()
