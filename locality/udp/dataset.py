"""What a recording of datagrams puts into a data set."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from locality.dataset.facts import Server, cells_of
from locality.dataset.schema import ELSEWHERE, SUMS, UNKNOWN
from locality.text import printable
from locality.udp.recording import interval_of, rows_by_kind

if TYPE_CHECKING:
    import pyarrow as pa

    from locality.dataset.facts import Facts
    from locality.recording.format import Meta

MEASURE = "datagrams"


class UdpContents:
    """Datagrams by port and name of the reader. The pairs of CPUs are known of all ports together.

    So the distances of a port's datagrams are not known, and there is evidence only where one port
    was read.
    """

    def __init__(self, meta: Meta, facts: Facts) -> None:
        self._facts, self._meta, self._lost = facts, meta, 0

    def add(self, rows: pa.RecordBatch) -> None:
        """Add an interval."""
        interval = interval_of(rows_by_kind(rows), self._meta)
        middle = interval.time - interval.seconds / 2
        lost = max(0, interval.lost - self._lost)
        self._facts.period(middle, MEASURE, interval.seconds, lost)
        self._lost = interval.lost
        servers: set[Server] = set()
        for reader in interval.readers:
            server = Server(MEASURE, "udp", int(reader["port"]), name=printable(reader["comm"]))
            sums = np.zeros(len(SUMS), np.int64)
            known, local = int(reader["known"]), int(reader["local"])
            sums[0], sums[ELSEWHERE] = local, known - local
            sums[UNKNOWN] = int(reader["datagrams"]) - known
            self._facts.count(middle, server, sums)
            servers.add(server)
        if len(servers) != 1:
            return
        (server,) = servers
        alloc, cpu = np.nonzero(interval.matrix)
        none = np.full(len(alloc), -1)
        cells = cells_of(none, cpu, alloc, interval.matrix[alloc, cpu])
        self._facts.cells(middle, server, cells)
        programs = {one.program for one in interval.groups.values() if one.port == server.port}
        self._facts.program(middle, server, programs.pop() if len(programs) == 1 else None)

    def end(self, lost: int, ended: float | None) -> None:
        """Nothing more comes."""
