"""A recording of `locality cost` as DataFrames: one for each kind of rows, and all of it as one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import TYPE_CHECKING

from locality.cost.columns import CAUSE_ROW, COLUMNS, INTERVAL, LEFT_OUT_ROW, ROWS, TIME_ROW
from locality.cost.recording import interval_of, rows_by_kind
from locality.reads.columns import READER_ROW
from locality.recording.frames import frames_of_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    import pyarrow as pa

    from locality.cost.interval import CostInterval
    from locality.recording.format import Meta


@dataclass(frozen=True)
class CostFrames:
    """What was recorded of times; each frame has time (the interval's end) and seconds.

    Attributes:
        intervals: One row an interval: what was lost, and the bill of the machine.
        readers: One row for each interval, process and port, with its number as ``reader``.
        times: How many reads or wake-ups of a reader took how long, at each distance.
        left_out: How many reads of a reader have no time, by reason and distance.
        causes: What CPUs had each other call.
        total: All intervals as one; None if there are none.
    """

    intervals: pd.DataFrame
    readers: pd.DataFrame
    times: pd.DataFrame
    left_out: pd.DataFrame
    causes: pd.DataFrame
    total: CostInterval | None


def frames(batches: Sequence[pa.RecordBatch], meta: Meta) -> dict[str, CostFrames]:
    """``cost``: the frames of a recording.

    Args:
        batches: An interval each; none for a recording of another kind.
        meta: Of the recording.

    Raises:
        LocalityError: A batch is not what a recorder writes.
    """
    parts = [rows_by_kind(batch) for batch in batches]
    intervals = [interval_of(part, meta) for part in parts]
    by_row = frames_of_rows(parts, COLUMNS, ROWS)
    return {
        "cost": CostFrames(
            intervals=by_row[INTERVAL],
            readers=by_row[READER_ROW],
            times=by_row[TIME_ROW],
            left_out=by_row[LEFT_OUT_ROW],
            causes=by_row[CAUSE_ROW],
            total=reduce(add, intervals) if intervals else None,
        )
    }
