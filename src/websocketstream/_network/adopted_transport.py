"""A connection that another program's asyncio server has accepted: its transport becomes ours."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from .asyncio_transport import AsyncioStream
from .transport import Buffer, rest_of


class _AdoptedStream(AsyncioStream):
    """One on a transport that may have something to write already."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        # Whoever had it may have paused writing already; then the transport does not say so again.
        if self._transport.get_write_buffer_size() and not self.congested:
            self._congest()


class _AdoptedTLSStream(_AdoptedStream):
    """One on asyncio's TLS: what is written past that is not encrypted, and what it has taken may still be on its way."""

    keeps_last_words = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._system.send = _send_nothing
        # To asyncio's TLS, a limit of nothing is always reached.
        self._transport.set_write_buffer_limits(1, 0)

    def write_all(self, buffers: Sequence[Buffer]) -> int:
        """See :class:`Transport`."""
        return self.write(rest_of(buffers, 0) if len(buffers) > 1 else buffers[0])

    def keep_unsent(self, data: Buffer) -> int:
        """See :class:`Owner`: what is encrypted is longer, and counts as unsent until all has left."""
        return max(0, super().keep_unsent(data))

    def eof_received(self) -> bool:
        super().eof_received()
        return False  # TLS has no half-close

    def _end_direction(self) -> None:
        if not self._system.barred:
            self._call(self._transport.close)  # which writes what is left, and then TLS's own goodbye

    def _call(self, method: Callable[[], object]) -> None:
        # In the next pass: asyncio's TLS reads on when it is closed, and does not expect to be aborted by whom it calls then.
        if self._loop_is_closed():
            super()._call(method)
        else:
            self._loop.call_soon(super()._call, method)


def adopt(transport: asyncio.Transport) -> AsyncioStream:
    """Return the byte stream of a connected transport, which belongs to it from now on.

    Not to be called from within a call of the transport's.

    :raises OSError: it is closing
    """
    if transport.is_closing():
        raise ConnectionAbortedError("the connection is closing")
    secure = transport.get_extra_info("sslcontext") is not None
    stream = _AdoptedTLSStream() if secure else _AdoptedStream()
    transport.pause_reading()  # uvloop chooses between the two kinds of protocols when reading begins
    transport.set_protocol(stream)
    stream.connection_made(transport)
    transport.resume_reading()
    return stream


def _send_nothing(_data: Buffer) -> int:
    return 0
