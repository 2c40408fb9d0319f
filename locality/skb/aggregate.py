"""What a report needs of a recording of packets, added up interval by interval."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from locality.machine.distance import by_distance
from locality.machine.topology import Distance
from locality.recording.arrow import filled_of, values_of
from locality.skb.interval import RX
from locality.skb.recording import recorded
from locality.skb.stored import TOTALS
from locality.skb.totals import Totals, in_order

if TYPE_CHECKING:
    import pyarrow as pa

    from locality.arrays import Array
    from locality.machine.distance import Counts
    from locality.recording.format import Meta

#: The columns of totals that count packets.
_FIGURES = tuple(column.name for column in TOTALS if column.type == "int64")


class SkbAggregate:
    """Sums over intervals: one matrix for each direction, and the totals of each interval.

    Attributes:
        matrix: (2, CPUs, CPUs) packets by direction, alloc CPU and consume CPU.
    """

    COLUMNS: ClassVar[tuple[str, ...]] = ()

    def __init__(self, meta: Meta) -> None:
        self._meta = meta
        self._cells = np.zeros((2, meta.possible**2), np.int64)
        self._times, self._seconds = array("q"), array("d")
        #: By direction and name: a number for each interval.
        self._figures = [{name: array("q") for name in _FIGURES} for _ in range(2)]
        self._unseen: list[set[str]] = [set(), set()]

    def add(self, rows: pa.RecordBatch) -> None:
        """Add an interval.

        Raises:
            LocalityError: It is not what a recorder writes.
        """
        totals, both = recorded(rows, self._meta)
        for cells, pairs in zip(self._cells, both, strict=True):
            # A recorder writes each pair once.
            cells[pairs.cells] += pairs.packets
        self._times.append(int(values_of(totals["time"])[RX]))
        self._seconds.append(float(values_of(totals["seconds"])[RX]))
        for name in _FIGURES:
            column = totals[name]
            for direction, value in enumerate(filled_of(column).tolist()):
                self._figures[direction][name].append(value)
                if column.null_count and not column[direction].is_valid:
                    self._unseen[direction].add(name)

    @property
    def matrix(self) -> Array:
        """See the class."""
        return self._cells.reshape(2, self._meta.possible, self._meta.possible)

    def totals(self, direction: int) -> Totals:
        """The totals of a direction, interval by interval."""
        figures = {
            name: np.array(values, np.int64) for name, values in self._figures[direction].items()
        }
        unseen = frozenset(self._unseen[direction])
        return in_order(np.array(self._times), np.array(self._seconds), figures, unseen)

    def by_distance(self, direction: int) -> Counts | None:
        """Packets by how far alloc CPU and consume CPU are apart.

        Returns:
            As `locality.skb.interval.packets_by_distance` says; None where it was not seen what is
            local.
        """
        totals = self.totals(direction)
        if "local" in totals.unseen:
            return None
        counts = by_distance(self.matrix[direction], self._meta.machine.distances)
        counts[Distance.CPU] += totals.sum("together") or 0
        counts[Distance.UNKNOWN] += totals.sum("apart") or 0
        return counts
