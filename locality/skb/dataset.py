"""What a recording of packets puts into a data set."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from locality.dataset.facts import Server, cells_of
from locality.dataset.schema import ELSEWHERE, SUMS, UNKNOWN
from locality.recording.arrow import filled_of, known_of, values_of
from locality.skb.interval import RX
from locality.skb.recording import recorded

if TYPE_CHECKING:
    import pyarrow as pa

    from locality.dataset.facts import Facts
    from locality.recording.format import Meta

#: By direction.
MEASURES = ("packets received", "packets sent")


class SkbContents:
    """Packets by direction."""

    def __init__(self, meta: Meta, facts: Facts) -> None:
        self._facts, self._meta, self._lost = facts, meta, 0
        self._distances = meta.machine.distances[: meta.possible, : meta.possible].ravel()

    def add(self, rows: pa.RecordBatch) -> None:
        """Add an interval."""
        totals, both = recorded(rows, self._meta)
        figures = {
            name: filled_of(totals[name]) for name in ("packets", "lost", "apart", "together")
        }
        lost = int(figures["lost"].max())
        is_seen = known_of(totals["local"])
        for direction, (measure, pairs) in enumerate(zip(MEASURES, both, strict=True)):
            seconds = float(values_of(totals["seconds"])[direction])
            middle = int(values_of(totals["time"])[direction]) / 1e9 - seconds / 2
            self._facts.period(middle, measure, seconds, max(0, lost - self._lost))
            sums = np.zeros(len(SUMS), np.int64)
            if is_seen[direction]:
                np.add.at(sums, self._distances[pairs.cells], pairs.packets)
                sums[0] += figures["together"][direction]
                sums[ELSEWHERE] = figures["apart"][direction]
            # The others have no known consume CPU.
            sums[UNKNOWN] += max(0, int(figures["packets"][direction]) - int(sums.sum()))
            if not sums.any():
                continue
            self._facts.count(middle, Server(measure), sums)
            if direction == RX:
                alloc, consume = np.divmod(pairs.cells, self._meta.possible)
                none = np.full(len(alloc), -1)
                cells = cells_of(none, consume, alloc, pairs.packets)
                self._facts.cells(middle, Server(measure), cells)
        self._lost = lost

    def end(self, lost: int, ended: float | None) -> None:
        """Nothing more comes."""
