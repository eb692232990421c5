"""Connecting to a host: name look-up, and a race of its addresses."""

from __future__ import annotations

import asyncio
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from itertools import chain, zip_longest
from typing import Any

from anyio import CancelScope, Event, create_task_group, getaddrinfo, move_on_after
from anyio.lowlevel import checkpoint, checkpoint_if_cancelled
from sniffio import current_async_library

from .._protocol.arguments import is_collection
from .._protocol.errors import ConnectFailed
from .asyncio_transport import AsyncioStream
from .direct_stream import DirectStream
from .failures import connect_failed
from .sockets import watches_sockets, wrap_socket

# Whether a socket that is connecting, or has been connected meanwhile, may be told to connect: others call that an error.
CONNECTS_TWICE = sys.platform == "linux"
HAPPY_EYEBALLS_DELAY = 0.25  # seconds between attempts, RFC 8305 section 5


@dataclass(frozen=True, slots=True)
class SocketSettings:
    """What is done with a socket before it connects."""

    local_host: str | None = None  # an IP address of ours
    options: tuple[tuple[int, int, int | bytes], ...] = ()  # for setsockopt()

    def prepare(self, sock: socket.socket) -> None:
        """Set the options and bind the socket.

        :raises ConnectFailed: the system does not want that
        """
        for option in self.options:
            try:
                sock.setsockopt(*option)
            except OSError as exc:
                raise _refused(f"the socket option {option[:2]} cannot be set", exc) from None
        if self.local_host is not None:
            try:
                sock.bind((self.local_host, 0))
            except OSError as exc:
                raise _refused(f"local_host={self.local_host} cannot be used", exc) from None

    def usable(self, addresses: list[tuple[int, Any]]) -> list[tuple[int, Any]]:
        """Return those of a host's addresses that can be reached from here.

        :raises ConnectFailed: there are none
        """
        if self.local_host is None:
            return addresses
        family = _family(self.local_host)
        if found := [each for each in addresses if each[0] == family]:
            return found
        raise ConnectFailed(f"no address of the host is of the same family as local_host={self.local_host}")


NO_SETTINGS = SocketSettings()


def check_settings(local_host: object, options: object) -> SocketSettings:
    """Read what a user gives.

    :raises TypeError: one has the wrong type
    :raises ValueError: ``local_host`` is no IP address, or an option has a number that is too large
    """
    if local_host is not None:
        if not isinstance(local_host, str):
            raise TypeError(f"local_host must be a str or None, not {type(local_host).__name__}")
        try:
            ip_address(local_host)
        except ValueError:
            raise ValueError(
                f"local_host must be an IP address of this machine, not {local_host!r:.100}"
            ) from None
    if local_host is None and options == ():
        return NO_SETTINGS
    if not is_collection(options):
        raise TypeError(f"socket_options must be (level, name, value) triples, not {type(options).__name__}")
    return SocketSettings(local_host, tuple(map(_check_option, options)))


def _check_option(option: object) -> tuple[int, int, int | bytes]:
    match option:
        case (int() as level, int() as name, (int() | bytes()) as value):
            if any(isinstance(number, int) and not -(2**31) <= number < 2**31 for number in option):
                raise ValueError("socket_options must have numbers of 32 bits")
            return level, name, value
    raise TypeError(
        f"socket_options must be (level, name, value) triples of int, or bytes for a value, not {option!r:.100}"
    )


async def dial(host: str, port: int, settings: SocketSettings = NO_SETTINGS) -> DirectStream:
    """Connect to a TCP port, trying all addresses of the host (RFC 8305).

    :raises OSError: no address could be connected to, or the name has none
    """
    literal = _literal(host, port)
    plain = settings == NO_SETTINGS
    if plain and literal and current_async_library() == "asyncio" and not watches_sockets():
        # Nothing to look up and nothing to race: the event loop's own way is the shortest on uvloop.
        return (await asyncio.get_running_loop().create_connection(AsyncioStream, host, port))[1]
    addresses = literal or _interleave(await getaddrinfo(host, port, type=socket.SOCK_STREAM))
    return await wrap_socket(await _connect_socket(addresses, settings))


async def _connect_socket(addresses: list[tuple[int, Any]], settings: SocketSettings) -> socket.socket:
    addresses = settings.usable(addresses)
    if len(addresses) == 1:
        return await _connect(*addresses[0], settings)
    return await _connect_to_first(addresses, settings)


async def _connect_to_first(addresses: list[tuple[int, Any]], settings: SocketSettings) -> socket.socket:
    """Race the addresses, each attempt a little after the one before."""
    race = _Race(settings)
    try:
        async with create_task_group() as tasks:
            for family, address in addresses:
                failed = Event()
                tasks.start_soon(race.attempt, family, address, failed, tasks.cancel_scope)
                with move_on_after(HAPPY_EYEBALLS_DELAY):
                    await failed.wait()
    except BaseException:
        race.close_all_but(0)
        raise
    race.close_all_but(1)
    return race.result()


async def _connect(family: int, address: tuple[Any, ...], settings: SocketSettings) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        settings.prepare(sock)
        if CONNECTS_TWICE and "%" not in address[0] and _connects_at_once(sock, address):
            await checkpoint_if_cancelled()
        elif current_async_library() == "asyncio":
            await asyncio.get_running_loop().sock_connect(sock, address)
        else:
            import trio

            await trio.socket.from_stdlib_socket(sock).connect(address)
    except BaseException as exc:
        sock.close()
        if isinstance(exc, OSError):
            await checkpoint()  # who is refused at once, and tries again and again, could not be cancelled
        raise
    return sock


def _connects_at_once(sock: socket.socket, address: tuple[Any, ...]) -> bool:
    """Begin to connect, and tell whether that is done already.

    On one machine it is, before anybody could wait for it; else whoever waits may begin once more.
    """
    with suppress(BlockingIOError):
        sock.connect(address)
    try:
        sock.getpeername()
    except OSError:
        return False
    return True


class _Race:
    """Connection attempts under way to the addresses of one host."""

    def __init__(self, settings: SocketSettings) -> None:
        self._settings = settings
        self._connected: list[socket.socket] = []
        self._errors: list[OSError] = []

    async def attempt(
        self, family: int, address: tuple[Any, ...], failed: Event, others: CancelScope
    ) -> None:
        try:
            self._connected.append(await _connect(family, address, self._settings))
        except OSError as exc:
            self._errors.append(exc)
            failed.set()
        else:
            others.cancel()

    def close_all_but(self, winners: int) -> None:
        """Close the connections that nobody needs."""
        for late in self._connected[winners:]:
            late.close()

    def result(self) -> socket.socket:
        """Return the first connection, or raise what prevented one."""
        if self._connected:
            return self._connected[0]
        if len(self._errors) == 1:
            raise self._errors[0]
        raise OSError("all connection attempts failed") from ExceptionGroup("attempts", self._errors)


def _literal(host: str, port: int) -> list[tuple[int, Any]]:
    """Return the one address that an IP literal is, nothing for a name: asking the resolver takes a thread."""
    family = _family(host)
    return [] if family is None else [(family, (host, port))]


@lru_cache(maxsize=64)  # most programs connect to the same few again and again
def _family(address: str) -> int | None:
    """Return the family of an IP address, None for a name."""
    try:
        return socket.AF_INET if ip_address(address).version == 4 else socket.AF_INET6
    except ValueError:
        return None


def _refused(what: str, reason: OSError) -> ConnectFailed:
    """Return an error without a number, so that the whole of what it says is shown, and not only the system's words."""
    return ConnectFailed(str(connect_failed(what, reason)))


def _interleave(found: list[tuple[Any, ...]]) -> list[tuple[int, Any]]:
    """Return (family, address) pairs, the families in turn, beginning with the system's first choice."""
    first = [(each[0], each[4]) for each in found if each[0] == found[0][0]]
    others = [(each[0], each[4]) for each in found if each[0] != found[0][0]]
    return [pair for pair in chain.from_iterable(zip_longest(first, others)) if pair is not None]
