"""Connecting to a host: name look-up, and a race of its addresses."""

from __future__ import annotations

import asyncio
import socket
from ipaddress import ip_address
from itertools import chain, zip_longest
from typing import Any

from anyio import CancelScope, Event, create_task_group, getaddrinfo, move_on_after
from sniffio import current_async_library

from .asyncio_transport import AsyncioStream
from .direct_stream import DirectStream
from .sockets import watches_sockets, wrap_socket

HAPPY_EYEBALLS_DELAY = 0.25  # seconds between attempts, RFC 8305 section 5


async def dial(host: str, port: int) -> DirectStream:
    """Connect to a TCP port, trying all addresses of the host (RFC 8305).

    :raises OSError: no address could be connected to, or the name has none
    """
    literal = _literal(host, port)
    if literal and current_async_library() == "asyncio" and not watches_sockets():
        # Nothing to look up and nothing to race: the event loop's own way is the shortest on uvloop.
        return (await asyncio.get_running_loop().create_connection(AsyncioStream, host, port))[1]
    return await wrap_socket(await _connect_socket(host, port))


async def _connect_socket(host: str, port: int) -> socket.socket:
    addresses = _literal(host, port) or _interleave(await getaddrinfo(host, port, type=socket.SOCK_STREAM))
    if len(addresses) == 1:
        return await _connect(*addresses[0])
    return await _connect_to_first(addresses)


async def _connect_to_first(addresses: list[tuple[int, Any]]) -> socket.socket:
    """Race the addresses, each attempt a little after the one before."""
    race = _Race()
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


async def _connect(family: int, address: tuple[Any, ...]) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        if current_async_library() == "asyncio":
            await asyncio.get_running_loop().sock_connect(sock, address)
        else:
            import trio

            await trio.socket.from_stdlib_socket(sock).connect(address)
    except BaseException:
        sock.close()
        raise
    return sock


class _Race:
    """Connection attempts under way to the addresses of one host."""

    def __init__(self) -> None:
        self._connected: list[socket.socket] = []
        self._errors: list[OSError] = []

    async def attempt(
        self, family: int, address: tuple[Any, ...], failed: Event, others: CancelScope
    ) -> None:
        try:
            self._connected.append(await _connect(family, address))
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
    try:
        version = ip_address(host).version
    except ValueError:
        return []
    return [(socket.AF_INET if version == 4 else socket.AF_INET6, (host, port))]


def _interleave(found: list[tuple[Any, ...]]) -> list[tuple[int, Any]]:
    """Return (family, address) pairs, the families in turn, beginning with the system's first choice."""
    first = [(each[0], each[4]) for each in found if each[0] == found[0][0]]
    others = [(each[0], each[4]) for each in found if each[0] != found[0][0]]
    return [pair for pair in chain.from_iterable(zip_longest(first, others)) if pair is not None]
