"""How far connections and packets go from the CPU that received or allocated them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from locality.machine.topology import Distance
from locality.text import (
    percent,
    share,
)

if TYPE_CHECKING:
    from locality.arrays import Array
    from locality.machine.topology import Topology

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


def distance_text(counts: Counts | None, machine: Topology, unknown: str = "") -> str:
    """The share at each distance that the machine has: ``same CPU 50.0%, same LLC 50.0%``.

    Args:
        counts: How many at each distance; None where that was not seen.
        machine: Whose distances.
        unknown: What to call an unknown distance, where more is known of it.
    """
    of = shares(counts)
    names = {Distance.UNKNOWN: unknown} if unknown else {}
    return ", ".join(
        f"{names.get(one, one.phrase)} {percent(of[one])}" for one in shown(counts, machine)
    )


def distance_words(counts: Counts | None, machine: Topology) -> str:
    """The same in little room, in the words of the data: ``cpu 50.0% llc 50.0%``."""
    of = shares(counts)
    return " ".join(f"{one.word} {percent(of[one])}" for one in shown(counts, machine))
