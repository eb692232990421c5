"""What the owner of a running server holds, and what the server asks of listeners that users give."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Any

from anyio import Event, TypedAttributeProvider, create_tcp_listener, move_on_after
from anyio.abc import Listener, SocketAttribute, SocketListener, SocketStream
from anyio.streams.stapled import MultiListener

from .._streams.statistics import ServerStatistics

logger = logging.getLogger("websocketstream.server")


class WebSocketListener(TypedAttributeProvider):
    """A running server: where it listens, and how to shut it down."""

    def __init__(
        self,
        listener: Listener[Any],
        *,
        secure: bool,
        shut_down: Callable[[], object],
        stopped: Event,
        statistics: Callable[[], ServerStatistics],
    ) -> None:
        self._listener = listener
        self._secure = secure
        self._shut_down = shut_down
        self._stopped = stopped
        self._statistics = statistics
        self._addresses = [part.extra(SocketAttribute.local_address, None) for part in parts_of(listener)]

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
        return f"{'wss' if self._secure else 'ws'}://{host}:{port}"

    def _tcp_address(self) -> tuple[str, int]:
        address = self._addresses[0]
        if not isinstance(address, tuple):
            raise ValueError(f"this server does not listen on TCP but on {address!r}")  # noqa: TRY004  (no argument)
        return address[0], address[1]

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """The typed attributes of the listening socket, none once it is closed."""
        if self._stopped.is_set() or any(map(_is_closed, parts_of(self._listener))):
            return {}
        return self._listener.extra_attributes

    def statistics(self) -> ServerStatistics:
        """Return how many connections there are and were, and what they have received, sent and held back, all together."""
        return self._statistics()

    def shut_down(self) -> None:
        """Begin what :meth:`aclose` does, and do not wait for it. Idempotent."""
        self._shut_down()

    async def wait_stopped(self) -> None:
        """Wait until the server has ended, for whatever reason; it need not be shut down for that."""
        await self._stopped.wait()

    async def aclose(self) -> None:
        """Shut down gracefully: stop accepting, close every connection with 1001, wait for the handlers.

        Handlers that are not done after ``shutdown_timeout`` seconds are cancelled. Returns when all have ended.
        Cancelling leaves the shutdown under way.
        """
        self.shut_down()
        await self.wait_stopped()


async def listen(host: str | None, port: int, *, reuse_port: bool = False) -> MultiListener[SocketStream]:
    """Listen on TCP.

    :raises OSError: it cannot be; it says where
    """
    with listening_on(f"{'all addresses' if host is None else host} port {port}"):
        return await create_tcp_listener(local_host=host, local_port=port, reuse_port=reuse_port)


@contextmanager
def listening_on(where: str) -> Iterator[None]:
    """Let what the system says when it cannot be listened on say where, too: the system does not."""
    try:
        yield
    except OSError as exc:
        exc.strerror = f"cannot listen on {where}: {exc.strerror or exc}"
        raise


def parts_of(listener: Listener[Any]) -> Sequence[Listener[Any]]:
    """Return the listeners that one consists of: a host name may stand for several addresses."""
    return listener.listeners if isinstance(listener, MultiListener) else [listener]


async def close_listener(listener: Listener[Any]) -> None:
    """Close a listener without waiting, each part of it: anyio's own way stops at the first when it is cancelled."""
    for part in parts_of(listener):
        try:
            with move_on_after(0, shield=True):
                await part.aclose()
        except Exception as exc:  # noqa: BLE001  (it is of no use any more)
            logger.debug("closing the listener failed: %r", exc)


@contextmanager
def calling_when_closed(listener: Listener[Any], callback: Callable[[], object]) -> Iterator[None]:
    """Call when the program closes its listener: nothing else wakes who waits for connections on a duplicate of it."""
    for part in parts_of(listener):
        _observe(part, callback)
    try:
        yield
    finally:
        for part in parts_of(listener):
            vars(part).pop("aclose", None)


def _observe(part: Listener[Any], callback: Callable[[], object]) -> None:
    aclose = part.aclose

    async def observed() -> None:
        callback()
        await aclose()

    vars(part)["aclose"] = observed


def _is_closed(part: Listener[Any]) -> bool:
    return isinstance(part, SocketListener) and part.extra(SocketAttribute.raw_socket).fileno() < 0
