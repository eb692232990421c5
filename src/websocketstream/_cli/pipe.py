"""The way of ``cat``: standard input to the peer, what the peer sends to standard output, with backpressure on both."""

from __future__ import annotations

import enum
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from anyio import (
    CancelScope,
    ClosedResourceError,
    EndOfStream,
    create_task_group,
    current_time,
    move_on_after,
)

from .._protocol.close import OK_CODES
from .._protocol.codec import Message
from .._protocol.keepalive import MOST_UNREAD, SLOWEST_READER
from .._streams.errors import ConnectionBroken, ConnectionClosed
from .._streams.incoming import IncomingMessage
from .._streams.outgoing import OutgoingMessage
from .._streams.stream import WebSocketStream
from .exit_codes import ExitCode
from .failures import CommandFailed
from .framing import Framer, Pieces, looks_like_text
from .rendering import Rendering
from .traffic import Traffic, bytes_of

T = TypeVar("T")
PONG_SECONDS = 20.0  # as the keepalive has it


class Input(Protocol):
    """Where the bytes come from that are sent."""

    async def receive(self) -> bytes:
        """Wait for bytes and return them, ``b""`` at the end. Cancelling is safe."""


class Output(Protocol):
    """Where the bytes go that were received."""

    async def send(self, data: bytes) -> None:
        """Wait until they are written."""


@dataclass(frozen=True, slots=True)
class PipeOptions:
    """What the command line says of it; seconds.

    ``wait`` is for how long nothing may arrive behind the end of the input before we close, ``timeout`` how long the peer may
    take to answer that. ``pong`` is how long it may take for the answer to a ping, besides the reading that a slow one has to do
    before; None sends no ping. ``count`` is the number of messages after which we have enough,
    ``ok`` are the close codes that are no error, ``peer`` is what the other end is called.
    """

    kind: str = "auto"
    one_message: bool = False
    wait: float = 1.0
    timeout: float = 10.0
    pong: float | None = PONG_SECONDS
    count: int | None = None
    ok: tuple[int, ...] = OK_CODES
    peer: str = "server"


class Phase(enum.Enum):
    """How far it is."""

    SENDING = enum.auto()
    WAITING = enum.auto()  # for answers: the input has ended, and the peer has had the time to read all of it
    CLOSING = enum.auto()  # we have sent the Close frame


class Pipe:
    """Standard input and output for the length of a run: over one connection, or over several in a row."""

    def __init__(
        self,
        source: Input | None,
        sink: Output,
        *,
        framer: Framer,
        rendering: Rendering,
        options: PipeOptions,
        traffic: Traffic,
    ) -> None:
        self._source = source
        self._sink = sink
        self._framer = framer
        self._rendering = rendering
        self._options = options
        self._traffic = traffic
        self._phase = Phase.SENDING
        self._scope = CancelScope()
        self.has_sent_all = False  # of the input, whether or not the peer has read it
        self._missing = math.inf if options.count is None else options.count

    async def run(self, conn: WebSocketStream) -> int:
        """Send and receive until the peer closes, or everything was sent and there are no more answers.

        :raises ConnectionClosed: the peer closed with a code that is an error
        :raises ConnectionBroken: the connection was lost
        :raises CommandFailed: the input cannot be sent, nobody reads the output, or the peer does not answer the Close frame
        """
        self._phase = Phase.SENDING
        self._traffic.conn = conn
        receive = self._receive_chunks if self._options.one_message else self._receive_messages
        async with create_task_group() as tasks:
            tasks.start_soon(self._send, conn)
            try:
                await receive(conn)
            except ConnectionClosed as closed:
                if closed.close_code not in self._options.ok:
                    raise
            except BrokenPipeError:
                conn.close(1000)
                raise CommandFailed("", ExitCode.OUTPUT_CLOSED) from None
            tasks.cancel_scope.cancel()
        return ExitCode.OK

    # --- to the peer

    async def _send(self, conn: WebSocketStream) -> None:
        try:
            if self._source is None:
                return  # until the peer closes
            if self._options.one_message:
                await self._send_one(conn, self._source)
            else:
                await self._send_all(conn, self._source)
            self.has_sent_all = True
            await self._until_all_is_read(conn)
        except (ConnectionClosed, ConnectionBroken, ClosedResourceError):
            return  # the receiver meets the same end
        self._phase = Phase.WAITING
        self._scope.deadline = current_time() + self._options.wait

    async def _until_all_is_read(self, conn: WebSocketStream) -> None:
        """Ask the peer by a ping. One that answers none is told by the Close frame, and need only answer that."""
        if self._options.pong is None:
            return
        reading_time = min(self._traffic.outgoing.bytes, MOST_UNREAD) / SLOWEST_READER
        with move_on_after(self._options.pong + reading_time):
            await conn.ping()

    async def _send_all(self, conn: WebSocketStream, source: Input) -> None:
        while data := await source.receive():
            await self._send_messages(conn, self._framer.feed(data))
        await self._send_messages(conn, self._framer.finish())

    async def _send_messages(self, conn: WebSocketStream, messages: list[Message]) -> None:
        if messages:
            await conn.writable.send_batch(messages)
            self._traffic.sent(len(messages), sum(map(bytes_of, messages)))

    async def _send_one(self, conn: WebSocketStream, source: Input) -> None:
        first = await source.receive()
        text = self._options.kind in {"text", "lines", "json"} or (
            self._options.kind == "auto" and looks_like_text(first)
        )
        framer = self._framer if text else Pieces()
        async with conn.writable.message(text=text) as part:
            data = first
            while data:
                await self._send_chunks(part, framer.feed(data))
                data = await source.receive()
            await self._send_chunks(part, framer.finish())
        self._traffic.sent(1, 0)

    async def _send_chunks(self, part: OutgoingMessage, chunks: list[Message]) -> None:
        for chunk in chunks:
            await part.send(chunk)
            self._traffic.sent(0, bytes_of(chunk))

    # --- from the peer

    async def _receive_messages(self, conn: WebSocketStream) -> None:
        while self._missing > 0:
            messages = await self._patiently(conn, conn.readable.receive_batch)
            if len(messages) > self._missing:
                del messages[int(self._missing) :]
            await self._sink.send(self._rendering.messages(messages))
            self._missing -= len(messages)
            self._traffic.received(len(messages), sum(map(bytes_of, messages)))
        conn.close(1000)

    async def _receive_chunks(self, conn: WebSocketStream) -> None:
        messages = conn.readable.chunked()
        while self._missing > 0:
            try:
                message = await self._patiently(conn, messages.__anext__)
            except StopAsyncIteration:
                (await conn.closed).raise_for_code(self._options.ok)
                return
            await self._receive_one(conn, message)
            self._missing -= 1
        conn.close(1000)

    async def _receive_one(self, conn: WebSocketStream, message: IncomingMessage) -> None:
        while True:
            try:
                chunk = await self._patiently(conn, message.receive)
            except EndOfStream:
                break
            await self._sink.send(self._rendering.chunk(chunk))
            self._traffic.received(0, bytes_of(chunk))
        if end := self._rendering.end(text=message.text):
            await self._sink.send(end)
        self._traffic.received(1, 0)

    async def _patiently(self, conn: WebSocketStream, receive: Callable[[], Awaitable[T]]) -> T:
        """Receive, for as long as it is worth waiting; then close. While our output is held back, no time passes."""
        while True:
            with CancelScope(deadline=current_time() + self._patience()) as self._scope:
                return await receive()
            if self._phase is Phase.CLOSING:
                hint = "; --timeout gives it more" if self._options.peer == "server" else ""
                raise CommandFailed(
                    f"the {self._options.peer} did not answer the Close frame within {self._options.timeout:g} s{hint}"
                )
            await conn.send_eof()
            self._phase = Phase.CLOSING

    def _patience(self) -> float:
        match self._phase:
            case Phase.SENDING:
                return math.inf
            case Phase.WAITING:
                return self._options.wait
        return self._options.timeout
