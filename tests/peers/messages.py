"""The messages that every pair of peers must carry unharmed."""

from __future__ import annotations

LARGEST = 16 * 2**20
SIZES = [0, 1, 125, 126, 65535, 65536, 2**20]

TEXT = "¥ 天気 \U0001f680 "


def binary(size: int) -> bytes:
    return (bytes(range(256)) * (size // 256 + 1))[:size]


def text(size: int) -> str:
    """Return text of about that many bytes, ending on a character."""
    encoded = TEXT.encode()
    return (encoded * (size // len(encoded) + 1))[:size].decode("utf-8", "ignore")


MESSAGES: list[str | bytes] = [make(size) for size in [*SIZES, LARGEST] for make in (text, binary)]
