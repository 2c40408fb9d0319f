"""How far connections and packets go from the CPU that received or allocated them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from locality.machine.topology import Distance
from locality.skb.accounting import share

if TYPE_CHECKING:
    from locality.arrays import Array
    from locality.machine.topology import Topology
    from locality.skb.accounting import Interval

#: How many at each distance.
Counts = dict[Distance, int]


def by_distance(matrix: Array, distances: Array) -> Counts:
    """What a matrix of counts by two CPUs holds at each distance.

    Args:
        matrix: A row or column more than CPUs is "no CPU".
        distances: As `locality.machine.topology.Topology.distances`.
    """
    rows, columns = matrix.shape
    # Adds in double precision, which is exact up to 2**53.
    counts = np.bincount(distances[:rows, :columns].ravel(), matrix.ravel(), len(Distance))
    return {distance: int(counts[distance]) for distance in Distance}


def packets_by_distance(interval: Interval, direction: int, machine: Topology) -> Counts | None:
    """Packets of one direction by how far alloc CPU and consume CPU are apart.

    They add up to the packets whose consume CPU is known, and those on the same CPU are the
    local ones. Unknown are packets known to have left their CPU, but not for which.

    Returns:
        None where the rung does not see what is local.
    """
    if (interval.rx, interval.tx)[direction].local is None:
        return None
    counts = by_distance(interval.matrix[direction], machine.distances)
    counts[Distance.CPU] += interval.together[direction]
    counts[Distance.UNKNOWN] += interval.apart[direction]
    return counts


def shown(counts: Counts | None, machine: Topology) -> list[Distance]:
    """The distances worth a word, nearest first: those the machine has, and those that occur."""
    return [
        distance
        for distance in Distance
        if distance in machine.classes or (counts is not None and counts[distance])
    ]


def shares(counts: Counts | None) -> dict[Distance, float | None]:
    """Percent at each distance; None where it was not seen, or nothing was counted."""
    whole = None if counts is None else sum(counts.values())
    return {
        distance: share(None if counts is None else counts[distance], whole)
        for distance in Distance
    }
