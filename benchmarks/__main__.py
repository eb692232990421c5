"""``python -m benchmarks``: run, print the tables, keep the figures."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatch
from functools import partial
from pathlib import Path

from . import bars, compare, instructions, plot, report, states
from .contenders import ENTRIES, OURS, RAW
from .rows import ALL, BY_NAME
from .run import Plan, Results, available, describe_environment, run

BACKENDS = ("asyncio", "uvloop", "trio")
BASE = "base"  # of a guard: the commit that the change is based on


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    if options.list:
        for row in ALL:
            print(f"{row.name:18} {row.about}")
        return 0
    if options.guard:
        if why := instructions.why_not():
            print(f"guard skipped: {why}")
            return 0
        options.instructions = True
        options.compare = states.base_commit() if options.guard == BASE else options.guard
        if options.compare is None:
            print("guard skipped: this clone has no commit before the last one to compare with")
            return 0
    if options.compare:
        return _compare(options)
    results = Results.load(options.from_) if options.from_ else _run(options)
    if options.json:
        results.save(options.json)
    medians = report.Medians(results, per_cpu=options.per_cpu_second)
    if options.plot:
        plot.write(medians, options.plot)
    if options.markdown:
        options.markdown.write_text(_markdown(medians))
    _print(medians, only_bars=options.bars)
    return int(any(f" {name} (" in failure for failure in results.failures for name in (OURS, RAW)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--rows", help="names or patterns such as 'receive-*', separated by commas; all by default"
    )
    parser.add_argument("--contenders", help="names, separated by commas; all by default")
    parser.add_argument("--backends", help="of asyncio, uvloop and trio; all by default")
    parser.add_argument(
        "--rounds", type=int, help="how often everything is repeated; 3 by default, 8 with --compare"
    )
    parser.add_argument(
        "--seconds", type=float, help="how long one measurement takes, without warm-up; 1 by default"
    )
    parser.add_argument(
        "--quick", action="store_true", help="one round of 0.25 s: the direction, not the figure"
    )
    parser.add_argument(
        "--bars", action="store_true", help="run what the bars need, and print which of them are met"
    )
    parser.add_argument(
        "--per-cpu-second",
        action="store_true",
        help="count CPU time instead of time on the clock, for a busy machine",
    )
    parser.add_argument(
        "--compare",
        metavar="COMMIT",
        help="measure the working tree and this commit in turns, and say what has become more than 5 %% slower; "
        "the bars' rows by default",
    )
    parser.add_argument(
        "--instructions",
        action="store_true",
        help="with --compare: count instructions (by valgrind) instead of time, for "
        + ", ".join(instructions.COUNTS),
    )
    parser.add_argument(
        "--guard",
        metavar="COMMIT",
        nargs="?",
        const=BASE,
        help="--compare with this commit by --instructions, as CI does; skipped without valgrind. By default the commit "
        "where the change has left origin/main, or the one before",
    )
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument(
        "--from", dest="from_", type=Path, help="run nothing, take the figures of this JSON file"
    )
    parser.add_argument("--plot", type=Path, help="write a bar chart to this SVG file")
    parser.add_argument("--markdown", type=Path, help="write the tables to this Markdown file")
    parser.add_argument("--list", action="store_true", help="say what the rows are")
    return parser


def _run(options: argparse.Namespace) -> Results:
    results = Results({})
    plan = _plan(options, results, rounds=3, rows=bars.ROWS if options.bars else list(BY_NAME))
    plan.contenders = available(_chosen(options.contenders, ENTRIES, ENTRIES), results)
    plan.backends = [*plan.backends, "none"]
    results.environment = describe_environment(plan)
    run(plan, results, _show_progress)
    _show_progress("")
    return results


def _plan(
    options: argparse.Namespace,
    results: Results,
    *,
    rounds: int,
    rows: Sequence[str],
    backends: Sequence[str] = BACKENDS,
) -> Plan:
    """Return what was asked for, with us as the only contender."""
    chosen = _chosen(options.backends, BACKENDS, backends)
    return Plan(
        [BY_NAME[name] for name in _chosen(options.rows, BY_NAME, rows)],
        [ENTRIES[OURS]],
        [backend for backend in chosen if _is_there(backend, results)],
        options.rounds or (1 if options.quick else rounds),
        options.seconds or (0.25 if options.quick else 1.0),
    )


def _compare(options: argparse.Namespace) -> int:
    results = Results.load(options.from_) if options.from_ else Results({})
    verdicts = []
    print(compare.columns(compare.HEAD), flush=True)
    saved = compare.all_lines(results, per_cpu=options.per_cpu_second)
    for line in saved if options.from_ else _compare_now(options, results):
        _show_progress("")
        print(line, flush=True)
        verdicts.append(line.verdict)
    if options.json:
        results.save(options.json)
    for state in (states.BEFORE, states.AFTER):
        print(f"{state}: {results.environment.get(state)}")
    for note in report.troubles(results):
        print(note)
    return int(bool(results.failures) or compare.WORSE in verdicts)


def _compare_now(options: argparse.Namespace, results: Results) -> Iterator[compare.Line]:
    """Measure, and yield each line as soon as it is there."""
    if options.instructions:
        if why := instructions.why_not():
            raise SystemExit(f"instructions cannot be counted: {why}")
        rows, backends = list(instructions.COUNTS), instructions.BACKENDS
        plan = _plan(options, results, rounds=1, rows=rows, backends=backends)
        measure = instructions.run
    else:
        plan = _plan(options, results, rounds=8, rows=bars.ROWS)
        measure = partial(compare.run, per_cpu=options.per_cpu_second)
    with states.two_states(options.compare) as both:
        results.environment = describe_environment(plan) | {state.name: state.about for state in both}
        yield from measure(plan, both, results, _show_progress)


def _chosen(given: str | None, known: Iterable[str], default: Iterable[str]) -> list[str]:
    if given is None:
        return list(default)
    chosen: dict[str, None] = {}
    for pattern in given.split(","):
        matches = [name for name in known if fnmatch(name, pattern.strip())]
        if not matches:
            raise SystemExit(f"{pattern.strip()!r} is none of {', '.join(known)}")
        chosen.update(dict.fromkeys(matches))
    return list(chosen)


def _is_there(backend: str, results: Results) -> bool:
    if backend != "asyncio":
        try:
            __import__(backend)
        except ImportError as exc:
            results.skipped[backend] = str(exc)
            return False
    return True


def _show_progress(words: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{words}", end="", file=sys.stderr, flush=True)


def _print(medians: report.Medians, *, only_bars: bool) -> None:
    environment = medians.results.environment
    versions = ", ".join(f"{name} {version}" for name, version in environment.get("versions", {}).items())
    print(
        f"{environment.get('python')} on {environment.get('processor')}, engine {environment.get('engine')}"
    )
    print(versions)
    if medians.suffix:
        print("figures are in CPU time, where there is such a figure")
    if only_bars:
        report.print_table("bars", bars.HEAD, bars.lines(medians))
    else:
        for table in report.tables(medians):
            report.print_table(*table)
        for line in report.growth(medians):
            print(line)
    for line in report.notes(medians.results):
        print(line)


def _markdown(medians: report.Medians) -> str:
    environment = medians.results.environment
    versions = ", ".join(f"{name} {version}" for name, version in environment.get("versions", {}).items())
    titled = [("The bars", bars.HEAD, bars.lines(medians)), *report.tables(medians)]
    tables = [report.markdown_table(*table) for table in titled]
    return "\n".join(
        [
            (
                f"{environment.get('date')}, {environment.get('python')}, {environment.get('processor')}, "
                f"{environment.get('cores')} cores, {environment.get('seconds')} s for each measurement. {versions}."
            ),
            "",
            *tables,
            *(f"- {line}" for line in [*report.growth(medians), *report.notes(medians.results)]),
            "",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
