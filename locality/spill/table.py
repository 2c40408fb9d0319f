"""Which worker gets what a CPU receives, and which others in what order when its queue is long.

A table names sockets by their inodes. So it stays true while sockets leave the group and others
move to their places, which a table of indexes does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from locality import cbpf
from locality.errors import LocalityError
from locality.machine.topology import MOST_CPUS, Distance
from locality.steering.nearest import farthest

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from locality.arrays import Array
    from locality.machine.topology import Topology

MOST_SOCKETS = 4096
"""The tables have a row of all sockets for each CPU; no larger group was tried."""
_MOST_BOUND = 2**32 - 1
"""It has 32 bits in the kernel."""


@dataclass(frozen=True, eq=False)
class Table:
    """What the program needs to know.

    Attributes:
        bound: So many connections may wait for a CPU's own worker before others are looked at.
        cpus: The CPUs that have a worker; what others receive is hashed.
        sockets: (CPUs, sockets), uint64: inodes. The CPU's own worker first, then the others,
            nearest first.
        distances: (CPUs, sockets), uint8: the `Distance` of each from the CPU.
    """

    bound: int
    cpus: tuple[int, ...]
    sockets: Array
    distances: Array

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Table) and self._content == other._content

    def __hash__(self) -> int:
        return hash(self._content)

    @property
    def _content(self) -> tuple[object, ...]:
        arrays = (self.sockets.tobytes(), self.distances.tobytes())
        return self.bound, self.cpus, self.sockets.shape, *arrays

    @property
    def members(self) -> frozenset[int]:
        """The sockets that are in it."""
        return frozenset(np.unique(self.sockets).tolist())

    def row(self, cpu: int) -> list[tuple[int, Distance]]:
        """The sockets for a CPU with their distances, its own worker first; none if it has none."""
        if cpu not in self.cpus:
            return []
        number = self.cpus.index(cpu)
        distances = map(Distance, self.distances[number].tolist())
        return list(zip(self.sockets[number].tolist(), distances, strict=True))

    def without(self, inodes: Collection[int]) -> Table:
        """The same without some sockets; what CPUs receive whose own worker is one is hashed."""
        if not inodes:
            return self
        gone = np.isin(self.sockets, np.array([*inodes], np.uint64))
        kept = ~gone[:, 0] if len(self.cpus) else np.zeros(0, np.bool_)
        shape = (int(kept.sum()), int((~gone[0]).sum()) if len(self.cpus) else 0)
        return Table(
            self.bound,
            tuple(cpu for cpu, keeps in zip(self.cpus, kept, strict=True) if keeps),
            self.sockets[kept][~gone[kept]].reshape(shape),
            self.distances[kept][~gone[kept]].reshape(shape),
        )

    def as_map(self, inodes: Sequence[int]) -> cbpf.Program | None:
        """The classic program that answers the same while no queue is long.

        Args:
            inodes: The group's sockets in order.

        Returns:
            None where no CPU's own worker is in the group: everything is hashed.
        """
        index = {inode: number for number, inode in enumerate(inodes)}
        own = self.sockets[:, 0].tolist() if len(self.cpus) else []
        mapped = {
            cpu: index[inode] for cpu, inode in zip(self.cpus, own, strict=True) if inode in index
        }
        return cbpf.table(mapped) if mapped else None

    def to_json(self) -> dict[str, Any]:
        """The same as plain lists, for an undo file."""
        return {
            "bound": self.bound,
            "cpus": list(self.cpus),
            "sockets": self.sockets.tolist(),
            "distances": self.distances.tolist(),
        }

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Table:
        """Read what `to_json` gave.

        Raises:
            KeyError, TypeError, ValueError: It is something else.
        """
        try:
            sockets = np.array(entry["sockets"], np.uint64)
            distances = np.array(entry["distances"], np.uint8)
        except OverflowError as error:
            raise ValueError(str(error)) from None
        cpus, bound = tuple(entry["cpus"]), entry["bound"]
        if not all(type(number) is int and number >= 0 for number in (*cpus, bound)):
            raise TypeError("CPUs and bound are whole numbers")
        if bound > _MOST_BOUND or max(cpus, default=0) >= MOST_CPUS:
            raise ValueError(f"CPUs {cpus} and a bound of {bound}")
        if not cpus and not sockets.size and not distances.size:
            sockets, distances = sockets.reshape(0, 0), distances.reshape(0, 0)
        rows = sockets.ndim == 2 and len(sockets) == len(cpus)  # noqa: PLR2004 - CPUs, sockets
        if not rows or sockets.shape != distances.shape or (cpus and not sockets.size):
            raise ValueError(f"sockets of shape {sockets.shape} for {len(cpus)} CPUs")
        if distances.size and distances.max() > max(Distance):
            raise ValueError("a distance that there is not")
        return cls(bound, cpus, sockets, distances)


def make(
    bound: int,
    own: Mapping[int, int],
    workers: Mapping[int, Collection[int]],
    machine: Topology,
) -> Table:
    """The table for CPUs with a worker of their own, and others by their distance.

    Workers at the same distance are asked in a different order by each CPU, so that two CPUs with
    long queues do not both turn to the same one.

    Args:
        bound: As in `Table`.
        own: The socket of its own worker, by CPU.
        workers: The CPUs that each socket's worker may run on, by socket, in the group's order.
        machine: The CPUs' distances.

    Raises:
        LocalityError: More sockets than there is room for.
    """
    inodes = list(workers)
    if len(inodes) > MOST_SOCKETS:
        raise LocalityError(f"--spill is for groups of up to {MOST_SOCKETS} sockets")
    cpus = sorted(own)
    place = {inode: number for number, inode in enumerate(inodes)}
    mine = np.array([place[own[cpu]] for cpu in cpus], np.int64)
    apart = farthest(cpus, [workers[inode] for inode in inodes], machine)
    behind = (np.arange(len(inodes)) - mine[:, None]) % max(len(inodes), 1)
    key = apart.astype(np.int64) * (len(inodes) + 1) + behind
    np.put_along_axis(key, mine[:, None], -1, axis=1)
    order = np.argsort(key, axis=1, kind="stable")
    return Table(
        bound,
        tuple(cpus),
        np.array(inodes, np.uint64)[order],
        np.take_along_axis(apart, order, axis=1),
    )
