"""What the sockets of all event loops have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

from anyio import TypedAttributeSet, typed_attribute

from .stream_transport import StreamTransport


class BelowAttribute(TypedAttributeSet):
    """What a stream on top of others is built on."""

    direct_stream: DirectStream = typed_attribute()


class DirectStream(StreamTransport):
    """A socket."""

    keeps_last_words = True

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """The attributes of the socket, as long as it is connected."""
        attributes = dict(self._socket_attributes())
        if attributes:
            attributes[BelowAttribute.direct_stream] = lambda: self
        return attributes

    @abstractmethod
    def _socket_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """Return the attributes of the socket, none when it is gone."""
