"""The CPUs of a large machine, ordered by what they share, and no more cells than can be drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from locality.machine.topology import Distance

if TYPE_CHECKING:
    from locality.arrays import Array
    from locality.machine.topology import Topology

#: Up to so many CPUs a figure shows each at its number.
MOST_BY_NUMBER = 64
#: More cells than this along an edge are less than two pixels each.
MOST_CELLS = 256


@dataclass(frozen=True)
class CpuOrder:
    """CPUs by NUMA node, last-level cache and core, in cells of neighbours.

    Attributes:
        cpus: CPU numbers in this order.
        starts: (cells,) where each cell begins in it; a cell is on one node.
        nodes: Where each node begins, in cells; one of them if they are not known.
        caches: Where each last-level cache begins, in cells; of cells with several, the first.
    """

    cpus: Array
    starts: Array
    nodes: Array
    caches: Array

    @property
    def cells(self) -> int:
        """How many there are."""
        return len(self.starts)

    @property
    def is_known(self) -> bool:
        """Whether there are several nodes or caches; else the CPUs are in the order of numbers."""
        return len(self.nodes) > 1 or len(self.caches) > 1

    @property
    def most_in_cell(self) -> int:
        """CPUs in the largest cell."""
        return int(np.diff(self.starts, append=len(self.cpus)).max(initial=1))

    def largest(self, matrix: Array) -> Array:
        """(cells, cells) the largest of the counts in each cell: none is lost among others."""
        by_row = np.maximum.reduceat(matrix[np.ix_(self.cpus, self.cpus)], self.starts, axis=0)
        largest: Array = np.maximum.reduceat(by_row, self.starts, axis=1)
        return largest

    def busiest(self, counts: Array) -> Array:
        """(cells,) the CPU with the highest count in each cell.

        Args:
            counts: (CPUs,)
        """
        ordered = counts[self.cpus]
        ends = np.append(self.starts[1:], len(ordered))
        places = [
            begin + int(np.argmax(ordered[begin:end]))
            for begin, end in zip(self.starts.tolist(), ends.tolist(), strict=True)
        ]
        found: Array = self.cpus[places]
        return found


def order_of(machine: Topology, used: Array) -> CpuOrder:
    """The CPUs of a machine that are online or were used.

    Args:
        machine: Whose CPUs.
        used: The CPUs of which anything was counted.
    """
    there = np.union1d(np.array(machine.online, np.int64), used)
    apart = machine.distances[np.ix_(there, there)]
    known = ((apart != Distance.UNKNOWN) & ~np.eye(len(there), dtype=np.bool_)).any(axis=1)
    order, nodes, caches = [], [], []
    begin = 0
    for node in _groups(machine, there[known], Distance.NODE):
        nodes.append(begin)
        for cache in _groups(machine, node, Distance.LLC):
            caches.append(begin)
            order += _groups(machine, cache, Distance.CORE)
            begin += len(cache)
    if not known.all():  # offline now, or a machine that does not tell
        order.append(there[~known])
        nodes.append(begin)
        caches.append(begin)
    cpus = np.concatenate(order)
    each = -(-len(cpus) // MOST_CELLS)
    ends = [*nodes[1:], len(cpus)]
    starts = np.concatenate(
        [np.arange(first, end, each) for first, end in zip(nodes, ends, strict=True)]
    )
    in_cells = [np.unique(np.searchsorted(starts, some)) for some in (nodes, caches)]
    return CpuOrder(cpus, starts, in_cells[0], in_cells[1])


def _groups(machine: Topology, cpus: Array, level: Distance) -> list[Array]:
    """CPUs that share something this near, each group ascending, in the order of their first."""
    groups = []
    while len(cpus):
        near = machine.distances[cpus[0], cpus] <= level
        near[0] = True  # how far an offline CPU is from itself is not known
        groups.append(cpus[near])
        cpus = cpus[~near]
    return groups
