"""Recordings of packets: rows made from an interval, and the same interval from rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from locality.recording.columns import of_row
from locality.recording.format import damaged, nanoseconds, require_values, schema_of, seconds_of
from locality.recording.writer import Recorder
from locality.skb.columns import COLUMNS, PAIR, TOTAL
from locality.skb.interval import RX, TX, Flow, Interval

if TYPE_CHECKING:
    from collections.abc import Iterator

    from locality.arrays import Array
    from locality.recording.format import Meta
    from locality.recording.reader import Reader

_SCHEMA = schema_of(COLUMNS)
_DIRECTIONS = pa.array(["rx", "tx"])
_TOTALS = of_row(COLUMNS, TOTAL)


class SkbRecorder(Recorder):
    """A sink that records intervals, each with its whole matrix."""

    def write(self, batch: Interval) -> None:
        """Take an interval."""
        if not self._open:
            return
        self._lost = batch.lost
        self._append(interval_rows(batch))
        self._count += 1


def interval_rows(interval: Interval) -> pa.RecordBatch:
    """An interval as rows of `COLUMNS`: the totals of rx and tx, then the pairs of CPUs."""
    direction, alloc, consume = np.nonzero(interval.matrix)
    pairs = {
        "alloc_cpu": alloc,
        "consume_cpu": consume,
        "packets": interval.matrix[direction, alloc, consume],
    }
    rows = len(direction) + len(_DIRECTIONS)
    whole = {
        "time": pa.array(np.full(rows, nanoseconds(interval.time))),
        "seconds": pa.array(np.full(rows, interval.seconds)),
        "direction": pa.DictionaryArray.from_arrays(
            pa.array(np.concatenate([[RX, TX], direction]).astype(np.int8)), _DIRECTIONS
        ),
    }
    arrays = [
        (
            whole[column.name]
            if column.name in whole
            else _both(column.form, column.name, interval, pairs.get(column.name), len(direction))
        ).cast(field.type)
        for column, field in zip(COLUMNS, _SCHEMA, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=_SCHEMA)


def _both(form: str, name: str, interval: Interval, of_pairs: Array | None, pairs: int) -> pa.Array:
    """A column: its values for the two totals, and those for the pairs of CPUs."""
    totals: list[int | None]
    match form:
        case "direction":
            totals = [getattr(flow, name) for flow in (interval.rx, interval.tx)]
        case "received":
            totals = [getattr(interval, name), None]
        case "split":
            totals = list(getattr(interval, name))
        case "interval":
            totals = [getattr(interval, name)] * 2
        case _:
            totals = [None, None]
    below = pa.nulls(pairs, pa.int64()) if of_pairs is None else pa.array(of_pairs)
    return pa.concat_arrays([pa.array(totals, pa.int64()), below.cast(pa.int64())])


def rows_by_kind(rows: pa.RecordBatch) -> dict[str, pa.RecordBatch]:
    """The totals and the pairs of an interval.

    Raises:
        LocalityError: It is not what a recorder writes.
    """
    if not {*rows["direction"].dictionary.to_pylist()} <= {"rx", "tx"}:
        raise damaged("a direction is none")
    is_total = pc.is_null(rows["alloc_cpu"])
    parts = {TOTAL: rows.filter(is_total), PAIR: rows.filter(pc.invert(is_total))}
    for row, part in parts.items():
        require_values(part, COLUMNS, row)
    if parts[TOTAL]["direction"].to_pylist() != ["rx", "tx"]:
        raise damaged("an interval has no totals")
    return parts


def interval_of(rows: pa.RecordBatch, meta: Meta) -> Interval:
    """The interval behind a batch of `COLUMNS`.

    Raises:
        LocalityError: It is not what a recorder writes.
    """
    parts = rows_by_kind(rows)
    totals, pairs = parts[TOTAL].to_pydict(), parts[PAIR]
    matrix = np.zeros((2, meta.possible, meta.possible), np.int64)
    direction = pairs["direction"].cast(pa.utf8()).to_numpy(zero_copy_only=False)
    where = (
        np.where(direction == "rx", RX, TX),
        pairs["alloc_cpu"].to_numpy(),
        pairs["consume_cpu"].to_numpy(),
    )
    matrix[where] = pairs["packets"].to_numpy()
    flows: list[dict[str, Any]] = [{}, {}]
    figures: dict[str, Any] = {}
    for column in _TOTALS:
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
        matrix=matrix,
        **figures,
    )


def timed_intervals(reader: Reader, _speed: float = 0) -> Iterator[tuple[float, Interval]]:
    """The intervals of a recording of packets, each with its end after the start, seconds."""
    for rows in reader:
        interval = interval_of(rows, reader.meta)
        yield interval.time - reader.meta.started / 10**9, interval
