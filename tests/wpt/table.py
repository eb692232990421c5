"""Write docs/conformance.md: which test stands for which web-platform test, and with what result.

python tests/wpt/table.py            run the marked tests and write the table
python tests/wpt/table.py --check    only collect them; exit 1 if the table is not what a green run would write
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

import pytest

from wpt.catalogue import BEYOND, FILES

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "conformance.md"
SUITES = ["tests/wpt", "tests/promises", "tests/peers", "tests/autobahn"]
LOOPS = {"asyncio": "asyncio", "uvloop": "uvloop", "trio": "trio"}
GENERAL = "2.3 "  # the general tests of `websockets/`, outside of `stream/`

INTRODUCTION = """\
# Conformance

This page is written by `python tests/wpt/table.py`, and a test fails when it is not current. Browsers share the
[web-platform tests](https://github.com/web-platform-tests/wpt/tree/master/websockets). Their assertions are tests of
ours here, against a server that shares no code with the library. Where a test asserts something else on purpose, the
last column says what and why.

Beside these tables, the Autobahn testsuite is the judge of the wire: every case OK or informational, in both roles
(`nox -s autobahn`). Sections 1 to 10 are in the test run. Sections 12 and 13, compression, take ten minutes for each
role and are run by hand, `python tests/autobahn/run.py --runner wstest --sections 12,13`: with the compiled engine on
asyncio, all 216 cases were OK in both roles on 2026-11-23.
"""


@dataclass
class Record:
    """One test function as far as it stands for one id."""

    name: str
    loops: set[str] = field(default_factory=set)
    schemes: set[str] = field(default_factory=set)
    deviations: list[str] = field(default_factory=list)
    tests: int = 0
    passed: int = 0

    @property
    def result(self) -> str:
        words = ["passes" if self.passed == self.tests else "**fails**"]
        if self.loops:
            words.append("on " + ", ".join(loop for loop in LOOPS if loop in self.loops))
        if self.schemes:
            words.append("over " + " and ".join(sorted(self.schemes)))
        return " ".join(words)


@dataclass(eq=False)
class Recorder:
    """A pytest plugin that notes the marked tests and how they end; without a run, all pass."""

    run: bool
    records: dict[str, dict[str, Record]] = field(default_factory=lambda: defaultdict(dict))
    marked: dict[str, list[Record]] = field(default_factory=dict)

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if item.get_closest_marker("wpt")]
        for item in items:
            self.marked[item.nodeid] = [
                self._note(item, identifier, mark)
                for mark in item.iter_markers("wpt")
                for identifier in mark.args
            ]

    def _note(self, item: pytest.Item, identifier: str, mark: pytest.Mark) -> Record:
        name = item.nodeid.partition("[")[0]
        record = self.records[identifier].setdefault(name, Record(name))
        parameters = item.nodeid.partition("[")[2].rstrip("]").split("-")
        record.tests += 1
        record.passed += not self.run
        record.loops.update(LOOPS.keys() & set(parameters))
        record.schemes.update({"ws", "wss"} & set(parameters))
        deviation = mark.kwargs.get("deviation")
        if deviation and deviation not in record.deviations:
            record.deviations.append(deviation)
        return record

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for record in self.marked[report.nodeid]:
            # A test is called, or skipped in its setup, and torn down.
            ended_well = report.passed if report.when == "call" else report.when == "setup" and report.skipped
            record.passed += ended_well or (report.when == "call" and report.skipped)
            record.passed -= report.when == "teardown" and report.failed


def collect(*, run: bool) -> Recorder:
    recorder = Recorder(run)
    options = ["-q", "--rootdir", str(ROOT), "-p", "no:cacheprovider", "--no-header"]
    if not run:
        options.append("--collect-only")
    pytest.main([*options, *(str(ROOT / suite) for suite in SUITES)], plugins=[recorder])
    return recorder


def rows(recorder: Recorder, identifier: str, *cells: str) -> Iterator[str]:
    """Give one line for each of our tests that stands for the id; ``cells`` say what the id is."""
    records = recorder.records.get(identifier, {})
    for record in records.values():
        path, _, function = record.name.rpartition("::")
        test = f"`{function}` in `{path.removeprefix('tests/')}`"
        yield f"| {' | '.join([*cells, test, record.result, '; '.join(record.deviations)])} |"
        cells = ("",) * len(cells)
    if not records:
        yield f"| {' | '.join(cells)} | **no test** | | |"


def table(heading: str, what: list[str], lines: Iterable[str]) -> str:
    columns = [*what, "our test", "result", "differs"]
    head = f"| {' | '.join(columns)} |", f"| {' | '.join(['---'] * len(columns))} |"
    return "\n".join(["", heading, "", *head, *lines, ""])


def of_catalogue(recorder: Recorder, entries: Iterable[tuple[str, str]]) -> list[str]:
    return [row for identifier, title in entries for row in rows(recorder, identifier, identifier, title)]


def of_others(recorder: Recorder, identifiers: Iterable[str]) -> list[str]:
    return [row for each in identifiers for row in rows(recorder, each, f"`{each.removeprefix(GENERAL)}`")]


def render(recorder: Recorder) -> str:
    parts = [INTRODUCTION, "\n## WebSocketStream\n"]
    for file, tests in FILES.items():
        heading = f"### `websockets/stream/tentative/{file}`"
        parts.append(table(heading, ["id", "web-platform test"], of_catalogue(recorder, tests)))
    beyond = of_catalogue(recorder, BEYOND.items())
    parts.append(table("## Beyond the web-platform tests", ["id", "what must hold"], beyond))
    general = sorted(identifier for identifier in recorder.records if identifier.startswith(GENERAL))
    heading = "## The general tests that apply to a client"
    parts.append(table(heading, ["web-platform test"], of_others(recorder, general)))
    return "".join(parts)


def complaints(recorder: Recorder) -> list[str]:
    """Say which ids of the catalogue have no test, and which ids of tests nobody knows."""
    known = {identifier for tests in FILES.values() for identifier, _ in tests} | BEYOND.keys()
    used = {identifier for identifier in recorder.records if not identifier.startswith(GENERAL)}
    return [f"no test for {each}" for each in sorted(known - used)] + [
        f"unknown id {each}" for each in sorted(used - known)
    ]


def main(arguments: list[str]) -> int:
    check = arguments == ["--check"]
    recorder = collect(run=not check)
    page = render(recorder)
    if wrong := complaints(recorder):
        print("\n".join(wrong))
        return 1
    if check:
        if PAGE.read_text("utf-8") != page:
            print(f"{PAGE.relative_to(ROOT)} is not current: run python tests/wpt/table.py")
            return 1
        return 0
    PAGE.write_text(page, "utf-8")
    return int("**fails**" in page)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
