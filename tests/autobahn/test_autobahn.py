"""The short form of the Autobahn|Testsuite: sections 1 to 10, both roles, with the runner from PyPI."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from autobahn.run import Verdict, parse_sections, run
from autobahn.runners import Kosoku, Unavailable
from websocketstream._streams import hot

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def kosoku() -> Kosoku:
    try:
        return Kosoku.find()
    except Unavailable as reason:
        pytest.skip(str(reason))


@pytest.mark.wpt("6.20.16")
@pytest.mark.timeout(120)
@pytest.mark.parametrize("role", ["client", "server"])
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_sections_1_to_10_are_all_ok_or_informational(
    role: str, backend: str, kosoku: Kosoku, tmp_path: Path
) -> None:
    verdict = run(role, backend, kosoku, parse_sections("1-10"), tmp_path)
    assert len(verdict.cases) == 301
    assert not verdict.failures


@pytest.mark.timeout(120)
@pytest.mark.parametrize("backend", ["asyncio", "uvloop"])
def test_an_asgi_application_under_uvicorn_passes_sections_1_to_10(
    backend: str, kosoku: Kosoku, tmp_path: Path
) -> None:
    pytest.importorskip("uvicorn")
    verdict = run("asgi", backend, kosoku, parse_sections("1-10"), tmp_path)
    assert len(verdict.cases) == 301
    assert not verdict.failures


@pytest.mark.timeout(120)
def test_the_gate_bites_when_no_pong_is_sent(
    kosoku: Kosoku, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hot.reader, "Ping", type("Unknown", (), {}))
    verdict = run("server", "asyncio", kosoku, ["2.1", "2.2", "2.3"], tmp_path)
    assert set(verdict.failures) == {"2.1", "2.2", "2.3"}


@pytest.mark.parametrize(
    ("behavior", "closing", "good"),
    [
        ("OK", "OK", True),
        ("INFORMATIONAL", "INFORMATIONAL", True),
        ("NON-STRICT", "OK", False),
        ("UNIMPLEMENTED", "OK", False),
        ("OK", "UNCLEAN", False),
        ("FAILED", "FAILED", False),
    ],
)
def test_only_ok_and_informational_pass_the_bar(
    behavior: str, closing: str, good: bool, tmp_path: Path
) -> None:
    index = {"agent": {"1.1.1": {"behavior": behavior, "behaviorClose": closing}}}
    (tmp_path / "index.json").write_text(json.dumps(index))
    assert (not Verdict.read(tmp_path).failures) is good


@pytest.mark.parametrize(
    ("words", "failures"), [("Strings must be encoded before hashing", 0), ("no echo", 1)]
)
def test_only_the_runners_own_bug_is_no_failure(words: str, failures: int, tmp_path: Path) -> None:
    entry = {"behavior": "ERROR", "behaviorClose": "FAILED", "reportfile": "12_1_1.json"}
    (tmp_path / "index.json").write_text(json.dumps({"agent": {"12.1.1": entry}}))
    (tmp_path / "12_1_1.json").write_text(json.dumps({"result": words}))
    verdict = Verdict.read(tmp_path)
    assert (len(verdict.failures), verdict.unjudged) == (failures, 1 - failures)


def test_sections_are_ranges_numbers_and_subsections() -> None:
    assert parse_sections("1-3, 9.3,12") == ["1.*", "2.*", "3.*", "9.3.*", "12.*"]
    assert parse_sections("7-10") == ["7.*", "9.*", "10.*"]
