"""Durations counted in buckets of equal relative width, in constant memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from locality.arrays import Array

#: Buckets in each doubling: a value is known to within 1/64, about 1.6 %.
BUCKETS_PER_DOUBLING = 64
_DOUBLINGS = 64


class LogHistogram:
    """Counts of non-negative numbers below 2^64."""

    def __init__(self) -> None:
        self._counts = np.zeros(_DOUBLINGS * BUCKETS_PER_DOUBLING, np.int64)

    @property
    def total(self) -> int:
        """How many values were added."""
        return int(self._counts.sum())

    def add(self, values: Array) -> None:
        """Count an array of values."""
        mantissa, exponent = np.frexp(np.maximum(values.astype(np.float64), 1.0))
        # A mantissa lies in [0.5, 1): one doubling, cut evenly.
        within = ((mantissa - 0.5) * 2 * BUCKETS_PER_DOUBLING).astype(np.int64)
        buckets = (exponent.astype(np.int64) - 1) * BUCKETS_PER_DOUBLING + within
        self._counts += np.bincount(
            np.minimum(buckets, len(self._counts) - 1), minlength=len(self._counts)
        )

    def __add__(self, other: LogHistogram) -> LogHistogram:
        """The values of both."""
        both = LogHistogram()
        both._counts = self._counts + other._counts
        return both

    def percentile(self, percent: float) -> float | None:
        """The middle of the bucket that holds this percentile; None of nothing."""
        if not self.total:
            return None
        rank = max(1, int(np.ceil(self.total * percent / 100)))
        bucket = int(np.searchsorted(np.cumsum(self._counts), rank))
        doubling, within = divmod(bucket, BUCKETS_PER_DOUBLING)
        return float(2.0**doubling * (1 + (within + 0.5) / BUCKETS_PER_DOUBLING))
