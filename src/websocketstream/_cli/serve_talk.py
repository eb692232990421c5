"""``serve --talk``: to be the server in person, in a terminal or as a pipe, for one client after the other."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self

from anyio import (
    BrokenResourceError,
    ClosedResourceError,
    Event,
    create_memory_object_stream,
    create_task_group,
    sleep_forever,
)

from .._protocol.close import CloseCode
from .._server.listener import WebSocketListener
from .._server.request import WebSocketRequest
from .._streams.stream import WebSocketStream
from .failures import CommandFailed, explain
from .framing import make_framer, make_whole_framer
from .interactive import Talk
from .meter import LinesDisplay
from .pipe import Pipe, PipeOptions
from .rendering import Rendering
from .standard import InputStream, OutputStream
from .traffic import Traffic


@dataclass(frozen=True, slots=True)
class Visit:
    """A client that is connected."""

    conn: WebSocketStream
    who: str
    over: Event = field(default_factory=Event)


class Host(Protocol):
    """Who talks to the clients, for the length of a block."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    @property
    def has_left(self) -> bool:
        """Whether no other client is wanted."""

    async def wait(self) -> None:
        """Pass the time while nobody is connected; return when nobody is wanted."""

    async def receive(self, visit: Visit) -> object:
        """Talk to a client until one of the two closes."""

    def tell(self, sentence: str) -> None:
        """Say something that no client has said."""


class TalkingHost:
    """Somebody in a terminal."""

    def __init__(self) -> None:
        self._talk = Talk(Traffic(), meter=False, peer="client")

    async def __aenter__(self) -> Self:
        await self._talk.__aenter__()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._talk.__aexit__(exc_type, exc, traceback)

    @property
    def has_left(self) -> bool:
        """Whether no other client is wanted."""
        return self._talk.has_left

    async def wait(self) -> None:
        """Tell who types that nobody is there; return when they leave."""
        await self._talk.wait()

    async def receive(self, visit: Visit) -> None:
        """Talk to a client until one of the two closes."""
        conn = visit.conn
        protocol = f", protocol {conn.protocol}" if conn.protocol else ""
        greeting = (
            f"{visit.who} has connected{protocol}; /help lists the commands, /close closes, Ctrl-D leaves"
        )
        await self._talk.run(conn, greeting)

    def tell(self, sentence: str) -> None:
        """Say something that no client has said."""
        self._talk.tell(sentence)


class PipingHost:
    """Standard input and output; there is no other client once the input has ended, or behind one that was sent a part of a message."""

    def __init__(self, options: PipeOptions, max_size: int | None, *, terminal: bool) -> None:
        self._notices = LinesDisplay()
        self._one_message = options.one_message
        self._has_begun = False
        self._pipe = Pipe(
            InputStream(),
            OutputStream(),
            framer=make_whole_framer(options.kind)
            if options.one_message
            else make_framer(options.kind, max_size),
            rendering=Rendering(options.kind, terminal=terminal),
            options=options,
            traffic=Traffic(),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._notices.__aexit__(exc_type, exc, traceback)

    @property
    def has_left(self) -> bool:
        """Whether no other client is wanted."""
        return self._pipe.has_sent_all or (self._one_message and self._has_begun)

    async def wait(self) -> None:
        """Wait: the input is not read before there is somebody to send it to."""
        await sleep_forever()

    async def receive(self, visit: Visit) -> None:
        """Pipe until one of the two closes."""
        self._has_begun = True
        await self._pipe.run(visit.conn)

    def tell(self, sentence: str) -> None:
        """Say something that no client has said."""
        self._notices.tell(sentence)


class Party:
    """A host and its clients, one after the other; the server is shut down when the host has left."""

    def __init__(self, host: Host, announce: Callable[[WebSocketListener], object]) -> None:
        self._host = host
        self._announce = announce
        self._arrive, self._visits = create_memory_object_stream[Visit]()
        self._listening = Event()
        self.failure: CommandFailed | None = None

    async def handle(self, request: WebSocketRequest) -> None:
        """Be the server's handler."""
        async with request.accept() as conn:
            visit = Visit(conn, request.client_host or "somebody")
            with suppress(BrokenResourceError, ClosedResourceError):  # the host has left
                await self._arrive.send(visit)
                await visit.over.wait()

    def begin(self, listener: WebSocketListener) -> None:
        """Take note that the server listens, and say so before there is a prompt."""
        self._announce(listener)
        self._listener = listener
        self._listening.set()

    @asynccontextmanager
    async def hosted(self) -> AsyncIterator[None]:
        """Talk to the clients of the server that runs in the block."""
        with self._arrive, self._visits:
            async with self._host, create_task_group() as tasks:
                tasks.start_soon(self._talk_to_all)
                yield
                tasks.cancel_scope.cancel()

    async def _talk_to_all(self) -> None:
        await self._listening.wait()
        while not self._host.has_left and self.failure is None:
            visit = await self._next_visit()
            if visit is not None:
                await self._talk_to(visit)
        self._visits.close()
        self._listener.shut_down()

    async def _next_visit(self) -> Visit | None:
        """Wait for a client; None when the host has left before."""
        visit = None
        async with create_task_group() as tasks:

            async def wait() -> None:
                await self._host.wait()
                tasks.cancel_scope.cancel()

            tasks.start_soon(wait)
            visit = await self._visits.receive()
            tasks.cancel_scope.cancel()
        return visit

    async def _talk_to(self, visit: Visit) -> None:
        try:
            await self._host.receive(visit)
        except Exception as exc:
            failure = explain(exc, "client")
            if failure is None:
                raise
            if any(isinstance(each, CommandFailed) for each in leaves(exc)):
                self.failure = failure
                visit.conn.close(CloseCode.INTERNAL_ERROR)
            else:
                self._host.tell(failure.sentence)
        finally:
            visit.over.set()


def leaves(error: BaseException) -> Iterator[BaseException]:
    """Yield what is in a group, and in those that are in it."""
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from leaves(each)
    else:
        yield error
