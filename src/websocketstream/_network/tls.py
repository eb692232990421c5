"""What both edges do with a byte stream before it is a connection."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from anyio import BrokenResourceError, EndOfStream, Lock, move_on_after
from anyio.abc import AnyByteStream, ByteStream
from anyio.streams.tls import TLSStream

from .any_stream import DRAIN_SECONDS, READ_BYTES, TRANSPORT_ERRORS, half_close, receive_some


async def say_and_drain(stream: AnyByteStream, last_words: bytes) -> None:
    """Write the last bytes and let the peer read them: an immediate close could reset the connection before that."""
    with move_on_after(DRAIN_SECONDS), suppress(EndOfStream, *TRANSPORT_ERRORS):
        await stream.send(last_words)
        await half_close(stream)
        while True:
            await receive_some(stream)


class _SerializedSends(ByteStream):
    """A byte stream below TLS: a TLS reader may have to write too (a key update), while the writer task is writing."""

    def __init__(self, stream: AnyByteStream) -> None:
        self._stream = stream
        self._lock = Lock()

    async def receive(self, max_bytes: int = READ_BYTES) -> bytes:  # noqa: ARG002  (TLS reads all there is)
        return await receive_some(self._stream)

    async def send(self, item: bytes) -> None:
        async with self._lock:
            await self._stream.send(item)

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def aclose(self) -> None:
        await self._stream.aclose()

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return self._stream.extra_attributes


async def wrap_tls(
    stream: AnyByteStream, context: ssl.SSLContext, *, server_side: bool, hostname: str | None = None
) -> TLSStream:
    """Do the TLS handshake; the end of the stream needs no closing alert, the Close frame says how clean it was.

    :raises ssl.SSLError: the handshake failed
    :raises anyio.BrokenResourceError: the transport ended meanwhile
    """
    try:
        return await TLSStream.wrap(
            _SerializedSends(stream),
            server_side=server_side,
            hostname=hostname,
            ssl_context=context,
            standard_compatible=False,
        )
    except EndOfStream as exc:
        raise BrokenResourceError("the transport ended during the TLS handshake") from exc
