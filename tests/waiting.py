"""Waiting in tests: for something that must happen, and for something that must not happen yet."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest
import trio.testing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from anyio.abc import TaskGroup

PATIENCE = 20  # seconds; only a failing test waits so long
PASSES = 50  # of the event loop: more than any layer needs to hand on what has arrived
SHORT = 0.15  # seconds for which another thread's progress must stay as it is


def in_virtual_time() -> pytest.MarkDecorator:
    """Run the test on trio, where a sleep takes no time and is exact."""
    backend = "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}
    return pytest.mark.parametrize("anyio_backend", [pytest.param(backend, id="trio")])


async def until(condition: Callable[[], object], *, within: float = PATIENCE) -> None:
    """Wait until another thread, or the other end of a socket, has made the condition true."""
    with anyio.fail_after(within):
        while not condition():
            await anyio.sleep(0.002)


async def at_rest(read: Callable[[], object]) -> None:
    """Wait until a value has stayed the same for a moment: how full the system's buffers are, it does not say."""
    with anyio.fail_after(PATIENCE):
        while True:
            before = read()
            await anyio.sleep(SHORT)
            if read() == before:
                return


@dataclass
class Call:
    """A call that runs in a task of its own."""

    function: Callable[..., Awaitable[Any]]
    args: tuple[Any, ...]
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    done: bool = False
    value: Any = None
    error: BaseException | None = None

    @classmethod
    def start(cls, group: TaskGroup, function: Callable[..., Awaitable[Any]], *args: Any) -> Call:
        call = cls(function, args)
        group.start_soon(call._run)
        return call

    async def _run(self) -> None:
        with self.scope:
            try:
                self.value = await self.function(*self.args)
            except Exception as error:
                self.error = error
        self.done = True

    async def stays_pending(self) -> None:
        """Check that the call does not end by anything that has happened so far."""
        for _ in range(PASSES):
            await anyio.wait_all_tasks_blocked()
            await anyio.lowlevel.checkpoint()
        assert not self.done, f"ended too early: {self.value!r}, {self.error!r}"

    async def finished(self) -> Any:
        """Wait for the end; return the value or raise the error."""
        await until(lambda: self.done)
        if self.error is not None:
            raise self.error
        return self.value


async def settled(awaitable: Awaitable[Any]) -> Any:
    """Return what an awaitable gives, or the error that it raises."""
    try:
        return await awaitable
    except Exception as error:
        return error
