"""What a recording of datagrams puts into a data set."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from locality.dataset.facts import Server, cells_of
from locality.dataset.intervals import IntervalContents
from locality.dataset.schema import ELSEWHERE, SUMS, UNKNOWN
from locality.text import printable
from locality.udp.recording import interval_of, rows_by_kind

if TYPE_CHECKING:
    import pyarrow as pa

    from locality.udp.interval import UdpInterval

MEASURE = "datagrams"


class UdpContents(IntervalContents):
    """Datagrams by port and name of the reader. The pairs of CPUs are known of all ports together.

    So the distances of a port's datagrams are not known, and there is evidence only where one port
    was read.
    """

    measure = MEASURE

    def _interval_of(self, rows: pa.RecordBatch) -> UdpInterval:
        return interval_of(rows_by_kind(rows), self._meta)

    def _add(self, interval: UdpInterval, middle: float) -> None:
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
