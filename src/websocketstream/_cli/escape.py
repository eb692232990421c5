"""What peers send is shown on terminals only without the characters that command a terminal."""

from __future__ import annotations

import re

# C0 and DEL move the cursor and begin sequences that set the title or the keyboard; C1 does the same in one character. The marks
# of bidirectional text (Unicode UAX 9) and the separators U+2028 and U+2029 make a line look like another one. Lone surrogates
# cannot be written at all.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
_NAMES = {"\n": r"\n", "\r": r"\r", "\t": r"\t", "\x1b": r"\e"}


def escape(text: str, *, keep: str = "\n\t") -> str:
    r"""Return text in which control characters are written as ``\x07``, ``\u202e`` and the like.

    :param keep: control characters that stay what they are; ``""`` makes one line of it
    """
    return _UNSAFE.sub(lambda match: match[0] if match[0] in keep else _escaped(match[0]), text)


def _escaped(character: str) -> str:
    if name := _NAMES.get(character):
        return name
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"
