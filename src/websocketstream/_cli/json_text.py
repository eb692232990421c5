"""JSON as text: checked, without its spaces, or indented."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import NoReturn

_STRING_OR_SPACE = re.compile(r'("(?:[^"\\]++|\\.)*+")|[ \t\r\n]+')
# A few brackets and many commas, indented, are a thousand times as long: a peer's small message must not fill our memory.
_MOST_GROWTH = 16
_ALWAYS_ALLOWED = 2**16  # characters
_MOST_INDENTED = 2**20  # likewise: a second of work, in which nothing else is done

_TOKEN = re.compile(r'"(?:[^"\\]++|\\.)*+"|[][{},:]|[^][{},:" \t\r\n]++')
_BEGINNINGS, _ENDS = frozenset("[{"), frozenset("]}")
_INDENT = "  "
_in_unicode = json.JSONEncoder(ensure_ascii=False).encode


def compact(text: str) -> str:
    """Return JSON on one line without its spaces, all else as it is written: numbers, escapes, names that come twice.

    :raises ValueError: it is no JSON
    :raises RecursionError: it is nested too deeply to tell
    """
    json.loads(text, parse_int=str, parse_float=str, parse_constant=_refuse)
    return _STRING_OR_SPACE.sub(lambda match: match[1] or "", text)


def indented(text: str) -> str | None:
    """Return JSON with line breaks and indents, all else as it is written, but for letters that are written as escapes.

    None for what is no JSON, or would be too long.
    """
    if len(text) > _MOST_INDENTED:
        return None
    try:
        json.loads(text, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        return None
    left = _ALWAYS_ALLOWED + _MOST_GROWTH * len(text)
    parts: list[str] = []
    for part in _indented_parts(match[0] for match in _TOKEN.finditer(text)):
        left -= len(part)
        if left < 0:
            return None
        parts.append(part)
    return "".join(parts)


def _indented_parts(tokens: Iterable[str]) -> Iterator[str]:
    line, before = "\n", ""  # what a new line begins with, and the token in front of it
    for token in tokens:
        if token in _ENDS:
            line = line.removesuffix(_INDENT)
        if (before in _BEGINNINGS) != (token in _ENDS):  # else it is empty, or no place for a line break
            yield line
        match token[0]:
            case ",":
                yield "," + line
            case ":":
                yield ": "
            case '"':
                yield _in_unicode(json.loads(token))
            case _:
                yield token
        if token in _BEGINNINGS:
            line += _INDENT
        before = token


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no value of JSON")
