"""What the system's TCP knows about the other host: asked for through any byte stream that has a socket below it.

Linux answers (TCP_INFO). macOS (TCP_CONNECTION_INFO) and Windows (SIO_TCP_INFO) do not tell when the last acknowledgement
arrived, nor whether their own questions were answered, so there is nothing to ask there.
"""

from __future__ import annotations

import math
import socket
import struct
import sys
from contextlib import suppress

from anyio import TypedAttributeProvider
from anyio.abc import SocketAttribute

from .._protocol.keepalive import TcpReport
from .stream_transport import is_stream_transport

# linux/tcp.h, struct tcp_info. Newer kernels have it longer, older ones shorter: what they do not have yet counts as 0.
_TCP_INFO_SIZE = 148
_MUST_HAVE = 60  # up to and with tcpi_last_ack_recv
_RETRANSMITS, _PROBES, _BACKOFF = 2, 3, 4  # offsets of bytes
_UNACKED, _LAST_DATA_RECV, _LAST_ACK_RECV, _NOTSENT_BYTES = 24, 52, 56, 144  # offsets of words, times in ms
_TCP_RTO_MAX_MS = 44  # Linux 6.15 and later

_TCP_KEEPIDLE: int | None = getattr(socket, "TCP_KEEPIDLE", getattr(socket, "TCP_KEEPALIVE", None))  # macOS's
_QUESTIONS = 3  # without an answer, until the other host is taken for gone
_MOST_SECONDS = 32767  # that Linux takes

_TCP_NOTSENT_LOWAT: int | None = getattr(socket, "TCP_NOTSENT_LOWAT", None)  # Linux and macOS
_UNSENT_BYTES = 4096

_WORD = struct.Struct("=I")


def ask_tcp(stream: TypedAttributeProvider) -> TcpReport | None:
    """Ask TCP about the host at the other end; None where there is nothing to ask. Never raises, never waits."""
    raw_socket = _socket_of(stream)
    if raw_socket is None:
        return None
    try:
        info = raw_socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_SIZE)
    except (OSError, ValueError):  # no TCP, or closed meanwhile
        return None
    return read_tcp_info(info)


def probe_often(stream: TypedAttributeProvider, seconds: float) -> None:
    """Let TCP ask a silent host every so many seconds at least, where the system can do that. Never raises.

    By default it doubles the time up to two minutes. The system takes from 1 to 120 seconds.
    """
    raw_socket = _socket_of(stream)
    if raw_socket is None:
        return
    try:
        raw_socket.setsockopt(socket.IPPROTO_TCP, _TCP_RTO_MAX_MS, round(seconds * 1000))
    except (OSError, ValueError):  # an older kernel, no TCP, closed meanwhile
        return


def ask_in_silence(stream: TypedAttributeProvider, interval: float, timeout: float) -> None:
    """Let TCP itself find out that the other host is gone: for who may not send pings any more. Never raises.

    :param interval: seconds of silence before it asks
    :param timeout: seconds for an answer, with three questions in them; all of it is rounded up to whole seconds
    """
    raw_socket = _socket_of(stream)
    if raw_socket is None or _TCP_KEEPIDLE is None:
        return
    with suppress(OSError, ValueError):  # no TCP, closed meanwhile
        raw_socket.setsockopt(socket.IPPROTO_TCP, _TCP_KEEPIDLE, _whole_seconds(interval))
        raw_socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _whole_seconds(timeout / _QUESTIONS))
        raw_socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _QUESTIONS)
        raw_socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


def _whole_seconds(seconds: float) -> int:
    return math.ceil(min(max(seconds, 1), _MOST_SECONDS))


def keep_little_unsent(stream: TypedAttributeProvider) -> None:
    """Let the system take little more than what it sends at once, where it can do that. Never raises.

    Otherwise it takes what its buffer holds, which may be megabytes, and nobody can take that back.
    """
    raw_socket = _socket_of(stream)
    if raw_socket is None or _TCP_NOTSENT_LOWAT is None:
        return
    try:
        raw_socket.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, _UNSENT_BYTES)
    except (OSError, ValueError):  # no TCP, closed meanwhile
        return


def read_tcp_info(info: bytes) -> TcpReport | None:
    """Read Linux's ``struct tcp_info``; None when it is too short to say anything."""
    if len(info) < _MUST_HAVE:
        return None
    info = info.ljust(_TCP_INFO_SIZE, b"\0")

    def word(offset: int) -> int:
        return int(_WORD.unpack_from(info, offset)[0])

    return TcpReport(
        # With the window closed there may be unsent bytes only, which kernels before 4.6 do not count; they back off.
        waiting=bool(word(_UNACKED) or word(_NOTSENT_BYTES) or info[_BACKOFF]),
        # One retransmission makes two unanswered packets with the original. One probe is none too many: a live Linux
        # host leaves the second of two probes within half a second unanswered (net.ipv4.tcp_invalid_ratelimit).
        unanswered=info[_RETRANSMITS] >= 1 or info[_PROBES] >= 2,
        # Data that carries no new acknowledgement is not counted in last_ack_recv.
        silent_for=min(word(_LAST_ACK_RECV), word(_LAST_DATA_RECV)) / 1000,
    )


def _socket_of(stream: TypedAttributeProvider) -> socket.socket | None:
    """The socket below a stream, or the event loop's stand-in for it, which can be asked as well."""
    if sys.platform != "linux":
        return None
    if is_stream_transport(stream):
        return stream.raw_socket  # a tenth of the time
    try:
        # Asked for anew each time: a stand-in that outlives its connection may stand for another file's descriptor.
        return stream.extra(SocketAttribute.raw_socket, None)
    except Exception:  # noqa: BLE001  (a closed stream may fail to answer in any way; anyio's on uvloop: AttributeError)
        return None
