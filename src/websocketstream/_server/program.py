"""A server as a whole program: it runs until it is told to stop, and then stops in good order."""

from __future__ import annotations

import inspect
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import partial
from typing import Any

import anyio
from anyio import CancelScope, create_task_group, open_signal_receiver
from sniffio import AsyncLibraryNotFoundError, current_async_library

from .listener import WebSocketListener
from .server import serve_websocket_streams
from .visit import Handler

logger = logging.getLogger("websocketstream.server")

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def run_server(
    handler: Handler,
    host: str | None = None,
    port: int = 0,
    *,
    backend: str = "asyncio",
    backend_options: Mapping[str, Any] | None = None,
    on_start: Callable[[WebSocketListener], object] | None = None,
    **options: Any,  # noqa: ANN401  (those of another function)
) -> None:
    """Run an event loop and serve WebSockets on it until SIGINT (Ctrl-C) or SIGTERM comes; for a program's last line.

    The first signal shuts down gracefully, as :meth:`WebSocketListener.aclose` does: no new connections, Close 1001 to all
    clients, ``shutdown_timeout`` seconds for the handlers. The second one cancels what is left. Then this returns. Where
    it serves is logged at ``INFO``. In another thread than the main one, and on Windows, there are no signals to wait for;
    there Ctrl-C cancels.

    :param handler: as for :func:`serve_websocket_streams`, whose other options may follow, ``origins`` has to
    :param host: the address to listen on, None for all
    :param port: the port to listen on, 0 for a free one
    :param backend: ``"asyncio"`` or ``"trio"``
    :param backend_options: as for ``anyio.run()``, such as ``{"use_uvloop": True}``
    :param on_start: called with the :class:`WebSocketListener` once it listens
    :raises ValueError: an argument is not allowed; the message says which and why
    :raises TypeError: an argument is missing, unknown, or has the wrong type
    :raises OSError: the address cannot be listened on
    :raises LookupError: there is no such backend
    :raises RuntimeError: an event loop runs in this thread already
    """
    if inspect.iscoroutinefunction(on_start):
        raise TypeError("on_start must be a plain function, not an async one: nothing would run it")
    _refuse_inside_a_loop()
    serve = partial(serve_websocket_streams, handler, host, port, **options)
    with _signal_handlers_restored():
        try:
            anyio.run(
                serve_until_told,
                serve,
                on_start,
                backend=backend,
                backend_options=dict(backend_options or {}),
            )
        except BaseExceptionGroup as group:
            only = _only_one_of(group)
            if only is None:
                raise
            raise only from only.__cause__


def _refuse_inside_a_loop() -> None:
    with suppress(AsyncLibraryNotFoundError):
        raise RuntimeError(
            f"run_server() runs an event loop of its own, and {current_async_library()} runs in this thread already: there it is "
            "`await serve_websocket_streams(...)`, with the same arguments"
        )


@contextmanager
def _signal_handlers_restored() -> Iterator[None]:
    """Put back what the program itself does with signals: asyncio resets them to the defaults instead."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:  # one that was not installed from Python
                signal.signal(number, handler)


def _only_one_of(group: BaseExceptionGroup[BaseException]) -> BaseException | None:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        if len(error.exceptions) != 1:
            return None
        error = error.exceptions[0]
    return error


async def serve_until_told(
    serve: Callable[..., Any], on_start: Callable[[WebSocketListener], object] | None
) -> signal.Signals | None:
    """Serve until the server ends by itself, or because of a signal; see :func:`run_server`.

    :param serve: :func:`serve_websocket_streams` with its arguments
    :return: the first signal that came, None when none did
    """
    failure: Exception | None = None
    async with create_task_group() as tasks:
        end = _End(tasks.cancel_scope)
        try:
            # From here on, so that a signal that comes while it starts is not lost: looking up a name may take long.
            with _stop_signals() as signals:
                if signals is not None:
                    tasks.start_soon(end.follow, signals)
                listener = end.listener = await tasks.start(serve)
                logger.info("listening on %s", ", ".join(map(_for_display, listener.addresses)))
                if on_start is not None:
                    on_start(listener)
                await listener.wait_stopped()
        except Exception as exc:  # noqa: BLE001  (a group would wrap it)
            failure = exc
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return end.told


class _End:
    """The end of the program, as signals ask for it."""

    def __init__(self, everything: CancelScope) -> None:
        self._everything = everything
        self.listener: WebSocketListener | None = None  # once it listens
        self.told: signal.Signals | None = None  # by which signal first

    async def follow(self, signals: Any) -> None:  # noqa: ANN401
        """Shut down with the first signal, and cancel what is left with the second."""
        self.told = signal.Signals(await anext(signals))
        logger.info("shutting down because of %s", self.told.name)
        if self.listener is not None:
            self.listener.shut_down()
            number = await anext(signals)
            logger.info("cancelling what is left because of %s", signal.Signals(number).name)
        self._everything.cancel()


def _stop_signals() -> AbstractContextManager[Any]:
    if os.name == "nt" or threading.current_thread() is not threading.main_thread():
        return nullcontext()
    return open_signal_receiver(*STOP_SIGNALS)


def _for_display(address: Any) -> str:  # noqa: ANN401  (addresses have no type in common)
    if not isinstance(address, tuple):
        return str(address)
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
