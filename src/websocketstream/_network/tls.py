"""TLS as a layer without I/O, between a transport and whoever would use that without TLS (RFC 8446, RFC 5246).

What the transport below hands over is decrypted at once, and what is written is encrypted in the same call: there is no
task, no lock, and nothing waits but the end of the handshake. What TLS itself has to say, such as the answer to a key
update, leaves in its order with everything else, whether or not somebody reads or writes.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from socket import socket
from typing import Any, NoReturn

from anyio import BrokenResourceError, move_on_after
from anyio.abc import AnyByteStream
from anyio.streams.tls import TLSAttribute

from .._protocol.http import excerpt
from .any_stream import TRANSPORT_ERRORS
from .event_loop import NOTHING_TO_WAIT_FOR, EventLoop, Handle, Signal, uninterrupted
from .hot import TLSRecords
from .loop import current_event_loop
from .openssl import wrap
from .stream_transport import FedStream
from .task_transport import transport_of
from .tls_calls import TLSCalls
from .transport import NOTHING, Buffer, Transport, discard, lost

ALERT_SECONDS = 1.0  # how long a peer that does not read may hold up the news that TLS has failed
# Of ciphertext, what is decrypted in one go where it may be more than the scratch takes.
DECRYPT_BYTES = 2**16
WRITE_BYTES = 2**19  # of plain text, what is written in one go
# A peer may make TLS answer without reading the answers (RFC 8446 section 4.6.3): with so many we read no more.
MAX_ANSWERS = 2**16

_RECORD_TYPES = (b"\x15", b"\x16")  # RFC 8446 5.1: what a handshake can be answered with, alert and handshake


class NotTLS(ssl.SSLError):
    """What answered the TLS handshake does not speak TLS."""


async def wrap_tls(
    stream: AnyByteStream,
    context: ssl.SSLContext,
    *,
    server_side: bool,
    hostname: str | None = None,
    session: ssl.SSLSession | None = None,
    keep_session: Callable[[ssl.SSLSession | None], object] | None = None,
) -> TLSTransport:
    """Do the TLS handshake; the stream belongs to the result, or is released when the handshake fails.

    :param session: what the server gave us to come back with, if anything
    :param keep_session: called in the end with what it has given us now
    :raises ssl.SSLError: the handshake failed (:exc:`NotTLS`: the peer does not speak TLS)
    :raises anyio.BrokenResourceError: the transport ended meanwhile
    :raises OSError: the event loop cannot wait for the transport
    """
    loop = current_event_loop()
    below = transport_of(stream, loop)
    transport: Transport = below
    try:
        tls_object, calls = wrap(context, server_side, hostname, session)
        transport = tls = TLSTransport(below, tls_object, calls, loop)
        await tls.shake_hands()
        tls.keep_session = keep_session
    except BaseException:
        transport.release()  # which also ends that it knows itself, and the error
        await transport.wait_released()
        raise
    return tls


class TLSTransport(FedStream):  # and Receiver
    """TLS over another transport, which it owns.

    The end of the stream needs no closing alert, for the Close frame says how clean it was; we send one.
    """

    def __init__(
        self,
        below: Transport,
        tls: ssl.SSLObject,
        calls: TLSCalls,
        loop: EventLoop,
    ) -> None:
        self._records = TLSRecords(self, below, calls, loop.scratch)
        super().__init__(loop)
        # Without a method in between.
        self.data_received: Callable[[Buffer], None] = self._records.data_received
        if isinstance(below, TLSTransport):
            self.data_received = self._decrypt_copy
        self.write = self._records.write  # type: ignore[method-assign]
        self._below = below
        self.keeps_last_words = below.keeps_last_words  # type: ignore[misc]
        self._calls = calls
        self._tls = tls
        self.keep_session: Callable[[ssl.SSLSession | None], object] | None = None  # when it ends
        self._unsent = NOTHING  # plain text that has not been encrypted yet
        self._shaking = True
        self._shaken = Signal(loop)  # or it never will be
        self._beginning = b""  # of what the peer has said
        self._broken: ssl.SSLError | None = None  # why the peer's direction has ended
        self._end_due = False  # behind what is being read
        self._end_said = False  # nothing of ours follows
        self._patience: Handle | None = None  # with a peer to which nothing can be sent

    # --- the handshake

    async def shake_hands(self) -> None:
        """Do the handshake; raises as :func:`wrap_tls`."""
        self._below.attach(self)
        self._go_on_shaking()
        await self._shaken.wait()
        if not self._shaking:
            return
        error = self._error or self._write_error
        if isinstance(error, ssl.SSLError):
            await self._wait_until_alert_has_left()
            if self._beginning and not self._beginning.startswith(_RECORD_TYPES):
                said = excerpt(self._beginning)
                raise NotTLS(ssl.SSL_ERROR_SSL, f'the peer does not speak TLS but says "{said}"') from error
            try:
                raise error
            finally:
                del error  # which holds this frame
        raise BrokenResourceError(
            "the connection was closed" if error is None else "the connection was lost"
        ) from error

    @uninterrupted
    def _go_on_shaking(self) -> bool:
        """Go on with the handshake; tell whether it is through."""
        error: Exception | None = None
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            pass
        except Exception as exc:  # noqa: BLE001  (it may be an object of the application's own class)
            if not self._has_to_read(exc):
                error = exc.with_traceback(None)
        else:
            self._shaking = False
            self._records.may_read = self._records.may_write = True
            self._beginning = b""
            self._shaken.set()
            self._shaken = NOTHING_TO_WAIT_FOR
        self._flush()  # also the alert that says what is wrong
        if error is not None:
            self._fail(error)
        return not self._shaking

    def _has_to_read(self, error: Exception) -> bool:
        """Tell whether the handshake goes on: a callback of the application's has left an error in OpenSSL's queue."""
        if getattr(error, "library", None) is None:  # it comes from nowhere near OpenSSL
            return False
        try:
            getattr(self._tls, "_sslobj", self._tls).do_handshake()
        except ssl.SSLWantReadError:  # for nothing has failed
            return True
        except Exception:  # noqa: BLE001, S110  (the first one says what)
            pass
        return False

    async def _wait_until_alert_has_left(self) -> None:
        if self._below.congested:
            self._flushed = Signal(self.loop)
            with move_on_after(ALERT_SECONDS):
                await self._flushed.wait()

    # --- called by the transport below: what arrives goes to the records

    def room(self, most: int) -> None:
        """There is none for ciphertext."""

    def room_filled(self, size: int, data: Buffer) -> None:
        """There was none."""

    def eof_received(self) -> None:
        """Take note that nothing more arrives."""
        if self._shaking:
            self._shaken.set()
        elif self._error is None:
            self._end()

    def flushed(self) -> None:
        """Go on writing."""
        self._flush()
        if not (self._paused or self._released or self._backlog):
            self._read_on()

    def write_failed(self, error: Exception) -> None:
        """Take note that what was written did not leave."""
        self._fail_to_write(_cause_of(error))

    def failed(self, error: Exception) -> None:
        """Take note that the transport below is no more."""
        self._fail(_cause_of(error))

    # --- from ciphertext to plain text; called by the records

    def arrived(self, data: Buffer) -> None:
        """See :class:`Owner`."""
        if not self._ended and self._error is None:
            self._decrypt(data)
            self.decrypted()

    def _decrypt_copy(self, data: Buffer) -> None:
        """Decrypt what is in the very buffer that we decrypt into."""
        self._records.data_received(bytes(data))

    def decrypted(self) -> None:
        """See :class:`Owner`."""
        records, calls = self._records, self._calls
        self._ended, self._broken = calls.ended, calls.error
        if self._end_due:
            self._end_due = records.is_waiting = False
            self._end_direction()
        if calls.pending or self._unsent:
            self._flush()
        if records.filled:
            self._deliver(records.take())
        if self._ended:
            records.may_read = False  # RFC 8446 section 6.1: what comes behind the end is ignored
            self._stop_reading()
            self._end()

    def _decrypt(self, data: Buffer) -> None:
        """Decrypt what belongs to the handshake, and what is behind it, or much, portion by portion."""
        records, view = self._records, memoryview(data)
        if self._shaking:
            self._beginning = self._beginning or bytes(view[:100])
        for start in range(0, len(view), DECRYPT_BYTES):
            portion = view[start : start + DECRYPT_BYTES]
            if not self._shaking:
                records.decrypt(portion)
            else:
                self._calls.feed(portion)
                if self._go_on_shaking():
                    records.read()
            if records.space() < 2 * DECRYPT_BYTES:
                self._deliver(records.take())

    # --- from plain text to ciphertext

    @uninterrupted
    def write(self, data: Buffer) -> int:
        """See :class:`Transport`."""
        return self._records.write(data)

    def left_over(self) -> int:
        """See :class:`Owner`."""
        self._congest()
        return 0

    def write_much(self, data: Buffer) -> int:
        """See :class:`Owner`."""
        self._check_writing()
        self._unsent = memoryview(data)
        try:
            if self._push():
                return len(data)
        except TRANSPORT_ERRORS as exc:
            self._unsent = NOTHING
            if not isinstance(exc, ssl.SSLError):
                raise
            raise lost(exc) from exc
        self._congest()
        return max(len(data) - len(self._unsent) - WRITE_BYTES, 0)

    def _push(self) -> bool:
        """Encrypt and pass on as much as the transport below takes without waiting; true when that is all.

        :raises anyio.BrokenResourceError: it takes nothing any more
        :raises ssl.SSLError: TLS does not
        """
        below = self._below
        while not below.congested:
            unsent = self._unsent
            records = self._records.encrypt_some(unsent, min(WRITE_BYTES, len(unsent)))
            self._unsent = unsent[self._records.encrypted :] or NOTHING
            if not records:
                # If there is something left, TLS is in the middle of a handshake, and has to read first.
                self._records.is_waiting = len(self._unsent) > 0
                return not self._unsent
            below.write_all(records)
        return False

    def _flush(self) -> None:
        """Pass on what there is, from a call of the transport below."""
        if self._released:
            return
        if self._end_said or self._write_error is not None:
            self._calls.take()  # answers, which only who has more to say must give (RFC 8446 section 4.6.3)
            return
        try:
            if not self._push():
                if self._calls.pending > MAX_ANSWERS:
                    self._below.pause()
                return
        except TRANSPORT_ERRORS as exc:
            self._unsent = NOTHING
            self._fail_to_write(_cause_of(exc).with_traceback(None))
            return
        if self.congested:
            self._decongest()
        elif self._sending_ended:
            self._say_end()
        self._flushed.set()

    def _deliver_to(self, taker: Callable[[Buffer], object]) -> None:
        super()._deliver_to(taker)
        records, receiver = self._records, self._receiver
        records.deliver = taker  # without a method in between
        records.offer = None  # who is paused is given nothing, and has no room
        if receiver is not None and not self._paused:
            records.offer, records.fill = receiver.room, receiver.room_filled

    # --- the end

    def _say_goodbye(self) -> None:
        """Say that we send nothing more (RFC 8446 section 6.1)."""
        # That the peer has not said so, too, or what an object of the application's own says.
        with suppress(Exception):
            self._tls.unwrap()

    def _end_direction(self) -> None:
        if self._calls.may_hold_text:
            # OpenSSL's goodbye reads, too, and text would be an error to it: who reads hands that on first.
            self._end_due = self._records.is_waiting = True
            return
        self._say_goodbye()
        has_left = True  # or cannot leave, as whoever reads will learn
        with suppress(*TRANSPORT_ERRORS):
            has_left = self._push()
        if has_left:
            self._say_end()

    def _say_end(self) -> None:
        self._end_said = True
        self._below.end_sending()

    def _drop(self) -> None:
        self._deliver_to(discard)
        self._records.release()
        self._broken = None
        self._shaken.set()
        if self._patience is not None:
            self._patience.cancel()
        if self.keep_session is not None:
            with suppress(Exception):
                self.keep_session(self._tls.session)
            self.keep_session = None
        self._arrived()
        # To a peer that has ended the connection it would be one packet too many: the answer is a reset.
        if self.keeps_last_words and not (
            self._shaking or self._ended or self.congested or self._below.congested
        ):
            with suppress(Exception):
                self._say_goodbye()
                self._push()
        self._below.release()

    async def wait_released(self) -> None:
        """See :class:`Transport`."""
        await self._below.wait_released()

    def _end(self) -> None:
        if self._broken is None:
            super()._end()
        elif self._receiver is None:
            self._arrived()
        elif not self._paused:
            self._fail(self._broken)

    def _raise_end(self) -> NoReturn:
        if self._broken is not None and not self._released:
            raise self._broken.with_traceback(None)
        super()._raise_end()

    def _fail(self, error: Exception) -> None:
        self._records.may_read = self._records.may_write = False
        self._stop_reading()
        super()._fail(error)
        self._shaken.set()

    def _fail_to_write(self, error: Exception) -> None:
        self._records.may_write = False
        super()._fail_to_write(error)
        if self._shaking:  # the peer may have said why; but that does not take long
            with suppress(OSError):
                self._patience = self.loop.call_at(self.loop.clock() + ALERT_SECONDS, self._shaken.set)

    # --- what is below

    @property
    def raw_socket(self) -> socket | None:
        """The socket below, or the event loop's stand-in for it; None when there is none, or no connection any more."""
        return getattr(self._below, "raw_socket", None)

    def _read_on(self) -> None:
        if not self._ended and self._error is None:
            self._below.resume()

    def _stop_reading(self) -> None:
        self._below.pause()

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """Those of the transport below, and anyio's of TLS, as long as it is connected."""
        if self._released:
            return {}
        tls = self._tls
        return {
            **self._below.extra_attributes,
            TLSAttribute.alpn_protocol: tls.selected_alpn_protocol,
            TLSAttribute.channel_binding_tls_unique: tls.get_channel_binding,
            TLSAttribute.cipher: tls.cipher,
            TLSAttribute.peer_certificate: lambda: tls.getpeercert(False),
            TLSAttribute.peer_certificate_binary: lambda: tls.getpeercert(True),
            TLSAttribute.server_side: lambda: tls.server_side,
            TLSAttribute.shared_ciphers: lambda: tls.shared_ciphers() if tls.server_side else None,
            TLSAttribute.standard_compatible: lambda: False,
            TLSAttribute.ssl_object: lambda: tls,
            TLSAttribute.tls_version: tls.version,
        }


def _cause_of(error: Exception) -> Exception:
    cause = error.__cause__
    return cause if isinstance(cause, Exception) else error
