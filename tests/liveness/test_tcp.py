"""What TCP answers through each kind of byte stream, on real sockets."""

from __future__ import annotations

import socket
import ssl
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio.abc import SocketAttribute
from anyio.streams.stapled import StapledByteStream
from anyio.streams.tls import TLSStream

from waiting import until
from websocketstream._network import tcp
from websocketstream._network.sockets import wrap_socket
from websocketstream._network.tcp import ask_in_silence, ask_tcp, probe_often, read_tcp_info

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio
on_linux = pytest.mark.skipif(tcp.sys.platform != "linux", reason="only Linux's TCP can be asked")
families = pytest.mark.parametrize("host", ["127.0.0.1", "::1"])

TCP_RTO_MAX_MS = 44


@asynccontextmanager
async def connected(host: str) -> AsyncIterator[tuple[Any, socket.socket]]:
    """One end of a TCP connection, and a plain socket as the other end, which only reads when it is told to."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listener:
        async with await anyio.connect_tcp(host, listener.getsockname()[1]) as stream:
            peer, _ = listener.accept()
            with peer:
                yield stream, peer


async def fill(stream: Any) -> None:
    """Send until the system takes no more."""
    with anyio.move_on_after(0.5):
        while True:
            await stream.send(bytes(2**18))


@on_linux
@families
async def test_on_a_quiet_connection_nothing_waits(host: str) -> None:
    async with connected(host) as (stream, peer):
        await stream.send(b"hello")
        assert peer.recv(5) == b"hello"
        await until(lambda: not ask_tcp(stream).waiting)
        report = ask_tcp(stream)
        assert not report.unanswered
        assert 0 <= report.silent_for < 20


@on_linux
@families
async def test_bytes_wait_while_the_peer_does_not_read(host: str) -> None:
    async with connected(host) as (stream, _peer):
        await fill(stream)
        report = ask_tcp(stream)
        assert report.waiting
        assert not report.unanswered


@on_linux
async def test_nothing_waits_any_more_when_the_peer_has_read_everything() -> None:
    async with connected("127.0.0.1") as (stream, peer):
        await stream.send(bytes(2**16))
        peer.settimeout(10)
        assert len(peer.recv(2**16, socket.MSG_WAITALL)) == 2**16
        await until(lambda: not ask_tcp(stream).waiting)


@on_linux
async def test_data_of_the_peer_is_a_sign_of_life_although_it_acknowledges_nothing_new() -> None:
    async with connected("127.0.0.1") as (stream, peer):
        peer.send(b"first")  # the first one counts as an acknowledgement
        await stream.receive()
        await until(lambda: ask_tcp(stream).silent_for > 0.1)
        peer.send(b"second")
        await stream.receive()
        assert ask_tcp(stream).silent_for < 0.1


@on_linux
async def test_tcp_below_a_stream_of_our_own_is_asked_until_that_is_released() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        other = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
    stream = await wrap_socket(accepted)
    with other:
        probe_often(stream, 5)
        report = ask_tcp(stream)
        assert report is not None
        assert not report.waiting
        assert stream.extra(SocketAttribute.raw_socket) is stream.raw_socket
        stream.release()
        assert stream.raw_socket is None
        probe_often(stream, 5)
        ask_in_silence(stream, 5, 5)
        assert ask_tcp(stream) is None
        await stream.wait_released()


@on_linux
async def test_tcp_below_tls_is_asked(server_ssl: ssl.SSLContext, client_ssl: ssl.SSLContext) -> None:
    async def serve(stream: Any) -> None:
        async with stream:
            await stream.send(await stream.receive())

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as group:
        port = listener.extra(SocketAttribute.local_port)
        group.start_soon(listener.serve, lambda stream: serve_tls(stream, server_ssl, serve))
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            tls = await TLSStream.wrap(
                stream, hostname="localhost", ssl_context=client_ssl, standard_compatible=False
            )
            await tls.send(b"hello")
            assert await tls.receive() == b"hello"
            await until(lambda: not ask_tcp(tls).waiting)
            assert ask_tcp(tls) is not None
        group.cancel_scope.cancel()


async def serve_tls(stream: Any, context: ssl.SSLContext, handler: Any) -> None:
    await handler(
        await TLSStream.wrap(stream, server_side=True, ssl_context=context, standard_compatible=False)
    )


@on_linux
async def test_the_system_is_told_how_often_to_ask() -> None:
    async with connected("127.0.0.1") as (stream, _peer):
        raw_socket = stream.extra(SocketAttribute.raw_socket)
        try:
            before = raw_socket.getsockopt(socket.IPPROTO_TCP, TCP_RTO_MAX_MS)
        except OSError:
            pytest.skip("the kernel has no TCP_RTO_MAX_MS (Linux 6.15 and later)")
        assert before > 5000
        probe_often(stream, 5)
        assert raw_socket.getsockopt(socket.IPPROTO_TCP, TCP_RTO_MAX_MS) == 5000


@on_linux
@pytest.mark.parametrize(
    ("interval", "timeout", "idle", "between"), [(20, 20, 20, 7), (0.1, 0.2, 1, 1), (1e9, 1e9, 32767, 32767)]
)
async def test_the_system_is_told_to_ask_in_silence(
    interval: float, timeout: float, idle: int, between: int
) -> None:
    async with connected("127.0.0.1") as (stream, _peer):
        raw_socket = stream.extra(SocketAttribute.raw_socket)
        assert not raw_socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        ask_in_silence(stream, interval, timeout)
        assert raw_socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert raw_socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == idle
        assert raw_socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == between
        assert raw_socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == 3


@pytest.mark.parametrize("seconds", [0, -1, 1e-9, 121])
async def test_what_the_system_refuses_changes_nothing(seconds: float) -> None:
    async with connected("127.0.0.1") as (stream, _peer):
        probe_often(stream, seconds)
        await stream.send(b"x")


async def test_a_stream_that_is_no_tcp_connection_has_nothing_to_ask() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        async with await anyio.abc.SocketStream.from_socket(ours) as stream:
            probe_often(stream, 5)
            ask_in_silence(stream, 5, 5)
            assert ask_tcp(stream) is None


async def test_a_stream_without_a_socket_has_nothing_to_ask() -> None:
    send, receive = anyio.create_memory_object_stream[bytes](1)
    with send, receive:
        stream = StapledByteStream(send, receive)  # type: ignore[arg-type]
        probe_often(stream, 5)
        ask_in_silence(stream, 5, 5)
        assert ask_tcp(stream) is None


async def test_a_closed_stream_has_nothing_to_ask() -> None:
    async with connected("127.0.0.1") as (stream, _peer):
        await stream.aclose()
        await anyio.wait_all_tasks_blocked()
        probe_often(stream, 5)
        ask_in_silence(stream, 5, 5)
        assert ask_tcp(stream) is None


@pytest.mark.parametrize("platform", ["darwin", "win32", "freebsd14"])
async def test_elsewhere_there_is_nothing_to_ask(monkeypatch: pytest.MonkeyPatch, platform: str) -> None:
    async with connected("127.0.0.1") as (stream, _peer):
        monkeypatch.setattr(sys, "platform", platform)
        probe_often(stream, 5)
        ask_in_silence(stream, 5, 5)
        assert ask_tcp(stream) is None


async def test_an_answer_that_is_too_short_says_nothing() -> None:
    assert read_tcp_info(bytes(59)) is None


@pytest.mark.parametrize("size", [60, 104, 144, 147])
async def test_what_an_older_kernel_does_not_have_counts_as_zero(size: int) -> None:
    report = read_tcp_info(bytes(size))
    assert report is not None
    assert not report.waiting


async def test_an_older_kernel_backs_off_while_unsent_bytes_wait() -> None:
    info = bytearray(104)
    info[4] = 3  # tcpi_backoff
    report = read_tcp_info(bytes(info))
    assert report is not None
    assert report.waiting
