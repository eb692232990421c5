"""Connections through a proxy, by python-socks (the ``proxy`` extra)."""

from __future__ import annotations

from anyio.abc import AnyByteStream, SocketStream

from .._protocol.errors import ConnectFailed


def check_proxy(proxy: str, stream: AnyByteStream | None) -> None:
    """Complain about a proxy that cannot be used.

    :raises TypeError: the proxy is not a str
    :raises ValueError: the URL makes no sense, or a stream was given as well
    :raises ImportError: python-socks is not installed
    """
    if not isinstance(proxy, str):
        raise TypeError(f"proxy must be a str or None, not {type(proxy).__name__}")
    if stream is not None:
        raise ValueError("give either proxy or stream: a given stream is connected already")
    try:
        from python_socks.async_.anyio import Proxy
    except ImportError as exc:
        raise ImportError("proxy needs python-socks: pip install 'websocketstream[proxy]'") from exc
    try:
        Proxy.from_url(proxy)
    except ValueError as exc:
        raise ValueError(f"proxy is not a usable URL: {exc}") from None


async def connect_through(proxy: str, host: str, port: int) -> SocketStream:
    """Connect to a host through a proxy; the caller's deadline is the only one.

    :raises ConnectFailed: the proxy cannot be reached, or refuses
    """
    from python_socks import ProxyError
    from python_socks.async_.anyio import Proxy

    try:
        stream: SocketStream = await Proxy.from_url(proxy).connect(host, port, timeout=float("inf"))
    except (ProxyError, OSError) as exc:
        raise ConnectFailed(f"cannot connect to {host} port {port} through the proxy: {exc}") from exc
    return stream
