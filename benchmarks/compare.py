"""Two states of the library, measured in turns: is the working tree slower than a commit?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import comb
from statistics import median

from .child import Failed
from .contenders import OURS
from .report import human
from .rows import BY_NAME, INSTRUCTIONS, Metric
from .run import Figures, Job, Plan, Results, certificates
from .states import AFTER, BEFORE, State

ALLOWED = 0.95  # at most 5 % worse
CERTAINTY = 0.9
FEWEST_ROUNDS = 5  # the median of fewer lies outside of all their values more often than one time in ten

WORSE = "WORSE"

HEAD = ("row", "backend", "unit", BEFORE, AFTER, "ratio", "from", "to", "verdict")

WIDTHS = (23, 8, 17, 8, 8, 6, 6, 6, 0)


@dataclass(frozen=True)
class Line:
    """One metric of one row on one backend: its values before and after, pair by pair."""

    row: str
    backend: str
    metric: Metric
    before: Sequence[float]
    after: Sequence[float]
    exact: bool = False  # counted rather than timed: one value is as good as many

    @property
    def ratios(self) -> list[float]:
        """How many times better the working tree is, for each pair; below 1 it is worse."""
        pairs = zip(self.before, self.after, strict=True)
        if self.metric.more_is_better:
            return [after / before for before, after in pairs]
        return [before / after for before, after in pairs]

    @property
    def verdict(self) -> str:
        if len(self.ratios) < FEWEST_ROUNDS and not self.exact:
            return "too few rounds"
        low, high = interval(self.ratios)
        if high < ALLOWED:
            return WORSE
        if low < ALLOWED:
            return "noise"
        return "better" if low > 1 / ALLOWED else "as good"

    def __str__(self) -> str:
        low, high = interval(self.ratios)
        ratios = [f"{ratio:.3f}" for ratio in (median(self.ratios), low, high)]
        values = [human(median(self.before)), human(median(self.after))]
        title = f"{self.row} {self.metric.name}"
        return columns([title, self.backend, self.metric.unit, *values, *ratios, self.verdict])


def columns(cells: Sequence[str]) -> str:
    """Return a line of the table, which is printed while it comes about."""
    padded = [
        cell.ljust(width) if number < 3 else cell.rjust(width)
        for number, (cell, width) in enumerate(zip(cells, WIDTHS, strict=True))
    ]
    return "  ".join(padded).rstrip()


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Return between which of the values their true median lies, nine times of ten.

    That many of them are below the median is a matter of tossing coins, so nothing is assumed about how they spread.
    """
    ordered, skipped = sorted(values), 0
    while 1 - 2 * _chance_of_at_most(skipped + 1, len(ordered)) >= CERTAINTY:
        skipped += 1
    return ordered[skipped], ordered[-1 - skipped]


def _chance_of_at_most(heads: int, tosses: int) -> float:
    return sum(comb(tosses, count) for count in range(heads + 1)) / float(2**tosses)


def run(
    plan: Plan,
    states: tuple[State, State],
    results: Results,
    progress: Callable[[str], None],
    *,
    per_cpu: bool = False,
) -> Iterator[Line]:
    """Measure all rows and yield a line as soon as all its rounds are there; what fails is noted."""
    with certificates() as (certificate, authority):
        for row in plan.rows:
            if row.tls and not certificate:
                results.skipped[row.name] = "needs trustme for its certificates"
                continue
            for backend in plan.backends:
                for number in range(plan.rounds):
                    progress(f"{row.name} ({backend})  round {number + 1} of {plan.rounds}")
                    pair: dict[str, Figures] = {}
                    # Who comes first changes, so that a machine that grows slower or faster favours nobody.
                    for state in states if number % 2 == 0 else reversed(states):
                        job = Job(
                            row, backend, OURS, plan.seconds, certificate, authority, state.environment()
                        )
                        try:
                            pair[state.name] = job.run()
                        except Failed as exc:
                            results.failures.append(f"{row.name}: {state.name} ({backend}): {exc}")
                    if len(pair) == len(states):
                        for name, figures in pair.items():
                            results.add(row.name, backend, name, figures)
                yield from lines(results, row.name, backend, per_cpu=per_cpu)


def lines(results: Results, row: str, backend: str, *, per_cpu: bool = False) -> Iterator[Line]:
    """Yield the lines of what was measured of a row."""
    states = results.figures.get(row, {}).get(backend)
    if not states:
        return
    counted = INSTRUCTIONS.name in states[BEFORE][0]
    for metric in [INSTRUCTIONS] if counted else BY_NAME[row].metrics:
        name = metric.name + ("_per_cpu" if per_cpu else "")
        before, after = (
            [figures.get(name, figures[metric.name]) for figures in states[state]]
            for state in (BEFORE, AFTER)
        )
        yield Line(row, backend, metric, before, after, exact=counted)


def all_lines(results: Results, *, per_cpu: bool = False) -> Iterator[Line]:
    for row, backends in results.figures.items():
        for backend in backends:
            yield from lines(results, row, backend, per_cpu=per_cpu)
