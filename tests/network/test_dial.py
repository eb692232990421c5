"""Connecting by name: which address is tried when, what is said when none answers, and nothing is left behind."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import anyio
import pytest
from anyio.abc import SocketAttribute

from edges.serving import serving
from websocketstream import ConnectFailed, HandshakeTimeout, open_websocket_stream
from websocketstream._network.dial import dial

pytestmark = pytest.mark.anyio


class Resolver:
    """What the name resolver says, in order; each address has a port of its own."""

    def __init__(self) -> None:
        self.addresses: list[tuple[str, int]] = []
        self.error: OSError | None = None
        self.hangs = False

    async def __call__(self, host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        assert host == "named.example"
        if self.hangs:
            await anyio.sleep_forever()
        if self.error is not None:
            raise self.error
        return [
            (
                socket.AF_INET6 if ":" in address[0] else socket.AF_INET,
                socket.SOCK_STREAM,
                socket.IPPROTO_TCP,
                "",
                address,
            )
            for address in self.addresses
        ]


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Resolver:
    resolver = Resolver()
    monkeypatch.setattr("websocketstream._network.dial.getaddrinfo", resolver)
    return resolver


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port of every loopback address that refuses connections."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield unused.getsockname()[1]


@pytest.fixture
def loopbacks() -> Iterator[tuple[int, int]]:
    """Listen on both loopback addresses; return the ports for IPv6 and IPv4."""
    with ExitStack() as stack:
        try:
            six = stack.enter_context(socket.create_server(("::1", 0), family=socket.AF_INET6))
        except OSError:
            pytest.skip("there is no IPv6 here")
        four = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        yield six.getsockname()[1], four.getsockname()[1]


async def test_the_first_address_that_answers_wins(resolver: Resolver, closed_port: int) -> None:
    async with serving() as listener:
        resolver.addresses = [("127.0.0.1", closed_port), ("127.0.0.1", listener.port)]
        async with await dial("named.example", 1) as stream:
            assert stream.extra(SocketAttribute.remote_port) == listener.port


@pytest.mark.parametrize("first", ["IPv6", "IPv4"])
async def test_after_an_address_that_fails_one_of_the_other_family_is_tried(
    first: str, resolver: Resolver, closed_port: int, loopbacks: tuple[int, int]
) -> None:
    """RFC 8305 section 4: when a family does not work at all, all of its addresses fail."""
    six, four = ("::1", loopbacks[0]), ("127.0.0.1", loopbacks[1])
    same, other = (six, four) if first == "IPv6" else (four, six)
    resolver.addresses = [(same[0], closed_port), same, other]
    async with await dial("named.example", 1) as stream:
        assert stream.extra(SocketAttribute.remote_port) == other[1]


async def test_the_order_inside_a_family_is_the_resolvers(
    resolver: Resolver, closed_port: int, loopbacks: tuple[int, int]
) -> None:
    async with serving() as listener:
        first, second = loopbacks[1], listener.port
        resolver.addresses = [("127.0.0.1", closed_port), ("127.0.0.1", first), ("127.0.0.1", second)]
        async with await dial("named.example", 1) as stream:
            assert stream.extra(SocketAttribute.remote_port) == first


async def test_when_no_address_answers_the_error_names_the_reason_once(
    resolver: Resolver, closed_port: int
) -> None:
    resolver.addresses = [("127.0.0.8", closed_port), ("127.0.0.9", closed_port)]
    with pytest.raises(ConnectFailed) as caught:
        async with open_websocket_stream("ws://named.example:81/"):
            pytest.fail("the body must not run")
    assert str(caught.value) == "cannot connect to named.example port 81: Connection refused (ECONNREFUSED)"


async def test_a_name_that_cannot_be_resolved_is_said_in_the_words_of_the_resolver(
    resolver: Resolver,
) -> None:
    resolver.error = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    with pytest.raises(ConnectFailed) as caught:
        async with open_websocket_stream("ws://named.example/?token=secret"):
            pytest.fail("the body must not run")
    assert (
        str(caught.value) == "cannot connect to named.example port 80: Temporary failure in name resolution"
    )
    assert caught.value.errno == socket.EAI_AGAIN


async def test_the_deadline_covers_the_resolving_of_the_name(resolver: Resolver) -> None:
    resolver.hangs = True
    with pytest.raises(HandshakeTimeout, match=r"timed out while connecting to named\.example port 80"):
        async with open_websocket_stream("ws://named.example/", open_timeout=0.01):
            pytest.fail("the body must not run")


async def test_cancelling_while_connecting_leaves_no_socket() -> None:
    """A port whose queue is full answers nothing: connecting hangs until it is cancelled."""
    with socket.create_server(("127.0.0.1", 0), backlog=1) as full, ExitStack() as stack:
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        with anyio.move_on_after(0.1) as scope:
            async with await dial("127.0.0.1", full.getsockname()[1]):
                pass
        assert scope.cancelled_caught
