"""An asyncio loop in a thread, for peers that know no other, so that our side can run on any loop."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self, TypeVar

import anyio

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator
    from contextlib import AbstractAsyncContextManager

T = TypeVar("T")


class LoopThread:
    """Runs while it is entered."""

    def __init__(self) -> None:
        self._ready = threading.Event()
        self._thread = threading.Thread(target=asyncio.run, args=[self._main()])

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._ready.set()
        await self._stop.wait()

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def start(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    async def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine there and wait for it here, on whatever loop this is."""
        future = self.start(coroutine)
        try:
            while not future.done():
                await anyio.sleep(0.002)
        finally:
            future.cancel()
        return future.result()

    @contextmanager
    def hold(self, context: AbstractAsyncContextManager[T]) -> Iterator[T]:
        """Enter an async context manager there, and leave it in the same task when the block here ends."""
        entered: Future[T] = Future()
        leave = asyncio.Event()

        async def keep() -> None:
            try:
                async with context as value:
                    entered.set_result(value)
                    await leave.wait()
            except BaseException as error:
                if not entered.done():
                    entered.set_exception(error)
                raise

        kept = self.start(keep())
        try:
            yield entered.result()
        finally:
            self._loop.call_soon_threadsafe(leave.set)
            kept.result()
