"""A recording of reads as DataFrames: its intervals, its readers, and all of it as one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import TYPE_CHECKING

from locality.reads.columns import READER_ROW
from locality.recording.frames import frames_of_rows
from locality.top.columns import COLUMNS, INTERVAL, ROWS
from locality.top.recording import interval_of, rows_by_kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    import pyarrow as pa

    from locality.recording.format import Meta
    from locality.top.interval import TopInterval


@dataclass(frozen=True)
class TopFrames:
    """What was recorded of reads; each frame has time (the interval's end) and seconds.

    Attributes:
        intervals: One row an interval: lost (since the start), bytes_seen.
        readers: One row for each interval, thread and port, with the columns of
            `locality.top.columns`.
        total: All intervals as one; None if there are none.
    """

    intervals: pd.DataFrame
    readers: pd.DataFrame
    total: TopInterval | None


def frames(batches: Sequence[pa.RecordBatch], meta: Meta) -> dict[str, TopFrames]:
    """``top``: the frames of a recording.

    Args:
        batches: An interval each; none for a recording of another kind.
        meta: Of the recording.

    Raises:
        LocalityError: A batch is not what a recorder writes.
    """
    parts = [rows_by_kind(batch) for batch in batches]
    intervals = [interval_of(part, meta) for part in parts]
    total = reduce(add, intervals) if intervals else None
    by_row = frames_of_rows(parts, COLUMNS, ROWS)
    return {"top": TopFrames(by_row[INTERVAL], by_row[READER_ROW], total)}
