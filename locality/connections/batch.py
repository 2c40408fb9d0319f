"""Accepted connections that have ended: one record each, many to a batch.

The record is the probe's `struct connection` (probes/connection.h). It holds that of the accept.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from locality.accept.batch import ACCEPT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from locality.accept.batch import Records

#: One connection that has ended, as `struct connection` of the probe.
#: ended: when TCP did. received, sent: bytes of data. read: bytes that the program took by its
#: reads. first_read: when it ended; 0 if nothing was read, and then all of the first read is 0.
#: last_packet: when TCP handled the last packet before the first read. srtt: 1/8 us; 0 if TCP
#: measured none. end: place in `locality.connections.columns.ENDS`. Times: CLOCK_MONOTONIC, ns.
CONNECTION = np.dtype(
    [
        ("accept", ACCEPT),
        ("ended", "u8"),
        ("received", "u8"),
        ("sent", "u8"),
        ("reads", "u8"),
        ("local_reads", "u8"),
        ("read", "u8"),
        ("first_read", "u8"),
        ("last_packet", "u8"),
        ("retransmits", "u4"),
        ("srtt", "u4"),
        ("reader_pid", "u4"),
        ("reader_tid", "u4"),
        ("reader_cpu", "u4"),
        ("reader_rxcpu", "i4"),
        ("reader_comm", "S16"),
        ("copied_seq", "u4"),
        ("end", "u1"),
        ("pad", "u1", (3,)),
    ]
)


@dataclass(frozen=True)
class ConnectionBatch:
    """What one reading of the ring gave.

    Attributes:
        records: dtype `CONNECTION`, in the order in which they ended; perhaps empty.
        clock_offset: Add it to a record's times for UTC, ns since the epoch.
        lost: Connections without a record, since the source was opened: those that the ring or
            the table had no room for, and runs of the probes that the kernel skipped, some of
            which may have been for connections.
        unplaced: Those of them for which the table had no room.
        still_open: Connections that are followed and have not ended.
        cgroups: Paths of the cgroups of the threads that accepted, by id; of those that could be
            told.
    """

    records: Records
    clock_offset: int
    lost: int
    unplaced: int
    still_open: int
    cgroups: Mapping[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.records)

    def first(self, count: int) -> ConnectionBatch:
        """The same with its first `count` records."""
        return replace(self, records=self.records[:count])
