"""What a run of `locality connections` adds up to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from locality.accept.histogram import LogHistogram
from locality.connections.columns import ENDS, after_accept, lifetimes, since_packet, was_read
from locality.summary import take_oldest

if TYPE_CHECKING:
    from locality.accept.batch import Records
    from locality.connections.batch import ConnectionBatch
    from locality.machine.topology import Topology

#: What is summed up of all connections, by the names of the records' fields.
SUMS = ("reads", "local_reads", "received", "sent", "read", "retransmits")


@dataclass(slots=True)
class Reader:
    """One thread that was the first to read some connections.

    Attributes:
        comm: Its name at the first of them, as the kernel gave it.
        reads: All reads of these connections, whoever made them.
        local_reads: Those on the RX CPU.
    """

    pid: int
    tid: int
    comm: bytes
    connections: int = 0
    reads: int = 0
    local_reads: int = 0


@dataclass
class ConnectionSummary:
    """Sums over all batches written to it.

    Attributes:
        total: Connections that have ended.
        lost: Connections without a record; see `ConnectionBatch`.
        unplaced: Those of them for which the table had no room.
        still_open: Connections that have not ended yet.
        read: Connections of which something was read.
        handed_off: Those of them whose first read was by another thread than the accept.
        ends: (3,) connections by how they ended, in the order of `ENDS`.
        sums: By the names in `SUMS`.
        readers: By the tid of the first read, the one that was first last at the end.
        earlier: Connections of readers that are not kept any more.
        lifetimes: ns.
        after_accept: ns from the accept to the first read.
        waits: ns from the last packet to the first read.
    """

    machine: Topology
    total: int = 0
    lost: int = 0
    unplaced: int = 0
    still_open: int = 0
    read: int = 0
    handed_off: int = 0
    sums: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SUMS, 0))
    readers: dict[int, Reader] = field(default_factory=dict)
    earlier: int = 0
    lifetimes: LogHistogram = field(default_factory=LogHistogram)
    after_accept: LogHistogram = field(default_factory=LogHistogram)
    waits: LogHistogram = field(default_factory=LogHistogram)

    def __post_init__(self) -> None:
        self.ends = np.zeros(len(ENDS), np.int64)

    def write(self, batch: ConnectionBatch) -> None:
        """Add a batch."""
        self.lost, self.unplaced = batch.lost, batch.unplaced
        self.still_open = batch.still_open
        records = batch.records
        if not len(records):
            return
        self.total += len(records)
        self.ends += np.bincount(records["end"], minlength=len(ENDS))
        for name in SUMS:
            self.sums[name] += int(records[name].sum())
        self.lifetimes.add(lifetimes(records))
        read = records[was_read(records)]
        self.read += len(read)
        self.handed_off += int((read["reader_tid"] != read["accept"]["tid"]).sum())
        self.after_accept.add(after_accept(read))
        self.waits.add(since_packet(read))
        self._count_readers(read)

    def _count_readers(self, read: Records) -> None:
        _, first, index = np.unique(read["reader_tid"], return_index=True, return_inverse=True)
        connections = np.bincount(index)
        reads, local = (np.bincount(index, read[name]) for name in ("reads", "local_reads"))
        for record, *counts in zip(read[first], connections, reads, local, strict=True):
            tid = int(record["reader_tid"])
            new = Reader(int(record["reader_pid"]), tid, bytes(record["reader_comm"]))
            reader = self.readers.pop(tid, new)
            reader.connections += int(counts[0])
            reader.reads += int(counts[1])
            reader.local_reads += int(counts[2])
            self.readers[tid] = reader
        self.earlier += sum(reader.connections for reader in take_oldest(self.readers))
