"""Durations counted in buckets of equal relative width, in constant memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from locality.arrays import Array

#: Buckets in each doubling: a value is known to within 1/64, about 1.6 %.
BUCKETS_PER_DOUBLING = 64
#: For reports: a value is known to within 0.1 %.
FINE = 1024
_DOUBLINGS = 64


class LogHistogram:
    """Counts of non-negative numbers below 2^64.

    Args:
        buckets: In each doubling.
    """

    def __init__(self, buckets: int = BUCKETS_PER_DOUBLING) -> None:
        self._buckets = buckets
        self._counts = np.zeros(_DOUBLINGS * buckets, np.int64)

    @property
    def total(self) -> int:
        """How many values were added."""
        return int(self._counts.sum())

    def add(self, values: Array) -> None:
        """Count an array of values."""
        mantissa, exponent = np.frexp(np.maximum(values.astype(np.float64), 1.0))
        # A mantissa lies in [0.5, 1): one doubling, cut evenly.
        within = ((mantissa - 0.5) * 2 * self._buckets).astype(np.int64)
        buckets = (exponent.astype(np.int64) - 1) * self._buckets + within
        np.add.at(self._counts, np.minimum(buckets, len(self._counts) - 1), 1)

    def __add__(self, other: LogHistogram) -> LogHistogram:
        """The values of both."""
        both = LogHistogram(self._buckets)
        both._counts = self._counts + other._counts
        return both

    def percentile(self, percent: float) -> float | None:
        """The middle of the bucket that holds this percentile; None of nothing."""
        if not self.total:
            return None
        rank = max(1, int(np.ceil(self.total * percent / 100)))
        return float(self._at(np.array([rank]))[0])

    def ascending(self, most: int) -> Array:
        """So many of the values, or all if they are fewer, at equal steps of rank, ascending."""
        total = self.total
        return self._at(np.linspace(1, total, min(most, total)).astype(np.int64))

    def _at(self, ranks: Array) -> Array:
        """The middles of the buckets that hold the values of these ranks; the first is 1."""
        doubling, within = np.divmod(np.searchsorted(np.cumsum(self._counts), ranks), self._buckets)
        middle: Array = 2.0**doubling * (1 + (within + 0.5) / self._buckets)
        return middle
