"""Recordings whose batches are intervals: one row of each interval itself, and rows of other kinds.

All rows are in one table. Its column ``row`` gives the kind of a row, and a kind fills only the
columns that it has.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from locality.recording.columns import of_row
from locality.recording.format import damaged, require_values
from locality.recording.writer import Recorder

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from locality.recording.columns import Column


class IntervalRecorder(Recorder):
    """A sink that records intervals, each on the disk before the next."""

    @abstractmethod
    def _rows_of(self, interval: Any) -> pa.RecordBatch:  # noqa: ANN401 - each kind's own
        """An interval as rows of the kind's columns."""

    def write(self, batch: Any) -> None:  # noqa: ANN401 - see `_rows_of`
        """Take an interval, which has ``lost``: events that were missed, since the start."""
        if not self._open:
            return
        self._lost = batch.lost
        self._append(self._rows_of(batch))
        self._count += 1


def split(
    rows: pa.RecordBatch,
    columns: Sequence[Column],
    kinds: Collection[str],
    words: Mapping[str, Collection[str]],
) -> dict[str, pa.RecordBatch]:
    """A batch as the rows of each kind, with the columns they have.

    Args:
        rows: The batch.
        columns: Of the table.
        kinds: Of rows: what ``row`` can be.
        words: Columns whose values are one of some words, and the words.

    Raises:
        LocalityError: A value is missing, or is none that a recorder writes.
    """
    if not {*rows["row"].dictionary.to_pylist()} <= {*kinds}:
        raise damaged("a row is of no kind")
    told = rows["row"].cast(pa.utf8())
    parts = {}
    for row in kinds:
        names = [column.name for column in of_row(columns, row) if column.name != "row"]
        parts[row] = rows.select(names).filter(pc.equal(told, row))
        require_values(parts[row], columns, row)
        for name in names:
            if name in words and not {*parts[row][name].unique().to_pylist()} <= {*words[name]}:
                raise damaged(f"a {name} is none")
    return parts


def require_interval(part: pa.RecordBatch) -> None:
    """Refuse a batch that is not of one interval.

    Args:
        part: Its rows of intervals themselves.

    Raises:
        LocalityError: There is none, more than one, or one without a length.
    """
    lengths = part["seconds"].to_pylist()
    if len(lengths) != 1 or not 0 < lengths[0] < math.inf:
        raise damaged("an interval has no totals")
