"""What TCP itself does on this kernel: the decision, played with a plain socket and another host."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import namespaces
import pytest
from anyio import TypedAttributeProvider
from anyio.abc import SocketAttribute
from namespaces import FarHost, in_a_namespace

from websocketstream._network.tcp import ask_tcp, probe_often
from websocketstream._protocol.keepalive import TcpReport, patience_left, seconds_between_questions
from wire import Wire

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.netns, pytest.mark.timeout(30)]

INTERVAL, TIMEOUT = 1.0, 2.0


class Plain(TypedAttributeProvider):
    """A socket as a stream has it."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return {SocketAttribute.raw_socket: lambda: self.socket}

    def ask(self) -> TcpReport:
        report = ask_tcp(self)
        assert report is not None
        return report

    def patience(self) -> float:
        return patience_left(self.ask(), INTERVAL, TIMEOUT)


def open_to(host: FarHost, path: str) -> Plain:
    """Connect to the other host, which treats the connection as the path says."""
    sock = socket.create_connection((host.address, host.tell("serve", tls=False)))
    wire = Wire(sock, client=True)
    wire.write(f"GET {path} HTTP/1.1\r\nSec-WebSocket-Key: x\r\nUpgrade: websocket\r\n\r\n".encode())
    wire.read_head()
    stream = Plain(sock)
    probe_often(stream, seconds_between_questions(INTERVAL, TIMEOUT))
    return stream


def fill(sock: socket.socket) -> None:
    """Send until the system has taken nothing more for a while."""
    sock.settimeout(0.3)
    with pytest.raises(TimeoutError):
        while True:
            sock.send(bytes(2**16))


def test_probes_tell_a_closed_window_from_a_host_that_is_gone(certificates: Path) -> None:
    if not namespaces.can_probe_often():
        pytest.skip("the kernel has no TCP_RTO_MAX_MS (Linux 6.15 and later)")

    def play(host: FarHost) -> None:
        stream = open_to(host, "/never-reads")
        with stream.socket:
            fill(stream.socket)
            lived_until = time.monotonic() + INTERVAL + TIMEOUT + 1
            while time.monotonic() < lived_until:
                assert stream.ask().waiting
                assert stream.patience() > 0
                time.sleep(0.05)
            vanished = time.monotonic()
            host.tell("vanish", how="in silence")
            while patience := stream.patience():
                time.sleep(patience)
            assert time.monotonic() - vanished < INTERVAL + TIMEOUT + 0.5
            assert stream.ask().unanswered

    in_a_namespace(play, certificates, hosts=1)


def test_retransmissions_tell_that_the_host_of_a_quiet_connection_is_gone(certificates: Path) -> None:
    def play(host: FarHost) -> None:
        stream = open_to(host, "/listens")
        with stream.socket:
            vanished = time.monotonic()
            host.tell("vanish", how="in silence")
            time.sleep(INTERVAL)
            stream.socket.send(b"ping")
            time.sleep(TIMEOUT)
            while patience := stream.patience():
                time.sleep(patience)
            assert time.monotonic() - vanished < INTERVAL + TIMEOUT + 0.5
            assert stream.ask().waiting
            assert stream.ask().unanswered

    in_a_namespace(play, certificates, hosts=1)
