"""The server edge: it listens, and runs a visit for each client until it is shut down or cancelled."""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from typing import Any

from anyio import (
    TASK_STATUS_IGNORED,
    CancelScope,
    ClosedResourceError,
    Event,
    create_task_group,
    move_on_after,
)
from anyio.abc import AnyByteStream, Listener, SocketAttribute, SocketListener, TaskGroup, TaskStatus

from .._network.loop import current_event_loop
from .._network.task_transport import release
from .._protocol.forwarded import NO_PROXIES, TrustedProxies
from .._protocol.http import DEFAULT_LIMITS, HandshakeLimits, check_protocols
from .._protocol.negotiation import Compression
from .._protocol.trace import TraceEvent
from .._streams.options import StreamOptions, check_compression
from .._streams.statistics import ServerStatistics
from .accepting import Acceptor, Slots
from .listener import WebSocketListener, calling_when_closed, close_listener, listen, parts_of
from .options import ServerOptions, check_capacity, check_handler, check_place
from .origins import check_origins
from .outcome import Owner
from .patience import Patience
from .tally import Tally
from .visit import Handler, Visit

logger = logging.getLogger("websocketstream.server")

# What anyio calls such a task: to find that out it makes a frame object, which stays as long as the task, and a name for each.
_TASK_NAME = f"{Visit.run.__module__}.{Visit.run.__qualname__}"


async def serve_websocket_streams(
    handler: Handler,
    host: str | None = None,
    port: int = 0,
    *,
    origins: Sequence[str | None] | None,
    protocols: Sequence[str] = (),
    ssl_context: ssl.SSLContext | None = None,
    listener: Listener[Any] | None = None,
    reuse_port: bool = False,
    compression: bool | Compression = False,
    max_message_size: int | None = 2**20,
    max_fragments: int | None = None,
    read_buffer: int = 2**20,
    write_buffer: int = 2**16,
    low_latency: bool = False,
    ping_interval: float | None = 20,
    ping_timeout: float | None = 20,
    open_timeout: float | None = 10,
    close_timeout: float = 10,
    shutdown_timeout: float = 10,
    max_connections: int | None = 10_000,
    handshake_limits: HandshakeLimits = DEFAULT_LIMITS,
    trusted_proxies: TrustedProxies = NO_PROXIES,
    proxy_protocol: bool = False,
    trace: Callable[[TraceEvent], object] | None = None,
    task_status: TaskStatus[WebSocketListener] = TASK_STATUS_IGNORED,
) -> None:
    """Serve WebSockets until cancelled, or until the listener is closed.

    ``listener = await task_group.start(serve_websocket_streams, ...)`` gives the :class:`WebSocketListener`.
    A handler never ends the server, nor another connection: whatever it lets out, an error or a cancellation of its
    own, closes its connection with 1011 and is logged; only KeyboardInterrupt and SystemExit pass. Cancelling the
    server closes every connection with 1001 within a short grace; :meth:`WebSocketListener.aclose` gives handlers more
    time.

    :param handler: an async function that takes a :class:`WebSocketRequest`; one task per connection runs it
    :param host: the address to listen on, None for all
    :param port: the port to listen on, 0 for a free one
    :param origins: the origins from which browsers may connect, None in it admits clients that send none (no
        browser); None instead of a sequence admits everybody, which lets any web page use its visitors' cookies.
        An origin is a whole one, ``https://example.com`` or ``http://localhost:3000``, or ``null``, which browsers send
        for sandboxed frames and files
    :param protocols: the subprotocols that the server knows
    :param ssl_context: for ``wss://``
    :param listener: a listener to serve instead of host and port, such as a unix socket's; it is the server's from now
        on. To end the server, close the listener with its ``aclose()``; closing its socket behind its back is noticed
        with the next connection only
    :param reuse_port: let other processes that say the same listen on this port as well (``SO_REUSEPORT``); the system
        hands each connection to one of them. Not on Windows
    :param compression: accept permessage-deflate when offered; a :class:`Compression` says how
    :param open_timeout: seconds from the TCP connection to the handler's answer, TLS included; None for no limit
    :param shutdown_timeout: seconds that handlers have to end after :meth:`WebSocketListener.aclose`
    :param max_connections: connections at the same time, handshakes included; more wait in the system's queue
    :param handshake_limits: bounds on a client's opening handshake
    :param trusted_proxies: whom :attr:`WebSocketRequest.client_host` believes; nobody by default
    :param proxy_protocol: expect a PROXY protocol header, version 1 or 2, in front of each connection of a trusted proxy,
        TLS included; one that comes without is dropped, and one of anybody else is read as if there were no such option
    :param trace: called with each :class:`TraceEvent` of the open connections, in the midst of their work: it must not wait, nor
        use them
    :raises ValueError: an argument is not allowed; the message says which and why
    :raises TypeError: an argument has the wrong type
    :raises OSError: the address cannot be listened on

    The other options are those of :func:`open_websocket_stream`, for each connection.
    """
    check_handler(handler)
    check_place(host, port, listener, reuse_port)
    check_capacity(shutdown_timeout, max_connections)
    server = _Server(
        handler,
        ServerOptions(
            stream=StreamOptions(
                read_buffer=read_buffer,
                write_buffer=write_buffer,
                ping_interval=ping_interval,
                ping_timeout=ping_timeout,
                close_timeout=close_timeout,
                max_message_size=max_message_size,
                max_fragments=max_fragments,
                low_latency=low_latency,
            ),
            compression=check_compression(compression),
            protocols=check_protocols(protocols),
            origins=check_origins(origins),
            ssl_context=ssl_context,
            open_timeout=open_timeout,
            limits=handshake_limits,
            trusted_proxies=trusted_proxies,
            proxy_protocol=proxy_protocol,
            trace=trace,
        ),
        shutdown_timeout=shutdown_timeout,
        max_connections=max_connections,
    )
    if listener is None:
        listener = await listen(host, port, reuse_port=reuse_port)
    try:
        await server.run(listener, task_status)
    finally:
        await close_listener(listener)


class _Server:
    """Accepts connections and runs a visit for each, until it is shut down or cancelled."""

    def __init__(
        self,
        handler: Handler,
        options: ServerOptions,
        *,
        shutdown_timeout: float,
        max_connections: int | None,
    ) -> None:
        self._handler = handler
        self._options = options
        self._shutdown_timeout = shutdown_timeout
        self._slots = Slots(max_connections)
        self._accepting = CancelScope()
        self._visits: set[Visit] = set()
        self._no_visits = Event()
        self._stopped = Event()
        self._owner = Owner()
        self._loop = current_event_loop()
        self._patience: Patience[Visit] = Patience(options.open_timeout, Visit.hurry, self._loop)
        self._tally = Tally()
        self._handlers: TaskGroup

    async def run(self, listener: Listener[Any], task_status: TaskStatus[WebSocketListener]) -> None:
        """Serve until cancelled or shut down."""
        with ExitStack() as stack:
            acceptors = self._acceptors(listener, stack)
            stack.callback(self._stopped.set)
            stack.callback(self._patience.end)
            try:
                async with create_task_group() as self._handlers:
                    await self._accept_all(listener, acceptors, task_status)
                    await close_listener(listener)
                    await self._finish_visits()
                    self._handlers.cancel_scope.cancel()
            finally:
                await self._abandon_visits()

    def shut_down(self) -> None:
        """Stop accepting and ask every visit to end; the rest follows."""
        if not self._accepting.cancel_called:
            self._owner.shuts_down_gracefully = True
            self._accepting.cancel()
            for visit in self._visits:
                visit.go_away()

    def _statistics(self) -> ServerStatistics:
        connections = [visit.connection for visit in self._visits if visit.connection is not None]
        return self._tally.statistics(len(self._visits), connections)

    async def _finish_visits(self) -> None:
        self._no_visits = Event()
        if self._visits:
            with move_on_after(self._shutdown_timeout):
                await self._no_visits.wait()

    async def _abandon_visits(self) -> None:
        # Those whose tasks were cancelled before their first step, as asyncio does when its run ends.
        for transport in [visit.abandon() for visit in self._visits]:
            if transport is not None and self._loop.is_running():
                with suppress(Exception):
                    await transport.wait_released()

    # --- accepting

    def _acceptors(self, listener: Listener[Any], stack: ExitStack) -> list[Acceptor | Listener[Any]]:
        acceptors: list[Acceptor | Listener[Any]] = []
        for part in parts_of(listener):
            if isinstance(part, SocketListener):
                raw_socket = part.extra(SocketAttribute.raw_socket)
                acceptor = Acceptor(raw_socket, self._slots, self._start_visit)
                stack.callback(acceptor.close)
                acceptors.append(acceptor)
            else:
                acceptors.append(part)
        return acceptors

    async def _accept_all(
        self,
        listener: Listener[Any],
        acceptors: list[Acceptor | Listener[Any]],
        task_status: TaskStatus[WebSocketListener],
    ) -> None:
        with self._accepting, calling_when_closed(listener, self.shut_down):
            async with create_task_group() as tasks:
                for each in acceptors:
                    tasks.start_soon(self._accept, each, tasks)
                secure = self._options.ssl_context is not None
                task_status.started(
                    WebSocketListener(
                        listener,
                        secure=secure,
                        shut_down=self.shut_down,
                        stopped=self._stopped,
                        statistics=self._statistics,
                    )
                )

    async def _accept(self, acceptor: Acceptor | Listener[Any], tasks: TaskGroup) -> None:
        if isinstance(acceptor, Acceptor):
            await acceptor.run()
        else:
            with suppress(ClosedResourceError):
                await acceptor.serve(self._admit, tasks)
        self.shut_down()  # somebody has closed the listener

    async def _admit(self, stream: AnyByteStream) -> None:
        """Start the visit of a stream that a listener of any kind has accepted, as soon as there is a slot."""
        try:
            await self._slots.take()
        except BaseException:
            await release(stream)
            raise
        self._start_visit(stream)

    # --- visits

    def _start_visit(self, accepted: socket.socket | AnyByteStream) -> None:
        visit = Visit(
            accepted,
            self._handler,
            self._options,
            self._owner,
            loop=self._loop,
            tally=self._tally,
            on_answer=self._patience.forget,
            on_end=self._visit_over,
        )
        self._visits.add(visit)
        self._patience.begin(visit)
        if self._accepting.cancel_called:  # accepted in the moment of the shutdown
            visit.go_away()
        visit.started(self._handlers.create_task(visit.run(), name=_TASK_NAME))

    def _visit_over(self, visit: Visit) -> None:
        self._visits.discard(visit)
        self._patience.forget(visit)
        self._slots.give_back()
        if not self._visits:
            self._no_visits.set()
