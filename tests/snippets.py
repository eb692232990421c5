"""The pieces of Python in README.md and docs/, for tests that run them and tests that check their types."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

ROOT = Path(__file__).parent.parent
# Those of two columns have a test of their own, test_coming_from.py.
PAGES = [
    page
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
    if not page.name.startswith("coming-from-")
]
# What is in the pieces that need something around them; test_docs_surroundings.py has it, and runs them.
NEED_SOMETHING = (
    "for message in outgoing",
    "readable.batches()",
    "move_on_after(60)",
    "@pytest.fixture",
    'proxy="socks5://',
    "proxy=True",
    'cafile="our-authority.pem"',
    '"client.pem"',
    "fingerprint=pin",
    '"server.pem"',
    "trusted_proxies=proxies)",
    "proxy_protocol=True",
)
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    code: str
    line: int
    output: str | None

    @property
    def first_line(self) -> str:
        return self.code.partition("\n")[0]

    @property
    def is_program(self) -> bool:
        return re.fullmatch(r"# \w+\.py", self.first_line) is not None or "anyio.run(" in self.code

    @property
    def is_for_the_background(self) -> bool:
        return self.is_program and "server" in self.first_line

    @property
    def needs_something(self) -> bool:
        return any(text in self.code for text in NEED_SOMETHING)


def blocks(page: Path) -> list[Block]:
    text = page.read_text("utf-8")
    found = list(_BLOCK.finditer(text))
    return [
        Block(
            match[2],
            text.count("\n", 0, match.start()) + 1,
            behind[2]
            if behind and behind[1] == "text" and not text[match.end() : behind.start()].strip()
            else None,
        )
        for match, behind in zip_longest(found, found[1:])
        if match[1] == "python"
    ]


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()
