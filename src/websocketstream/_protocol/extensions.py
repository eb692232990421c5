"""The grammar of ``Sec-WebSocket-Extensions`` (RFC 6455 section 9.1), read in one pass."""

from __future__ import annotations

import re
from dataclasses import dataclass

# Single character classes only: nothing here can backtrack (hostile headers of 8 KiB take microseconds).
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_BLANK = re.compile(r"[ \t]*")


class NegotiationError(ValueError):
    """The ``Sec-WebSocket-Extensions`` header is malformed, or not an answer to what we offered."""


@dataclass(frozen=True, slots=True)
class Extension:
    """One element of the header: a name and its parameters, in order; a bare parameter's value is None."""

    name: str
    parameters: tuple[tuple[str, str | None], ...] = ()


def parse_extensions(value: str) -> list[Extension]:
    """Parse the value of the header, repeated fields joined by ``", "``.

    Empty list elements are skipped, as RFC 9110 section 5.6.1.2 asks of recipients, so an empty header is an empty list.

    :raises NegotiationError: the header does not match the grammar
    """
    scanner = _Scanner(value)
    extensions = []
    while not scanner.at_end:
        if scanner.skip(","):
            continue
        extensions.append(_extension(scanner))
        if not scanner.at_end:
            scanner.expect(",")
    return extensions


def _extension(scanner: _Scanner) -> Extension:
    name = scanner.token()
    parameters = []
    while scanner.skip(";"):
        parameter = scanner.token()
        parameters.append((parameter, scanner.token_or_quoted() if scanner.skip("=") else None))
    return Extension(name, tuple(parameters))


class _Scanner:
    """Walks over the header once; blanks around everything are skipped (RFC 6455 uses the implied LWS of RFC 2616)."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0
        self._skip_blanks()

    @property
    def at_end(self) -> bool:
        return self._position == len(self._text)

    def skip(self, character: str) -> bool:
        if not self._text.startswith(character, self._position):
            return False
        self._position += 1
        self._skip_blanks()
        return True

    def expect(self, character: str) -> None:
        if not self.skip(character):
            raise self._error(f"{character!r} expected")

    def token(self) -> str:
        match = _TOKEN.match(self._text, self._position)
        if match is None:
            raise self._error("token expected")
        self._position = match.end()
        self._skip_blanks()
        return match[0]

    def token_or_quoted(self) -> str:
        return self._quoted() if self._text.startswith('"', self._position) else self.token()

    def _quoted(self) -> str:
        # RFC 6455 9.1: a quoted value must be a token once its quotes and backslashes are gone, so there is no need
        # to understand anything else inside the quotes.
        end = start = self._position + 1
        characters = []
        while (character := self._text[end : end + 1]) != '"':
            end += character == "\\"
            characters.append(self._text[end : end + 1])
            end += 1
            if end > len(self._text):
                raise self._error("unbalanced quote")
        value = "".join(characters)
        if not _TOKEN.fullmatch(value):
            self._position = start
            raise self._error("quoted token expected")
        self._position = end + 1
        self._skip_blanks()
        return value

    def _skip_blanks(self) -> None:
        match = _BLANK.match(self._text, self._position)
        assert match is not None  # it matches the empty string too
        self._position = match.end()

    def _error(self, problem: str) -> NegotiationError:
        # The position is enough to find it: the header is hostile text, up to 8 KiB of it.
        return NegotiationError(
            f"malformed Sec-WebSocket-Extensions: {problem} at character {self._position}"
        )
