"""Addresses of sockets, as anyio gives them."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from typing import Any

from anyio.abc import SocketAttribute


def socket_attributes(
    raw_socket: object, family: int, local_address: object, remote_address: object
) -> Mapping[Any, Callable[[], Any]]:
    """Return anyio's typed attributes of a socket; what is None, or what its family has not, is absent."""
    attributes: dict[Any, Any] = {SocketAttribute.family: family, SocketAttribute.raw_socket: raw_socket}
    for address, whole, port in (
        (local_address, SocketAttribute.local_address, SocketAttribute.local_port),
        (remote_address, SocketAttribute.remote_address, SocketAttribute.remote_port),
    ):
        if address is not None:
            attributes[whole] = short_address(address)
            if family in (socket.AF_INET, socket.AF_INET6):
                attributes[port] = attributes[whole][1]
    return {attribute: _constant(value) for attribute, value in attributes.items()}


def short_address(address: Any) -> Any:  # noqa: ANN401
    """Return (host, port) for an IPv6 address too, the scope in the host; others as they are."""
    if isinstance(address, tuple) and len(address) == 4:
        host, port, _, scope = address
        return (f"{host.partition('%')[0]}%{scope}" if scope else host, port)
    return address


def _constant(value: object) -> Callable[[], object]:
    return lambda: value
