"""A transport of any byte stream, by tasks: those that know only how to wait, such as TLS and what users give."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from anyio import (
    CancelScope,
    ClosedResourceError,
    EndOfStream,
    aclose_forcefully,
    current_time,
    move_on_after,
)
from anyio.abc import AnyByteStream

from .any_stream import half_close, receive_some, socket_below
from .event_loop import EventLoop, Signal, Waiter, uninterrupted
from .loop import current_event_loop
from .stream_transport import is_stream_transport
from .transport import RELEASE_SECONDS, Buffer, Receiver, Transport, lost


def transport_of(stream: AnyByteStream, loop: EventLoop) -> Transport:
    """Return the transport that a byte stream is, or make one of it."""
    if is_stream_transport(stream) or isinstance(stream, Transport):
        return stream
    return AnyStreamTransport(stream, loop)


async def release(stream: AnyByteStream) -> None:
    """Drop a byte stream that is no transport yet; this cannot fail, and takes a second at the most."""
    transport = stream if is_stream_transport(stream) else transport_of(stream, current_event_loop())
    transport.release()
    await transport.wait_released()


class AnyStreamTransport(Transport):
    """A byte stream that knows only how to wait: one task reads, one writes, and one closes it in the end."""

    keeps_last_words = False

    def __init__(self, stream: AnyByteStream, loop: EventLoop) -> None:
        self._stream = stream
        self._loop = loop
        self._socket = socket_below(stream)
        self._receiver: Receiver | None = None
        self._tasks: list[str] = []
        self._scopes: set[CancelScope] = set()
        self._paused = False
        self._resumed: Waiter | None = None  # the reading task waits for it
        self._at_end = False
        self._unsent: Buffer = b""
        self._work: Waiter | None = None  # the writing task waits for it
        self._sending_ended = False
        self._write_error: Exception | None = None
        self._writing_over = False
        self._error: Exception | None = None
        self._released = False
        self._closed = False
        self._gone = Signal(loop)

    # --- what the connection does

    @uninterrupted
    def attach(self, receiver: Receiver) -> None:
        """See :class:`Transport`."""
        self._receiver = receiver
        self._start("reader", partial(self._until_released, self._read))

    def pause(self) -> None:
        """See :class:`Transport`."""
        self._paused = True

    @uninterrupted
    def resume(self) -> None:
        """See :class:`Transport`."""
        self._paused = False
        if self._resumed is not None:
            self._loop.wake(self._resumed)

    @uninterrupted
    def write(self, data: Buffer) -> int:
        """See :class:`Transport`."""
        if self._released:
            raise ClosedResourceError
        error = self._error or self._write_error
        if self._loop.has_ended():
            error = OSError("the event loop has ended")
        if error is not None:
            raise lost(error)
        self._unsent = data
        self.congested = True
        try:
            self._go_on_writing()
        except OSError as exc:
            raise lost(exc) from exc
        return 0

    @uninterrupted
    def end_sending(self) -> None:
        """See :class:`Transport`."""
        if not (self._sending_ended or self._released):
            self._sending_ended = True
            with suppress(OSError):
                self._go_on_writing()

    @uninterrupted
    def release(self) -> None:
        """See :class:`Transport`."""
        if self._released:
            return
        self._released = True
        self._receiver = None
        self._unsent = b""
        self._error = self._write_error = None  # whose tracebacks hold us
        if self._socket is not None:
            self._socket.release()
        for scope in self._scopes:
            with suppress(RuntimeError):  # the event loop was closed
                scope.cancel()
        self._start_closing()

    async def wait_released(self) -> None:
        """See :class:`Transport`."""
        with CancelScope(shield=True, deadline=current_time() + RELEASE_SECONDS):
            await self._gone.wait()
            await self._loop.wait_idle()

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """The attributes of the stream, as long as it is connected."""
        return {} if self._released else self._stream.extra_attributes

    # --- tasks

    def _start(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._loop.start_task(work, name=name, on_end=partial(self._task_ended, name))
        self._tasks.append(name)

    def _start_closing(self) -> None:
        try:
            self._start("closer", self._close)
        except OSError:  # the event loop is over, and so is whatever could be waited for
            self._gone.set()

    def _task_ended(self, name: str = "") -> None:
        if name:
            self._tasks.remove(name)
        if not self._released:
            if not (self._at_end if name == "reader" else self._writing_over):
                self._fail(RuntimeError("a background task was cancelled"))
        elif name == "closer" and not self._closed:
            # asyncio's final cancel-all has found it before its first step; it does not look twice.
            self._start_closing()
        elif not self._tasks:
            self._gone.set()

    async def _until_released(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        with CancelScope() as scope:
            self._scopes.add(scope)
            if self._released:
                scope.cancel()
            try:
                await work()
            finally:
                self._scopes.discard(scope)

    async def _read(self) -> None:
        try:
            while not self._released:
                await self._wait_until_resumed()
                data = await receive_some(self._stream)
                await self._wait_until_resumed()
                if self._receiver is not None:
                    self._receiver.data_received(data)
        except EndOfStream:
            await self._wait_until_resumed()
            self._end()
        except Exception as exc:  # noqa: BLE001  (it may be anybody's code)
            self._fail(self._write_error or exc)

    async def _wait_until_resumed(self) -> None:
        while self._paused:
            self._resumed = self._loop.waiter()
            await self._resumed
            self._resumed = None

    def _go_on_writing(self) -> None:
        if self._work is not None:
            self._loop.wake(self._work)
        elif "writer" not in self._tasks:
            self._start("writer", partial(self._until_released, self._write))

    async def _write(self) -> None:
        try:
            while not self._sending_ended or self.congested:
                if self.congested:
                    # That is all that anyio's streams promise to take.
                    await self._stream.send(bytes(self._unsent))
                    self._flush()
                else:
                    self._work = self._loop.waiter()
                    await self._work
                    self._work = None
        except Exception as exc:  # noqa: BLE001  (it may be anybody's code)
            self._fail_to_write(exc)
        else:
            self._writing_over = True
            with suppress(Exception):
                await half_close(self._stream)

    async def _close(self) -> None:
        if not self._closed:
            self._closed = True
            with move_on_after(RELEASE_SECONDS, shield=True), suppress(Exception):
                await aclose_forcefully(self._stream)

    # --- what the tasks tell the connection

    def _flush(self) -> None:
        self._unsent = b""
        self.congested = False
        if self._receiver is not None:
            self._receiver.flushed()

    def _end(self) -> None:
        self._at_end = True
        if self._receiver is not None:
            self._receiver.eof_received()

    def _fail_to_write(self, error: Exception) -> None:
        self._writing_over = True
        if self._released:
            return  # nobody waits any more
        self._write_error = error
        if self._receiver is not None:
            self._receiver.write_failed(lost(error))

    def _fail(self, error: Exception) -> None:
        if self._error is None and not self._released:
            self._error = error
            receiver, self._receiver = self._receiver, None
            if receiver is not None:
                receiver.failed(lost(error))
