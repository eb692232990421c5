"""Any number of durations in little memory: counted in buckets that are less than one percent wide."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

_STEPS = 64  # buckets from one power of two to the next, so the width is 1/64 at the most, the middle off by half of that


class Latencies:
    """Durations in seconds, as a histogram with buckets of a relative width."""

    def __init__(self) -> None:
        self._buckets: Counter[int] = Counter()
        self.count: int = 0
        self.total: float = 0.0
        self.least: float = math.inf
        self.most: float = 0.0

    def add(self, seconds: float) -> None:
        """Count one more; less than a nanosecond counts as that."""
        seconds = max(seconds, 1e-9)
        mantissa, exponent = math.frexp(seconds)  # from a half to one
        self._buckets[exponent * _STEPS + int((mantissa - 0.5) * 2 * _STEPS)] += 1
        self.count += 1
        self.total += seconds
        self.least = min(self.least, seconds)
        self.most = max(self.most, seconds)

    @property
    def mean(self) -> float:
        """The average, 0 when there are none."""
        return self.total / self.count if self.count else 0.0

    def percentile(self, percent: float) -> float:
        """Return the duration that so many percent do not exceed, 0 when there are none; 100 gives the longest."""
        wanted = math.ceil(self.count * percent / 100)
        if wanted == self.count:
            return self.most
        seen = 0
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            if seen >= wanted:
                return min(max(_middle(bucket), self.least), self.most)
        return self.most

    def bars(self, rows: int) -> Sequence[tuple[float, float, int]]:
        """Return at most so many bars: from, to, and how many; each spans the same factor, so slow ones are seen as well."""
        if not self.count:
            return []
        low, high = min(self._buckets), max(self._buckets)
        width = max(1, math.ceil((high - low + 1) / rows))
        counts = Counter(dict.fromkeys(range((high - low) // width + 1), 0))
        for bucket, count in self._buckets.items():
            counts[(bucket - low) // width] += count
        return [
            (_edge(low + row * width), _edge(low + (row + 1) * width), counts[row]) for row in sorted(counts)
        ]


def _edge(bucket: int) -> float:
    """Return where a bucket begins."""
    exponent, step = divmod(bucket, _STEPS)
    return math.ldexp(0.5 + step / (2 * _STEPS), exponent)


def _middle(bucket: int) -> float:
    return (_edge(bucket) + _edge(bucket + 1)) / 2
