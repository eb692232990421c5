"""The files of the project that no program of ours reads say the same: Pythons, systems, versions, addresses."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

yaml = pytest.importorskip("yaml", reason="needs PyYAML, which Sphinx's Markdown brings")

ROOT = Path(__file__).parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PYTHONS = [
    classifier.rpartition(" ")[2]
    for classifier in PROJECT["project"]["classifiers"]
    if re.fullmatch(r"Programming Language :: Python :: 3\.\d+", classifier)
]


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text("utf-8"))


def jobs(name: str) -> dict[str, Any]:
    found: dict[str, Any] = load(ROOT / ".github" / "workflows" / name)["jobs"]
    return found


def steps(path: Path) -> list[dict[str, Any]]:
    return [step for job in load(path)["jobs"].values() for step in job["steps"]]


def test_the_pythons_are_the_same_everywhere() -> None:
    assert PYTHONS == ["3.11", "3.12", "3.13", "3.14"]
    assert PROJECT["project"]["requires-python"] == f">={PYTHONS[0]}"
    assert f"PYTHONS = {PYTHONS}".replace("'", '"') in (ROOT / "noxfile.py").read_text("utf-8")
    assert jobs("tests.yml")["tests"]["strategy"]["matrix"]["python"] == PYTHONS
    tags = [f"cp{python.replace('.', '')}-*" for python in PYTHONS]
    assert PROJECT["tool"]["cibuildwheel"]["build"].split() == tags


def test_every_system_is_tested_and_gets_wheels() -> None:
    tested = jobs("tests.yml")["tests"]["strategy"]["matrix"]["os"]
    assert [name.partition("-")[0] for name in tested] == ["ubuntu", "macos", "windows"]
    built = jobs("wheels.yml")["wheels"]["strategy"]["matrix"]["os"]
    assert {name.partition("-")[0] for name in built} == {"ubuntu", "macos", "windows"}


def test_every_absence_is_tested() -> None:
    noxfile = (ROOT / "noxfile.py").read_text("utf-8")
    [named] = re.findall(r'parametrize\("without", \[(.*?)\]', noxfile)
    assert jobs("tests.yml")["portable"]["strategy"]["matrix"]["without"] == re.findall(r'"([\w-]+)"', named)


def test_every_check_is_a_session_of_nox() -> None:
    noxfile = (ROOT / "noxfile.py").read_text("utf-8")
    for session in jobs("tests.yml")["checks"]["strategy"]["matrix"]["session"]:
        assert f"\ndef {session}(session: nox.Session)" in noxfile


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_every_action_has_a_version(path: Path) -> None:
    used = [step["uses"] for step in steps(path) if "uses" in step]
    assert used
    for action in used:
        assert re.search(r"@(v\d+(\.\d+)*|release/v\d+)$", action), action


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_may_read_and_no_more_and_have_an_end(path: Path) -> None:
    workflow = load(path)
    assert workflow["permissions"] == {"contents": "read"}
    for name, job in workflow["jobs"].items():
        assert job["timeout-minutes"] <= 90, name
        assert job.get("permissions", {}) in ({}, {"id-token": "write"}), name
    assert "secrets." not in path.read_text("utf-8")


def test_only_a_tag_publishes_and_only_what_was_built_and_checked() -> None:
    all_jobs = jobs("wheels.yml")
    publish = all_jobs["publish"]
    assert publish["if"] == "startsWith(github.ref, 'refs/tags/v')"
    assert set(publish["needs"]) == all_jobs.keys() - {"publish"}
    assert [name for name, job in all_jobs.items() if "permissions" in job] == ["publish"]


def test_the_hosted_docs_build_as_ours_do() -> None:
    hosted = load(ROOT / ".readthedocs.yaml")
    assert hosted["version"] == 2
    assert (ROOT / hosted["sphinx"]["configuration"]).exists()
    assert hosted["sphinx"]["fail_on_warning"]
    assert any("--group docs" in command for command in hosted["build"]["jobs"]["install"])
    assert "docs" in PROJECT["dependency-groups"]


def test_pre_commit_checks_what_the_lint_session_does() -> None:
    hooks = [hook["id"] for repo in load(ROOT / ".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]]
    assert {"ruff-check", "ruff-format"} <= set(hooks)


def test_one_address_of_the_project_stands_everywhere() -> None:
    source = PROJECT["project"]["urls"]["Source"]
    owner = source.removeprefix("https://github.com/").partition("/")[0]
    for path in (ROOT / "SECURITY.md", ROOT / "CONTRIBUTING.md", ROOT / "RELEASING.md"):
        for address in re.findall(rf"https://github\.com/{owner}/[^\s)>]+", path.read_text("utf-8")):
            assert address.startswith(source), f"{path.name}: {address}"
    assert source in (ROOT / "SECURITY.md").read_text("utf-8")
