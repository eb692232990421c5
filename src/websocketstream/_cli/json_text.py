"""JSON as text: checked, without its spaces, or indented."""

from __future__ import annotations

import json
import re
from typing import NoReturn

_STRING_OR_SPACE = re.compile(r'("(?:[^"\\]++|\\.)*+")|[ \t\r\n]+')
# A few brackets and many commas, indented, are a thousand times as long: a peer's small message must not fill our memory.
_MOST_GROWTH = 16
_ALWAYS_ALLOWED = 2**16  # characters

_INDENTING = json.JSONEncoder(indent=2, ensure_ascii=False)


def compact(text: str) -> str:
    """Return JSON on one line without its spaces, all else as it is written: numbers, escapes, names that come twice.

    :raises ValueError: it is no JSON
    :raises RecursionError: it is nested too deeply to tell
    """
    json.loads(text, parse_int=str, parse_float=str, parse_constant=_refuse)
    return _STRING_OR_SPACE.sub(lambda match: match[1] or "", text)


def indented(text: str) -> str | None:
    """Return JSON with line breaks and indents; None for what is no JSON, or would be too long."""
    try:
        value = json.loads(text)
        left = _ALWAYS_ALLOWED + _MOST_GROWTH * len(text)
        parts: list[str] = []
        for part in _INDENTING.iterencode(value):
            left -= len(part)
            if left < 0:
                return None
            parts.append(part)
    except (ValueError, RecursionError):
        return None
    return "".join(parts)


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no value of JSON")
