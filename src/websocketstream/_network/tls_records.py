"""From records of TLS to plain text: what happens for each read, and nothing else."""

from __future__ import annotations

import ssl
from typing import Any

from .._network.transport import Buffer, Scratch

RECORD_BYTES = 2**14  # of plain text, the most that a record has (RFC 8446 section 5.1)


class TLSRecords:
    """Decrypts what has arrived into the event loop's scratch."""

    __slots__ = ("_incoming", "_read", "_scratch", "ended", "filled")

    def __init__(self, tls: ssl.SSLObject, incoming: ssl.MemoryBIO, scratch: Scratch) -> None:
        self._incoming = incoming
        self._read: Any = tls.read
        self._scratch = scratch.plain
        self.filled: int = 0  # bytes of the scratch
        self.ended: bool = False  # by the peer

    def decrypt(self, data: Buffer) -> None:
        """Put the plain text of what has arrived behind what is in the scratch.

        :raises ssl.SSLError: what arrived is no TLS, or an alert; what came before is in the scratch
        """
        incoming = self._incoming
        incoming.write(data)
        try:
            while incoming.pending:
                count = self._read(RECORD_BYTES, self._scratch[self.filled :])
                if not count:
                    self.ended = True
                    return
                self.filled += count
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
