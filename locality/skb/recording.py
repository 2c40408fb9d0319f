"""Recordings of packets: rows made from an interval, and the same interval from rows.

`locality.skb.stored` says how they are kept. Recordings in the first format have the rows of
`locality.skb.columns` themselves: a batch is two totals and then the pairs of CPUs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from locality.recording.arrow import values_of
from locality.recording.format import damaged, require_values, seconds_of, without_times
from locality.recording.intervals import IntervalRecorder
from locality.skb.columns import COLUMNS, PAIR, TOTAL
from locality.skb.interval import RX, TX, Flow, Interval
from locality.skb.pairs import MOST_DENSE, FewPairs, Pairs, dense
from locality.skb.stored import DIRECTIONS, TOTALS, has_pairs, pairs_of, stored_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from locality.recording.format import Meta
    from locality.recording.reader import Reader
    from locality.skb.pairs import Matrix

_TOTAL_NAMES = [column.name for column in TOTALS]


class SkbRecorder(IntervalRecorder):
    """A sink that records intervals, each with its whole matrix."""

    # Packed lists have no repetitions but by chance, which take more room where they are coded.
    COMPRESSION_LEVEL = 1

    def _rows_of(self, interval: Interval) -> pa.RecordBatch:
        return stored_rows(interval)


class Recorded(NamedTuple):
    """An interval as a recording has it, of whatever format.

    Attributes:
        totals: A row for each direction, with the columns of totals.
        pairs: Of each direction.
    """

    totals: pa.RecordBatch
    pairs: tuple[Pairs, Pairs]

    def by_pair(self, possible: int) -> Matrix:
        """(2, CPUs, CPUs) packets by direction, alloc CPU and consume CPU."""
        matrix = FewPairs(possible, self.pairs)
        return matrix if possible > MOST_DENSE else dense(matrix)


def recorded(rows: pa.RecordBatch, meta: Meta) -> Recorded:
    """The interval in a batch of a recording.

    Raises:
        LocalityError: It is not what a recorder writes.
    """
    if has_pairs(rows):
        totals = rows.select(_TOTAL_NAMES)
        _require_totals(totals)
        return Recorded(totals, pairs_of(rows, meta))
    totals, pairs = rows_by_kind(rows)
    direction = values_of(pairs["direction"].indices)
    words = pairs["direction"].dictionary.to_pylist()
    of_each = []
    for word in DIRECTIONS:
        mine = np.isin(direction, [code for code, name in enumerate(words) if name == word])
        alloc, consume, packets = (
            values_of(pairs[name])[mine].astype(np.int64)
            for name in ("alloc_cpu", "consume_cpu", "packets")
        )
        of_each.append(Pairs(alloc * meta.possible + consume, packets))
    return Recorded(totals.select(_TOTAL_NAMES), (of_each[RX], of_each[TX]))


def rows_by_kind(rows: pa.RecordBatch) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """The totals and the pairs among rows of the first format.

    Raises:
        LocalityError: It is not what a recorder writes.
    """
    is_total = pc.is_null(rows["alloc_cpu"])
    totals, pairs = rows.filter(is_total), rows.filter(pc.invert(is_total))
    if not {*pairs["direction"].dictionary.to_pylist()} <= {*DIRECTIONS}:
        raise damaged("a direction is none")
    require_values(pairs, COLUMNS, PAIR)
    _require_totals(totals)
    return totals, pairs


def _require_totals(totals: pa.RecordBatch) -> None:
    require_values(totals, COLUMNS, TOTAL)
    if totals["direction"].to_pylist() != [*DIRECTIONS]:
        raise damaged("an interval has no totals")


def interval_of(rows: pa.RecordBatch, meta: Meta) -> Interval:
    """The interval behind a batch of a recording.

    Raises:
        LocalityError: It is not what a recorder writes.
    """
    interval = recorded(rows, meta)
    totals = without_times(interval.totals).to_pydict()
    flows: list[dict[str, Any]] = [{}, {}]
    figures: dict[str, Any] = {}
    for column in TOTALS:
        if column.name not in totals:  # the time
            continue
        rx, tx = totals[column.name]
        match column.form:
            case "direction":
                flows[RX][column.name], flows[TX][column.name] = rx, tx
            case "split":
                figures[column.name] = (rx, tx)
            case "received" | "interval":
                figures[column.name] = rx
    return Interval(
        time=seconds_of(rows["time"]),
        rung=meta.rung,
        rx=Flow(**flows[RX]),
        tx=Flow(**flows[TX]),
        by_pair=interval.by_pair(meta.possible),
        **figures,
    )


def timed_intervals(reader: Reader, _speed: float = 0) -> Iterator[tuple[float, Interval]]:
    """The intervals of a recording of packets, each with its end after the start, seconds."""
    for rows in reader:
        interval = interval_of(rows, reader.meta)
        yield interval.time - reader.meta.started / 10**9, interval
