"""What a recording of accepts puts into a data set."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from locality.arrays import alike
from locality.dataset.facts import Server, cells_of
from locality.dataset.schema import SUMS
from locality.recording.arrow import values_of
from locality.text import printable

if TYPE_CHECKING:
    import pyarrow as pa

    from locality.arrays import Array
    from locality.dataset.facts import Facts
    from locality.recording.format import Meta

MEASURE = "accepts"
_ROW = np.dtype(
    [*((name, "i8") for name in ("time", "port", "name", "thread")), ("cpu", "i4"), ("rxcpu", "i4")]
)


class AcceptContents:
    """Connections by port, name of the thread, thread and CPUs."""

    def __init__(self, meta: Meta, facts: Facts) -> None:
        self._facts, self._distances = facts, meta.machine.distances
        self._began, self._last = meta.started / 1e9, meta.started / 1e9

    def add(self, rows: pa.RecordBatch) -> None:
        """Add a batch."""
        events = np.zeros(len(rows), _ROW)
        times = values_of(rows["time"])
        self._last = max(self._last, float(times.max()) / 1e9)
        self._began = min(self._began, float(times.min()) / 1e9)
        events["time"], events["port"] = times // 10**9, values_of(rows["lport"])
        events["name"] = values_of(rows["comm"].indices)
        pid, tid = values_of(rows["pid"]), values_of(rows["tid"])
        # Recordings of before threads were noted have 0.
        events["thread"] = np.where(tid > 0, tid, pid)
        events["cpu"], events["rxcpu"] = values_of(rows["cpu"]), values_of(rows["rxcpu"])
        names = rows["comm"].dictionary.to_pylist()
        number = alike(events, _ROW.names or ())
        counts = np.bincount(number)
        distinct = np.zeros(len(counts), _ROW)
        distinct[number] = events
        of_server = alike(distinct, ("time", "port", "name"))
        for place in range(int(of_server.max()) + 1):
            own = of_server == place
            self._count(distinct[own], counts[own], names)

    def _count(self, rows: Array, counts: Array, names: list[bytes]) -> None:
        """Add rows of one second and server, each so many times."""
        first = rows[0]
        name = printable(names[int(first["name"])])
        server = Server(MEASURE, "tcp", int(first["port"]), name=name)
        sums = np.zeros(len(SUMS), np.int64)
        # An RX CPU of -1 is the last row, which has no distance to any CPU.
        np.add.at(sums, self._distances[rows["rxcpu"], rows["cpu"]], counts)
        self._facts.count(float(first["time"]), server, sums)
        cells = cells_of(rows["thread"], rows["cpu"], rows["rxcpu"], counts)
        self._facts.cells(float(first["time"]), server, cells)

    def end(self, lost: int, ended: float | None) -> None:
        """Nothing more comes."""
        self._facts.span(self._began, max(self._last, ended or 0), MEASURE, lost)
