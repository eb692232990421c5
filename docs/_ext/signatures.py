"""Signatures as people say them: sizes with their units, defaults by what makes them, `async` where one awaits."""

from __future__ import annotations

import inspect
import re

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx

from websocketstream import Backoff, HandshakeLimits
from websocketstream._cli.reference import readable

# What autodoc writes for defaults that are objects, and what one would write to get the same.
_WRITTEN = {repr(value): readable(value) for value in (Backoff(), HandshakeLimits())}
_NAME = r"~?(?:[a-z_]+\.)*"
_COROUTINE = re.compile(rf"{_NAME}Coroutine\[{_NAME}Any, {_NAME}Any, (.*)\]")
_ITERATOR = re.compile(rf"{_NAME}AsyncIterator\[(.*)\]")
_POWER = re.compile(r"(?:(\d+) ?\* ?)?2 ?\*\* ?(\d+)")


def rewrite(
    app: Sphinx,
    _what: str,
    name: str,
    value: object,
    _options: object,
    arguments: str | None,
    result: str | None,
) -> tuple[str, str] | None:
    """Change what autodoc has found out about a signature."""
    if arguments is None:
        return None
    for found, written in _WRITTEN.items():
        arguments = arguments.replace(found, written)
    arguments = re.sub(r"<function (\w+)>", r"\1", arguments)
    result = result or ""
    if not inspect.iscoroutinefunction(value) and (match := _COROUTINE.fullmatch(result)):
        app.env.temp_data.setdefault("awaited", set()).add(name)
        result = match[1]
    if inspect.isasyncgenfunction(getattr(value, "__wrapped__", None)) and (
        match := _ITERATOR.fullmatch(result)
    ):
        result = f"~contextlib.AbstractAsyncContextManager[{match[1]}]"
    return arguments, result


def finish(app: Sphinx, document: nodes.document) -> None:
    """Change what can be changed only when the signature has been parsed."""
    awaited = app.env.temp_data.get("awaited", set())
    for signature in document.findall(addnodes.desc_signature):
        if awaited & set(signature["ids"]):
            prefix = [addnodes.desc_sig_keyword("", "async"), addnodes.desc_sig_space()]
            signature.insert(0, addnodes.desc_annotation("async ", "", *prefix))
        for default in signature.findall(nodes.inline):
            if "default_value" in default["classes"]:
                default[:] = [nodes.Text(said(default.astext()))]


def said(default: str) -> str:
    """Return a default as people say it.

    >>> said("16777216"), said("2 ** 16"), said("10")
    ('16 MiB', '64 KiB', '10')
    """
    if match := _POWER.fullmatch(default):
        return readable(int(match[1] or 1) * 2 ** int(match[2]))
    return readable(int(default)) if default.isdigit() else default


def setup(app: Sphinx) -> dict[str, bool]:
    """Listen to autodoc and to what has been read."""
    app.connect("autodoc-process-signature", rewrite)
    app.connect("doctree-read", finish)
    return {"parallel_read_safe": True}
