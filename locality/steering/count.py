"""Count what a port accepted or read, by the CPU that worked and the CPU that received."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from locality.machine.topology import Distance
from locality.reporting.statistics import Series
from locality.steering.waits import Waits
from locality.stream import Batch

if TYPE_CHECKING:
    from collections.abc import Collection

    from locality.arrays import Array
    from locality.machine.topology import Topology

ENOUGH = 20
"""Connections for each online CPU, to believe that a CPU without any does not receive: one
that gets its share would be missed once in e^20 times."""


class Handled(Batch, Protocol):
    """Records of accepts or of reads, and how many were lost since their source was opened."""

    @property
    def records(self) -> Array:
        """With the columns cpu, rxcpu, pid, tid, netns, and the socket's."""

    @property
    def lost(self) -> int:
        """Since the source was opened."""


class Measured(NamedTuple):
    """What is counted, in words.

    Attributes:
        figure: The share that is local.
        done: What happened to each.
        things: What they are.
        column: The records' column that tells the socket.
    """

    figure: str
    done: str
    things: str
    column: str


ACCEPTS = Measured("accept-local", "accepted", "connections", "listen_fd")
DATAGRAMS = Measured("read-local", "read", "datagrams", "inode")
READS = Measured("read-local", "read", "reads", "inode")


@dataclass
class Counted:
    """A sink that keeps sums, and how near each reading was: neighbours in time are alike.

    Attributes:
        measured: What is counted.
        total: All of it.
        local: What was handled on the CPU that received it.
        lost: Records that were lost.
        matrix: (CPUs, CPUs + 1) by working CPU and RX CPU; the last column counts those without
            an RX CPU.
        readings: Of each reading, how many at each distance: (distances,) each.
        waits: How long connections waited for accept(); nothing of reads.
    """

    machine: Topology
    measured: Measured = ACCEPTS
    total: int = 0
    local: int = 0
    lost: int = 0
    readings: list[Array] = field(default_factory=list)
    waits: Waits = field(default_factory=Waits)

    def __post_init__(self) -> None:
        cpus = self.machine.possible
        self.matrix = np.zeros((cpus, cpus + 1), np.int64)

    def write(self, batch: Handled) -> None:
        """Add a batch."""
        self.lost = batch.lost
        records = batch.records
        local = int((records["cpu"] == records["rxcpu"]).sum())
        self.total += len(records)
        self.local += local
        np.add.at(self.matrix, (records["cpu"], records["rxcpu"]), 1)
        # The last column is for an RX CPU of -1: it is not known how far that is.
        apart = self.machine.distances[records["cpu"], records["rxcpu"]]
        self.readings.append(np.bincount(apart, minlength=len(Distance)))
        if self.measured is ACCEPTS:
            self.waits.write(records)

    @property
    def is_enough(self) -> bool:
        """Whether so much was seen that a CPU on which nothing came does not receive."""
        return is_enough(self.total, self.machine.online)

    @property
    def series(self) -> Series:
        """The local share over time."""
        return self.within(Distance.CPU)

    def within(self, distance: Distance) -> Series:
        """The share at most so far from its RX CPU, over time."""
        readings = np.array(self.readings, np.int64).reshape(-1, len(Distance))
        return Series(readings[:, : distance + 1].sum(axis=1), readings.sum(axis=1))


def receiving_cpus(counted: Counted) -> frozenset[int]:
    """The CPUs that received, or every online one where too little was seen to tell."""
    received = counted.matrix[:, :-1].sum(axis=0)
    seen = [int(cpu) for cpu in np.flatnonzero(received)]
    return likely_rx_cpus(seen, counted.total, counted.machine.online)


def likely_rx_cpus(seen: Collection[int], total: int, online: Collection[int]) -> frozenset[int]:
    """The CPUs that so much was seen to arrive on, or all of them where it was little."""
    return frozenset(seen if is_enough(total, online) else online)


def is_enough(total: int, online: Collection[int]) -> bool:
    """Whether so many tell which CPUs receive."""
    return total >= ENOUGH * len(online)
