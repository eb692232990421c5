"""How a message of the peer is written: as it is into a file or a pipe, as something to look at on a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from .._protocol.codec import Message
from .escape import escape
from .json_text import compact, indented

DUMPED_BYTES = 512  # of a binary message on a terminal
_ROW = 16


class Rendering:
    """Makes the bytes of standard output.

    :param kind: ``"auto"``, ``"lines"``, ``"binary"``, ``"text"`` or ``"json"``: the option that was given
    :param terminal: whether people look at it: then it has no control characters, and binary messages are dumps
    """

    def __init__(self, kind: str, *, terminal: bool) -> None:
        self._kind = kind
        self._terminal = terminal

    def messages(self, messages: list[Message]) -> bytes:
        """Return what whole messages are written as."""
        if not self._terminal and self._kind == "binary":
            return b"".join(each.encode() if isinstance(each, str) else each for each in messages)
        return b"".join(map(self._message, messages))

    def _message(self, message: Message) -> bytes:
        if self._terminal:
            return (for_terminal(message) + "\n").encode()
        if isinstance(message, bytes):
            return message
        if self._kind == "json":
            message = one_line_of_json(message)
        return message.encode() + self.end(text=True)

    def chunk(self, chunk: Message) -> bytes:
        """Return what a part of a message is written as."""
        if self._terminal:
            return (escape(chunk) if isinstance(chunk, str) else "\n".join(hex_dump(chunk)) + "\n").encode()
        return chunk.encode() if isinstance(chunk, str) else chunk

    def end(self, *, text: bool) -> bytes:
        """Return what is written behind a message."""
        return b"\n" if text and (self._terminal or self._kind not in {"binary", "text"}) else b""


def for_terminal(message: Message, limit: int | None = None) -> str:
    """Return a message as lines to look at: JSON indented, binary as a dump, no control characters.

    :param limit: the most characters of a text; None for all
    """
    if isinstance(message, bytes):
        return "\n".join([f"{len(message):,} bytes", *hex_dump(message)])
    shown = pretty_json(message) or message
    if limit is not None and len(shown) > limit:
        return f"{escape(shown[:limit])}\n... and {len(shown) - limit:,} characters more"
    return escape(shown)


def pretty_json(text: str) -> str | None:
    """Return a JSON object or array with line breaks and indents; None for anything else, and where that would be far longer."""
    if not text.lstrip(" \t\r\n").startswith(("{", "[")):
        return None
    return indented(text)


def one_line_of_json(text: str) -> str:
    """Return JSON as one line, anything else as it is."""
    try:
        return compact(text)
    except (ValueError, RecursionError):
        return text


def hex_dump(data: bytes, limit: int = DUMPED_BYTES) -> Iterator[str]:
    """Yield lines with 16 bytes each: where they are, what they are, and those that are ASCII."""
    for start in range(0, min(len(data), limit), _ROW):
        row = data[start : min(start + _ROW, limit)]
        left, right = row[:8].hex(" "), row[8:].hex(" ")
        shown = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in row)
        yield f"{start:08x}  {left:<23}  {right:<23}  |{shown}|"
    if len(data) > limit:
        yield f"... and {len(data) - limit:,} bytes more"
