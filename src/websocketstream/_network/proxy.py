"""Connections through a proxy: HTTP by ourselves, SOCKS by python-socks (the ``proxy`` extra)."""

from __future__ import annotations

import os
import ssl
from typing import Any, TypeAlias

from anyio import BrokenResourceError, EndOfStream
from anyio.abc import AnyByteStream, ByteStream

from .._protocol.connect import ConnectHandshake, ProxyRefused
from .._protocol.environment import EnvironmentProxies
from .._protocol.errors import ConnectFailed
from .._protocol.http import quoted
from .._protocol.url import ProxyURL, WebSocketURL, parse_proxy_url
from .any_stream import TRANSPORT_ERRORS, receive_some, send_all
from .dial import NO_SETTINGS, SocketSettings, dial
from .failures import connect_failed, without_frames
from .task_transport import release
from .tls_client import start_tls

Proxies: TypeAlias = ProxyURL | EnvironmentProxies | None

# What python-socks calls each, and whether the proxy looks names up.
_SOCKS = {
    "socks4": ("SOCKS4", False),
    "socks4a": ("SOCKS4", True),
    "socks5": ("SOCKS5", False),
    "socks5h": ("SOCKS5", True),
}
# What a SOCKS proxy answers that may pass: of version 5 a failure of its own, and four that speak of the way to the server
# (RFC 1928 section 6); of version 4 that it has failed, for whatever reason.
_PASSING = (0x01, 0x03, 0x04, 0x05, 0x06, 0x5B, 0x5C)


def check_proxy(proxy: str | bool | None, stream: AnyByteStream | None) -> Proxies:
    """Read a proxy's URL, and complain about one that cannot be used; no message shows a password.

    :raises TypeError: the proxy is neither a str nor True
    :raises ValueError: the URL makes no sense, or a stream was given as well
    """
    if proxy is None:
        return None
    if proxy is not True and not isinstance(proxy, str):
        raise TypeError(f"proxy must be a str, True or None, not {type(proxy).__name__}")
    if stream is not None:
        raise ValueError("give either proxy or stream: a given stream is connected already")
    return EnvironmentProxies(os.environ) if proxy is True else parse_proxy_url(proxy)


def check_proxy_tls(proxies: Proxies, context: object) -> None:
    """Complain about a context that is none, or that nothing would use.

    :raises TypeError: it is something else
    :raises ValueError: the proxy is not spoken to by TLS
    """
    if context is None:
        return
    if not isinstance(context, ssl.SSLContext):
        raise TypeError(f"proxy_ssl_context must be an ssl.SSLContext or None, not {type(context).__name__}")
    if proxies is None or (isinstance(proxies, ProxyURL) and proxies.scheme != "https"):
        raise ValueError("proxy_ssl_context is for TLS with a proxy, whose URL then begins with https://")


def proxy_for(proxies: Proxies, url: WebSocketURL) -> ProxyURL | None:
    """Return the proxy for a URL, None for a direct connection.

    :raises ValueError: the environment asks for one that makes no sense
    :raises ImportError: it is a SOCKS proxy and python-socks is not installed
    """
    proxy = proxies.proxy_for(url) if isinstance(proxies, EnvironmentProxies) else proxies
    if proxy is not None and proxy.scheme in _SOCKS:
        try:
            import python_socks.async_.anyio  # noqa: F401
        except ImportError as exc:
            raise ImportError(
                "a SOCKS proxy needs python-socks: pip install 'websocketstream[proxy]'"
            ) from exc
    return proxy


async def connect_through(
    proxy: ProxyURL,
    host: str,
    port: int,
    *,
    ssl_context: ssl.SSLContext | None = None,
    settings: SocketSettings = NO_SETTINGS,
) -> ByteStream:
    """Connect to a host through a proxy; the caller's deadline is the only one.

    :param ssl_context: for TLS with an ``https`` proxy; None for the default one
    :param settings: of the socket that leads to the proxy
    :raises ConnectFailed: the proxy cannot be reached, goes away or refuses; the message says which proxy and why
    """
    what = f"cannot connect to {host} port {port} through the proxy {proxy}"
    stream: ByteStream
    try:
        stream = await dial(proxy.host, proxy.port, settings)
    except OSError as exc:
        raise connect_failed(f"{what}, which cannot be reached", exc) from exc
    if proxy.scheme == "https":
        try:
            stream = await start_tls(stream, proxy.host.rstrip("."), ssl_context, plain="http")
        except ConnectFailed as exc:
            error = ConnectFailed(f"{what}: {exc}")
            error.errno = exc.errno
            raise error from exc.__cause__  # as without a proxy: what failed says whether that may pass
    try:
        await (_socks if proxy.scheme in _SOCKS else _http)(stream, proxy, host, port)
    except ProxyRefused as exc:
        await release(stream)
        raise ConnectFailed(f"{what}: {exc}") from without_frames(exc)
    except TRANSPORT_ERRORS as exc:
        await release(stream)
        raise connect_failed(what, exc) from without_frames(exc)
    except BaseException:
        await release(stream)
        raise
    return stream


async def _http(stream: ByteStream, proxy: ProxyURL, host: str, port: int) -> None:
    handshake = ConnectHandshake(proxy, host, port)
    await send_all(stream, handshake.request)
    try:
        while not handshake.receive_data(await receive_some(stream)):
            pass
    except EndOfStream:
        raise handshake.receive_eof() from None


async def _socks(stream: ByteStream, proxy: ProxyURL, host: str, port: int) -> None:
    from python_socks import ProxyError, ProxyType
    from python_socks.async_.anyio import Proxy

    kind, asks_proxy_for_names = _SOCKS[proxy.scheme]
    if kind == "SOCKS4" and ":" in host:
        raise ProxyRefused("SOCKS4 knows no IPv6 addresses; with SOCKS5 the proxy's URL is socks5://")
    way: Any = _Connected(_SocksStream(stream))
    talk = Proxy(
        ProxyType[kind],
        proxy.host,
        proxy.port,
        proxy.username,
        proxy.password,
        rdns=asks_proxy_for_names,
        forward=way,
    )
    try:
        await talk.connect(host, port, timeout=float("inf"))
    except ProxyError as exc:
        hint = ""
        if proxy.username is None and "authentication" in str(exc):
            hint = f"; user name and password stand in its URL, {proxy.scheme}://name:password@host:port"
        raise ProxyRefused(
            f"it answered {quoted(str(exc))}{hint}", lasting=exc.error_code not in _PASSING
        ) from exc
    except UnicodeError as exc:  # python-socks decodes the name that the proxy says it connects from
        raise ProxyRefused("it answered with a name that is not UTF-8") from exc


class _Connected:
    """To python-socks, a proxy in front of the proxy: what leads to the proxy is connected already."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream

    async def connect(self, **_: object) -> ByteStream:
        return self._stream


class _SocksStream(ByteStream):
    """The stream that python-socks talks on; it reads no more than it needs, and closing is not its business."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream

    async def receive(self, max_bytes: int = 65536) -> bytes:
        try:
            return await self._stream.receive(max_bytes)
        except EndOfStream:
            raise BrokenResourceError("it closed the connection") from None

    async def send(self, item: bytes) -> None:
        await self._stream.send(item)

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def aclose(self) -> None:
        pass
