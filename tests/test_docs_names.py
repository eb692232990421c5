"""What the pages call on a connection is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from websocketstream import ReadableStream, WebSocketStream, WritableStream

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
USE = re.compile(r"(?<![\w.])conn\.(?:(readable|writable)\.)?(\w+)")
OWNERS = {"": WebSocketStream, "readable": ReadableStream, "writable": WritableStream}
SET_BY_THE_CONSTRUCTOR = {"readable", "writable"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_what_a_page_calls_on_a_connection_is_there(page: Path) -> None:
    uses = set(USE.findall(page.read_text("utf-8")))
    missing = {
        f"{owner}.{name}".lstrip(".")
        for owner, name in uses
        if not hasattr(OWNERS[owner], name) and name not in SET_BY_THE_CONSTRUCTOR
    }
    assert not missing
