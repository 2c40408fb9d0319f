"""What a group's spill program was told and what it has counted, whoever attached it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from locality.errors import LocalityError
from locality.machine.topology import Distance
from locality.spill.maps import COUNTS, Maps
from locality.spill.table import Table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from locality.arrays import Array


class Got(NamedTuple):
    """What one socket got, in connections."""

    kept: int
    """From the CPUs whose own worker serves it."""
    spilled: int
    """From others."""


@dataclass(frozen=True)
class Counted:
    """Answers of the program since it was attached: one for each SYN; with cookies for each ACK.

    Attributes:
        by_cpu: (CPUs,) of `maps.COUNTS`.
        sockets: What each socket that is in the group got, by inode.
        departed: What sockets got that have left.
    """

    by_cpu: Array
    sockets: Mapping[int, Got]
    departed: Got

    def total(self, name: str) -> int:
        """A count of all CPUs and distances."""
        return int(self.by_cpu[name].sum())

    @property
    def spilled(self) -> dict[Distance, int]:
        """What was given to another worker than the CPU's own, by the distance of that worker."""
        sums = self.by_cpu["spilled"].sum(axis=0).tolist()
        return dict(zip(Distance, sums, strict=True))

    @property
    def hashed(self) -> int:
        """What was left to the kernel's hash, for whatever reason."""
        return sum(map(self.total, ("no_worker", "closed", "newcomers")))

    @property
    def answers(self) -> int:
        """All of them."""
        names = ("kept", "kept_long", "spilled")
        return sum(map(self.total, names)) + self.hashed

    def since(self, earlier: Counted) -> Counted:
        """What all CPUs counted since an earlier reading of the same program.

        What each socket got is not told apart by time: that is of the later reading.
        """
        grown = np.zeros_like(self.by_cpu)
        for name in COUNTS.names or ():
            grown[name] = self.by_cpu[name] - earlier.by_cpu[name]
        return Counted(grown, self.sockets, self.departed)


@dataclass(frozen=True, slots=True)
class Spill:
    """The spill program of a group.

    Attributes:
        number: The program's id.
        table: What it was told, of the sockets that are still there; None if it cannot be seen.
        counted: What it has counted; None in the same case.
        outside: Sockets of the group that are not in its map: only the hash gives them any.
        why: Why its table and counters cannot be seen; empty if they can.
    """

    number: int
    table: Table | None = None
    counted: Counted | None = field(default=None, compare=False)
    outside: frozenset[int] = frozenset()
    why: str = ""


def read(number: int, maps: Maps | LocalityError, cookies: Mapping[int, int]) -> Spill:
    """Read what a program was told and has counted.

    Args:
        number: Its id.
        maps: Its maps, or why they cannot be had.
        cookies: SO_COOKIE of each socket of its group, by inode; 0 where it has none.
    """
    if isinstance(maps, LocalityError):
        return Spill(number, why=str(maps))
    inodes = np.zeros(maps.capacity, np.uint64)
    by_cookie = {cookie: inode for inode, cookie in cookies.items() if cookie}
    for cookie, place in maps.cookies().items():
        inodes[place] = by_cookie.get(cookie, 0)
    kept, spilled = (maps.workers[name].sum(axis=0) for name in ("kept", "spilled"))
    present = inodes != 0
    sockets = {
        int(inodes[place]): Got(int(kept[place]), int(spilled[place]))
        for place in np.flatnonzero(present).tolist()
    }
    departed = Got(
        *(
            int(counts[~present].sum()) + int(maps.departed[name].sum())
            for name, counts in (("kept", kept), ("spilled", spilled))
        )
    )
    counted = Counted(maps.counters.copy(), sockets, departed)
    outside = frozenset(cookies.keys() - sockets.keys())
    try:
        return Spill(number, _table(maps, inodes), counted, outside)
    except (LocalityError, ValueError, IndexError) as wrong:
        return Spill(number, None, counted, outside, f"its table makes no sense: {wrong}")


def _table(maps: Maps, inodes: Array) -> Table:
    """The table that the maps hold, without the sockets that have left."""
    cpus: list[int] = []
    rows: list[Array] = []
    distances: list[Array] = []
    bound = 0
    for cpu in np.flatnonzero(maps.routes["workers"]).tolist():
        route, choices = maps.routes[cpu], maps.order[cpu, : int(maps.routes["workers"][cpu])]
        row = inodes[choices["place"]]
        if not row[0]:
            continue  # its own worker has left: what it receives is hashed
        bound = int(route["bound"])
        cpus.append(cpu)
        rows.append(row[row != 0])
        distances.append(choices["distance"][row != 0])
    if len({len(row) for row in rows}) > 1:
        raise LocalityError("CPUs have different sockets")
    if any(len(one) and one.max() > max(Distance) for one in distances):
        raise LocalityError("it names a distance that there is not")
    shape = (len(rows), len(rows[0]) if rows else 0)
    return Table(
        bound,
        tuple(cpus),
        np.array(rows, np.uint64).reshape(shape),
        np.array(distances, np.uint8).reshape(shape),
    )
