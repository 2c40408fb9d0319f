"""Packets by the CPU that allocated and the CPU that consumed them: a matrix, or only some of it.

A matrix grows with the square of the CPUs: 16 MB of 1,024 for each direction and 16 bytes, and
sixteen times as much of 4,096, nearly all of it zeros. Of so many CPUs only the pairs that occur
are kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

from locality.machine.distance import by_distance
from locality.machine.topology import Distance

if TYPE_CHECKING:
    from locality.arrays import Array
    from locality.machine.distance import Counts


MOST_DENSE = 1024
"""CPUs: a matrix of more is kept as its pairs."""


class Pairs(NamedTuple):
    """The pairs of CPUs of one direction that had packets.

    Attributes:
        cells: (pairs,) alloc CPU * possible CPUs + consume CPU, ascending.
        packets: (pairs,) how many.
    """

    cells: Array
    packets: Array


@dataclass(frozen=True)
class FewPairs:
    """A matrix of which only the pairs are kept that are not 0.

    Attributes:
        possible: How many CPUs it has.
        both: The pairs of received packets and of sent ones.
    """

    possible: int
    both: tuple[Pairs, Pairs]

    def __add__(self, other: FewPairs) -> FewPairs:
        rx, tx = (
            _pairs(
                np.concatenate([one.cells, two.cells]), np.concatenate([one.packets, two.packets])
            )
            for one, two in zip(self.both, other.both, strict=True)
        )
        return FewPairs(self.possible, (rx, tx))


#: (2, CPUs, CPUs) packets by direction, alloc CPU and consume CPU.
Matrix: TypeAlias = "Array | FewPairs"


def few_pairs(possible: int, alloc: Array, consume: Array, packets: Array) -> FewPairs:
    """A matrix of pairs, those without packets left out.

    Args:
        possible: How many CPUs it has.
        alloc: (pairs,) CPUs.
        consume: (pairs,) CPUs; each pair is there once.
        packets: (pairs, 2) by direction.
    """
    cells = alloc.astype(np.int64) * possible + consume
    order = np.argsort(cells)
    rx, tx = (
        Pairs(cells[order][some], counts[some])
        for counts in packets[order].T
        for some in [counts != 0]
    )
    return FewPairs(possible, (rx, tx))


def cpus_of(matrix: Matrix) -> int:
    """How many CPUs a matrix has."""
    return matrix.possible if isinstance(matrix, FewPairs) else len(matrix[0])


def dense(matrix: Matrix) -> Array:
    """The whole matrix, zeros and all."""
    if not isinstance(matrix, FewPairs):
        return matrix
    whole = np.zeros((2, matrix.possible**2), np.int64)
    for counts, pairs in zip(whole, matrix.both, strict=True):
        counts[pairs.cells] = pairs.packets
    return whole.reshape(2, matrix.possible, matrix.possible)


def pairs_among(counts: Array) -> Pairs:
    """The pairs of a direction that are not 0.

    Args:
        counts: (cells,) packets of each pair of CPUs.
    """
    cells = np.flatnonzero(counts)
    return Pairs(cells, counts[cells])


def pairs_in(matrix: Matrix) -> tuple[Pairs, Pairs]:
    """The pairs of each direction that are not 0."""
    if isinstance(matrix, FewPairs):
        return matrix.both
    rx, tx = map(pairs_among, matrix.reshape(2, -1))
    return rx, tx


def packets_apart(matrix: Matrix, direction: int, distances: Array) -> Counts:
    """What a direction of a matrix holds at each distance; see `distance.by_distance`."""
    if not isinstance(matrix, FewPairs):
        return by_distance(matrix[direction], distances)
    cells, packets = matrix.both[direction]
    apart = distances[np.divmod(cells, matrix.possible)]
    counts = np.bincount(apart, packets, len(Distance))
    return {distance: int(counts[distance]) for distance in Distance}


def added(one: Matrix, other: Matrix) -> Matrix:
    """The sum of two matrices of one machine."""
    if isinstance(one, FewPairs) and isinstance(other, FewPairs):
        return one + other
    return dense(one) + dense(other)


def _pairs(cells: Array, packets: Array) -> Pairs:
    """Pairs of which some are there twice."""
    known, place = np.unique(cells, return_inverse=True)
    sums = np.zeros(len(known), np.int64)
    np.add.at(sums, place, packets)
    return Pairs(known, sums)
