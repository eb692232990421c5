"""From records of TLS to plain text and back: what happens for each read and each write, and nothing else."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any, Protocol

from anyio import ClosedResourceError

from .._network.transport import Buffer, Scratch, Transport

RECORD_BYTES = 2**14  # of plain text, the most that a record has (RFC 8446 section 5.1)
# What is decrypted in one go: OpenSSL's buffers grow to that size and a third more, and keep it.
DECRYPT_BYTES = 2**16


class Owner(Protocol):
    """Whose TLS it is."""

    def arrived(self, data: Buffer) -> None:
        """There is something to decrypt, and something else to see to."""
        ...

    def decrypted(self) -> None:
        """What has arrived is decrypted, and there is something else to see to."""
        ...

    def broke(self, error: ssl.SSLError) -> None:
        """What has arrived is no TLS, or an alert; what came before is in the scratch."""
        ...

    def write_much(self, data: Buffer) -> int:
        """Write what is more than a record, or cannot be written now; see :meth:`Transport.write`."""
        ...

    def left_over(self) -> int:
        """The transport below has not taken all of a record; return how much has left."""
        ...


class TLSRecords:
    """Decrypts what has arrived into the event loop's scratch and hands it on; encrypts what is written.

    What is not always the same is left to the owner.

    :param below: what carries the records
    """

    __slots__ = (
        "_below",
        "_encrypt",
        "_incoming",
        "_outgoing",
        "_owner",
        "_read",
        "_scratch",
        "_write",
        "deliver",
        "ended",
        "filled",
        "is_waiting",
        "may_read",
        "may_write",
    )

    def __init__(
        self,
        owner: Owner,
        below: Transport,
        tls: ssl.SSLObject,
        *,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        scratch: Scratch,
    ) -> None:
        # What reads and writes in C, without a method in Python that does nothing but call it.
        calls: Any = getattr(tls, "_sslobj", tls)
        self._owner: Owner | None = owner
        self._below: Transport | None = below
        self._incoming = incoming
        self._outgoing = outgoing
        self._read = calls.read
        self._encrypt = calls.write
        self._write: Callable[[Buffer], int] | None = below.write
        self._scratch = scratch.plain
        self.deliver: Callable[[Buffer], object] | None = None  # takes plain text
        self.may_read: bool = False  # as long as there is nothing else to see to
        self.may_write: bool = False  # likewise
        self.is_waiting: bool = False  # something is to be written, which has to wait for what arrives
        self.filled: int = 0  # bytes of the scratch
        self.ended: bool = False  # by the peer

    def release(self) -> None:
        """Let go of everything, so that the garbage collector is not needed for it."""
        self.may_read = self.may_write = False
        self._owner = self._below = self._write = self.deliver = None

    # --- reading

    def data_received(self, data: Buffer) -> None:
        """Decrypt what has arrived, and hand it on."""
        if not self.may_read or len(data) > DECRYPT_BYTES:
            if self._owner is not None:
                self._owner.arrived(data)
            return
        try:
            self.decrypt(data)
        except ssl.SSLError as exc:
            self._owner.broke(exc)  # type: ignore[union-attr]
            return
        if self.ended or self.is_waiting or self._outgoing.pending:
            self._owner.decrypted()  # type: ignore[union-attr]
        elif self.filled:
            self.deliver(self.take())  # type: ignore[misc]

    def decrypt(self, data: Buffer) -> None:
        """Put the plain text of what has arrived behind what is in the scratch.

        :raises ssl.SSLError: what arrived is no TLS, or an alert; what came before is in the scratch
        """
        incoming = self._incoming
        incoming.write(data)
        try:
            while True:
                room = self._scratch[self.filled :] if self.filled else self._scratch
                count = self._read(RECORD_BYTES, room)
                if not count:
                    self.ended = True
                    return
                self.filled += count
                if not incoming.pending:
                    return
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.ended = True

    def room(self) -> int:
        """Return how many bytes more the scratch can take."""
        return len(self._scratch) - self.filled

    def take(self) -> memoryview:
        """Return what is in the scratch, which is empty from then on, and good until the next read."""
        filled, self.filled = self.filled, 0
        return self._scratch[:filled]

    # --- writing

    def write(self, data: Buffer) -> int:
        """See :meth:`Transport.write`."""
        if self.may_write and len(data) <= RECORD_BYTES and not self._below.congested:  # type: ignore[union-attr]
            try:
                self.encrypt(data)
            except ssl.SSLError:
                pass  # as there
            else:
                record = self._outgoing.read()
                if self._write(record) == len(record):  # type: ignore[misc]
                    return len(data)
                return self._owner.left_over()  # type: ignore[union-attr]
        if self._owner is None:
            raise ClosedResourceError
        return self._owner.write_much(data)

    def encrypt(self, data: Buffer) -> int:
        """Encrypt, and return how many bytes.

        :raises ssl.SSLWantReadError: in the middle of a handshake TLS has to read first
        :raises ssl.SSLError: TLS takes nothing any more
        """
        return self._encrypt(data)  # type: ignore[no-any-return]
