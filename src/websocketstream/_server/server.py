"""The server edge: from a listening socket to handlers with an open :class:`WebSocketStream`."""

from __future__ import annotations

import errno
import logging
import socket
import ssl
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import count
from typing import Any

from anyio import (
    TASK_STATUS_IGNORED,
    CancelScope,
    ClosedResourceError,
    Event,
    Semaphore,
    TypedAttributeProvider,
    WouldBlock,
    aclose_forcefully,
    create_task_group,
    create_tcp_listener,
    move_on_after,
    sleep,
)
from anyio.abc import AnyByteStream, Listener, SocketAttribute, SocketListener, TaskGroup, TaskStatus
from anyio.lowlevel import checkpoint
from anyio.streams.stapled import MultiListener

from .._network.accept import accept
from .._network.sockets import wrap_socket
from .._protocol.deflate import Compression
from .._protocol.http import DEFAULT_LIMITS, HandshakeLimits, check_protocols
from .._streams.options import StreamOptions, check_compression, check_seconds, check_size
from .request import ServerOptions
from .visit import Handler, Visit

logger = logging.getLogger("websocketstream.server")

ACCEPTED_AT_ONCE = 32  # connections, then it is the turn of others
LOOK_EVERY = 1.0  # seconds until it is noticed that the listener was closed
ACCEPT_PAUSE = 0.1  # seconds to wait when the system is out of descriptors or memory
_OUT_OF_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


async def serve_websocket_streams(
    handler: Handler,
    host: str | None = None,
    port: int = 0,
    *,
    origins: Sequence[str | None] | None,
    protocols: Sequence[str] = (),
    ssl_context: ssl.SSLContext | None = None,
    listener: Listener[Any] | None = None,
    compression: bool | Compression = False,
    max_message_size: int | None = 2**20,
    max_fragments: int | None = 4096,
    read_buffer: int = 2**20,
    write_buffer: int = 2**16,
    ping_interval: float | None = 20,
    ping_timeout: float | None = 20,
    open_timeout: float | None = 10,
    close_timeout: float = 10,
    shutdown_timeout: float = 10,
    max_connections: int | None = 10_000,
    handshake_limits: HandshakeLimits = DEFAULT_LIMITS,
    task_status: TaskStatus[WebSocketListener] = TASK_STATUS_IGNORED,
) -> None:
    """Serve WebSockets until cancelled, or until the listener is closed (which takes up to a second to be noticed).

    ``listener = await task_group.start(serve_websocket_streams, ...)`` gives the :class:`WebSocketListener`.
    An error of a handler closes its connection with 1011 and is logged; it never ends the server. Cancelling closes
    every connection with 1001 within a short grace; :meth:`WebSocketListener.aclose` gives handlers more time.

    :param handler: an async function that takes a :class:`WebSocketRequest`; one task per connection runs it
    :param host: the address to listen on, None for all
    :param port: the port to listen on, 0 for a free one
    :param origins: the origins from which browsers may connect, None in it admits clients that send none (no
        browser); None instead of a sequence admits everybody, which lets any web page use its visitors' cookies
    :param protocols: the subprotocols that the server knows
    :param ssl_context: for ``wss://``
    :param listener: a listener to serve instead of host and port, such as a unix socket's
    :param compression: accept permessage-deflate when offered; a :class:`Compression` says how
    :param open_timeout: seconds from the TCP connection to the handler's answer, TLS included; None for no limit
    :param shutdown_timeout: seconds that handlers have to end after :meth:`WebSocketListener.aclose`
    :param max_connections: connections at the same time, handshakes included; more wait in the system's queue
    :param handshake_limits: bounds on a client's opening handshake
    :raises ValueError: an argument is not allowed; the message says which and why
    :raises TypeError: an argument has the wrong type
    :raises OSError: the address cannot be listened on

    The other options are those of :func:`open_websocket_stream`, for each connection.
    """
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
            ),
            compression=check_compression(compression),
            protocols=check_protocols(protocols),
            origins=None if origins is None else _check_origins(origins),
            ssl_context=ssl_context,
            open_timeout=open_timeout,
            limits=handshake_limits,
        ),
        shutdown_timeout=shutdown_timeout,
        max_connections=max_connections,
    )
    if listener is None:
        listener = await create_tcp_listener(local_host=host, local_port=port)
    try:
        await server.run(listener, task_status)
    finally:
        await aclose_forcefully(listener)


class WebSocketListener(TypedAttributeProvider):
    """A running server: where it listens, and how to shut it down."""

    def __init__(self, listener: Listener[Any], server: _Server) -> None:
        self._listener = listener
        self._server = server
        self._addresses = [part.extra(SocketAttribute.local_address, None) for part in _parts(listener)]

    @property
    def addresses(self) -> list[Any]:
        """The local addresses: (host, port) pairs, paths for unix sockets."""
        return list(self._addresses)

    @property
    def port(self) -> int:
        """The TCP port.

        :raises ValueError: it does not listen on TCP
        """
        return self._tcp_address()[1]

    @property
    def url(self) -> str:
        """A URL at which a client on this machine reaches the server, without a path.

        :raises ValueError: it does not listen on TCP
        """
        host, port = self._tcp_address()
        if ip_address(host).is_unspecified:
            host = "::1" if ":" in host else "127.0.0.1"
        host = f"[{host}]" if ":" in host else host
        return f"{'wss' if self._server.options.ssl_context else 'ws'}://{host}:{port}"

    def _tcp_address(self) -> tuple[str, int]:
        address = self._addresses[0]
        if not isinstance(address, tuple):
            raise ValueError(f"this server does not listen on TCP but on {address!r}")  # noqa: TRY004  (no argument)
        return address[0], address[1]

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """The typed attributes of the listening socket."""
        return self._listener.extra_attributes

    async def aclose(self) -> None:
        """Shut down gracefully: stop accepting, close every connection with 1001, wait for the handlers.

        Handlers that are not done after ``shutdown_timeout`` seconds are cancelled. Returns when all have ended.
        Cancelling leaves the shutdown under way.
        """
        self._server.shut_down()
        await self._server.stopped.wait()


@dataclass(eq=False)
class _Server:
    handler: Handler
    options: ServerOptions
    shutdown_timeout: float
    max_connections: int | None

    def __post_init__(self) -> None:
        check_seconds("shutdown_timeout", self.shutdown_timeout)
        if self.options.open_timeout is not None:
            check_seconds("open_timeout", self.options.open_timeout)
        if self.max_connections is not None:
            check_size("max_connections", self.max_connections)
        self.stopped: Event = Event()
        self._accepting = CancelScope()
        self._slots = None if self.max_connections is None else Semaphore(self.max_connections)
        self._visits: set[Visit] = set()
        self._idle = Event()

    async def run(self, listener: Listener[Any], task_status: TaskStatus[WebSocketListener]) -> None:
        try:
            async with create_task_group() as handlers:
                await self._accept_all(listener, handlers, task_status)
                await aclose_forcefully(listener)
                await self._finish_handlers()
                handlers.cancel_scope.cancel()
        finally:
            self.stopped.set()

    def shut_down(self) -> None:
        self._accepting.cancel()

    async def _finish_handlers(self) -> None:
        for visit in self._visits:
            visit.go_away()
        with move_on_after(self.shutdown_timeout):
            while self._visits:
                self._idle = Event()
                await self._idle.wait()

    # --- accepting

    async def _accept_all(
        self, listener: Listener[Any], handlers: TaskGroup, task_status: TaskStatus[WebSocketListener]
    ) -> None:
        with self._accepting:
            async with create_task_group() as acceptors:
                for each in _parts(listener):
                    acceptors.start_soon(self._accept, each, handlers)
                    if isinstance(each, SocketListener):
                        acceptors.start_soon(self._watch, each.extra(SocketAttribute.raw_socket))
                task_status.started(WebSocketListener(listener, self))

    async def _accept(self, listener: Listener[Any], handlers: TaskGroup) -> None:
        if not isinstance(listener, SocketListener):
            await listener.serve(self._serve_unlimited, handlers)
            return
        listening: socket.socket = listener.extra(SocketAttribute.raw_socket)
        with listening.dup() as waiting:
            for turn in count(1):
                await self._take_slot()
                accepted = await self._accept_one(listening, waiting)
                if accepted is None:
                    return
                handlers.start_soon(self._serve_socket, accepted)
                if turn % ACCEPTED_AT_ONCE == 0:
                    await checkpoint()

    async def _watch(self, listening: socket.socket) -> None:
        """Notice that the program has closed its listener: that wakes nobody who waits for connections."""
        while listening.fileno() >= 0:  # noqa: ASYNC110  (there is no event)
            await sleep(LOOK_EVERY)
        self.shut_down()

    async def _accept_one(self, listening: socket.socket, waiting: socket.socket) -> socket.socket | None:
        """Return the next connection; None when the listener was closed."""
        complained = False
        while True:
            try:
                return await accept(listening, waiting)
            except ClosedResourceError:
                return None
            except OSError as exc:
                if exc.errno in _OUT_OF_RESOURCES and not complained:
                    complained = True
                    logger.error("cannot accept connections: %s; trying on", exc)  # noqa: TRY400  (the place is no news)
                await sleep(ACCEPT_PAUSE)

    async def _serve_socket(self, accepted: socket.socket) -> None:
        try:
            stream = await wrap_socket(accepted)
        except BaseException as exc:
            self._release_slot()
            if not isinstance(exc, OSError):
                raise
            logger.debug("connection lost as it was accepted: %r", exc)
        else:
            await self._serve(stream)

    async def _serve_unlimited(self, stream: AnyByteStream) -> None:
        await self._take_slot()
        await self._serve(stream)

    # --- one connection

    async def _serve(self, stream: AnyByteStream) -> None:
        visit = Visit(stream, self.handler, self.options)
        self._visits.add(visit)
        try:
            await visit.run()
        finally:
            self._visits.discard(visit)
            self._idle.set()
            self._release_slot()

    async def _take_slot(self) -> None:
        if self._slots is not None:
            try:
                self._slots.acquire_nowait()  # without a pass of the event loop
            except WouldBlock:
                await self._slots.acquire()

    def _release_slot(self) -> None:
        if self._slots is not None:
            self._slots.release()


def _parts(listener: Listener[Any]) -> Sequence[Listener[Any]]:
    return listener.listeners if isinstance(listener, MultiListener) else [listener]


def _check_origins(origins: Iterable[str | None]) -> frozenset[str | None]:
    if isinstance(origins, str):
        raise TypeError("origins must be a sequence of origins, not one str")
    checked = set()
    for origin in origins:
        if origin is not None and not isinstance(origin, str):
            raise TypeError(f"an origin must be a str or None, not {type(origin).__name__}")
        checked.add(origin if origin is None else origin.lower())
    return frozenset(checked)
