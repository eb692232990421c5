"""The choice of the codec engine."""

from __future__ import annotations

from .codec import Codec, CodecLimits
from .deflate import Compression, DeflateParameters
from .wsproto_codec import WsprotoCodec


def make_codec(
    *,
    client: bool,
    limits: CodecLimits,
    deflate: DeflateParameters | None = None,
    compression: Compression | None = None,
) -> Codec:
    """Return the codec of one new connection, on the best engine there is.

    ``deflate`` is what the handshake has agreed on, None without compression; ``compression`` says how to compress.
    """
    return WsprotoCodec(client=client, limits=limits, deflate=deflate, compression=compression)
