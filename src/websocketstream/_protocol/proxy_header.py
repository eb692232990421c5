"""The PROXY protocol, versions 1 and 2: how a proxy that hands on bytes says in front of them whom they are from.

The specification is HAProxy's, https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt; its sections are named below.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address

from .forwarded import UNIX

_V2 = b"\r\n\r\n\0\r\nQUIT\n"
_V1 = b"PROXY "
_V1_LINE = 107  # bytes with the line end, section 2.1
_V2_HEAD = 16  # bytes before the addresses
_UNKNOWN = re.compile(rb"PROXY UNKNOWN(?: |$)")
_MALFORMED = "the line of the PROXY protocol is malformed"
_PORT = re.compile("0|[1-9][0-9]{0,4}")
_VERSIONS = {"TCP4": 4, "TCP6": 6}
_ADDRESSES = {0: 0, 1: 12, 2: 36, 3: 216}  # bytes by family: none, IPv4, IPv6, unix


class BadProxyHeader(Exception):
    """There is no header, or a broken one; the message shows nothing of what arrived."""


class ProxyHeaderReader:
    """Reads one header: feed it no more than it wants at a time, for what is behind the header is not its own.

    :param max_size: bytes of a header
    """

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        self._data = b""
        self.wanted = len(_V2)  # bytes, 0 once the header is complete
        #: Where the connection comes from: an IP address, or "unix"; None where the proxy speaks for itself or does not know.
        self.source: str | None = None

    def receive_data(self, data: bytes) -> None:
        """Take what arrived.

        :raises BadProxyHeader: this is not how a header begins, or goes on
        """
        self._data += data
        if self._data.startswith(_V1[: len(self._data)]):
            self._receive_line()
        elif self._data.startswith(_V2[: len(self._data)]):
            self._receive_binary()
        else:
            raise BadProxyHeader("there is no PROXY protocol header in front")

    # --- version 1, section 2.1

    def _receive_line(self) -> None:
        line, end, rest = self._data.partition(b"\r\n")
        room = min(_V1_LINE, self._max_size) - len(line)
        if rest:
            raise BadProxyHeader(_MALFORMED)  # it has fewer parts than we have asked for
        if end:
            self.wanted = 0
            self.source = _source_of_line(line)
        elif len(line) < len(_V2):
            self.wanted = len(_V2) - len(line)
        elif room <= 0:
            raise BadProxyHeader(f"the line of the PROXY protocol is longer than {len(line)} bytes")
        else:
            self.wanted = min(_least_missing(line), room)

    # --- version 2, section 2.2

    def _receive_binary(self) -> None:
        size = _V2_HEAD
        if len(self._data) >= size:
            size += int.from_bytes(self._data[14:16])
            if size > self._max_size:
                raise BadProxyHeader(
                    f"the PROXY protocol header announces {size} bytes, more than {self._max_size}, "
                    "the limit (HandshakeLimits.head_size)"
                )
        begins = len(self._data) < len(_V2)
        self.wanted = (len(_V2) if begins else size) - len(self._data)
        if not self.wanted:
            self.source = _source_of_binary(self._data)


def _least_missing(line: bytes) -> int:
    """Return how many bytes are missing at least: the line end, and before that each part with its space."""
    spaces = 0 if line.startswith(b"PROXY UNKNOW") else max(5 - line.count(b" "), 0)
    return 2 * spaces + (1 if line.endswith(b"\r") else 2)


def _source_of_line(line: bytes) -> str | None:
    """Return the source address of a line of version 1."""
    if _UNKNOWN.match(line):
        return None  # "ignore anything presented before the CRLF"
    try:
        _, family, source, destination, *ports = line.decode("ascii").split(" ")
        addresses = ip_address(source), ip_address(destination)
    except ValueError:  # UnicodeDecodeError is one
        raise BadProxyHeader(_MALFORMED) from None
    good = (
        all(address.version == _VERSIONS.get(family) for address in addresses)
        and "%" not in line.decode("ascii")
        and len(ports) == 2
        and all(_PORT.fullmatch(port) and int(port) <= 65535 for port in ports)
    )
    if not good:
        raise BadProxyHeader(_MALFORMED)
    return str(addresses[0])


def _source_of_binary(data: bytes) -> str | None:
    """Return the source address of a header of version 2; what follows the addresses is not looked at."""
    version, command = divmod(data[12], 16)
    family, transport = divmod(data[13], 16)
    if version != 2 or command > 1:
        raise BadProxyHeader("the PROXY protocol header has an unknown version or command")
    if command == 0:  # LOCAL: the proxy itself, such as a health check; the rest is to be ignored
        return None
    if family not in _ADDRESSES or transport > 2:
        raise BadProxyHeader("the PROXY protocol header has an unknown family or transport")
    if len(data) < _V2_HEAD + _ADDRESSES[family]:
        raise BadProxyHeader("the PROXY protocol header is too short for its addresses")
    if family == 1:
        return str(IPv4Address(data[16:20]))
    if family == 2:
        return str(IPv6Address(data[16:32]))
    return UNIX if family == 3 else None
