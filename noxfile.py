"""Development tasks, each in an environment of its own: `nox -l` lists them."""

from __future__ import annotations

import nox

nox.needs_version = ">=2025.10.16"
nox.options.sessions = ["tests", "lint", "typing", "docs", "coverage"]
nox.options.reuse_existing_virtualenvs = True

# The tests run on all of these; any other session on the Python that runs nox, whichever it is.
PYTHONS = ["3.11", "3.12", "3.13", "3.14"]


def _install(session: nox.Session, *groups: str, editable: bool = True) -> None:
    """Install the package with these dependency groups; `--group` needs pip 25.1."""
    session.install("--upgrade", "pip")
    project = ["-e", "."] if editable else ["."]
    session.install(*project, *(f"--group={group}" for group in groups))


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run all tests; arguments after -- go to pytest."""
    _install(session, "test")
    session.run("python", "-m", "pytest", "-n", "2", *session.posargs)


@nox.session
@nox.parametrize("without", ["compiler", "zlib-header", "openssl", "epoll", "tcp-info", "direct-writes"])
def absences(session: nox.Session, without: str) -> None:
    """Run all tests as on a system that lacks something; tests/absences.py says how."""
    if without == "compiler":
        session.env["WEBSOCKETSTREAM_BUILD_EXTENSION"] = "0"
    session.env["WEBSOCKETSTREAM_TEST_WITHOUT"] = without
    _install(session, "test")
    session.run("python", "-m", "pytest", "-n", "2", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and format."""
    session.install("--upgrade", "pip")
    session.install("--group=lint")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


@nox.session
def typing(session: nox.Session) -> None:
    """Check types inside, in the snippets of the docs, and that everything public is typed."""
    _install(session, "typing", editable=False)
    session.install("nox")  # the noxfile is checked too
    session.run("mypy")
    session.run("python", "tests/tools/docs_types.py")
    session.run("pyright", "--verifytypes", "websocketstream", "--ignoreexternal")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation; a warning is an error. Needs no network."""
    _install(session, "docs")
    session.run("sphinx-build", "-n", "-W", "--keep-going", "-q", "docs", "docs/_build/html")


@nox.session
def coverage(session: nox.Session) -> None:
    """Measure branch coverage: the protocol layer has to be at 100 %, the rest is reported."""
    _install(session, "test")
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", *session.posargs)
    session.run("coverage", "combine", "-q")
    session.run("coverage", "report")
    session.run("coverage", "report", "--include=*/_protocol/*", "--fail-under=100", "--precision=2")


@nox.session
def autobahn(session: nox.Session) -> None:
    """Run the Autobahn testsuite against both roles; `nox -s autobahn -- --sections 1-10` for the quick part."""
    _install(session, "test")
    session.run("python", "tests/autobahn/run.py", *(session.posargs or ["--sections", "1-10"]))
    if not session.posargs:
        # The original, where a CPython 2.7 is found; 77 says that there is none.
        session.run("python", "tests/autobahn/run.py", "--runner", "wstest", success_codes=[0, 77])


@nox.session
def bench(session: nox.Session) -> None:
    """Measure; arguments after -- go to `python -m benchmarks`. Compares with every peer."""
    _install(session, "bench")
    session.run("python", "-m", "benchmarks", *session.posargs)


@nox.session
def guard(session: nox.Session) -> None:
    """See whether a hot path takes over 5 % more instructions than before; needs Valgrind. After -- comes a commit."""
    _install(session, "test")
    session.run("python", "-m", "benchmarks", "--guard", *session.posargs)


@nox.session
def mutants(session: nox.Session) -> None:
    """Change a module in small ways and see whether tests notice: `nox -s mutants -- MODULE TESTS...`."""
    _install(session, "test")
    session.run("python", "tests/tools/mutate.py", *session.posargs)
