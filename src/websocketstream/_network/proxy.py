"""Connections through a proxy: HTTP by ourselves, SOCKS by python-socks (the ``proxy`` extra)."""

from __future__ import annotations

from typing import Any

from anyio import BrokenResourceError, EndOfStream
from anyio.abc import AnyByteStream, ByteStream

from .._protocol.connect import ConnectHandshake, ProxyRefused
from .._protocol.errors import ConnectFailed
from .._protocol.http import quoted
from .._protocol.url import ProxyURL, parse_proxy_url
from .any_stream import TRANSPORT_ERRORS, receive_some, send_all
from .dial import dial
from .failures import connect_failed
from .task_transport import release


def check_proxy(proxy: str, stream: AnyByteStream | None) -> ProxyURL:
    """Read a proxy's URL, and complain about one that cannot be used; no message shows a password.

    :raises TypeError: the proxy is not a str
    :raises ValueError: the URL makes no sense, or a stream was given as well
    :raises ImportError: it is a SOCKS proxy and python-socks is not installed
    """
    if not isinstance(proxy, str):
        raise TypeError(f"proxy must be a str or None, not {type(proxy).__name__}")
    if stream is not None:
        raise ValueError("give either proxy or stream: a given stream is connected already")
    url = parse_proxy_url(proxy)
    if url.scheme != "http":
        try:
            import python_socks.async_.anyio  # noqa: F401
        except ImportError as exc:
            raise ImportError(
                "a SOCKS proxy needs python-socks: pip install 'websocketstream[proxy]'"
            ) from exc
    return url


async def connect_through(proxy: ProxyURL, host: str, port: int) -> ByteStream:
    """Connect to a host through a proxy; the caller's deadline is the only one.

    :raises ConnectFailed: the proxy cannot be reached, goes away or refuses; the message says which proxy and why
    """
    what = f"cannot connect to {host} port {port} through the proxy {proxy}"
    try:
        stream = await dial(proxy.host, proxy.port)
    except OSError as exc:
        raise connect_failed(f"{what}, which cannot be reached", exc) from exc
    try:
        await (_http if proxy.scheme == "http" else _socks)(stream, proxy, host, port)
    except ProxyRefused as exc:
        await release(stream)
        raise ConnectFailed(f"{what}: {exc}") from exc
    except TRANSPORT_ERRORS as exc:
        await release(stream)
        raise connect_failed(what, exc) from exc
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

    kind = {"socks4": ProxyType.SOCKS4, "socks5": ProxyType.SOCKS5}[proxy.scheme]
    way: Any = _Connected(_SocksStream(stream))
    talk = Proxy(kind, proxy.host, proxy.port, proxy.username, proxy.password, forward=way)
    try:
        await talk.connect(host, port, timeout=float("inf"))
    except ProxyError as exc:
        raise ProxyRefused(f"it answered {quoted(str(exc))}") from exc


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
