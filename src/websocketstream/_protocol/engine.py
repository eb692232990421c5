"""The choice of the codec engine: compiled where it was built, wsproto everywhere else."""

from __future__ import annotations

import os
from typing import Protocol

from .codec import Codec, CodecLimits
from .negotiation import Compression, DeflateParameters

VARIABLE = "WEBSOCKETSTREAM_ENGINE"


class _NewCodec(Protocol):
    def __call__(
        self,
        *,
        client: bool,
        limits: CodecLimits,
        deflate: DeflateParameters | None = None,
        compression: Compression | None = None,
    ) -> Codec: ...


def choose_engine(wanted: str | None) -> tuple[str, _NewCodec]:
    """Return the name and the codec class of the engine that the environment asks for, None for the best there is.

    :raises ImportError: the compiled engine is asked for, and it was not built or does not fit this interpreter
    :raises ValueError: there is no engine of that name
    """
    if wanted not in (None, "", "compiled", "wsproto"):
        raise ValueError(f"{VARIABLE} must be compiled or wsproto, not {wanted!r}")
    if wanted != "wsproto":
        try:
            from ._compiled import CompiledCodec
        except ImportError as exc:
            if wanted:
                raise ImportError(
                    f"{VARIABLE} asks for the compiled engine, and it is not there: it has to be built when "
                    "websocketstream is installed, with Cython and a C compiler"
                ) from exc
        else:
            return "compiled", CompiledCodec
    from .wsproto_codec import WsprotoCodec

    return "wsproto", WsprotoCodec


ENGINE, _new_codec = choose_engine(os.environ.get(VARIABLE))


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
    return _new_codec(client=client, limits=limits, deflate=deflate, compression=compression)
