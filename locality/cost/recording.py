"""Recordings of `locality cost`: rows made from an interval, and the same interval from rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from locality.cost.bill import COUNTS, Bill
from locality.cost.columns import CAUSE_ROW, COLUMNS, INTERVAL, LEFT_OUT_ROW, ROWS, TIME_ROW
from locality.cost.histogram import EDGES, bucket_of
from locality.cost.interval import DISTANCES, LEFT_OUT, MEASURES, READER, TIME, CostInterval
from locality.reads.columns import READER_ROW
from locality.recording.format import damaged, nanoseconds, schema_of, seconds_of, without_times
from locality.recording.intervals import IntervalRecorder, require_interval, split
from locality.top.grouping import PROTOCOLS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from locality.recording.format import Meta
    from locality.recording.reader import Reader

_SCHEMA = schema_of(COLUMNS)
_NUMBERS = {name: number for number, name in PROTOCOLS.items()}
_PLAIN = ("netns", "port", "pid", "cgroup")
#: Columns whose values are one of these words.
_WORDS = {
    "protocol": (*PROTOCOLS.values(),),
    "distance": DISTANCES,
    "measure": MEASURES,
    "reason": LEFT_OUT,
}


class CostRecorder(IntervalRecorder):
    """A sink that records intervals, each on the disk before the next."""

    def _rows_of(self, interval: CostInterval) -> pa.RecordBatch:
        return rows_of(interval)


def rows_of(interval: CostInterval) -> pa.RecordBatch:
    """An interval as rows of `COLUMNS`: itself, its readers, their times, and what is left."""
    parts = {
        INTERVAL: _interval_columns(interval),
        READER_ROW: _reader_columns(interval),
        TIME_ROW: _time_columns(interval),
        LEFT_OUT_ROW: _left_out_columns(interval),
        CAUSE_ROW: _cause_columns(interval),
    }
    lengths = {row: len(next(iter(part.values()))) for row, part in parts.items()}
    total = sum(lengths.values())
    whole: dict[str, list[Any]] = {
        "time": [nanoseconds(interval.time)] * total,
        "seconds": [interval.seconds] * total,
        "row": [row for row in ROWS for _ in range(lengths[row])],
    }
    arrays = []
    for column in COLUMNS:
        field = _SCHEMA.field(column.name)
        values = whole.get(column.name)
        if values is None:
            values = [
                value
                for row in ROWS
                for value in parts[row].get(column.name, [None] * lengths[row])
            ]
        if pa.types.is_dictionary(field.type):
            arrays.append(pa.array(values, field.type.value_type).dictionary_encode())
        else:
            arrays.append(pa.array(values, field.type))
    return pa.RecordBatch.from_arrays(arrays, schema=_SCHEMA)


def _interval_columns(interval: CostInterval) -> dict[str, list[Any]]:
    bill = {name: [getattr(interval.bill, name)] for name in COUNTS}
    return {
        "lost": [interval.lost],
        "clock_steps": [interval.clock_steps],
        **bill,
        "causes_seen": [interval.bill.causes is not None],
    }


def _reader_columns(interval: CostInterval) -> dict[str, list[Any]]:
    readers = interval.readers
    return {
        "reader": [*range(len(readers))],
        **{name: readers[name].tolist() for name in _PLAIN},
        "protocol": [PROTOCOLS[number] for number in readers["protocol"].tolist()],
        "outgoing": [bool(flag) for flag in readers["outgoing"].tolist()],
        "comm": readers["comm"].tolist(),
        "cgroup_path": [interval.cgroups.get(one) for one in readers["cgroup"].tolist()],
    }


def _time_columns(interval: CostInterval) -> dict[str, list[Any]]:
    times = interval.times
    return {
        "reader": times["reader"].tolist(),
        "measure": [MEASURES[place] for place in times["measure"].tolist()],
        "distance": [DISTANCES[place] for place in times["distance"].tolist()],
        "ns": EDGES[times["bucket"]].tolist(),
        "count": times["count"].tolist(),
    }


def _left_out_columns(interval: CostInterval) -> dict[str, list[Any]]:
    counts = interval.readers["left_out"]
    reader, reason, distance = (place.tolist() for place in np.nonzero(counts))
    return {
        "reader": reader,
        "reason": [LEFT_OUT[place] for place in reason],
        "distance": [DISTANCES[place] for place in distance],
        "count": counts[reader, reason, distance].tolist(),
    }


def _cause_columns(interval: CostInterval) -> dict[str, list[Any]]:
    causes = interval.bill.causes or {}
    return {"cause": [*causes], "count": [*causes.values()]}


def rows_by_kind(rows: pa.RecordBatch) -> dict[str, pa.RecordBatch]:
    """A batch as the rows of each kind, with the columns they have.

    Raises:
        LocalityError: There is not one row of the interval, or a value is missing, or is none that
            a recorder writes.
    """
    parts = split(rows, COLUMNS, ROWS, _WORDS)
    require_interval(parts[INTERVAL])
    readers = len(parts[READER_ROW])
    if parts[READER_ROW]["reader"].to_pylist() != [*range(readers)]:
        raise damaged("its readers are not in order")
    for row in (TIME_ROW, LEFT_OUT_ROW):
        if any(not 0 <= reader < readers for reader in parts[row]["reader"].to_pylist()):
            raise damaged("a row has no reader")
    if not {*parts[TIME_ROW]["ns"].to_pylist()} <= {*EDGES.tolist()}:
        raise damaged("a time begins no bucket")
    return parts


def interval_of(parts: Mapping[str, pa.RecordBatch], meta: Meta) -> CostInterval:
    """The interval behind a batch of a recording.

    Args:
        parts: The batch as `rows_by_kind` gives it.
        meta: Of the recording.
    """
    (whole,) = without_times(parts[INTERVAL]).to_pylist()
    part = without_times(parts[READER_ROW]).to_pydict()
    readers = np.zeros(len(part["reader"]), READER)
    for name in (*_PLAIN, "outgoing"):
        readers[name] = part[name]
    readers["protocol"] = [_NUMBERS[name] for name in part["protocol"]]
    readers["comm"] = np.array(part["comm"], "S16")
    for row in without_times(parts[LEFT_OUT_ROW]).to_pylist():
        place = row["reader"], LEFT_OUT.index(row["reason"]), DISTANCES.index(row["distance"])
        readers["left_out"][place] += row["count"]
    timed = without_times(parts[TIME_ROW]).to_pydict()
    times = np.zeros(len(timed["reader"]), TIME)
    times["reader"], times["count"] = timed["reader"], timed["count"]
    times["measure"] = [MEASURES.index(word) for word in timed["measure"]]
    times["distance"] = [DISTANCES.index(word) for word in timed["distance"]]
    times["bucket"] = [bucket_of(ns) for ns in timed["ns"]]
    causes = {row["cause"]: row["count"] for row in without_times(parts[CAUSE_ROW]).to_pylist()}
    paths = zip(part["cgroup"], part["cgroup_path"], strict=True)
    return CostInterval(
        time=seconds_of(parts[INTERVAL]["time"]),
        seconds=whole["seconds"],
        rung=meta.rung,
        lost=whole["lost"],
        clock_steps=whole["clock_steps"],
        readers=readers,
        times=times,
        bill=Bill(
            **{name: whole[name] for name in COUNTS},
            causes=causes if whole["causes_seen"] else None,
        ),
        cgroups={number: path for number, path in paths if path is not None},
    )


def timed_intervals(reader: Reader, _speed: float = 0) -> Iterator[tuple[float, CostInterval]]:
    """The intervals of a recording, each with its end after the start, seconds."""
    for rows in reader:
        interval = interval_of(rows_by_kind(rows), reader.meta)
        yield interval.time - reader.meta.started / 10**9, interval
