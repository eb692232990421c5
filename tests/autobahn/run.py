"""Run the Autobahn|Testsuite against our client and our server, and hold the results against the bar.

    python tests/autobahn/run.py --sections 1-10 --role both --backend trio

The bar: every case OK or INFORMATIONAL, in behaviour and in closing. Anything else is listed and the exit code is 1;
it is 77 when the chosen runner is not available here. In sections 12 and 13, kosoku stumbles over short text messages
that come back uncompressed, as RFC 7692 section 6 allows; it is said how many, and `--runner wstest` judges them.
"""

from __future__ import annotations

import argparse
import json
import socket
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

if __name__ == "__main__":  # run from a checkout as well as with the package installed
    sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2] / "src")]

import anyio
from anyio.abc import Process

from autobahn.runners import AGENT, RUNNERS, Runner, Unavailable
from autobahn.testee import asgi_echo_server, echo_server, run_cases

GOOD = {"OK", "INFORMATIONAL"}
KOSOKU_STUMBLES = "Strings must be encoded before hashing"
SECTIONS = (1, 2, 3, 4, 5, 6, 7, 9, 10, 12, 13)
BACKENDS = {"asyncio": ("asyncio", {}), "uvloop": ("asyncio", {"use_uvloop": True}), "trio": ("trio", {})}


@dataclass(frozen=True)
class Verdict:
    """What the reports of one run say."""

    cases: dict[str, tuple[str, str]]  # case -> behaviour, behaviour in closing
    unjudged: int = 0  # cases in which the runner itself failed

    @classmethod
    def read(cls, out: Path) -> Verdict:
        index = json.loads((out / "index.json").read_text())
        results = dict(item for agent in index.values() for item in agent.items())
        unjudged = [case for case, result in results.items() if stumbled(out, result)]
        for case in unjudged:
            del results[case]
        verdicts = {case: (result["behavior"], result["behaviorClose"]) for case, result in results.items()}
        return cls(verdicts, len(unjudged))

    @property
    def failures(self) -> dict[str, tuple[str, str]]:
        return {case: result for case, result in self.cases.items() if not GOOD.issuperset(result)}

    def __str__(self) -> str:
        counts = Counter(behavior for behavior, _ in self.cases.values())
        words = [f"{number} {name}" for name, number in counts.most_common()]
        words += [f"{self.unjudged} not judged because of a bug of the runner"] * bool(self.unjudged)
        return f"{len(self.cases)} cases: " + ", ".join(words)


def stumbled(out: Path, result: dict[str, str]) -> bool:
    """Tell whether the runner failed by itself in a case."""
    if result["behavior"] != "ERROR":
        return False
    report = json.loads((out / result["reportfile"]).read_text())
    return bool(report["result"] == KOSOKU_STUMBLES)


def parse_sections(text: str) -> list[str]:
    """Turn `1-3,9.3,12` into case patterns; ranges skip the sections that the testsuite does not have."""
    patterns = []
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        patterns += (
            [f"{number}.*" for number in SECTIONS if int(first) <= number <= int(last)]
            if last
            else [f"{first}.*"]
        )
    return patterns


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


async def _until_listening(port: int, process: Process) -> None:
    with anyio.fail_after(30):
        while True:
            assert process.returncode is None, "the fuzzing server ended at once"
            try:
                stream = await anyio.connect_tcp("127.0.0.1", port)
            except OSError:
                await anyio.sleep(0.02)
            else:
                await stream.aclose()
                return


async def judge_client(runner: Runner, cases: list[str], out: Path) -> Verdict:
    """Run the cases of a fuzzing server against our client."""
    port = free_port()
    command = runner.fuzzing_server(port, cases, out)
    async with await anyio.open_process(command, stdout=None, stderr=None) as process:
        try:
            await _until_listening(port, process)
            count = await run_cases(f"ws://127.0.0.1:{port}", AGENT)
            with anyio.move_on_after(30):
                while not (out / "index.json").exists():
                    await anyio.sleep(0.02)
                await process.wait()  # kosoku ends by itself, wstest does not
        finally:
            if process.returncode is None:
                process.terminate()
    verdict = Verdict.read(out)
    judged = len(verdict.cases) + verdict.unjudged
    assert judged == count, f"{count} cases were run, {judged} are in the report"
    return verdict


async def judge_server(runner: Runner, cases: list[str], out: Path) -> Verdict:
    """Run the cases of a fuzzing client against our server."""
    async with echo_server() as url:
        await anyio.run_process(runner.fuzzing_client(url, cases, out), stdout=None, stderr=None, check=False)
    return Verdict.read(out)


async def judge_asgi(runner: Runner, cases: list[str], out: Path) -> Verdict:
    """Run the cases of a fuzzing client against an ASGI application under uvicorn, on our protocol."""
    async with asgi_echo_server() as url:
        await anyio.run_process(runner.fuzzing_client(url, cases, out), stdout=None, stderr=None, check=False)
    return Verdict.read(out)


JUDGES = {"client": judge_client, "server": judge_server, "asgi": judge_asgi}


def run(role: str, backend: str, runner: Runner, cases: list[str], out: Path) -> Verdict:
    name, options = BACKENDS[backend]
    return anyio.run(JUDGES[role], runner, cases, out, backend=name, backend_options=options)


def report(title: str, verdict: Verdict) -> None:
    print(f"{title}: {verdict}")
    for case, (behavior, closing) in verdict.failures.items():
        print(f"  {case}: {behavior}, closing {closing}")


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sections", default="1-10", help="such as 1-7,9,10 (default: %(default)s)")
    parser.add_argument("--role", choices=[*JUDGES, "both"], default="both")
    parser.add_argument("--backend", choices=[*BACKENDS, "all"], default="asyncio")
    parser.add_argument("--runner", choices=list(RUNNERS), default="kosoku")
    parser.add_argument("--out", type=Path, help="where the reports go (default: a temporary directory)")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    options = parse_arguments(arguments)
    try:
        runner = RUNNERS[options.runner].find()
    except Unavailable as reason:
        print(f"skipped: {reason}")
        return 77
    out = options.out or Path(tempfile.mkdtemp(prefix="autobahn-"))
    failed = False
    for backend in BACKENDS if options.backend == "all" else [options.backend]:
        for role in ("client", "server") if options.role == "both" else [options.role]:
            directory = out / f"{role}-{backend}"
            verdict = run(role, backend, runner, parse_sections(options.sections), directory)
            report(f"{role} on {backend} (reports in {directory})", verdict)
            failed = failed or bool(verdict.failures) or not verdict.cases
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
