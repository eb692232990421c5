"""The event loop that is running, behind one small interface."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from sniffio import current_async_library

from .asyncio_loop import current_asyncio_loop
from .event_loop import EventLoop, Handle, Signal, Waiter, uninterrupted

__all__ = ["EventLoop", "Handle", "Signal", "Waiter", "current_event_loop", "uninterrupted"]


def current_event_loop() -> EventLoop:
    """Return the event loop that is running, the same object throughout its run; for calls from tasks."""
    if current_async_library() == "trio":
        return _trio()()
    return current_asyncio_loop()


@cache
def _trio() -> Callable[[], EventLoop]:
    from .trio_loop import current_trio_loop

    return current_trio_loop
