"""Who the client is behind proxies: the fields in which these say so, believed only as far as they are trusted."""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias

from .arguments import is_collection
from .http import Headers, list_elements

Address: TypeAlias = IPv4Address | IPv6Address

FIELDS = ("X-Forwarded-For", "Forwarded")
UNIX = "unix"

# RFC 7239 section 4: pairs of a token and a token or quoted string; of a list, so commas end an element.
_PAIR = re.compile(r'[ \t]*([!#$%&\'*+\-.^_`|~0-9A-Za-z]+)=("(?:[^"\\]|\\.)*"|[^",; \t]*)[ \t]*([;,]|$)')
_EMPTY = re.compile(r"[ \t]*(?:,|$)")  # an element that does not count (RFC 9110 section 5.6.1)


class TrustedProxies:
    """The proxies whose word about their clients is taken, and the field in which they say it.

    A client can send these fields as well; so the hops are followed from our end, only as long as the one who speaks is
    trusted, and only in the one field that the proxies really set.

    :param proxies: addresses and networks, such as ``"127.0.0.1"`` or ``"10.0.0.0/8"``; ``"unix"`` stands for the peers of a
        unix socket
    :param field: ``"X-Forwarded-For"``, or ``"Forwarded"`` (RFC 7239)
    :raises TypeError: an argument has the wrong type
    :raises ValueError: one is neither an address nor a network, or there is no such field
    """

    __slots__ = ("_field", "_networks", "_unix")

    def __init__(self, proxies: Iterable[str], *, field: str = "X-Forwarded-For") -> None:
        if not is_collection(proxies):
            raise TypeError(f"proxies must be a list of addresses and networks, not {type(proxies).__name__}")
        if field not in FIELDS:
            raise ValueError(f"field must be one of {', '.join(FIELDS)}, not {field!r:.100}")
        given = list(proxies)
        self._field = field
        self._unix = UNIX in given
        self._networks = [_network(proxy) for proxy in given if proxy != UNIX]

    def __repr__(self) -> str:
        proxies = [UNIX] * self._unix + list(map(str, self._networks))
        field = "" if self._field == FIELDS[0] else f", field={self._field!r}"
        return f"{type(self).__name__}({proxies!r}{field})"

    def __bool__(self) -> bool:
        return self._unix or bool(self._networks)

    def trusts(self, peer: str | None) -> bool:
        """Tell whether a peer is one of the proxies.

        :param peer: as for :meth:`client_host`
        """
        host = None if peer is None else _address(peer)
        return (peer == UNIX or host is not None) and self._trusts(host)

    def client_host(self, peer: str | None, headers: Headers) -> str | None:
        """Return the address of the client, None where nobody who is trusted knows it.

        :param peer: the address at the other end of our connection, ``"unix"`` on a unix socket, None when it is not known
        """
        host = None if peer is None or peer == UNIX else _address(peer)
        if host is None and peer != UNIX:
            return None  # who knows what that is: of a TCP client that has reset the connection there is nothing, either
        hops = self._hops(headers)
        while self._trusts(host) and hops:
            host = _address(hops.pop())
            if host is None:  # "unknown", a name that hides it (RFC 7239 section 6.3), or nonsense
                return None
        return None if host is None else str(host)

    def _trusts(self, host: Address | None) -> bool:
        return self._unix if host is None else any(host in network for network in self._networks)

    def _hops(self, headers: Headers) -> list[str]:
        """Return what the proxies have said of whom they were asked by, the nearest last."""
        values = headers.get_all(self._field)
        return (
            list_elements(values)
            if self._field == "X-Forwarded-For"
            else [hop for value in values for hop in _forwarded(value)]
        )


NO_PROXIES = TrustedProxies([])


def _forwarded(value: str) -> list[str]:
    """Return the ``for`` of each element of one line, "" for one that has none; one "" for a line that is broken.

    Each line is a list of its own (RFC 9110 section 5.3), so a client's broken one does not spoil that of the proxy.
    """
    hops: list[str] = []
    names: set[str] = set()
    at = 0
    while at < len(value):
        if not names and (empty := _EMPTY.match(value, at)):
            at = empty.end()
            continue
        pair = _PAIR.match(value, at)
        if pair is None:
            return [""]  # nothing of it can be relied on
        name, said, end = pair.groups()
        if not names:
            hops.append("")
        if (
            name := name.lower()
        ) in names:  # not allowed (RFC 7239 section 4), and which is the proxy's is not known
            return [""]
        names.add(name)
        if name == "for":
            hops[-1] = re.sub(r"\\(.)", r"\1", said[1:-1]) if said.startswith('"') else said
        if end == ",":
            names = set()
        at = pair.end()
    return hops


def _address(text: str) -> Address | None:
    """Return an IP address, with or without a port; None for anything else."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.strip().partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _network(text: str) -> IPv4Network | IPv6Network:
    if not isinstance(text, str):
        raise TypeError(f"proxies must be a list of str, not of {type(text).__name__}")
    try:
        return ip_network(text)
    except ValueError as exc:
        raise ValueError(f"{text!r:.100} is neither an address nor a network: {exc}") from None
