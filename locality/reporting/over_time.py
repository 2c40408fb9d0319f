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
#: Of events that come batch by batch: a power of two, and many for each bin.
SLOTS = 1 << 17


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
    bins, width = _bins(float(elapsed.max()) if len(elapsed) else 0.0)
    bin_of = np.minimum((elapsed / width).astype(np.int64), bins - 1)
    sums = [
        np.bincount(bin_of, weights=counts, minlength=bins).astype(np.int64)
        for counts in (total, local)
    ]
    return _over_time(width, sums[0], sums[1])


def _bins(length: float) -> tuple[int, float]:
    """How many bins, and how long each is, for events of so many seconds."""
    bins = int(np.clip(length / BIN_S, FEWEST_BINS, MOST_BINS))
    return bins, max(length, 1e-9) / bins


def _over_time(width: float, total: Array, local: Array) -> OverTime:
    at = (np.arange(len(total)) + 0.5) * width
    return OverTime(at, np.full(len(total), width), total, Series(local, total))


class EventBins:
    """`binned` for events that come batch by batch, in memory that does not grow with their number.

    Events are counted in slots of equal length. When they come too late for the last slot, two
    neighbours become one, as often as it takes: at least half of the slots are in use, so a bin has
    a hundred of them and its borders are right to a hundredth.
    """

    def __init__(self) -> None:
        self._first: int | None = None
        self._origin = self._last = 0
        #: Length of a slot, ns.
        self._width = 1
        #: (2, slots) all that was counted, and what of it was local.
        self._sums = np.zeros((2, SLOTS), np.int64)

    def add(self, times: Array, total: Array, local: Array) -> None:
        """Count events; see `binned`."""
        if not len(times):
            return
        low, high = int(times.min()), int(times.max())
        if self._first is None:
            self._first = self._origin = low
        self._first, self._last = min(self._first, low), max(self._last, high)
        while (self._last - self._origin) // self._width >= SLOTS:
            pairs = self._sums.reshape(2, SLOTS // 2, 2).sum(axis=2)
            self._sums = np.concatenate([pairs, np.zeros_like(pairs)], axis=1)
            self._width *= 2
        # An event may be a little older than the first that came.
        slots = np.maximum(times - self._origin, 0) // self._width
        for sums, counts in zip(self._sums, (total, local), strict=True):
            np.add.at(sums, slots, counts)

    def over_time(self) -> OverTime:
        """All that came, in equal bins."""
        first = self._first or 0
        bins, width = _bins((self._last - first) / 1e9 if self._first is not None else 0.0)
        middles = (np.arange(SLOTS) + 0.5) * self._width + (self._origin - first)
        bin_of = np.clip(middles / 1e9 / width, 0, bins - 1).astype(np.int64)
        sums = np.zeros((2, bins), np.int64)
        for bin_sums, slot_sums in zip(sums, self._sums, strict=True):
            np.add.at(bin_sums, bin_of, slot_sums)
        return _over_time(width, sums[0], sums[1])


def integers(column: pd.Series[Any]) -> Array:
    """A column as int64; a figure that was not seen counts as 0."""
    return column.to_numpy(np.int64, na_value=0)


def matrix_of(row: Array, column: Array, count: Array, possible: int) -> Array:
    """(CPUs, CPUs) the sums of counts by the CPUs in the same places of two arrays."""
    matrix = np.zeros(possible**2, np.int64)
    # In one dimension numpy takes its fast way.
    np.add.at(matrix, row.astype(np.int64) * possible + column, count.astype(np.int64))
    return matrix.reshape(possible, possible)
