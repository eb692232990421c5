"""How the bytes of a program become messages, and messages its bytes: ``--binary``, ``--text``, ``--lines``."""

from __future__ import annotations

import codecs
from typing import Protocol

from .._protocol.codec import Message


class LineTooLong(Exception):
    """A line has more bytes than a message may have.

    :param before: the messages that were complete before it
    """

    def __init__(self, max_size: int, before: list[Message]) -> None:
        super().__init__(f"a line has more than {max_size} bytes")
        self.before = before


class Framing(Protocol):
    """What makes messages of the bytes that a program writes; it holds back what is no message yet."""

    text: bool
    """Whether the messages are text."""
    line_end: bytes
    """What the program is given behind each message that has not ended with it."""

    def messages(self, data: bytes) -> list[Message]:
        """Return the messages that are complete with these bytes."""

    def rest(self) -> list[Message]:
        """Return what is left at the end of the output."""


class Binary:
    """Bytes as they come, in binary messages."""

    text = False
    line_end = b""

    def messages(self, data: bytes) -> list[Message]:
        """Return them as they are."""
        return [data]

    def rest(self) -> list[Message]:
        """Return nothing: nothing was held back."""
        return []


class Text:
    """UTF-8 as it comes, in text messages of whole characters; what is no UTF-8 becomes U+FFFD."""

    text = True
    line_end = b""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def messages(self, data: bytes) -> list[Message]:
        """Return the characters that are complete."""
        text = self._decoder.decode(data)
        return [text] if text else []

    def rest(self) -> list[Message]:
        """Return what became of a character that was cut off."""
        text = self._decoder.decode(b"", final=True)
        return [text] if text else []


class Lines:
    """A text message for each line, without its end; what is no UTF-8 becomes U+FFFD.

    :param max_size: the most bytes of a line
    """

    text = True
    line_end = b"\n"

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        self._begun: list[bytes] = []  # of the line that is not over
        self._size = 0

    def messages(self, data: bytes) -> list[Message]:
        """Return the lines that are complete.

        :raises LineTooLong: one is too long, complete or not
        """
        first, *lines = data.split(b"\n")
        self._begun.append(first)
        self._size += len(first)
        complete: list[Message] = []
        for line in lines:
            self._check(complete)
            complete.append(_decoded(b"".join(self._begun).removesuffix(b"\r")))
            self._begun, self._size = [line], len(line)
        self._check(complete)
        return complete

    def _check(self, before: list[Message]) -> None:
        if self._size > self._max_size:
            raise LineTooLong(self._max_size, before)

    def rest(self) -> list[Message]:
        """Return the last line if it has no end."""
        line = b"".join(self._begun)
        self._begun = []
        return [_decoded(line)] if line else []


def _decoded(line: bytes) -> str:
    return line.decode("utf-8", "replace")
