"""The reader of heads: cuts one off the stream, checks its size and form, and looks at every byte once.

Checked so strictly, there is nothing left to parse but the colon, and that takes a tenth of the time h11 takes for it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable

from .http import HandshakeLimits, excerpt

# A field name directly followed by a colon (RFC 9112 5.1), then no control character but the tab.
_FIELD = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++:[\t\x20-\x7e\x80-\xff]*+")
_HEAD = re.compile(rb"([^\r\n]++)\r\n((?:" + _FIELD.pattern + rb"\r\n)*+)\r\n")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


class MalformedHead(Exception):
    """The head is not HTTP/1.1 by the letter; lenient reading is how request smuggling works."""


class HeadTooLarge(Exception):
    """The head went past a limit."""

    def __init__(self, message: str, *, start_line: bool = False) -> None:
        super().__init__(message)
        self.start_line = start_line


class HeadReader:
    """Collects bytes and hands out complete, well-formed heads.

    ``check_start`` gets what there is of the start line, and whether that is all of it; it raises when that cannot
    become one it wants. Time is linear in the bytes fed, however small the pieces.
    """

    start_line: bytes  # of the last complete head
    fields: bytes  # its header fields, without the last line end

    def __init__(self, limits: HandshakeLimits, check_start: Callable[[bytes, bool], None]) -> None:
        self._limits = limits
        self._check_start = check_start
        self._buffer = bytearray()
        self._begin_head()

    def _begin_head(self) -> None:
        self._line_start = 0
        self._searched = 0
        self._lines = 0

    def feed(self, data: bytes) -> None:
        """Take what arrived."""
        self._buffer += data

    def next_head(self) -> bytes | None:
        """Return the next head with its final empty line, or None while it is incomplete.

        :raises MalformedHead: a line of it is not what RFC 9112 asks for
        :raises HeadTooLarge: it is beyond a limit
        """
        if self._searched == 0 and (head := self._whole_head()) is not None:
            return head
        while (line := self._next_line()) is not None:
            if self._lines == 0:
                self._check_start(line, True)
                self._start_line = line
            elif not line:
                head = bytes(self._buffer[: self._line_start])
                return self._cut(head, self._start_line, head[len(self._start_line) + 2 : -4])
            else:
                self._check_field(line)
            self._lines += 1
        return None

    def _whole_head(self) -> bytes | None:
        """Return a head that came in one piece and is as it should be; any other is for the line reader to judge."""
        match = _HEAD.match(self._buffer, 0, min(self._limits.head_size, sys.maxsize))
        if match is None:
            return None
        head, start_line, fields = match.group(0, 1, 2)
        limits = self._limits
        if fields.count(b"\r\n") > limits.header_count:
            return None
        if len(head) > limits.line_size and max(map(len, head.split(b"\r\n"))) > limits.line_size:
            return None
        self._check_start(start_line, True)
        return self._cut(head, start_line, fields[:-2])

    def take_rest(self) -> bytes:
        """Take everything behind the last head."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest

    @property
    def incomplete(self) -> bytes:
        """What arrived of a head that is not complete yet."""
        return bytes(self._buffer)

    def _next_line(self) -> bytes | None:
        end = self._buffer.find(b"\n", self._searched, self._limits.head_size)
        if end < 0:
            self._check_unfinished()
            return None
        line = bytes(self._buffer[self._line_start : end])
        self._line_start = self._searched = end + 1
        self._check_line_size(len(line) - 1)
        if not line.endswith(b"\r"):
            raise MalformedHead(f"a line ends in a bare line feed instead of CR LF: {_name(line)}")
        return line[:-1]

    def _check_unfinished(self) -> None:
        self._searched = min(len(self._buffer), self._limits.head_size)
        # One byte more than the line may have can still be the CR of its end.
        self._check_line_size(self._searched - self._line_start - 1)
        if len(self._buffer) >= self._limits.head_size:
            raise HeadTooLarge(_beyond("the head", f"{self._limits.head_size} bytes", "head_size"))
        if self._lines == 0 and self._buffer:
            self._check_start(bytes(self._buffer[:100]), False)

    def _check_line_size(self, size: int) -> None:
        if size > self._limits.line_size:
            what = "a header line" if self._lines else "the first line"
            message = _beyond(what, f"{self._limits.line_size} bytes", "line_size")
            raise HeadTooLarge(message, start_line=not self._lines)

    def _check_field(self, line: bytes) -> None:
        if self._lines > self._limits.header_count:
            raise HeadTooLarge(
                _beyond("the head", f"{self._limits.header_count} header fields", "header_count")
            )
        if not _FIELD.fullmatch(line):
            raise MalformedHead(_complaint(line))

    def _cut(self, head: bytes, start_line: bytes, fields: bytes) -> bytes:
        del self._buffer[: len(head)]
        self.start_line, self.fields = start_line, fields
        self._begin_head()
        return head


def _beyond(what: str, bound: str, option: str) -> str:
    return f"{what} has more than {bound}, the limit (HandshakeLimits.{option})"


def _name(line: bytes) -> str:
    # What stands behind the colon may be a secret; a message never shows it.
    return f'"{excerpt(line.partition(b":")[0])}"'


def _complaint(line: bytes) -> str:
    name, colon, _ = line.partition(b":")
    if line[:1] in (b" ", b"\t"):
        return "a header line starts with space (an obsolete folded line)"
    if _CONTROL.search(line):
        return f"a header line has a control character in it: {_name(line)}"
    if not colon:
        return f"a header line has no colon: {_name(line)}"
    if name.endswith((b" ", b"\t")):
        return f"a header name is followed by space before the colon: {_name(line)}"
    return f"a header name is not an HTTP token: {_name(line)}"
