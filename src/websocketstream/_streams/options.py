"""The options of a connection, checked where they enter."""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from .._protocol.arguments import check_seconds, check_size
from .._protocol.codec import CodecLimits
from .._protocol.negotiation import Compression

__all__ = ["StreamOptions", "check_compression", "check_seconds", "check_size", "stream_options"]


# Unless somebody says how many, a message may have as many frames as it has bytes in frames of 1 KiB: large ones are cut
# into frames of 4 KiB by gorilla, of 16 KiB and more by others. And no fewer than 4096, which cost next to nothing.
_FRAME = 2**10
_FEW_FRAMES = 4096
# Where it counts how much lies in between: a second of Opus is 8 KiB at most.
SHORT_READ_BUFFER = 2**16
SHORT_WRITE_BUFFER = 2**14
MOST = sys.maxsize // 4  # bytes that a buffer can count, and more than any memory has


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """What a connection needs to know once it is open: sizes in bytes, times in seconds, None switches off."""

    read_buffer: int = 2**20
    write_buffer: int = 2**16
    ping_interval: float | None = 20
    ping_timeout: float | None = 20
    close_timeout: float = 10
    max_message_size: int | None = 16 * 2**20
    max_fragments: int | None = None  # as many as max_message_size needs
    low_latency: bool = False
    limits: CodecLimits = field(init=False)
    """The part of the options that the codec enforces."""
    buffers: tuple[int, int] = field(init=False)
    """How many bytes may wait, received and to be sent."""

    def __post_init__(self) -> None:
        check_size("read_buffer", self.read_buffer)
        check_size("write_buffer", self.write_buffer)
        check_seconds("close_timeout", self.close_timeout)
        for name in ("ping_interval", "ping_timeout"):
            if getattr(self, name) is not None:
                check_seconds(name, getattr(self, name), zero=False)
        for name in ("max_message_size", "max_fragments"):
            if getattr(self, name) is not None:
                check_size(name, getattr(self, name))
        if not isinstance(self.low_latency, bool):
            raise TypeError(f"low_latency must be a bool, not {type(self.low_latency).__name__}")
        size, fragments = self.max_message_size, self.max_fragments
        if fragments is None and size is not None:
            fragments = max(_FEW_FRAMES, size // _FRAME)
        limits = CodecLimits(max_message_size=size, max_fragments=fragments)
        bounds = (SHORT_READ_BUFFER, SHORT_WRITE_BUFFER) if self.low_latency else (MOST, MOST)
        buffers = min(self.read_buffer, bounds[0]), min(self.write_buffer, bounds[1])
        object.__setattr__(self, "limits", limits)  # once, for all connections of a server
        object.__setattr__(self, "buffers", buffers)


_known_options = lru_cache(maxsize=16, typed=True)(StreamOptions)


def stream_options(**options: Any) -> StreamOptions:  # noqa: ANN401  (they are checked)
    """Return checked options: most programs open connections with the same ones again and again."""
    with suppress(TypeError):  # perhaps only because one has no hash; else it is raised once more, by itself
        return _known_options(**options)
    return StreamOptions(**options)


def check_compression(value: bool | Compression) -> Compression | None:
    """Turn the ``compression`` option into parameters, None for off.

    :raises TypeError: it is neither a bool nor a :class:`Compression`
    """
    if isinstance(value, Compression):
        return value
    if not isinstance(value, bool):
        raise TypeError(f"compression must be a bool or a Compression, not {type(value).__name__}")
    return Compression() if value else None
