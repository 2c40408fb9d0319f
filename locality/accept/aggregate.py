"""What a report needs of a recording of accepts, added up batch by batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from locality.accept.histogram import FINE, LogHistogram
from locality.accept.workers import WorkerCounts
from locality.machine.distance import by_distance
from locality.recording.arrow import known_of, values_of
from locality.reporting.over_time import EventBins

if TYPE_CHECKING:
    import pyarrow as pa

    from locality.arrays import Array
    from locality.machine.distance import Counts
    from locality.recording.format import Meta


class AcceptAggregate:
    """Sums over connections, in memory that does not grow with their number.

    Attributes:
        count: Connections.
        local: Those accepted on their RX CPU.
        matrix: (CPUs + 1, CPUs) connections by RX CPU and accept CPU; the last row has no RX CPU.
        over_time: Connections, and the local ones, over time.
        waits: Times in the accept queue that are known, ns.
        workers: Who accepted them.
    """

    COLUMNS: ClassVar = ("time", "cpu", "rxcpu", "pid", "comm", "wait_ns")

    def __init__(self, meta: Meta) -> None:
        self.count = self.local = 0
        self.over_time = EventBins()
        self.waits = LogHistogram(FINE)
        self.workers = WorkerCounts()
        self._possible = meta.possible
        self._distances = meta.machine.distances
        self._cells = np.zeros((meta.possible + 1) * meta.possible, np.int64)

    def add(self, rows: pa.RecordBatch) -> None:
        """Add a batch of a recording that has `COLUMNS`."""
        cpu, rxcpu = values_of(rows["cpu"]), values_of(rows["rxcpu"])
        local = cpu == rxcpu
        self.count += len(rows)
        self.local += int(local.sum())
        row = np.where(rxcpu < 0, self._possible, rxcpu).astype(np.int64)
        np.add.at(self._cells, row * self._possible + cpu, 1)
        ones = np.ones(len(rows), np.int64)
        self.over_time.add(values_of(rows["time"]), ones, local.astype(np.int64))
        waits = rows["wait_ns"]
        self.waits.add(values_of(waits)[known_of(waits)])
        comm = rows["comm"]
        names = comm.dictionary.to_pylist()
        self.workers.add(values_of(rows["pid"]), cpu, rxcpu, values_of(comm.indices), names)

    @property
    def matrix(self) -> Array:
        """See the class."""
        return self._cells.reshape(-1, self._possible)

    @property
    def by_distance(self) -> Counts:
        """Connections by how far accept CPU and RX CPU are apart, nearest first."""
        return by_distance(self.matrix, self._distances)
