"""Connecting by name: which address is tried when, what is said when none answers, and nothing is left behind."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any

import anyio
import pytest
from anyio.abc import SocketAttribute

from edges.serving import serving
from websocketstream import ConnectFailed, HandshakeTimeout, open_websocket_stream
from websocketstream._network.dial import SocketSettings, dial
from websocketstream.testing import memory_byte_stream_pair

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


BUFFER = (socket.SOL_SOCKET, socket.SO_RCVBUF, 12345)


def set_buffer(stream: Any) -> bool:
    """Tell whether a socket has the option; Linux doubles what it is told."""
    size = stream.extra(SocketAttribute.raw_socket).getsockopt(*BUFFER[:2])
    return size in (BUFFER[2], 2 * BUFFER[2])


@pytest.mark.parametrize("name", ["127.0.0.1", "named.example"])
async def test_a_socket_has_its_options_and_its_address_before_it_connects(
    name: str, resolver: Resolver
) -> None:
    async with serving() as listener:
        resolver.addresses = [("127.0.0.1", listener.port), ("127.0.0.1", listener.port)]
        async with open_websocket_stream(
            f"ws://{name}:{listener.port}", local_host="127.0.0.1", socket_options=iter([BUFFER])
        ) as conn:
            assert conn.extra(SocketAttribute.local_address)[0] == "127.0.0.1"
            assert set_buffer(conn)
            await conn.send("hello")
            assert await conn.receive() == "hello"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere all of 127.0.0.0/8 is one address")
async def test_a_local_address_is_where_the_server_sees_the_client() -> None:
    async def tell(request: Any) -> None:
        async with request.accept() as conn:
            await conn.send(request.client_host)

    async with serving(tell) as listener:
        async with open_websocket_stream(listener.url, local_host="127.0.0.42") as conn:
            assert await conn.receive() == "127.0.0.42"


async def test_only_addresses_of_the_local_ones_family_are_tried(
    resolver: Resolver, loopbacks: tuple[int, int]
) -> None:
    resolver.addresses = [("::1", loopbacks[0]), ("127.0.0.1", loopbacks[1])]
    for local_host, port in (("127.0.0.1", loopbacks[1]), ("::1", loopbacks[0])):
        async with await dial("named.example", 1, SocketSettings(local_host)) as stream:
            assert stream.extra(SocketAttribute.remote_port) == port


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"local_host": "::1"}, "no address of the host is of the same family as local_host=::1"),
        ({"local_host": "203.0.113.1"}, "local_host=203.0.113.1 cannot be used: "),
        ({"socket_options": [(98765, 1, 1)]}, "the socket option (98765, 1) cannot be set: "),
    ],
)
async def test_what_the_system_does_not_want_is_said(options: Any, words: str) -> None:
    with pytest.raises(ConnectFailed) as caught:
        async with open_websocket_stream("ws://127.0.0.1:1/", **options):
            pytest.fail("the body must not run")
    assert str(caught.value).startswith(f"cannot connect to 127.0.0.1 port 1: {words}")


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"local_host": 1}, TypeError, "local_host must be a str or None, not int"),
        ({"local_host": "localhost"}, ValueError, "local_host must be an IP address of this machine"),
        ({"socket_options": "x"}, TypeError, "socket_options must be .* triples, not str"),
        ({"socket_options": [(1, 2)]}, TypeError, r"socket_options must be .* triples .* not \(1, 2\)"),
        ({"socket_options": [(1, 2, 2**31)]}, ValueError, "socket_options must have numbers of 32 bits"),
        ({"socket_options": [(1, 2, "x")]}, TypeError, "socket_options must be .* triples"),
    ],
)
async def test_what_makes_no_sense_is_an_error_of_the_call(
    options: Any, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        open_websocket_stream("ws://localhost/", **options)


async def test_a_given_stream_is_connected_already() -> None:
    for options in ({"local_host": "127.0.0.1"}, {"socket_options": [BUFFER]}):
        with pytest.raises(ValueError, match="local_host and socket_options are for connections of our own"):
            open_websocket_stream("ws://h/", stream=memory_byte_stream_pair()[0], **options)  # type: ignore[arg-type]


async def test_the_addresses_of_a_proxy_are_raced_as_those_of_a_server_and_from_the_local_one(
    resolver: Resolver, closed_port: int
) -> None:
    async def proxy(client: Any) -> None:
        async with client:
            heard.append(await client.receive())
            await client.send(b"HTTP/1.1 403 No\r\n\r\n")

    heard: list[bytes] = []
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        resolver.addresses = [
            ("127.0.0.9", closed_port),
            ("127.0.0.1", listener.extra(SocketAttribute.local_port)),
        ]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, proxy)
            with pytest.raises(ConnectFailed, match="it answered 403 No"):
                async with open_websocket_stream(
                    "ws://target.example/",
                    proxy="http://named.example:1",
                    local_host="127.0.0.1",
                    socket_options=[BUFFER],
                ):
                    pytest.fail("the body must not run")
            tasks.cancel_scope.cancel()
    assert heard[0].startswith(b"CONNECT target.example:80 ")


def begin(sock: socket.socket, address: Any) -> bool:
    """Begin to connect to a host that is far away."""
    with suppress(BlockingIOError):
        sock.connect(address)
    return False


@pytest.mark.parametrize("begins", [True, False])
async def test_a_connection_that_is_not_there_at_once_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, closed_port: int, begins: bool
) -> None:
    if begins and sys.platform != "linux":
        pytest.skip("elsewhere a socket must not be told twice to connect")
    monkeypatch.setattr("websocketstream._network.dial.CONNECTS_TWICE", begins)
    monkeypatch.setattr("websocketstream._network.dial._connects_at_once", begin)
    async with serving() as listener, open_websocket_stream(listener.url) as conn:
        await conn.send("hello")
        assert await conn.receive() == "hello"
    with pytest.raises(ConnectFailed, match="refused"):
        async with open_websocket_stream(f"ws://127.0.0.1:{closed_port}"):
            pass


async def test_who_is_cancelled_connects_to_nobody_however_near_that_is() -> None:
    async with serving() as listener:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await dial("127.0.0.1", listener.port)
        assert scope.cancelled_caught


async def test_who_is_cancelled_is_not_told_who_refuses(closed_port: int) -> None:
    with anyio.CancelScope() as scope:
        scope.cancel()
        await dial("127.0.0.1", closed_port)
    assert scope.cancelled_caught


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
