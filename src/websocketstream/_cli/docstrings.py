"""Docstrings as text: roles are taken off, paragraphs wrapped, fields set in lists, and examples left as they are."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterator, Mapping

_ROLE = re.compile(r":(?:\w+:)?(\w+):`~?([^`<]+?)(?: <[^`]+>)?`")
_FIELD = re.compile(r":(param|raises|returns?)(?: ([^:]+))?:\s*(.*)", re.DOTALL)
_TITLES = {"param": "Parameters", "raises": "Raises", "return": "Returns", "returns": "Returns"}


def plain(text: str) -> str:
    """Return text without its markup."""
    return _ROLE.sub(_plain_role, text).replace("``", "`")


def _plain_role(match: re.Match[str]) -> str:
    role, target = match[1], match[2]
    if role == "doc":
        return f"the page {target.lstrip('/')}"
    return f"{target}()" if role in ("meth", "func") and not target.endswith(")") else target


def first_sentence(doc: str) -> str:
    """Return what something is, in a sentence."""
    paragraph = " ".join(doc.split("\n\n", maxsplit=1)[0].split())
    return plain(re.split(r"(?<=[.])\s(?=[A-Z`:])", paragraph, maxsplit=1)[0])


def rendered(doc: str, width: int, defaults: Mapping[str, str] | None = None) -> str:
    """Return a docstring for a terminal; ``defaults`` are shown beside the parameters."""
    parts: list[str] = []
    fields: dict[str, list[str]] = {}
    for block, is_code in _blocks(doc):
        if is_code:
            parts.append(textwrap.indent(block, "    "))
        elif block.startswith(":") and _FIELD.match(block):
            for kind, name, text in _fields(block):
                fields.setdefault(_TITLES[kind], []).append(_entry(name, text, width, defaults or {}))
        else:
            parts.append(textwrap.fill(plain(" ".join(block.split())), width, break_long_words=False))
    parts += ["\n".join([title, *entries]) for title, entries in fields.items()]
    return "\n\n".join(parts)


def _entry(name: str, text: str, width: int, defaults: Mapping[str, str]) -> str:
    default = f" = {defaults[name]}" if name in defaults else ""
    head = f"  {name}{default}" if name else ""
    if len(head) > width:
        head = f"  {name}\n     {default}"
    body = textwrap.fill(
        plain(" ".join(text.split())),
        width,
        initial_indent="      ",
        subsequent_indent="      ",
        break_long_words=False,
    )
    return "\n".join(line for line in (head, body) if line)


def _fields(block: str) -> Iterator[tuple[str, str, str]]:
    """Split a list of fields; what is indented below one belongs to it."""
    for text in re.split(r"\n(?=:)", block):
        if match := _FIELD.match(text):
            yield match[1], match[2] or "", match[3]


def _blocks(doc: str) -> Iterator[tuple[str, bool]]:
    """Yield what stands between empty lines, and whether it is code: that is what is indented behind a ``::``."""
    lines = doc.splitlines()
    expects_code = False
    while lines:
        if not lines[0].strip():
            lines.pop(0)
        elif expects_code and lines[0].startswith(" "):
            code = _take(lines, lambda line: line.startswith(" ") or not line.strip())
            yield textwrap.dedent("\n".join(code)).strip("\n"), True
            expects_code = False
        else:
            text = "\n".join(_take(lines, lambda line: bool(line.strip())))
            expects_code = text.endswith("::") or text.startswith(".. code-block::")
            if not text.startswith(".. code-block::") and (said := text.removesuffix("::").rstrip()):
                yield (f"{said}:" if expects_code else said), False


def _take(lines: list[str], belongs: Callable[[str], bool]) -> list[str]:
    taken = []
    while lines and belongs(lines[0]):
        taken.append(lines.pop(0))
    return taken
