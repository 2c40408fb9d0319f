"""What a recording of times of reads puts into a data set."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from locality.cost.grouping import LOCAL, REMOTE
from locality.cost.interval import WAIT, reads_of
from locality.cost.recording import interval_of, rows_by_kind
from locality.dataset.facts import no_waits
from locality.dataset.intervals import IntervalContents
from locality.dataset.schema import BY_DISTANCE, SUMS
from locality.top.dataset import MEASURE, server_of

if TYPE_CHECKING:
    import pyarrow as pa

    from locality.cost.interval import CostInterval


class CostContents(IntervalContents):
    """Reads by port and name of the reader, and how long local and remote ones waited."""

    measure = MEASURE

    def _interval_of(self, rows: pa.RecordBatch) -> CostInterval:
        return interval_of(rows_by_kind(rows), self._meta)

    def _add(self, interval: CostInterval, middle: float) -> None:
        waits = interval.times[interval.times["measure"] == WAIT]
        reads = reads_of(interval.readers, interval.times)
        for place, reader in enumerate(interval.readers):
            server = server_of(reader)
            sums = np.zeros(len(SUMS), np.int64)
            sums[: len(BY_DISTANCE)] = reads[place]
            self._facts.count(middle, server, sums)
            own = waits[waits["reader"] == place]
            histograms = no_waits()
            for side, distances in enumerate((LOCAL, REMOTE)):
                timed = own[np.isin(own["distance"], distances)]
                np.add.at(histograms[side], timed["bucket"], timed["count"].astype(np.int64))
            self._facts.wait(middle, server, histograms)
