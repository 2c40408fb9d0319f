"""What one interval of `locality top` showed, and how its rows are put together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from locality.arrays import alike
from locality.machine.topology import Distance
from locality.reads.batch import SOURCES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from locality.arrays import Array
    from locality.cost.interval import CostInterval

#: Sums of a reader. Those by distance are of reads of which the CPU that received is known.
DISTANCES = tuple(distance.word for distance in Distance if distance is not Distance.UNKNOWN)
SUMS = ("reads", "bytes", *DISTANCES)

#: One thread's reads on one port.
#: protocol: 6 for TCP, 17 for UDP. outgoing: the port is the peer's, of a connection that this
#: machine opened. netns: inode of the network namespace. cgroup: its id (v2), 0 if not known.
#: bytes: what was read. cpu ... remote: reads by the distance between the CPU that received and
#: the CPU that read. sources: CPUs, -1 for none, and how many remote reads they received at least.
READER = np.dtype(
    [
        ("netns", "u4"),
        ("port", "u2"),
        ("protocol", "u1"),
        ("outgoing", "u1"),
        ("pid", "u4"),
        ("tid", "u4"),
        ("cgroup", "u8"),
        ("comm", "S16"),
        *((name, "u8") for name in SUMS),
        ("sources", "i4", (SOURCES,)),
        ("received", "u8", (SOURCES,)),
    ]
)
#: What tells one reader from another.
KEY = ("netns", "tid", "port", "protocol", "outgoing")


@dataclass(frozen=True)
class TopInterval:
    """Who read how much in one interval.

    Attributes:
        time: Its end, UTC, seconds since the epoch.
        seconds: Its length.
        rung: The rung that saw it.
        lost: Since the start: reads for which the table had no room, and runs of the probe that
            the kernel skipped.
        bytes_seen: Whether this kernel tells how much a read took.
        readers: dtype `READER`; no row of who read nothing.
        cgroups: Paths of the readers' cgroups, by id; of those that could be told.
        cost: How long packets waited for the same readers; None if that was not measured.
    """

    time: float
    seconds: float
    rung: str
    lost: int
    bytes_seen: bool
    readers: Array
    cgroups: Mapping[int, str] = field(default_factory=dict)
    cost: CostInterval | None = None

    def __len__(self) -> int:
        """An interval is one event, however many reads it counted."""
        return 1

    def first(self, count: int) -> TopInterval:
        """Itself: an interval cannot be cut."""
        del count
        return self

    def __add__(self, later: TopInterval) -> TopInterval:
        """This interval and the one after it, as one."""
        cost = None if self.cost is None or later.cost is None else self.cost + later.cost
        return TopInterval(
            time=later.time,
            seconds=self.seconds + later.seconds,
            rung=later.rung,
            lost=later.lost,
            bytes_seen=self.bytes_seen and later.bytes_seen,
            readers=together(np.concatenate([self.readers, later.readers]), KEY),
            cgroups={**self.cgroups, **later.cgroups},
            cost=cost,
        )


def known(rows: Array) -> Array:
    """(rows,) reads of which the CPU that received is known."""
    total: Array = sum((rows[name] for name in DISTANCES), np.zeros(len(rows), "u8"))
    return total


def remote(rows: Array) -> Array:
    """(rows,) reads on another CPU than the one that received."""
    away: Array = known(rows) - rows["cpu"]
    return away


def together(rows: Array, key: tuple[str, ...]) -> Array:
    """Rows that agree in some fields become one, with their sums and most frequent sources.

    What is neither in the key nor a sum is that of the last row.

    Args:
        rows: dtype `READER`.
        key: The fields.
    """
    if not len(rows):
        return rows
    inverse = alike(rows, key)
    latest = np.zeros(inverse.max() + 1, "i8")
    np.maximum.at(latest, inverse, np.arange(len(rows)))
    merged = rows[latest]
    for name in SUMS:
        merged[name] = 0
        np.add.at(merged[name], inverse, rows[name])
    merged["sources"], merged["received"] = _sources(rows, inverse, len(merged))
    return merged


def _sources(rows: Array, inverse: Array, groups: int) -> tuple[Array, Array]:
    """The most frequent sources of each group, most first: CPUs and counts."""
    group = np.repeat(inverse, SOURCES)
    cpu, count = rows["sources"].ravel(), rows["received"].ravel()
    there = cpu >= 0
    pairs = np.stack([group[there], cpu[there].astype("i8")], axis=1)
    distinct, which = np.unique(pairs, axis=0, return_inverse=True)
    sums = np.bincount(which.reshape(-1), count[there], len(distinct)).astype("u8")
    order = np.lexsort((distinct[:, 1], -sums.astype("i8"), distinct[:, 0]))
    distinct, sums = distinct[order], sums[order]
    begins = np.searchsorted(distinct[:, 0], distinct[:, 0])
    rank = np.arange(len(distinct)) - begins
    kept = rank < SOURCES
    cpus, counts = np.full((groups, SOURCES), -1, "i4"), np.zeros((groups, SOURCES), "u8")
    where = distinct[kept, 0], rank[kept]
    cpus[where], counts[where] = distinct[kept, 1], sums[kept]
    return cpus, counts
