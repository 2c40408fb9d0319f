"""Readers put together to rows, and what a row says of local and remote reads."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from locality.cost.histogram import BUCKETS, percentile
from locality.cost.interval import DISTANCES, MEASURES, WAIT, reads_of, timed_of, together
from locality.machine.topology import Distance
from locality.text import duration, percent, share
from locality.top.grouping import GROUPINGS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from locality.arrays import Array
    from locality.cost.interval import CostInterval

BY = ("port", "process", "cgroup")

LOCAL = (Distance.CPU,)
REMOTE = tuple(one for one in Distance if one not in {Distance.CPU, Distance.UNKNOWN})

#: Of fewer timed reads, local or remote, a median is not compared.
FEWEST = 100

#: Where a remote read comes later, this is true and not yet its cause.
CAUTION = (
    "This is observed and not yet proof: a busy worker is remote and slow at once. "
    "`locality trial` proves it."
)


@dataclass(frozen=True)
class Row:
    """Readers that belong together.

    Attributes:
        name: What the row is called.
        reader: dtype `READER`, one of it: sums, and what else the busiest reader has.
        reads: (distances,) all of them.
        timed: (distances,) those that have a time.
        times: (measures, distances, buckets) how many took how long.
    """

    name: str
    reader: Any
    reads: Array
    timed: Array
    times: Array

    def percentile(self, measure: int, distances: Sequence[int], of: float) -> float | None:
        """A percentile of a measure over some distances, ns; None if nothing was timed."""
        return percentile(self.times[measure, [*distances]].sum(axis=0), of)

    @cached_property
    def known(self) -> int:
        """Reads for which the CPU that received is known."""
        return int(self.reads.sum() - self.reads[Distance.UNKNOWN])

    @cached_property
    def remote(self) -> int:
        """Reads on another CPU than the one that received."""
        return int(self.reads[[*REMOTE]].sum())

    @cached_property
    def left_out(self) -> Array:
        """(reasons, distances) reads without a time."""
        return np.asarray(self.reader["left_out"])

    @cached_property
    def later(self) -> float | None:
        """By how much a remote read comes later than a local one in the median, ns; perhaps < 0.

        None if too few of either have a time.
        """
        if self._too_few:
            return None
        remote, local = (self.percentile(WAIT, side, 50) for side in (REMOTE, LOCAL))
        return None if remote is None or local is None else remote - local

    @property
    def _too_few(self) -> str:
        """Of which reads there are too few to compare; empty if there are enough of both."""
        sides = {"local": LOCAL, "remote": REMOTE}
        few = [name for name, side in sides.items() if int(self.timed[[*side]].sum()) < FEWEST]
        return " and ".join(few)

    def waiting(self, seconds: float) -> float | None:
        """How long remote reads waited longer than local ones, ns a second, by the medians."""
        if self.later is None:
            return None
        return max(0.0, self.later) * int(self.timed[[*REMOTE]].sum()) / seconds

    def sentence(self, seconds: float) -> str:
        """What distance costs this row, in words."""
        if not self.known:
            return "The CPU that received is not known."
        if not self.remote:
            return "All reads are local."
        said = f"{percent(share(self.remote, self.known))} of reads are remote."
        if self.later is None:
            return f"{said} Too few {self._too_few} reads are timed for a comparison."
        if self.later <= 0:
            return f"{said} A remote read comes no later (p50)."
        return (
            f"{said} A remote read comes {duration(self.later)} later (p50). That is about "
            f"{duration(self.waiting(seconds))} of waiting a second."
        )


def rows_of(interval: CostInterval, by: str) -> list[Row]:
    """The rows of an interval, those with the most remote reads first.

    Args:
        interval: What it showed.
        by: One of `BY`.
    """
    grouping = GROUPINGS[by]
    readers, times = together(interval.readers, interval.times, grouping.key)
    rows = [*_rows(readers, times)]
    named = [Row(grouping.name(reader, interval.cgroups), reader, *more) for reader, *more in rows]
    return sorted(named, key=lambda row: (-row.remote, -int(row.reads.sum()), row.name))


def _rows(readers: Array, times: Array) -> Iterator[tuple[Any, Array, Array, Array]]:
    reads, timed = reads_of(readers, times), timed_of(readers, times)
    # Cells are in the order of their readers: see `together`.
    bounds = np.searchsorted(times["reader"], np.arange(len(readers) + 1))
    for place in range(len(readers)):
        own = times[bounds[place] : bounds[place + 1]]
        dense = np.zeros((len(MEASURES), len(DISTANCES), BUCKETS), "i8")
        dense[own["measure"], own["distance"], own["bucket"]] = own["count"]
        yield readers[place], reads[place], timed[place], dense
