"""OpenSSL's calls: by Python's ssl module, or by ``_openssl.pyx`` where that was built, in less time."""

from __future__ import annotations

import ssl
from typing import Any

from .._network.transport import NOTHING, Buffer

RECORD_BYTES = 2**14  # of plain text, the most that a record has (RFC 8446 section 5.1)
HEADER_BYTES = 5  # of a record, the last two of which say how much follows
# What follows is no more than that (RFC 8446 section 5.2); TLS 1.2 would allow for compression.
MAX_CIPHERTEXT_BYTES = RECORD_BYTES + 256
# The types of records, and the first byte of every version (RFC 8446 section 5.1).
FIRST_TYPE = 20
LAST_TYPE = 23
MAJOR_VERSION = 3
# What OpenSSL is given at a time: its buffer grows to that and a third more, and keeps it.
FEW_RECORDS_BYTES = HEADER_BYTES + MAX_CIPHERTEXT_BYTES


class TLSCalls:
    """Decrypts what it is given, and encrypts, by Python's ssl module.

    OpenSSL is given a few records at a time, and asked for what they hold only when the last of them is whole: where it
    finds a part of one, it takes as long to say so as to decrypt 4 KiB. Where we cannot tell, it is asked each time.
    """

    __slots__ = (
        "_data",
        "_header",
        "_incoming",
        "_is_fed",
        "_is_lost",
        "_missing",
        "_outgoing",
        "_read",
        "_start",
        "_write",
        "encrypted",
        "ended",
        "error",
    )

    def __init__(self, tls: ssl.SSLObject, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> None:
        # What reads and writes in C, without a method in Python that does nothing but call it.
        calls: Any = getattr(tls, "_sslobj", tls)
        self._read = calls.read
        self._write = calls.write
        self._incoming = incoming
        self._outgoing = outgoing
        self._data: Buffer = NOTHING  # what has arrived ...
        self._start: int = 0  # ... of which so many bytes were given to OpenSSL
        self._is_fed: bool = False  # it may have text for us
        self._missing: int = 0  # bytes of the record that has come in part
        self._header = b""  # of a record, as long as that has come in part
        self._is_lost: bool = (
            False  # there was none where one had to begin: OpenSSL knows what follows from that
        )
        self.ended: bool = False  # nothing more comes: by the peer's word, or for an error ...
        self.error: ssl.SSLError | None = None  # ... which is this: what has arrived is no TLS, or an alert
        self.encrypted: int = 0  # bytes of plain text, by the last call of :meth:`encrypt`

    @property
    def has_news(self) -> bool:
        """Whether there is something to see to: the end, or records of TLS itself."""
        return self.ended or self._outgoing.pending > 0

    @property
    def pending(self) -> int:
        """How many bytes of records of TLS itself there are."""
        return self._outgoing.pending

    @property
    def left(self) -> int:
        """How many bytes are left of what has arrived."""
        return len(self._data) - self._start

    @property
    def may_hold_text(self) -> bool:
        """Whether something that has arrived was not read yet, but perhaps a part of a record."""
        return not self.ended and (self._is_fed or self._start < len(self._data))

    # --- reading

    def feed(self, data: Buffer) -> None:
        """Take what belongs to the handshake, and perhaps what is behind it."""
        start, size = 0, len(data)
        while start < size:
            start = self._end_of_records(data, start)
        self._incoming.write(data)
        self._is_fed = True

    def give(self, data: Buffer) -> None:
        """Take what has arrived, when all before it was read; it is used until :meth:`read` leaves some of the room."""
        self._data, self._start = data, 0

    def decrypt(self, data: Buffer) -> bytes:
        """Take what has arrived, if it is little, and return all plain text that it makes."""
        if self._is_one_record(data):  # which a small message is
            self._incoming.write(data)
            return self._read_text(len(data))
        self.give(data)
        plain = b""
        while self._may_read():
            most = self._incoming.pending or RECORD_BYTES  # no less than the text
            text = self._read_text(most)
            self._has_read(len(text), most)
            plain += text
        return plain

    def _is_one_record(self, data: Buffer) -> bool:
        """Tell whether that is one whole record, and nothing has come before of which something is left."""
        size = len(data)
        return (
            size >= HEADER_BYTES
            and not (self._is_fed or self._missing or self._header or self._is_lost or self.ended)
            and self._size_of_record(data, 0) == size
        )

    def _read_text(self, most: int) -> bytes:
        try:
            text: bytes = self._read(most)
        except ssl.SSLError as exc:
            self._take_note(exc)
            return b""
        self.ended = not text
        return text

    def read(self, room: memoryview) -> int:
        """Put plain text into the room; return how many bytes, less than there is room for if there is no more."""
        filled, size = 0, len(room)
        while filled < size and self._may_read():
            count = self._read_into(room[filled:] if filled else room)
            self._has_read(count, size - filled)
            filled += count
        return filled

    def _read_into(self, room: memoryview) -> int:
        try:
            count: int = self._read(RECORD_BYTES, room)
        except ssl.SSLError as exc:
            self._take_note(exc)
            return 0
        self.ended = not count
        return count

    def _has_read(self, count: int, most: int) -> None:
        if count < most and not self._incoming.pending:
            self._is_fed = False

    def _take_note(self, error: ssl.SSLError) -> None:
        self._is_fed = False
        if isinstance(error, ssl.SSLWantReadError):
            return
        # Others leave errors for this thread, too: OpenSSL's second word is about us alone.
        says_end = isinstance(error, ssl.SSLZeroReturnError)
        if not says_end:
            try:
                says_end = not self._read(1)
            except ssl.SSLWantReadError:
                return
            except ssl.SSLError as exc:
                says_end = isinstance(exc, ssl.SSLZeroReturnError)
            if getattr(error, "library", "SSL") == "SSL":  # behind an alert it is the same
                says_end = False
        self.ended = True
        if not says_end:
            self.error = error.with_traceback(None)

    def _may_read(self) -> bool:
        """Give OpenSSL more if it has nothing; tell whether it may have plain text then."""
        if self.ended:
            self._data, self._start = NOTHING, 0
            return False
        if self._is_fed:
            return True
        data, start = self._data, self._start
        size = len(data)
        if start == size:
            self._data, self._start = NOTHING, 0
            return False
        end = self._end_of_records(data, start)
        self._incoming.write(data[start:end] if start or end < size else data)
        self._start = end
        self._is_fed = not (self._missing or self._header)
        return self._is_fed

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

    # --- writing

    def encrypt(self, data: Buffer) -> bytes:
        """Encrypt as much as goes, and return the records behind those of TLS itself; see ``encrypted``.

        :raises ssl.SSLWantReadError: nothing goes: in the middle of a handshake TLS has to read first
        :raises ssl.SSLError: TLS takes nothing any more
        """
        done, size = 0, len(data)
        try:
            while done < size:
                done += self._write(data[done : done + RECORD_BYTES] if size > RECORD_BYTES else data)
        except ssl.SSLWantReadError:
            if not done:
                raise
        except ssl.SSLEOFError:
            if not self._is_fed:
                raise
            if not done:  # what OpenSSL says when a handshake finds text that has to be read first
                raise ssl.SSLWantReadError(ssl.SSL_ERROR_WANT_READ, "TLS has to read first") from None
        self.encrypted = done
        return self._outgoing.read()

    def take(self) -> bytes:
        """Return the records of TLS itself, which are gone from here then."""
        return self._outgoing.read()
