"""Turn a reviewable list of names into an inventory for intersphinx."""

from __future__ import annotations

import zlib
from pathlib import Path

_HEAD = """\
# Sphinx inventory version 2
# Project: {name}
# Version:
# The remainder of this file is compressed using zlib.
"""


def write(source: Path, directory: Path) -> Path:
    """Write the inventory of a list: one `name domain:role uri` per line, `$` in the uri for the name."""
    lines = [
        f"{name} {role} 1 {uri} -\n"
        for name, role, uri in map(str.split, source.read_text("utf-8").splitlines())
        if not name.startswith("#")
    ]
    inventory = directory / f"{source.stem}.inv"
    inventory.write_bytes(_HEAD.format(name=source.stem).encode() + zlib.compress("".join(lines).encode()))
    return inventory
