"""What a report needs of a recording of connections, added up batch by batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from locality.accept.histogram import FINE, LogHistogram
from locality.connections.columns import ENDS
from locality.recording.arrow import filled_of, known_of, values_of
from locality.reporting.over_time import EventBins

if TYPE_CHECKING:
    import pyarrow as pa

    from locality.recording.format import Meta

#: The columns of times, ns.
TIMES = ("lifetime_ns", "read_after_ns", "read_wait_ns")


class ConnectionAggregate:
    """Sums over connections that have ended, in memory that does not grow with their number.

    Attributes:
        count: Connections.
        reads: Reads of them, and the local ones.
        read: Connections that were read, and those of them that another thread read first than
            the one that accepted.
        ends: Connections by how they ended.
        over_time: Reads, and the local ones, by the time at which their connection ended.
        times: The times that are known, ns, by column.
    """

    COLUMNS: ClassVar = (
        *("time", "end", "reads", "local_reads", "tid", "reader_tid"),
        *TIMES,
    )

    def __init__(self, _meta: Meta) -> None:
        self.count = 0
        self.reads = (0, 0)
        self.read = (0, 0)
        self.ends = dict.fromkeys(ENDS, 0)
        self.over_time = EventBins()
        self.times = {name: LogHistogram(FINE) for name in TIMES}

    def add(self, rows: pa.RecordBatch) -> None:
        """Add a batch of a recording that has `COLUMNS`."""
        self.count += len(rows)
        reads, local = (values_of(rows[name]) for name in ("reads", "local_reads"))
        self.reads = (self.reads[0] + int(reads.sum()), self.reads[1] + int(local.sum()))
        reader = rows["reader_tid"]
        known = known_of(reader)
        other = (filled_of(reader) != values_of(rows["tid"])) & known
        self.read = (self.read[0] + int(known.sum()), self.read[1] + int(other.sum()))
        words = rows["end"].dictionary.to_pylist()
        for word, count in zip(
            words, np.bincount(values_of(rows["end"].indices), minlength=len(words)), strict=True
        ):
            # A word that is no end would be that of a damaged file.
            if word in self.ends:
                self.ends[word] += int(count)
        lifetime = values_of(rows["lifetime_ns"])
        self.over_time.add(values_of(rows["time"]) + lifetime, reads, local)
        for name, histogram in self.times.items():
            column = rows[name]
            histogram.add(values_of(column)[known_of(column)])
