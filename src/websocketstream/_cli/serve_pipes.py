"""Both directions between a client and its process, each held back by the other end of it."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterable
from contextlib import suppress

from anyio import (
    BrokenResourceError,
    CancelScope,
    ClosedResourceError,
    EndOfStream,
    create_task_group,
    current_time,
    sleep,
)
from anyio.abc import ByteSendStream, Process, SocketAttribute
from anyio.lowlevel import checkpoint

from .._protocol.codec import Message
from .._protocol.errors import WebSocketError
from .._streams.incoming import ChunkedMessages
from .._streams.outgoing import OutgoingMessage
from .._streams.stream import WebSocketStream
from .serve_framing import Framing, LineTooLong
from .serve_process import Group

LOOK_SECONDS = 1.0  # between two looks at a socket that is not read
DRAIN_SECONDS = (
    0.001  # between two reads of what nobody wants: a program that floods shall not keep us busy with it
)

# How a connection, or a pipe, says that it is over.
_ENDS = (BrokenResourceError, ClosedResourceError, EndOfStream, OSError)


class Pipes:
    """What goes on between a client and its process, until one of them has left.

    :param patience: for how many seconds a process that has ended may leave its output to others that write nothing, and one whose
        client has left may go on
    """

    def __init__(
        self,
        conn: WebSocketStream,
        process: Process,
        group: Group,
        stdin: ByteSendStream,
        framing: Framing,
        *,
        one_message: bool,
        max_size: int | None,
        patience: float,
    ) -> None:
        self._conn = conn
        self._process = process
        self._group = group
        self._stdin = stdin
        self._framing = framing
        self._one_message = one_message
        self._max_size = max_size
        self._patience = patience
        self._is_over = False  # the process
        self._reading = CancelScope()  # what it writes
        self._feeding = CancelScope()
        self._complaint = ""

    async def run(self) -> str:
        """Carry both directions until the process has ended and all it wrote has arrived, or until the client has left.

        :return: what went wrong here, "" when nothing did
        """
        async with create_task_group() as tasks:
            tasks.start_soon(self._feed)
            tasks.start_soon(self._watch_process)
            tasks.start_soon(self._group.watch)
            tasks.start_soon(self._watch_client, tasks.cancel_scope)
            await self._carry_output()
            tasks.cancel_scope.cancel()
        return self._complaint

    async def _watch_process(self) -> None:
        await self._process.wait()
        self._is_over = True
        self._feeding.cancel()
        self._reading.deadline = current_time() + self._patience

    async def _watch_client(self, scope: CancelScope) -> None:
        """When the client has left, give the process some time to take what is still here of what it sent, and to end."""
        async with create_task_group() as tasks:
            tasks.start_soon(self._look_for_a_hang_up, tasks.cancel_scope)
            with suppress(WebSocketError):
                await self._conn.closed
            tasks.cancel_scope.cancel()
        await sleep(self._patience)
        scope.cancel()

    async def _look_for_a_hang_up(self, scope: CancelScope) -> None:
        """Ask the system now and then: while the process takes no input the connection is not read, so its end is not seen."""
        raw_socket = self._conn.extra(SocketAttribute.raw_socket, None)
        if raw_socket is None or not hasattr(select, "poll"):
            return
        while not has_hung_up(raw_socket):  # noqa: ASYNC110  (nobody tells us)
            await sleep(LOOK_SECONDS)
        scope.cancel()

    # --- to the process

    async def _feed(self) -> None:
        messages = self._conn.readable.chunked(max_size=self._max_size)
        with suppress(*_ENDS):
            with self._feeding:
                await self._feed_messages(messages)
            await self._stdin.aclose()
            async for (
                _
            ) in messages:  # nobody takes it any more, but pongs and the client's end have to be seen
                pass
        await self._stdin.aclose()

    async def _feed_messages(self, messages: ChunkedMessages) -> None:
        """Write all that the client sends, or one message of it if that is all the input there is."""
        line_end = self._framing.line_end
        async for message in messages:
            last = b""
            async for chunk in message:
                last = chunk.encode() if isinstance(chunk, str) else chunk
                await self._write(last)
            if line_end and not last.endswith(line_end):
                await self._write(line_end)
            if self._one_message:
                return

    async def _write(self, data: bytes) -> None:
        """Wait until the process, or its pipe, has taken the bytes."""
        try:
            await self._stdin.send(data)
        except _ENDS:
            self._feeding.cancel()  # it has closed its input; that need not be its end
            await checkpoint()

    # --- to the client

    async def _carry_output(self) -> None:
        """Carry what the process writes, and return when it has ended and the client has everything."""
        with suppress(*_ENDS):
            try:
                if self._one_message:
                    async with self._conn.writable.message(text=self._framing.text) as part:
                        await self._carry(part)
                else:
                    await self._carry(None)
            except LineTooLong as exc:
                await self._send(None, exc.before)
                self._complaint = f"{exc}, see --max-size"
                return
            await self._process.wait()
            # Its answer comes behind all that was sent; a Close frame would only have close_timeout for that.
            await self._conn.ping()
            return
        # The client has left. What it sent last may have to wait until the process has written what it has.
        while await self._read():  # noqa: ASYNC110  (it waits for the process)
            await sleep(DRAIN_SECONDS)
        await self._process.wait()

    async def _carry(self, part: OutgoingMessage | None) -> None:
        while data := await self._read():
            await self._send(part, self._framing.messages(data))
        await self._send(part, self._framing.rest())

    async def _send(self, part: OutgoingMessage | None, messages: Iterable[Message]) -> None:
        if part is None:
            await self._conn.writable.send_batch(messages)
            return
        for message in messages:
            await part.send(message)

    async def _read(self) -> bytes:
        """Return what the process has written, b"" at the end."""
        assert self._process.stdout is not None
        with CancelScope() as self._reading, suppress(*_ENDS):
            if self._is_over:  # and what it has left behind need not say anything
                self._reading.deadline = current_time() + self._patience
            return await self._process.stdout.receive()
        return b""


def has_hung_up(raw_socket: socket.socket) -> bool:
    """Tell whether the other end of a socket sends nothing more, or is gone; one that was closed here has, too."""
    if raw_socket.fileno() < 0:
        return True
    poll = select.poll()
    poll.register(raw_socket, getattr(select, "POLLRDHUP", 0))  # Linux's word; a reset is told of everywhere
    return bool(poll.poll(0))
