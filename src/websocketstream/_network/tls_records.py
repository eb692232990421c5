"""From records of TLS to plain text and back: what happens for each read and each write, and nothing else."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any, Protocol

from anyio import ClosedResourceError

from .._network.socket_calls import part_of
from .._network.transport import BEHIND_BYTES, NOTHING, Buffer, Scratch, Transport

RECORD_BYTES = 2**14  # of plain text, the most that a record has (RFC 8446 section 5.1)
# What is encrypted in one go: OpenSSL's buffers grow to that size and a third more, and keep it.
ENCRYPT_BYTES = 2**15
HEADER_BYTES = 5  # of a record, the last two of which say how much follows
# What follows is no more than that (RFC 8446 section 5.2); TLS 1.2 would allow for compression.
MAX_CIPHERTEXT_BYTES = RECORD_BYTES + 256
# A record that is no larger is decrypted into memory of its own.
LITTLE_BYTES = 2**11
# The types of records, and the first byte of every version (RFC 8446 section 5.1).
FIRST_TYPE = 20
LAST_TYPE = 23
MAJOR_VERSION = 3
# What OpenSSL is given at a time: its buffer grows to that and a third more, and keeps it.
FEW_RECORDS_BYTES = HEADER_BYTES + MAX_CIPHERTEXT_BYTES


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
        "_header",
        "_incoming",
        "_into",
        "_is_lost",
        "_missing",
        "_outgoing",
        "_owner",
        "_put",
        "_read",
        "_scratch",
        "_write",
        "deliver",
        "encrypted",
        "ended",
        "fill",
        "filled",
        "is_waiting",
        "may_read",
        "may_write",
        "offer",
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
        self._missing: int = 0  # bytes of the record that has come in part
        self._header = b""  # of a record, as long as that has come in part
        self._is_lost = False  # there was none where one had to begin: OpenSSL knows what follows from that
        self.deliver: Callable[[Buffer], object] | None = None  # takes plain text
        # Where it may be put, and what takes it then: see `Receiver.room`.
        self.offer: Callable[[int], memoryview | None] | None = None
        self.fill: Callable[[int, Buffer], object] | None = None
        self._into: memoryview | None = None  # where plain text goes first
        self._put: int = 0  # bytes of it
        self.may_read: bool = False  # as long as there is nothing else to see to
        self.may_write: bool = False  # likewise
        self.is_waiting: bool = False  # something is to be written, which has to wait for what arrives
        self.filled: int = 0  # bytes of the scratch
        self.ended: bool = False  # by the peer
        self.encrypted: int = 0  # bytes of plain text, by the last call of :meth:`encrypt_some`

    def release(self) -> None:
        """Let go of everything, so that the garbage collector is not needed for it."""
        self.may_read = self.may_write = False
        self._owner = self._below = self._write = self.deliver = self.offer = self.fill = None

    # --- reading

    def data_received(self, data: Buffer) -> None:
        """Decrypt what has arrived, and hand it on."""
        if not self.may_read or len(data) + RECORD_BYTES > self.space():  # a record may have come in part
            if self._owner is not None:
                self._owner.arrived(data)
            return
        plain = b""
        try:
            if self._is_little(data):
                plain = self._decrypt_little(data)
            else:
                self._decrypt_all(data)
        except ssl.SSLError as exc:
            if self._owner is not None:
                self._owner.broke(exc)
            return
        if self.ended or self.is_waiting or self._outgoing.pending:
            self._put_back(plain)
            if self._owner is not None:
                self._owner.decrypted()
        elif plain:
            self.deliver(plain)  # type: ignore[misc]
        elif self.filled:
            self.deliver(self.take())  # type: ignore[misc]

    def _is_little(self, data: Buffer) -> bool:
        """Tell whether that is a small record, and nothing else."""
        size = len(data)
        return (
            HEADER_BYTES <= size <= LITTLE_BYTES
            and not (self.filled or self._missing or self._header or self._is_lost)
            and self._size_of_record(data, 0) == size
        )

    def _decrypt_little(self, data: Buffer) -> bytes:
        """Return the plain text of a small record; raises as :meth:`decrypt`."""
        self._incoming.write(data)
        try:
            plain = self._read(len(data))
        except ssl.SSLWantReadError:
            return b""  # it was TLS's own
        except ssl.SSLZeroReturnError:
            plain = b""
        self.ended = not plain
        return plain  # type: ignore[no-any-return]

    def _put_back(self, plain: bytes) -> None:
        """Put plain text where everybody looks for it."""
        if plain:
            self._scratch[: len(plain)] = plain
            self.filled = len(plain)

    def _decrypt_all(self, data: Buffer) -> None:
        """Decrypt into the memory of the messages, as far as they are large; raises as :meth:`decrypt`."""
        if len(data) > BEHIND_BYTES and not self.filled and self.offer is not None:
            self._into = self.offer(len(data))
        if self._into is not None:
            self._decrypt_into_rooms(data)
        elif self._owner is not None:
            self.decrypt(data)

    def _decrypt_into_rooms(self, data: Buffer) -> None:
        """Decrypt into the memory of one message after the other, and hand that on; raises as :meth:`decrypt`."""
        start, size = 0, len(data)
        try:
            while self._into is not None and start < size and not self.ended:
                start = self._decrypt_some(data, start)
                if self.filled:  # it is full
                    self._hand_on()
                    if not self.may_read:
                        return
                    if size - start > BEHIND_BYTES and self.offer is not None:
                        self._into = self.offer(size - start)
        finally:
            if self._into is not None:
                self._hand_on()
        if start < size and not self.ended:
            self.decrypt(data[start:])
            if self.filled:
                self.deliver(self.take())  # type: ignore[misc]

    def _hand_on(self) -> None:
        """Hand on what was put into the memory of a message, and what is behind it."""
        put, self._into, self._put = self._put, None, 0
        self.fill(put, self.take() if self.filled else NOTHING)  # type: ignore[misc]

    def decrypt(self, data: Buffer) -> None:
        """Put the plain text of what has arrived behind what is in the scratch.

        OpenSSL is given a few records at a time, and asked for what they hold only when the last of them is whole: where it
        finds a part of one, it takes as long to say so as to decrypt 4 KiB. Where we cannot tell, it is asked each time.

        :raises ssl.SSLError: what arrived is no TLS, or an alert; what came before is in the scratch
        """
        start, size = 0, len(data)
        while start < size and not self.ended:
            start = self._decrypt_some(data, start)

    def _decrypt_some(self, data: Buffer, start: int) -> int:
        size = len(data)
        end = self._end_of_records(data, start)
        if start or end < size:
            self._incoming.write(data[start : end or size])
        else:
            self._incoming.write(data)
        if not (self._missing or self._header):
            self.read()
        return end

    def feed(self, data: Buffer) -> None:
        """Give OpenSSL what belongs to the handshake, and perhaps what is behind it."""
        start, size = 0, len(data)
        while start < size:
            start = self._end_of_records(data, start)
        self._incoming.write(data)

    def _end_of_records(self, data: Buffer, start: int) -> int:
        """Return where the last of a few whole records ends; if the first is cut off, where the data does."""
        size, most = len(data), start + FEW_RECORDS_BYTES
        if self._missing or self._header:
            most -= self._incoming.pending
        end = whole = start
        record = self._rest_of_record(data, start)
        while record:
            end += record
            if end > size or (end > most and whole > start):
                break
            whole = end
            record = self._size_of_record(data, end) if size - end >= HEADER_BYTES else 0
        if whole > start:
            return whole
        if self._is_lost:
            return min(most, size)
        if end > size:
            self._missing = end - size
        return size

    def _rest_of_record(self, data: Buffer, start: int) -> int:
        """Return what is still to come of the record that has come in part, or begins; 0 as long as that cannot be told."""
        if self._missing:
            missing, self._missing = self._missing, 0
            return missing
        begun = len(self._header)
        if self._is_lost:
            return 0
        if not begun and len(data) - start >= HEADER_BYTES:
            return self._size_of_record(data, start)
        self._header += bytes(data[start : start + HEADER_BYTES - begun])
        if len(self._header) < HEADER_BYTES:
            return 0
        record = self._size_of_record(self._header, 0)
        self._header = b""
        return record - begun if record else 0

    def _size_of_record(self, data: Buffer, start: int) -> int:
        """Return the bytes of a record with its header; 0 if this is none that we know."""
        if type(data) is bytes:
            header = data
        else:
            header, start = bytes(data[start : start + HEADER_BYTES]), 0
        size = header[start + 3] << 8 | header[start + 4]
        if (
            FIRST_TYPE <= header[start] <= LAST_TYPE
            and header[start + 1] == MAJOR_VERSION
            and size <= MAX_CIPHERTEXT_BYTES
        ):
            return HEADER_BYTES + size
        self._is_lost = True
        return 0

    def read(self) -> None:
        """Put the plain text of what OpenSSL has behind what is in the scratch; raises as :meth:`decrypt`."""
        incoming = self._incoming
        try:
            while True:
                into = self._into
                if into is not None and self._put < len(into):
                    count = self._read(RECORD_BYTES, into[self._put :])
                    self._put += count
                    if count and self._put == len(into):
                        continue  # OpenSSL may have the rest of the record
                else:
                    room = self._scratch[self.filled :] if self.filled else self._scratch
                    count = self._read(RECORD_BYTES, room)
                    self.filled += count
                if not count:
                    self.ended = True
                    return
                if not incoming.pending:
                    return
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.ended = True

    def space(self) -> int:
        """Return how many bytes more the scratch can take."""
        return len(self._scratch) - self.filled

    def take(self) -> Buffer:
        """Return what is in the scratch, which is empty from then on, and good until the next read."""
        filled, self.filled = self.filled, 0
        return part_of(self._scratch, filled)

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

    def encrypt_some(self, data: Buffer, size: int) -> list[bytes]:
        """Encrypt so many bytes, or as far as it goes if TLS has to read first; return the records, and see ``encrypted``.

        :raises ssl.SSLError: TLS takes nothing any more
        """
        outgoing = self._outgoing
        records = []
        done = 0
        try:
            while done < size:
                end = min(done + ENCRYPT_BYTES, size)
                while done < end:
                    done += self.encrypt(data[done : min(done + RECORD_BYTES, end)])
                records.append(outgoing.read())
        except ssl.SSLWantReadError:
            pass
        self.encrypted = done
        if outgoing.pending:  # of TLS itself
            records.append(outgoing.read())
        return records

    def encrypt(self, data: Buffer) -> int:
        """Encrypt, and return how many bytes.

        :raises ssl.SSLWantReadError: in the middle of a handshake TLS has to read first
        :raises ssl.SSLError: TLS takes nothing any more
        """
        return self._encrypt(data)  # type: ignore[no-any-return]
