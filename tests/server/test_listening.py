"""Where a server listens, and what it says about that."""

from __future__ import annotations

import errno
import socket
from pathlib import Path

import anyio
import pytest
from anyio.abc import SocketAttribute
from anyio.lowlevel import checkpoint
from anyio.streams.stapled import MultiListener

from edges.serving import echo, serving
from waiting import until
from websocketstream import CloseInfo, WebSocketRequest, open_websocket_stream, serve_websocket_streams

pytestmark = pytest.mark.anyio


async def test_a_client_and_a_server_of_ours_talk() -> None:
    async with serving() as listener, open_websocket_stream(listener.url) as conn:
        for message in ("text", b"binary", "", b""):
            await conn.send(message)
            assert await conn.receive() == message
        assert conn.request is None
        assert conn.response is not None
        assert conn.response.status == 101


async def test_small_messages_are_not_held_back_by_the_system() -> None:
    """Nagle's algorithm and delayed acknowledgements together cost 40 ms a message."""
    options = []

    async def handler(request: WebSocketRequest) -> None:
        options.append(no_delay(request))
        await echo(request)

    def no_delay(attributes: anyio.TypedAttributeProvider) -> int:
        raw_socket = attributes.extra(anyio.abc.SocketAttribute.raw_socket)
        return raw_socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)  # type: ignore[no-any-return]

    async with serving(handler) as listener, open_websocket_stream(listener.url) as conn:
        options.append(no_delay(conn))
    assert all(options)
    assert len(options) == 2


async def test_over_tls(server_ssl: object, client_ssl: object) -> None:
    async with serving(ssl_context=server_ssl) as listener:
        assert listener.url.startswith("wss://127.0.0.1:")
        async with open_websocket_stream(listener.url, ssl_context=client_ssl) as conn:  # type: ignore[arg-type]
            await conn.send("hello")
            assert await conn.receive() == "hello"
        assert conn.close_info == CloseInfo(1005)


async def test_over_ipv6() -> None:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError as exc:
        pytest.skip(f"no IPv6 on this machine: {exc}")
    async with serving(host="::1") as listener, open_websocket_stream(listener.url) as conn:
        assert listener.url.startswith("ws://[::1]:")
        await conn.send("hello")
        assert await conn.receive() == "hello"


async def test_over_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    async with serving(listener=await anyio.create_unix_listener(path)) as listener:
        assert listener.addresses == [str(path)]
        with pytest.raises(ValueError, match="does not listen on TCP"):
            _ = listener.url
        stream = await anyio.connect_unix(path)
        async with open_websocket_stream("ws://localhost/", stream=stream) as conn:
            await conn.send("hello")
            assert await conn.receive() == "hello"


async def test_a_listener_tells_where_it_is() -> None:
    async with serving(host=None) as listener:
        assert listener.url.endswith(f":{listener.port}")
        assert all(address[1] == listener.port for address in listener.addresses[:1])
        assert listener.extra(anyio.abc.SocketAttribute.local_port) == listener.addresses[-1][1]
        async with open_websocket_stream(listener.url) as conn:
            await conn.send("hello")
            assert await conn.receive() == "hello"


async def test_an_address_in_use_is_an_os_error_and_comes_out_plain() -> None:
    async with serving() as listener:
        with pytest.raises(OSError, match="in use") as caught:
            await serve_websocket_streams(echo, "127.0.0.1", listener.port, origins=None)
    assert caught.value.errno == errno.EADDRINUSE
    assert f"cannot listen on 127.0.0.1 port {listener.port}: " in str(caught.value)


async def test_a_name_that_does_not_exist_is_said_where_it_was_to_be_listened_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def unknown(*_: object, **_options: object) -> None:
        await checkpoint()
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr("websocketstream._server.listener.create_tcp_listener", unknown)
    with pytest.raises(socket.gaierror, match="cannot listen on nowhere port 80: Name or service") as caught:
        await serve_websocket_streams(echo, "nowhere", 80, origins=None)
    assert caught.value.errno == socket.EAI_NONAME
    with pytest.raises(OSError, match="cannot listen on all addresses port 80: "):
        await serve_websocket_streams(echo, None, 80, origins=None)


async def test_the_attributes_are_those_of_the_listening_socket(tmp_path: Path) -> None:
    async with serving(listener=await anyio.create_unix_listener(tmp_path / "socket")) as listener:
        assert listener.extra(SocketAttribute.family) == socket.AF_UNIX
        assert listener.extra(SocketAttribute.local_port, None) is None
        with pytest.raises(anyio.TypedAttributeLookupError):
            listener.extra(SocketAttribute.local_port)


async def test_an_ipv6_address_is_a_pair() -> None:
    try:
        listener = await anyio.create_tcp_listener(local_host="::1", family=socket.AF_INET6)
    except OSError as exc:
        pytest.skip(f"no IPv6 on this machine: {exc}")
    async with serving(listener=listener) as server:
        assert server.addresses == [server.extra(SocketAttribute.local_address)] == [("::1", server.port)]


async def test_a_listener_that_is_closed_has_no_attributes() -> None:
    shutting_down = anyio.Event()
    go_on = anyio.Event()

    async def handler(request: WebSocketRequest) -> None:
        async with request.accept() as conn:
            await conn.closed
            shutting_down.set()
            await go_on.wait()

    async with serving(handler) as listener:
        async with open_websocket_stream(listener.url), anyio.create_task_group() as tasks:
            tasks.start_soon(listener.aclose)
            await shutting_down.wait()
            await anyio.wait_all_tasks_blocked()
            assert listener.extra(SocketAttribute.local_address, None) is None
            go_on.set()
        with pytest.raises(anyio.TypedAttributeLookupError):
            listener.extra(SocketAttribute.local_port)
        assert listener.port == listener.addresses[0][1]


async def test_every_part_of_a_listener_is_closed_in_the_end() -> None:
    listener = MultiListener([await anyio.create_tcp_listener(local_host="127.0.0.1") for _ in range(3)])
    async with serving(listener=listener):
        pass
    assert [part.extra(SocketAttribute.raw_socket).fileno() for part in listener.listeners] == [-1, -1, -1]


async def test_a_closed_server_takes_no_connections_while_its_handlers_end() -> None:
    go_on = anyio.Event()

    async def handler(request: WebSocketRequest) -> None:
        async with request.accept() as conn:
            await conn.closed
            await go_on.wait()

    async with serving(handler) as listener:
        async with open_websocket_stream(listener.url), anyio.create_task_group() as tasks:
            tasks.start_soon(listener.aclose)
            await until(lambda: not listener.extra_attributes)
            with pytest.raises(OSError, match="attempts failed"):
                await anyio.connect_tcp("127.0.0.1", listener.port)
            go_on.set()


async def test_a_server_that_is_short_of_descriptors_says_so_plainly_and_closes_its_listener(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_acceptor(*arguments: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("websocketstream._server.server.Acceptor", no_acceptor)
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    (part,) = listener.listeners
    with pytest.raises(OSError, match="Too many"):
        await serve_websocket_streams(echo, listener=listener, origins=None)
    assert part.extra(SocketAttribute.raw_socket).fileno() == -1
