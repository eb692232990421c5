"""TLS for both edges, and the last words to a peer that gets no connection."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TypeVar, TypeVarTuple, cast

from anyio import BrokenResourceError, EndOfStream, Lock, move_on_after
from anyio.abc import AnyByteStream, ByteStream
from anyio.streams.tls import TLSStream

from .._protocol.http import excerpt
from .any_stream import DRAIN_SECONDS, READ_BYTES, TRANSPORT_ERRORS, half_close, receive_some

ALERT_SECONDS = 1.0  # how long a peer that does not read may hold up the news that TLS has failed

_Result = TypeVar("_Result")
_Arguments = TypeVarTuple("_Arguments")
_RECORD_TYPES = (b"\x15", b"\x16")  # RFC 8446 5.1: what a handshake can be answered with, alert and handshake


async def say_and_drain(stream: AnyByteStream, last_words: bytes) -> None:
    """Write the last bytes and let the peer read them: an immediate close could reset the connection before that."""
    with move_on_after(DRAIN_SECONDS), suppress(EndOfStream, *TRANSPORT_ERRORS):
        await stream.send(last_words)
        await half_close(stream)
        while True:
            await receive_some(stream)


class NotTLS(ssl.SSLError):
    """What answered the TLS handshake does not speak TLS."""


class _BelowTLS(ByteStream):
    """A byte stream below TLS: a TLS reader may have to write too (a key update), while somebody else is writing.

    That something cannot be sent is no end of TLS, as anyio's stream would take it: what the peer said before it went
    away may still be there to be read, a Close frame, or the alert that says why. So it is only remembered here.
    """

    def __init__(self, stream: AnyByteStream) -> None:
        self._stream = stream
        self._lock = Lock()
        self.lost: Exception | None = None  # why sending failed
        self.beginning = b""  # of what was received

    async def receive(self, max_bytes: int = READ_BYTES) -> bytes:  # noqa: ARG002  (TLS reads all there is)
        try:
            data = await receive_some(self._stream)
        except EndOfStream:
            self.raise_if_lost()
            raise
        self.beginning = self.beginning or data[:100]
        return data

    async def send(self, item: bytes) -> None:
        async with self._lock:
            try:
                await self._stream.send(item)
            except TRANSPORT_ERRORS as exc:
                self.lost = exc.with_traceback(None)  # whose frames hold us

    def raise_if_lost(self) -> None:
        if self.lost is not None:
            raise BrokenResourceError("the connection was lost") from self.lost

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def aclose(self) -> None:
        await self._stream.aclose()

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return self._stream.extra_attributes


class _TLS(TLSStream):
    """anyio's stream, which forgets to send the alert that says why it gives up.

    Should anyio rename its inner method, the alert is not sent, and nothing else changes.
    """

    # A client that opens its connection is forgiving: when it cannot send, it reads on, since TLS 1.3 refuses a client's
    # certificate when the client has long gone on.
    forgiving = False
    below: _BelowTLS

    async def send(self, item: bytes) -> None:
        await super().send(item)
        if not self.forgiving:
            self.below.raise_if_lost()

    async def _call_sslobject_method(
        self, func: Callable[[*_Arguments], _Result], *args: *_Arguments
    ) -> _Result:
        try:
            return await super()._call_sslobject_method(func, *args)
        except ssl.SSLError:
            if alert := self._write_bio.read():
                with move_on_after(ALERT_SECONDS), suppress(EndOfStream, *TRANSPORT_ERRORS):
                    await self.transport_stream.send(alert)
            raise


async def wrap_tls(
    stream: AnyByteStream, context: ssl.SSLContext, *, server_side: bool, hostname: str | None = None
) -> _TLS:
    """Do the TLS handshake; the end of the stream needs no closing alert, the Close frame says how clean it was.

    :raises ssl.SSLError: the handshake failed (:exc:`NotTLS`: the peer does not speak TLS)
    :raises anyio.BrokenResourceError: the transport ended meanwhile
    """
    below = _BelowTLS(stream)
    try:
        wrapped = await _TLS.wrap(
            below, server_side=server_side, hostname=hostname, ssl_context=context, standard_compatible=False
        )
    except EndOfStream as exc:
        raise BrokenResourceError("the connection was closed") from exc
    except ssl.SSLError as exc:
        if below.beginning and not below.beginning.startswith(_RECORD_TYPES):
            said = excerpt(below.beginning)
            raise NotTLS(ssl.SSL_ERROR_SSL, f'the peer does not speak TLS but says "{said}"') from exc
        raise
    tls = cast("_TLS", wrapped)
    tls.below = below
    tls.forgiving = not server_side
    return tls


def end_forgiving(stream: AnyByteStream) -> None:
    """Report from now on when something cannot be sent: the opening handshake is complete."""
    if isinstance(stream, _TLS):
        stream.forgiving = False
