"""From records of TLS to plain text and back: what happens for each read and each write, and nothing else."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Protocol

from anyio import ClosedResourceError

from .._network.socket_calls import part_of
from .._network.tls_calls import RECORD_BYTES, TLSCalls
from .._network.transport import BEHIND_BYTES, NOTHING, Buffer, Scratch, Transport

# What is encrypted in one go: where Python's ssl module does it, OpenSSL's buffers grow to that size and a third more, and
# keep it.
ENCRYPT_BYTES = 2**15
# What arrives and is no more is decrypted into memory of its own.
LITTLE_BYTES = 2**11


class Owner(Protocol):
    """Whose TLS it is."""

    def arrived(self, data: Buffer) -> None:
        """There is something to decrypt, and something else to see to."""
        ...

    def decrypted(self) -> None:
        """What has arrived is decrypted, its text is in the scratch, and there is something else to see to."""
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
        "_calls",
        "_decrypt",
        "_encrypt",
        "_owner",
        "_read",
        "_scratch",
        "_write",
        "deliver",
        "encrypted",
        "fill",
        "filled",
        "is_waiting",
        "may_read",
        "may_write",
        "offer",
    )

    def __init__(self, owner: Owner, below: Transport, calls: TLSCalls, scratch: Scratch) -> None:
        self._owner: Owner | None = owner
        self._below: Transport | None = below
        self._write: Callable[[Buffer], int] | None = below.write
        self._calls = calls
        self._decrypt = calls.decrypt
        self._read = calls.read
        self._encrypt = calls.encrypt
        self._scratch = scratch.plain
        self.deliver: Callable[[Buffer], object] | None = None  # takes plain text
        # Where it may be put, and what takes it then: see `Receiver.room`.
        self.offer: Callable[[int], memoryview | None] | None = None
        self.fill: Callable[[int, Buffer], object] | None = None
        self.may_read: bool = False  # as long as there is nothing else to see to
        self.may_write: bool = False  # likewise
        self.is_waiting: bool = False  # something is to be written, which has to wait for what arrives
        self.filled: int = 0  # bytes of the scratch
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
        if len(data) <= LITTLE_BYTES and not self.filled:
            plain = self._decrypt(data)
        else:
            self._decrypt_much(data)
        if self.is_waiting or self._calls.has_news:
            self._put_back(plain)
            if self._owner is not None:
                self._owner.decrypted()
        elif plain:
            self.deliver(plain)  # type: ignore[misc]
        elif self.filled:
            self.deliver(self.take())  # type: ignore[misc]

    def _put_back(self, plain: bytes) -> None:
        """Put plain text where everybody looks for it."""
        if plain:
            self._scratch[: len(plain)] = plain
            self.filled = len(plain)

    def _decrypt_much(self, data: Buffer) -> None:
        """Decrypt into the memory of one message after the other, as far as they are large, and hand that on."""
        self._calls.give(data)
        into = None if self.filled else self._ask_for_room()
        while into is not None:
            put = self._read(into)
            is_full = put == len(into)
            behind = self._read(self._scratch[:RECORD_BYTES]) if is_full else 0
            self.fill(put, part_of(self._scratch, behind) if behind else NOTHING)  # type: ignore[misc]
            if not (is_full and self.may_read):
                self._calls.give(NOTHING)
                return
            into = self._ask_for_room()
        if self._owner is not None:
            self.read()

    def _ask_for_room(self) -> memoryview | None:
        left = self._calls.left
        return self.offer(left) if left > BEHIND_BYTES and self.offer is not None else None

    def decrypt(self, data: Buffer) -> None:
        """Put the plain text of what has arrived behind what is in the scratch."""
        self._calls.give(data)
        self.read()

    def read(self) -> None:
        """Put the plain text of what OpenSSL has behind what is in the scratch."""
        self.filled += self._read(self._scratch[self.filled :] if self.filled else self._scratch)

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
                records = self._encrypt(data)
            except ssl.SSLError:
                pass  # as there
            else:
                if self._write(records) == len(records):  # type: ignore[misc]
                    return len(data)
                return self._owner.left_over()  # type: ignore[union-attr]
        if self._owner is None:
            raise ClosedResourceError
        return self._owner.write_much(data)

    def encrypt_some(self, data: Buffer, size: int) -> list[bytes]:
        """Encrypt so many bytes, or as far as it goes if TLS has to read first; return the records, and see ``encrypted``.

        :raises ssl.SSLError: TLS takes nothing any more
        """
        calls = self._calls
        records = []
        done = 0
        try:
            while done < size:
                records.append(self._encrypt(data[done : min(done + ENCRYPT_BYTES, size)]))
                done += calls.encrypted
        except ssl.SSLWantReadError:
            pass
        self.encrypted = done
        if calls.pending:
            records.append(calls.take())
        return records
