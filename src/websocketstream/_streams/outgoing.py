"""Messages to the peer in chunks: for those that are larger than one wants to hold, or whose end is not there yet."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Self

from anyio import ClosedResourceError, get_current_task
from anyio.lowlevel import checkpoint

from .._network.loop import Signal, uninterrupted
from .._protocol.codec import Outgoing
from .connection import Connection
from .hot import prepare
from .send_buffer import Sendable, SendBuffer
from .waits import OneAtATime, wait_for_room, wait_for_turn

# A longer chunk is sent in several frames, so that control frames pass, and senders learn what is left.
PART_BYTES = 2**20


class Turn:
    """The turn of a message that comes in parts; see :class:`~.send_buffer.Parts`."""

    def __init__(self, connection: Connection) -> None:
        self._over = Signal(connection.loop)
        self._task = get_current_task().id

    def over(self) -> None:
        """Let others send."""
        self._over.set()

    async def wait(self) -> None:
        """Wait until others may send.

        :raises RuntimeError: that would be for ever
        """
        if get_current_task().id == self._task:
            raise RuntimeError(
                "this task is in the middle of a message in chunks: send with what the block gave, or after the block"
            )
        await self._over.wait()


async def wait_for_others(buffer: SendBuffer) -> None:
    """Wait until nobody is in the middle of a message."""
    while isinstance(turn := buffer.parts, Turn):
        await turn.wait()
        buffer.raise_if_ended()


class OutgoingMessage(AbstractAsyncContextManager["OutgoingMessage"]):
    """One message that is sent in chunks: the block begins it, and leaving the block completes it.

    See :meth:`WritableStream.message`.
    """

    def __init__(self, connection: Connection, *, text: bool, compress: bool) -> None:
        self._connection = connection
        self._buffer = connection.outbox
        self._text = text
        self._compress = compress
        self._begun = False  # something of it was accepted
        self._turn: Turn | None = None
        self._sending = OneAtATime("sending to")

    @uninterrupted
    async def __aenter__(self) -> Self:
        if self._turn is not None:
            raise RuntimeError("this block has been entered before; a message is sent once")
        await wait_for_turn(self._connection.budget)  # or who waits would never have it
        self._buffer.raise_if_ended()
        await wait_for_others(self._buffer)
        self._turn = Turn(self._connection)
        self._buffer.begin_parts(self._turn)
        return self

    @uninterrupted
    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._is_ours:
            if exc is None:
                await checkpoint()
                self._buffer.raise_if_ended()
        elif exc is None:
            self._put(b"", ends=True)
            self._buffer.end_parts()
            await checkpoint()
        else:
            if self._begun:
                self._connection.leave_unfinished()
            self._buffer.end_parts()

    @property
    def _is_ours(self) -> bool:
        return self._turn is not None and self._buffer.parts is self._turn

    @uninterrupted
    async def send(self, chunk: Sendable) -> None:
        """Send a part of the message, and wait until what is unsent fits the write buffer.

        When this is cancelled, the message can go on: of up to 8 KiB all or nothing was accepted, of more a part may
        have been, 1 MiB at a time without compression and masks. An empty chunk sends nothing.

        :raises TypeError: the chunk is not text where the message is, or not binary; nothing of it was sent
        :raises ValueError: the text has a lone surrogate, which UTF-8 cannot carry; nothing of it was sent
        :raises ConnectionClosed: as :meth:`WritableStream.send`
        :raises ConnectionBroken: as :meth:`WritableStream.send`
        :raises anyio.ClosedResourceError: we have closed the connection, or the block was left
        :raises anyio.BusyResourceError: another task is sending a chunk of this message
        """
        payload = self._payload_of(chunk)
        step = min(PART_BYTES, self._connection.portion)
        async with self._sending:
            if not self._connection.budget.allows_much():
                await wait_for_turn(self._connection.budget)
            self._check_open()
            for start in range(0, len(payload), step):
                size = self._put(payload[start : start + step], ends=False)
                if self._buffer.free <= 0:
                    await wait_for_room(self._buffer, size, keep=True)
                    self._check_open()

    def _payload_of(self, chunk: Sendable) -> bytes:
        kinds = str if self._text else (bytes, bytearray, memoryview)
        if not isinstance(chunk, kinds):
            wanted = "str" if self._text else "bytes"
            raise TypeError(
                f"a chunk of this message must be {wanted}, not {type(chunk).__name__}; nothing of it was sent"
            )
        return Outgoing.of(prepare(chunk, True)).payload

    def _check_open(self) -> None:
        self._buffer.raise_if_ended()
        if not self._is_ours:
            raise ClosedResourceError("the block of this message is not open")

    def _put(self, payload: bytes, *, ends: bool) -> int:
        begins, self._begun = not self._begun, True
        if not ends:
            self._buffer.part_queued()
        return self._connection.writer.put(Outgoing(payload, self._text, self._compress, begins, ends))
