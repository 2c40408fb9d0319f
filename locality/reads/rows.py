"""The rows in which the kernel counts reads, a row for each thread and port.

The probes' side is probes/read_counters.h. `locality.top` counts in them; `locality.cost` has the
times of reads beside them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from locality.bpf.btf import check_layout
from locality.bpf.counters import Counters
from locality.machine import topology
from locality.machine.topology import Distance
from locality.reads.batch import SOURCES

if TYPE_CHECKING:
    from locality.arrays import Array
    from locality.bpf.ladder import Attachment
    from locality.bpf.object import Object
    from locality.machine.topology import Topology

#: `struct read_source` and `struct read_row` of the probes.
READ_SOURCE = np.dtype([("count", "u8"), ("cpu", "u4"), ("reserved", "u4")])
READ_ROW = np.dtype(
    [
        ("cgroup", "u8"),
        ("bytes", "u8"),
        ("distances", "u8", (len(Distance),)),
        ("sources", READ_SOURCE, (SOURCES,)),
        ("netns", "u4"),
        ("pid", "u4"),
        ("tid", "u4"),
        ("epoch", "u4"),
        ("port", "u2"),
        ("protocol", "u1"),
        ("outgoing", "u1"),
        ("index", "u4"),
        ("comm", "S16"),
    ]
)
#: `struct cpu_place`.
CPU_PLACE = np.dtype([("core", "u4"), ("llc", "u4"), ("node", "u4"), ("known", "u4")])

MAX_READERS = 8192


class Rows:
    """The rows of one probe: those of TCP, or those of UDP.

    Args:
        attachment: Its object is `prepared`.
        machine: Whose CPUs.
        size: How many rows there are.
    """

    def __init__(self, attachment: Attachment, machine: Topology, size: int = MAX_READERS) -> None:
        self.attachment = attachment
        obj = attachment.obj
        write_places(obj, machine)
        self._variables = obj.bss
        self._size = size
        self._rows = Counters(obj, "read_rows", READ_ROW, (size,))
        self._before = self._used_rows()

    def _used_rows(self) -> Array:
        """The rows that have ever had an owner; those behind them are empty."""
        return self._rows.read(min(int(self._variables["used_read_rows"]), self._size))

    @property
    def lost(self) -> int:
        """Reads without a row, and skipped runs, since the start."""
        missed = int(self._variables["unplaced_reads"]) + self.attachment.obj.skipped_runs()
        if "homeless" in (self._variables.dtype.names or ()):  # UDP: sockets without a row
            missed += int(self._variables["homeless"]) + int(self._variables["lost_reads"])
        return missed

    def read(self) -> tuple[Array, Array]:
        """The rows now and at the last call, dtype `READ_ROW` each; a new one was empty before."""
        for name in ("read_epoch", "epoch"):  # the second one is UDP's: see `UdpReads`
            if name in (self._variables.dtype.names or ()):
                self._variables[name] = (int(self._variables[name]) + 1) & 0xFFFFFFFF
        now, before = self._used_rows(), self._before
        if len(before) < len(now):
            before = np.zeros(len(now), READ_ROW)
            before[: len(self._before)] = self._before
        self._before = now
        return now, before


def prepared(obj: Object, size: int = MAX_READERS) -> Object:
    """An object with the tables of probes/read_counters.h, checked and of the right size.

    Args:
        obj: Not loaded yet; its constant `max_read_rows` is the same number.
        size: How many rows there are to be.
    """
    check_layout(READ_ROW, obj.btf.struct("read_row"), "read_row")
    check_layout(CPU_PLACE, obj.btf.struct("cpu_place"), "cpu_place")
    obj.resize("read_rows", size)
    obj.resize("read_row_of", size)
    obj.resize("cpu_places", topology.possible_cpus())
    return obj


def write_places(obj: Object, machine: Topology) -> None:
    """Tell a loaded object how far CPUs are apart (probes/distance.h)."""
    places = np.ndarray(
        machine.possible,
        CPU_PLACE,
        buffer=obj.mmap("cpu_places", machine.possible * CPU_PLACE.itemsize),
    )
    places[:] = cpu_places(machine)


def cpu_places(machine: Topology) -> Array:
    """(CPUs,) what each CPU shares with others, by the lowest of them: dtype `CPU_PLACE`."""
    size = machine.possible
    places = np.zeros(size, CPU_PLACE)
    shared = {"core": Distance.CORE, "llc": Distance.LLC, "node": Distance.NODE}
    for name, distance in shared.items():
        near = machine.distances[:size, :size] <= distance
        places[name] = near.argmax(axis=1)
    places["known"][[*machine.online]] = 1
    return places
