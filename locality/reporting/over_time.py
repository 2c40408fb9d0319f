"""A recording's events and how local they were, over its time; and counts by two CPUs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from locality.arrays import Array
    from locality.reporting.statistics import Series


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


def integers(column: pd.Series[Any]) -> Array:
    """A column as int64; a figure that was not seen counts as 0."""
    return column.to_numpy(np.int64, na_value=0)


def matrix_of(row: Array, column: Array, count: Array, possible: int) -> Array:
    """(CPUs, CPUs) the sums of counts by the CPUs in the same places of two arrays."""
    matrix = np.zeros((possible, possible), np.int64)
    np.add.at(matrix, (row.astype(np.int64), column.astype(np.int64)), count.astype(np.int64))
    return matrix
