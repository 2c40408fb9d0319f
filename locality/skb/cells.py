"""The counters of pairs of CPUs, as the kernel keeps them, and what they grew by.

Up to `pairs.MOST_DENSE` CPUs they are a table that is mapped into this process: a cell for each
pair. Beyond that the kernel keeps a hash table of the pairs that occur (probes/skb_counters.h).
"""

from __future__ import annotations

import ctypes
import errno
import os
from typing import TYPE_CHECKING, Protocol

import numpy as np

from locality.bpf.counters import Counters
from locality.bpf.libbpf import lib
from locality.errors import LocalityError
from locality.skb.pairs import MOST_DENSE, few_pairs

if TYPE_CHECKING:
    from locality.arrays import Array
    from locality.bpf.object import Object
    from locality.skb.pairs import Matrix

#: `struct cell`: packets that were consumed, (RX, TX).
CELL = np.dtype([("consumed", "u8", (2,))])

MOST_PAIRS = 1 << 18
"""So many of them; packets of further pairs are counted as those of unknown CPUs."""

_ROWS = 64  # so many of a table are read at a time, and stay in the processor's cache


class Grown(Protocol):
    """What the counters of pairs grew by during an interval."""

    def sums(self) -> Array:
        """(2,) all of it, by direction."""
        ...

    def local(self) -> Array:
        """(CPUs, 2) what was consumed where it was allocated."""
        ...

    def set_local(self, packets: Array) -> None:
        """Replace that by as much or less."""
        ...

    def by_pair(self) -> Matrix:
        """The packets by alloc CPU and consume CPU."""
        ...


class GrownTable:
    """A table's growth.

    Args:
        packets: (CPUs, CPUs, 2) by this CPU, alloc CPU and direction.
    """

    def __init__(self, packets: Array) -> None:
        self._packets = packets
        self._every = np.arange(len(packets))

    def sums(self) -> Array:
        """See `Grown`."""
        return np.asarray(self._packets.sum(axis=(0, 1)))

    def local(self) -> Array:
        """See `Grown`."""
        return self._packets[self._every, self._every]

    def set_local(self, packets: Array) -> None:
        """See `Grown`."""
        self._packets[self._every, self._every] = packets

    def by_pair(self) -> Array:
        """See `Grown`."""
        return self._packets.transpose(2, 1, 0)


class GrownPairs:
    """The growth of pairs.

    Args:
        possible: How many CPUs there can be.
        keys: (pairs,) this CPU * possible CPUs + alloc CPU.
        packets: (pairs, 2) by direction.
    """

    def __init__(self, possible: int, keys: Array, packets: Array) -> None:
        self._possible = possible
        self._consume, self._alloc = np.divmod(keys.astype(np.int64), possible)
        self._packets = packets
        self._same = self._consume == self._alloc

    def sums(self) -> Array:
        """See `Grown`."""
        return np.asarray(self._packets.sum(axis=0))

    def local(self) -> Array:
        """See `Grown`."""
        local = np.zeros((self._possible, 2), np.int64)
        local[self._alloc[self._same]] = self._packets[self._same]
        return local

    def set_local(self, packets: Array) -> None:
        """See `Grown`."""
        had = self._alloc[self._same]
        self._packets[self._same] = packets[had]
        # What was taken back too early comes back, perhaps to a CPU that had nothing else now.
        rest = packets.copy()
        rest[had] = 0
        new = np.flatnonzero(rest.any(axis=1))
        if len(new):
            self._consume, self._alloc = (
                np.concatenate([cpus, new]) for cpus in (self._consume, self._alloc)
            )
            self._packets = np.concatenate([self._packets, rest[new]])
            self._same = self._consume == self._alloc

    def by_pair(self) -> Matrix:
        """See `Grown`."""
        return few_pairs(self._possible, self._alloc, self._consume, self._packets)


class Table:
    """The counters of a table.

    Args:
        obj: The loaded object.
        cpus: How many CPUs there can be.
    """

    def __init__(self, obj: Object, cpus: int) -> None:
        self._live = Counters(obj, "cells", CELL, (cpus, _in_row(cpus)))
        self._before = np.zeros((cpus, cpus, 2), np.uint64)
        self.read()

    def read(self) -> GrownTable:
        """What they grew by since this was called last."""
        grown = np.zeros(self._before.shape, np.int64)
        for first in range(0, len(grown), _ROWS):
            rows = slice(first, first + _ROWS)
            now = self._live.read(rows)["consumed"][:, : len(grown)]
            before = self._before[rows]
            # Of rows without a packet no memory is touched that was not before.
            if not np.array_equal(now, before):
                np.subtract(now, before, out=grown[rows].view(np.uint64))
                before[:] = now
        return GrownTable(grown)


class FewCells:
    """The counters of pairs that occur; see `Table`."""

    def __init__(self, obj: Object, cpus: int) -> None:
        self._fd = obj.map_fd("few_cells")
        self._cpus = cpus
        self._keys = np.zeros(MOST_PAIRS, np.uint32)
        self._values = np.zeros(MOST_PAIRS, CELL)
        self._known = np.zeros(0, np.uint32)
        self._before = np.zeros((0, 2), np.uint64)
        self.read()

    def read(self) -> GrownPairs:
        """What they grew by since this was called last.

        Raises:
            LocalityError: The kernel refused to hand them out.
        """
        count = self._look_up()
        order = np.argsort(self._keys[:count])
        known = self._keys[:count][order]
        now = self._values["consumed"][:count][order]
        before = np.zeros_like(now)
        # No pair is ever taken out.
        before[np.searchsorted(known, self._known)] = self._before
        self._known, self._before = known, now
        grown = (now - before).view(np.int64)
        some = grown.any(axis=1)
        return GrownPairs(self._cpus, known[some], grown[some])

    def _look_up(self) -> int:
        """Read all pairs there are; how many. BPF_MAP_LOOKUP_BATCH is in Linux 5.6."""
        count, done, at = ctypes.c_uint32(MOST_PAIRS), ctypes.c_uint32(), None
        total = 0
        while total < MOST_PAIRS:
            count.value = MOST_PAIRS - total
            refused = lib.bpf_map_lookup_batch(
                self._fd,
                at,
                ctypes.byref(done),
                self._keys[total:].ctypes.data,
                self._values[total:].ctypes.data,
                ctypes.byref(count),
                None,
            )
            code = ctypes.get_errno()
            total += count.value
            if refused:
                if code == errno.ENOENT:  # there are no more
                    break
                raise LocalityError(
                    f"the kernel refused to hand out the counters: {os.strerror(code)}"
                )
            at = ctypes.byref(done)
        return total


def cells_of(obj: Object, cpus: int) -> Table | FewCells:
    """The counters of a loaded object, whose maps `sizes` sized."""
    return Table(obj, cpus) if cpus <= MOST_DENSE else FewCells(obj, cpus)


def _in_row(cpus: int) -> int:
    """Cells that a CPU has in the table: a whole number of cache lines (CELLS_OF_A_CPU)."""
    return -(-cpus // 4) * 4


def sizes(cpus: int) -> dict[str, int]:
    """How many entries the maps have."""
    if cpus <= MOST_DENSE:
        return {"cells": cpus * _in_row(cpus), "few_cells": 1}
    return {"cells": 1, "few_cells": MOST_PAIRS}
