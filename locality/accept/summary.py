"""What a run of `locality accept` adds up to: totals, workers, matrix, queue wait.

The summary is a sink like the others: it takes batches and keeps sums, in memory that
grows with the number of CPUs, not with the number of connections. Of workers it keeps those that
accepted last, for a server may fork one for each connection.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from locality.accept.batch import WAIT_KNOWN
from locality.accept.histogram import LogHistogram
from locality.summary import take_oldest

if TYPE_CHECKING:
    from locality.accept.batch import AcceptBatch, Records
    from locality.machine.topology import Topology


@dataclass(slots=True)
class Worker:
    """One thread that accepted on one CPU.

    Attributes:
        comm: The thread's name when it accepted first, as the kernel gave it.
        cgroup: The id of its cgroup then.
    """

    pid: int
    tid: int
    cpu: int
    comm: bytes
    cgroup: int
    accepts: int = 0
    local: int = 0


@dataclass
class AcceptSummary:
    """Sums over all batches written to it.

    Attributes:
        total: Accepted connections.
        local: Those accepted on their RX CPU.
        lost: Records the ring had no room for, and runs of the probes that the kernel skipped.
        workers: By (tid, CPU), the one that accepted last at the end.
        earlier, earlier_local: Accepts of workers that are not kept any more, and the local ones.
        matrix: (CPUs, CPUs + 1) connections by accept CPU and RX CPU; the last column
            counts connections without one.
        waits: Times in the accept queue, ns.
        cgroups: Paths of the workers' cgroups, by id; of those that could be told.
    """

    machine: Topology
    total: int = 0
    local: int = 0
    lost: int = 0
    workers: dict[tuple[int, int], Worker] = field(default_factory=dict)
    earlier: int = 0
    earlier_local: int = 0
    waits: LogHistogram = field(default_factory=LogHistogram)
    cgroups: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        cpus = self.machine.possible
        self.matrix = np.zeros((cpus, cpus + 1), np.int64)

    def write(self, batch: AcceptBatch) -> None:
        """Add a batch."""
        self.lost = batch.lost
        self.cgroups.update(batch.cgroups)
        records = batch.records
        if not len(records):
            return
        local = records["cpu"] == records["rxcpu"]
        self.total += len(records)
        self.local += int(local.sum())
        self.waits.add(records["wait"][(records["flags"] & WAIT_KNOWN) != 0])
        np.add.at(self.matrix, (records["cpu"], records["rxcpu"]), 1)
        self._count_workers(records, local)

    def _count_workers(
        self, records: Records, local: np.ndarray[tuple[int], np.dtype[np.bool_]]
    ) -> None:
        # Recordings of before threads were noted have 0: their processes count as one thread.
        tids = np.where(records["tid"] > 0, records["tid"], records["pid"])
        who = tids.astype(np.uint64) << np.uint64(32) | records["cpu"]
        _, first, index = np.unique(who, return_index=True, return_inverse=True)
        accepts = np.bincount(index)
        locals_ = np.bincount(index, weights=local)
        for record, tid, accepted, accepted_locally in zip(
            records[first], tids[first], accepts, locals_, strict=True
        ):
            key = int(tid), int(record["cpu"])
            new = Worker(int(record["pid"]), *key, bytes(record["comm"]), int(record["cgroup"]))
            worker = self.workers.pop(key, new)
            worker.accepts += int(accepted)
            worker.local += int(accepted_locally)
            self.workers[key] = worker
        if oldest := take_oldest(self.workers):
            self.earlier += sum(worker.accepts for worker in oldest)
            self.earlier_local += sum(worker.local for worker in oldest)
            kept = {worker.cgroup for worker in self.workers.values()}
            self.cgroups = {number: self.cgroups[number] for number in kept & self.cgroups.keys()}
