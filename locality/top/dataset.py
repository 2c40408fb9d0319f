"""What a recording of reads puts into a data set."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from locality.dataset.facts import Server
from locality.dataset.schema import SUMS, UNKNOWN
from locality.text import printable
from locality.top.interval import DISTANCES, known
from locality.top.recording import interval_of, rows_by_kind

if TYPE_CHECKING:
    import pyarrow as pa

    from locality.dataset.facts import Facts
    from locality.recording.format import Meta

MEASURE = "reads"
_PROTOCOLS = {6: "tcp", 17: "udp"}


class TopContents:
    """Reads by port and name of the reader."""

    def __init__(self, meta: Meta, facts: Facts) -> None:
        self._facts, self._meta, self._lost = facts, meta, 0

    def add(self, rows: pa.RecordBatch) -> None:
        """Add an interval."""
        interval = interval_of(rows_by_kind(rows), self._meta)
        middle = interval.time - interval.seconds / 2
        lost = max(0, interval.lost - self._lost)
        self._facts.period(middle, MEASURE, interval.seconds, lost)
        self._lost = interval.lost
        unknown = interval.readers["reads"] - known(interval.readers)
        for reader, not_known in zip(interval.readers, unknown, strict=True):
            sums = np.zeros(len(SUMS), np.int64)
            sums[: len(DISTANCES)] = [int(reader[name]) for name in DISTANCES]
            sums[UNKNOWN] = int(not_known)
            self._facts.count(middle, server_of(reader), sums)

    def end(self, lost: int, ended: float | None) -> None:
        """Nothing more comes."""


def server_of(reader: np.void) -> Server:
    """The server that a reader belongs to: of `locality.top` or `locality.cost`."""
    protocol = _PROTOCOLS.get(int(reader["protocol"]), "")
    name = printable(reader["comm"])
    return Server(MEASURE, protocol, int(reader["port"]), bool(reader["outgoing"]), name)
