"""A recording's events and how local they were, over its time; and counts by two CPUs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from locality.reporting.statistics import Series

if TYPE_CHECKING:
    import pandas as pd

    from locality.arrays import Array

#: Events are counted in bins of this many seconds, in more of them if a recording is short and in
#: longer ones if it is long.
BIN_S = 0.1
FEWEST_BINS, MOST_BINS = 20, 600


@dataclass(frozen=True)
class OverTime:
    """A run in bins.

    Attributes:
        at: (bins,) the middle of each bin, in seconds from the run's first moment.
        seconds: (bins,) how long each bin is.
        events: (bins,) accepts or packets, those included whose CPU is not known.
        series: What was local of what is known, bin by bin; None where not seen.
    """

    at: Array
    seconds: Array
    events: Array
    series: Series | None

    @property
    def share(self) -> Array:
        """(bins,) percent local; NaN for a bin of nothing and where it was not seen."""
        nothing = np.full(len(self.at), np.nan)
        if self.series is None:
            return nothing
        total = self.series.total
        return np.asarray(100 * np.divide(self.series.local, total, out=nothing, where=total > 0))


def binned(times: Array, total: Array, local: Array) -> OverTime:
    """Events in equal bins from the first to the last.

    Args:
        times: (events,) ns.
        total: (events,) what each of them counts for.
        local: (events,) what of that was local.
    """
    first = int(times.min()) if len(times) else 0
    elapsed = (times - first) / 1e9
    length = float(elapsed.max()) if len(elapsed) else 0.0
    bins = int(np.clip(length / BIN_S, FEWEST_BINS, MOST_BINS))
    width = max(length, 1e-9) / bins
    bin_of = np.minimum((elapsed / width).astype(np.int64), bins - 1)
    sums = [
        np.bincount(bin_of, weights=counts, minlength=bins).astype(np.int64)
        for counts in (total, local)
    ]
    at = (np.arange(bins) + 0.5) * width
    return OverTime(at, np.full(bins, width), sums[0], Series(sums[1], sums[0]))


def integers(column: pd.Series[Any]) -> Array:
    """A column as int64; a figure that was not seen counts as 0."""
    return column.to_numpy(np.int64, na_value=0)


def matrix_of(row: Array, column: Array, count: Array, possible: int) -> Array:
    """(CPUs, CPUs) the sums of counts by the CPUs in the same places of two arrays."""
    matrix = np.zeros((possible, possible), np.int64)
    np.add.at(matrix, (row.astype(np.int64), column.astype(np.int64)), count.astype(np.int64))
    return matrix
