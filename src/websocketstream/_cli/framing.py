"""How the bytes of standard input become messages."""

from __future__ import annotations

import codecs
from collections.abc import Callable
from typing import Protocol

from .._protocol.codec import Message
from .exit_codes import ExitCode
from .failures import CommandFailed
from .json_text import compact
from .units import size


class Framer(Protocol):
    """Takes the bytes as they come, gives messages."""

    def feed(self, data: bytes) -> list[Message]:
        """Take bytes and return the messages that are complete.

        :raises CommandFailed: they cannot be sent
        """

    def finish(self) -> list[Message]:
        """Return what is left at the end of the input.

        :raises CommandFailed: it cannot be sent
        """


class Pieces:
    """Each piece as it comes is a binary message."""

    def feed(self, data: bytes) -> list[Message]:
        return [data]

    def finish(self) -> list[Message]:
        return []


class TextPieces:
    """Each piece as it comes is a text message; a character that is cut waits for its rest."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")()

    def feed(self, data: bytes) -> list[Message]:
        return self._decode(data, final=False)

    def finish(self) -> list[Message]:
        return self._decode(b"", final=True)

    def _decode(self, data: bytes, *, final: bool) -> list[Message]:
        try:
            text = self._decoder.decode(data, final)
        except UnicodeDecodeError:
            raise _not_text("the input") from None
        return [text] if text else []


class Lines:
    """Each line is a text message, without its line end.

    :param limit: the most bytes of one, as it is held until its end is there
    :param convert: makes the message of a line, given its number
    """

    def __init__(self, limit: int | None, convert: Callable[[str, int], str | None] | None = None) -> None:
        self._limit = limit
        self._convert = convert
        self._parts: list[bytes] = []
        self._size = 0
        self._number = 0

    def feed(self, data: bytes) -> list[Message]:
        lines = data.split(b"\n")
        rest = lines.pop()
        found: list[Message] = []
        for line in lines:
            self._keep(line)
            self._end_line(found)
        self._keep(rest)
        return found

    def finish(self) -> list[Message]:
        found: list[Message] = []
        if self._size:
            self._end_line(found)
        return found

    def _keep(self, part: bytes) -> None:
        self._parts.append(part)
        self._size += len(part)
        if self._limit is not None and self._size > self._limit:
            raise CommandFailed(
                f"line {self._number + 1} of the input is longer than {size(self._limit)}: send all of it as one message "
                "with --one-message, or allow more with --max-size",
                ExitCode.USAGE,
            )

    def _end_line(self, found: list[Message]) -> None:
        line = b"".join(self._parts).removesuffix(b"\r")
        self._parts.clear()
        self._size = 0
        self._number += 1
        try:
            text: str | None = line.decode()
        except UnicodeDecodeError:
            raise _not_text(f"line {self._number} of the input") from None
        if self._convert is not None:
            text = self._convert(text or "", self._number)
        if text is not None:
            found.append(text)


def compact_json(line: str, number: int) -> str | None:
    """Return a line's JSON without the spaces; None for an empty line.

    :raises CommandFailed: it is no JSON
    """
    if not line.strip():
        return None
    try:
        return compact(line)
    except (ValueError, RecursionError) as exc:
        raise CommandFailed(
            f"line {number} of the input is not JSON ({exc}); without --json it is sent as it is",
            ExitCode.USAGE,
        ) from None


class Guessed:
    """Lines of text or binary pieces, whichever the first bytes look like."""

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._framer: Framer | None = None

    def feed(self, data: bytes) -> list[Message]:
        if self._framer is None:
            self._framer = Lines(self._limit) if looks_like_text(data) else Pieces()
        return self._framer.feed(data)

    def finish(self) -> list[Message]:
        return [] if self._framer is None else self._framer.finish()


def looks_like_text(data: bytes) -> bool:
    """Tell whether bytes are UTF-8 without NUL, but for a character that is cut at the end."""
    if b"\0" in data:
        return False
    try:
        codecs.getincrementaldecoder("utf-8")().decode(data)
    except UnicodeDecodeError:
        return False
    return True


def _not_text(what: str) -> CommandFailed:
    return CommandFailed(f"{what} is not UTF-8, which text has to be: send it with --binary", ExitCode.USAGE)


def make_framer(kind: str, limit: int | None) -> Framer:
    """Return the framer of ``--binary``, ``--text``, ``--lines`` or ``--json``, or without one of them.

    :param kind: the option's name, ``"auto"`` for none
    :param limit: the most bytes of a line
    """
    match kind:
        case "binary":
            return Pieces()
        case "text":
            return TextPieces()
        case "lines":
            return Lines(limit)
        case "json":
            return Lines(limit, compact_json)
    return Guessed(limit)


def make_whole_framer(kind: str) -> Framer:
    """Return a framer for what is no stream of lines, but one message, or comes message by message."""
    return Pieces() if kind == "binary" else TextPieces()
