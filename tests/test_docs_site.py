"""The site: every page is in its menu, its pictures can be read by programs, and it says sizes as people do."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree as ET

import pytest

DOCS = Path(__file__).parent.parent / "docs"
PICTURES = sorted((DOCS / "_static").glob("*.svg"))
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def extension(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> ModuleType:
    pytest.importorskip("sphinx", reason="needs Sphinx")
    monkeypatch.syspath_prepend(str(DOCS / "_ext"))
    module = __import__(request.param)
    monkeypatch.delitem(sys.modules, request.param)
    return module


def test_every_page_is_in_the_menu_once() -> None:
    index = (DOCS / "index.md").read_text("utf-8")
    trees = re.findall(r"^```\{toctree\}\n(?::[^\n]*\n)*\n(.*?)^```", index, re.MULTILINE | re.DOTALL)
    listed = [line for tree in trees for line in tree.split()]
    pages = [path.relative_to(DOCS).with_suffix("").as_posix() for path in DOCS.rglob("*.md")]
    assert sorted(listed) == sorted(page for page in pages if page != "index" and not page.startswith("_"))


def test_the_changelog_and_what_to_do_about_security_are_in_the_site() -> None:
    for page, source in (("changelog", "CHANGELOG.md"), ("security", "SECURITY.md")):
        assert f"{{include}} ../{source}" in (DOCS / f"{page}.md").read_text("utf-8")


@pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.name)
def test_a_picture_is_well_formed_and_has_a_size(path: Path) -> None:
    root = ET.parse(path).getroot()
    assert root.tag == f"{SVG}svg"
    assert len(root.attrib["viewBox"].split()) == 4


@pytest.mark.parametrize(
    "path", [path for path in PICTURES if path.stem != "performance"], ids=lambda path: path.name
)
def test_a_picture_made_by_hand_says_what_it_shows(path: Path) -> None:
    root = ET.parse(path).getroot()
    named = {
        element.get("id"): (element.text or "").strip()
        for element in root
        if element.tag in (f"{SVG}title", f"{SVG}desc")
    }
    assert root.attrib["aria-labelledby"].split() == list(named)
    assert all(named.values())


def test_the_options_say_sizes_as_people_do() -> None:
    sizes = [
        int(number)
        for number in re.findall(
            r"(?<![\w.])\d{5,}(?!\w)", (DOCS / "reference" / "options.md").read_text("utf-8")
        )
    ]
    assert not [size for size in sizes if size % 65536 == 0]


# --- what the site does beyond Sphinx


@pytest.mark.parametrize("extension", ["signatures"], indirect=True)
@pytest.mark.parametrize(
    ("default", "text"),
    [
        ("16777216", "16 MiB"),
        ("2 ** 16", "64 KiB"),
        ("16 * 2**20", "16 MiB"),
        ("10", "10"),
        ("None", "None"),
        ("'x'", "'x'"),
    ],
)
def test_a_default_is_shown_as_people_say_it(extension: ModuleType, default: str, text: str) -> None:
    assert extension.said(default) == text


@pytest.mark.parametrize("extension", ["speed_chart"], indirect=True)
def test_the_chart_of_the_front_page_shows_what_was_measured(extension: ModuleType) -> None:
    table = "### uvloop: medians\n| row | a |\n\n### asyncio: medians of 3 rounds\n\n"
    table += "| row | unit | websocketstream | websockets | picows.websockets | aiohttp | raw | best peer |\n| --- | --- |\n"
    for row, ours in (("receive-64", "5.4 M ±4%"), ("send-64", "1.95 M ±18%"), ("echo-64", "31.3 ±3%")):
        table += f"| {row} | x | {ours} | 254 k ±8% | 2.72 M ±21% | 33 ±1% | 1 | x |\n"
    bars = extension.read(table, "receive-64")
    assert [(bar.contender, bar.text) for bar in bars][:2] == [
        ("websocketstream", "5.4 M"),
        ("picows.websockets", "2.72 M"),
    ]
    assert bars[0].value == 5_400_000
    assert bars[3].value == 254_000
    root = ET.fromstring(extension.draw(table))
    widths = {
        fill: float(each.attrib["width"])
        for each in root.iter(f"{SVG}rect")
        if (fill := each.attrib["fill"]) != "#f7f8fa"
    }
    assert max(widths.values()) <= extension.ROOM
    assert "5.4 M" in "".join(root.itertext())


@pytest.mark.parametrize("extension", ["speed_chart"], indirect=True)
def test_the_chart_can_be_drawn_from_the_last_measurement(extension: ModuleType) -> None:
    root = ET.fromstring(extension.draw(extension.TABLE.read_text("utf-8")))
    assert len([*root.iter(f"{SVG}rect")]) == 1 + 3 * len(extension.CONTENDERS)


@pytest.mark.parametrize("extension", ["examples_page"], indirect=True)
def test_every_example_is_on_the_page_of_the_examples_with_its_source(extension: ModuleType) -> None:
    page = extension.page_of((extension.EXAMPLES / "README.md").read_text("utf-8"))
    for path in extension.EXAMPLES.glob("*.py"):
        assert f"](#example-{path.stem})" in page
        assert f"{{literalinclude}} ../examples/{path.name}\n" in page
    assert ".py)" not in page
