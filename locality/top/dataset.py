"""What a recording of reads puts into a data set."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from locality.dataset.facts import Server
from locality.dataset.intervals import IntervalContents
from locality.dataset.schema import SUMS, UNKNOWN
from locality.text import printable
from locality.top.grouping import PROTOCOLS
from locality.top.interval import DISTANCES, known
from locality.top.recording import interval_of, rows_by_kind

if TYPE_CHECKING:
    import pyarrow as pa

    from locality.top.interval import TopInterval

MEASURE = "reads"


class TopContents(IntervalContents):
    """Reads by port and name of the reader."""

    measure = MEASURE

    def _interval_of(self, rows: pa.RecordBatch) -> TopInterval:
        return interval_of(rows_by_kind(rows), self._meta)

    def _add(self, interval: TopInterval, middle: float) -> None:
        unknown = interval.readers["reads"] - known(interval.readers)
        for reader, not_known in zip(interval.readers, unknown, strict=True):
            sums = np.zeros(len(SUMS), np.int64)
            sums[: len(DISTANCES)] = [int(reader[name]) for name in DISTANCES]
            sums[UNKNOWN] = int(not_known)
            self._facts.count(middle, server_of(reader), sums)


def server_of(reader: np.void) -> Server:
    """The server that a reader belongs to: of `locality.top` or `locality.cost`."""
    protocol = PROTOCOLS.get(int(reader["protocol"]), "")
    name = printable(reader["comm"])
    return Server(MEASURE, protocol, int(reader["port"]), bool(reader["outgoing"]), name)
