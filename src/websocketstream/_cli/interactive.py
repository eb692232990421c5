"""Talking to a server, or to a client, in a terminal."""

from __future__ import annotations

import importlib.util
import math
from types import TracebackType
from typing import Self

from anyio import (
    BrokenResourceError,
    ClosedResourceError,
    EndOfStream,
    WouldBlock,
    create_memory_object_stream,
    create_task_group,
    current_time,
    sleep,
)
from anyio.abc import ObjectReceiveStream, ObjectSendStream, TaskGroup

from .._protocol.close import OK_CODES
from .._protocol.codec import Message
from .._protocol.url import for_display
from .._streams.errors import ConnectionBroken, ConnectionClosed
from .._streams.stream import WebSocketStream
from .escape import escape
from .exit_codes import ExitCode
from .failures import close_in_words
from .meter import Meter
from .rendering import for_terminal
from .talk_commands import Close, Ping, Quit, Say, Tell, Typed, read_line
from .terminals import TOOLBAR_SECONDS, PlainTerminal, PromptTerminal, Terminal
from .traffic import Traffic, bytes_of
from .units import duration

SHOWN = 2**16  # characters of a message

MISSING = "prompt_toolkit is not installed, so there is no history and no completion: pip install 'websocketstream[cli]'"


class Talk:
    """Somebody in a terminal, for the length of a block; they talk over one connection, or over several in a row.

    :param meter: whether a line below the prompt shows what passes
    :param peer: what the other end is called
    """

    def __init__(self, traffic: Traffic, *, meter: bool, peer: str = "server") -> None:
        self._traffic = traffic
        self._peer = peer
        self._meter = Meter(traffic, None) if meter else None
        self.has_left = False  # who types
        self._reading = ""
        self._is_open = False  # the terminal, from the first connection on
        self._held_back = 0  # messages that wait for the peer to read
        self._has_prompt = importlib.util.find_spec("prompt_toolkit") is not None
        self._terminal: Terminal = PlainTerminal()
        if self._has_prompt:
            self._terminal = PromptTerminal((lambda: self._reading) if meter else None)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._is_open:
            await self._terminal.__aexit__(exc_type, exc, traceback)

    def tell(self, sentence: str) -> None:
        """Say something that no server has said."""
        text = escape(sentence, keep="")
        if self._is_open:
            self._terminal.tell(text)
        else:
            print(text, flush=True)

    async def wait(self) -> None:
        """Answer what is typed while nobody is connected; return when they leave who type."""
        await self._open()
        while not self.has_left:
            line = await self._terminal.receive()
            match Quit() if line is None else read_line(line):
                case Quit():
                    self.has_left = True
                case Tell(text):
                    await self._terminal.show(escape(text))
                case _:
                    await self._terminal.show("nobody is connected, so this goes nowhere")

    async def run(self, conn: WebSocketStream, greeting: str | None = None) -> int:
        """Talk until one of the two closes.

        :param greeting: what is shown first; by default where it is connected to
        :raises ConnectionClosed: the peer closed with a code that is an error
        :raises ConnectionBroken: the connection was lost
        """
        self._traffic.conn = conn
        self._held_back = 0
        await self._open()
        await self._terminal.show(escape(greeting or self._greeting(conn), keep=""))
        async with create_task_group() as tasks:
            tasks.start_soon(self._read_lines, conn, tasks)
            tasks.start_soon(self._update_meter)
            await self._show_messages(conn)
            tasks.cancel_scope.cancel()
        return ExitCode.OK

    async def _open(self) -> None:
        if not self._is_open:
            await self._terminal.__aenter__()
            self._is_open = True
            if not self._has_prompt:
                await self._terminal.show(MISSING)

    def _greeting(self, conn: WebSocketStream) -> str:
        protocol = f", protocol {conn.protocol}" if conn.protocol else ""
        where = for_display(conn.url)
        return f"connected to {where}{protocol}; /help lists the commands, Ctrl-D leaves"

    # --- what is typed

    async def _read_lines(self, conn: WebSocketStream, tasks: TaskGroup) -> None:
        # A peer that does not read holds back what is sent, and not who types: /quit is obeyed all the same.
        send, receive = create_memory_object_stream[Message](math.inf)
        with send, receive:
            tasks.start_soon(self._send_messages, conn, receive)
            while not self.has_left:
                line = await self._terminal.receive()
                await self._obey(Quit() if line is None else read_line(line), conn, send, tasks)

    async def _obey(
        self, typed: Typed, conn: WebSocketStream, send: ObjectSendStream[Message], tasks: TaskGroup
    ) -> None:
        match typed:
            case Say(message):
                await self._say(message, conn, send)
            case Ping():
                tasks.start_soon(self._ping, conn)
            case Close(code, reason):
                conn.close(code, reason)
            case Quit():
                self.has_left = True
                conn.close(1000)
            case Tell(text):
                await self._terminal.show(escape(text))

    async def _say(self, message: Message, conn: WebSocketStream, send: ObjectSendStream[Message]) -> None:
        if not self._held_back:
            try:
                conn.writable.send_nowait(message)
            except WouldBlock:
                await self._terminal.show(
                    f"the {self._peer} does not read: what you send waits; /quit leaves all the same"
                )
            except (ConnectionClosed, ConnectionBroken, ClosedResourceError):
                return  # the receiver meets the same end
            else:
                self._traffic.sent(1, bytes_of(message))
                return
        self._held_back += 1
        await send.send(message)

    async def _send_messages(self, conn: WebSocketStream, messages: ObjectReceiveStream[Message]) -> None:
        try:
            async for message in messages:
                await conn.send(message)
                self._held_back -= 1
                self._traffic.sent(1, bytes_of(message))
        except (ConnectionClosed, ConnectionBroken, ClosedResourceError):
            return  # likewise

    async def _ping(self, conn: WebSocketStream) -> None:
        try:
            seconds = await conn.ping()
        except (EndOfStream, BrokenResourceError, ClosedResourceError):
            return
        await self._terminal.show(f"pong after {duration(seconds)}")

    # --- what arrives

    async def _show_messages(self, conn: WebSocketStream) -> None:
        try:
            while True:
                messages = await conn.readable.receive_batch()
                await self._terminal.show("\n".join(f"< {for_terminal(each, SHOWN)}" for each in messages))
                self._traffic.received(len(messages), sum(map(bytes_of, messages)))
        except ConnectionClosed as closed:
            if closed.close_code not in OK_CODES:
                raise
            words = close_in_words(closed.close_code, closed.reason)
            await self._show_end(f"the {self._peer} closed the connection: {words}")
        except ClosedResourceError:
            await self._show_answer(conn)

    async def _show_answer(self, conn: WebSocketStream) -> None:
        """Show what the peer says to our Close frame."""
        try:
            info = await conn.closed
        except ConnectionBroken as broken:
            await self._show_end(f"closed; {broken}")
        else:
            await self._show_end(
                f"closed; the {self._peer} answered: {close_in_words(info.code, info.reason)}"
            )

    async def _show_end(self, text: str) -> None:
        unsent = f"; {self._held_back} messages were not sent" if self._held_back else ""
        await self._terminal.show(escape(text + unsent, keep=""))

    async def _update_meter(self) -> None:
        while self._meter is not None:
            self._reading = self._meter.read(current_time()).plain()
            await sleep(TOOLBAR_SECONDS)
