"""Where a connection comes from, when a proxy has handed it on: what it says in front of everything else."""

from __future__ import annotations

import socket

from anyio import TypedAttributeProvider
from anyio.abc import AnyByteStream, ByteReceiveStream, SocketAttribute

from .._protocol.forwarded import UNIX, TrustedProxies
from .._protocol.proxy_header import BadProxyHeader, ProxyHeaderReader


def peer_of(stream: TypedAttributeProvider) -> str | None:
    """Return the address at the other end, "unix" on a unix socket, None when it is not known."""
    address = stream.extra(SocketAttribute.remote_address, None)
    if isinstance(address, tuple):
        return str(address[0])
    is_unix = stream.extra(SocketAttribute.family, None) == getattr(socket, "AF_UNIX", -1)
    return UNIX if is_unix else None


async def receive_proxy_header(stream: AnyByteStream, proxies: TrustedProxies, max_size: int) -> str | None:
    """Receive the PROXY protocol header of a trusted proxy, and nothing of what is behind it; of others there is none.

    Return where the connection comes from, None if it is from the peer itself; the caller's deadline is the only one.

    :param max_size: bytes of the header
    :raises BadProxyHeader: there is none, or it is broken
    :raises anyio.EndOfStream: the connection ended
    """
    if not proxies.trusts(peer_of(stream)):
        return None
    if not isinstance(stream, ByteReceiveStream):
        raise BadProxyHeader("the listener's streams cannot be read byte by byte")
    reader = ProxyHeaderReader(max_size)
    while reader.wanted:
        reader.receive_data(await stream.receive(reader.wanted))
    return reader.source
