"""Which proxy the environment asks for: ``https_proxy`` and its like, and ``no_proxy``, as curl and urllib read them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from .host import normalise_host
from .url import ProxyURL, WebSocketURL, parse_port, parse_proxy_url

# The first that is set counts. curl asks for the WebSocket's own scheme first and then for that of its opening handshake.
_VARIABLES = {
    False: ("ws_proxy", "http_proxy", "all_proxy"),
    True: ("wss_proxy", "https_proxy", "all_proxy"),
}
_ENTRY = re.compile(r"(\[[^\]]*\]|[^:]*)(?::([0-9]+))?")


class EnvironmentProxies:
    """The proxies that the environment asks for, as it is now.

    A variable in lower case comes before the same in upper case, also when it is empty, which means no proxy.
    """

    __slots__ = ("_environ", "_exceptions")

    def __init__(self, environ: Mapping[str, str]) -> None:
        names = {name for names in _VARIABLES.values() for name in names}
        self._environ = {name: _value(environ, name) for name in names}
        self._exceptions = [
            entry for entry in re.split(r"[,\s]+", _value(environ, "no_proxy").lower()) if entry
        ]

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"  # passwords may be in it

    def proxy_for(self, url: WebSocketURL) -> ProxyURL | None:
        """Return the proxy for a URL, None for a direct connection.

        :raises ValueError: the variable that counts holds no proxy's URL; its value is not shown
        """
        if any(_matches(entry, url) for entry in self._exceptions):
            return None
        for name in _VARIABLES[url.secure]:
            if value := self._environ[name]:
                return _parse(name, value)
        return None


def _value(environ: Mapping[str, str], name: str) -> str:
    upper = name.upper()
    if name == "http_proxy" and "REQUEST_METHOD" in environ:
        upper = ""  # of a CGI script this may be the "Proxy" field of a request (CVE-2016-1000110)
    return environ.get(name, environ.get(upper, "")).strip()


def _parse(name: str, value: str) -> ProxyURL:
    try:
        return parse_proxy_url(value if "://" in value else f"http://{value}")
    except ValueError as exc:
        raise ValueError(f"the environment's {name} cannot be used: {exc}") from None


def _matches(entry: str, url: WebSocketURL) -> bool:
    """Tell whether an entry of ``no_proxy`` is meant for a URL; one that makes no sense is for none."""
    if entry == "*":
        return True
    address = _address(url.host)
    if "/" in entry:
        return address is not None and _is_in(address, entry)
    if (whole := _address(entry)) is not None:  # IPv6 without brackets, which has colons but no port
        return whole == address
    match = _ENTRY.fullmatch(entry)
    if match is None or not _is_port(match[2], url.port):
        return False
    try:
        host = normalise_host(match[1].removeprefix("*").removeprefix("."))
    except ValueError:
        return False
    if (inside := _address(host)) is not None:
        return inside == address
    return f".{url.host.rstrip('.')}".endswith(f".{host.rstrip('.')}")


def _is_port(text: str | None, port: int) -> bool:
    try:
        return text is None or parse_port(text) == port
    except ValueError:
        return False


def _is_in(address: IPv4Address | IPv6Address, network: str) -> bool:
    try:
        return address in ip_network(network.replace("[", "").replace("]", ""), strict=False)
    except ValueError:
        return False


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
