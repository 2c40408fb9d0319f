"""Recordings of `locality top`: rows made from an interval, and the same interval from rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa

from locality.reads.batch import SOURCES
from locality.reads.columns import READER_ROW
from locality.recording.columns import of_row
from locality.recording.format import nanoseconds, schema_of, seconds_of, without_times
from locality.recording.intervals import IntervalRecorder, require_interval, split
from locality.top.columns import COLUMNS, INTERVAL, ROWS
from locality.top.grouping import PROTOCOLS
from locality.top.interval import READER, TopInterval

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from locality.arrays import Array
    from locality.recording.format import Meta
    from locality.recording.reader import Reader

_SCHEMA = schema_of(COLUMNS)
_WHERE = ("time", "seconds", "row")
_OF_READER = tuple(one for one in of_row(COLUMNS, READER_ROW) if one.name not in _WHERE)
_OF_INTERVAL = tuple(one.name for one in of_row(COLUMNS, INTERVAL) if one.name not in _WHERE)
_NUMBERS = {name: number for number, name in PROTOCOLS.items()}


class TopRecorder(IntervalRecorder):
    """A sink that records intervals, each on the disk before the next."""

    def _rows_of(self, interval: TopInterval) -> pa.RecordBatch:
        return rows_of(interval)


def rows_of(interval: TopInterval) -> pa.RecordBatch:
    """An interval as rows of `COLUMNS`: itself, then its readers."""
    readers = interval.readers
    where = {
        "time": pa.array(np.full(len(readers) + 1, nanoseconds(interval.time))),
        "seconds": pa.array(np.full(len(readers) + 1, interval.seconds)),
        "row": pa.array([INTERVAL] + [READER_ROW] * len(readers)),
    }
    own = {one.name: _FORMS[one.form].rows(interval, one.name) for one in _OF_READER}
    arrays = []
    for field in _SCHEMA:
        of_words = pa.types.is_dictionary(field.type)
        plain = field.type.value_type if of_words else field.type
        array = where.get(field.name)
        if array is None:
            value = getattr(interval, field.name) if field.name in _OF_INTERVAL else None
            below = own.get(field.name, pa.nulls(len(readers), plain))
            array = pa.concat_arrays([pa.array([value], plain), below.cast(plain)])
        arrays.append(array.dictionary_encode() if of_words else array.cast(plain))
    return pa.RecordBatch.from_arrays(arrays, schema=_SCHEMA)


def rows_by_kind(rows: pa.RecordBatch) -> dict[str, pa.RecordBatch]:
    """A batch as the rows of each kind, with the columns they have.

    Raises:
        LocalityError: There is not one row of the interval, or a value is missing or none.
    """
    parts = split(rows, COLUMNS, ROWS, {"protocol": _NUMBERS})
    require_interval(parts[INTERVAL])
    return parts


def interval_of(parts: Mapping[str, pa.RecordBatch], meta: Meta) -> TopInterval:
    """The interval behind a batch of a recording.

    Args:
        parts: The batch as `rows_by_kind` gives it.
        meta: Of the recording.
    """
    (whole,) = without_times(parts[INTERVAL]).to_pylist()
    part = parts[READER_ROW]
    readers = np.zeros(len(part), READER)
    readers["sources"] = -1
    for column in _OF_READER:
        _FORMS[column.form].fill(readers, part, column.name)
    paths = zip(part["cgroup"].to_pylist(), part["cgroup_path"].to_pylist(), strict=True)
    return TopInterval(
        time=seconds_of(parts[INTERVAL]["time"]),
        seconds=whole["seconds"],
        rung=meta.rung,
        lost=whole["lost"],
        bytes_seen=whole["bytes_seen"],
        readers=readers,
        cgroups={number: path for number, path in paths if path is not None},
    )


def timed_intervals(reader: Reader, _speed: float = 0) -> Iterator[tuple[float, TopInterval]]:
    """The intervals of a recording of reads, each with its end after the start, seconds."""
    for rows in reader:
        interval = interval_of(rows_by_kind(rows), reader.meta)
        yield interval.time - reader.meta.started / 10**9, interval


# --- each form of a column, from readers to rows, and back -----------------------------------


class _Form(NamedTuple):
    rows: Callable[[TopInterval, str], pa.Array]
    fill: Callable[[Array, pa.RecordBatch, str], None]


def _filled(part: pa.RecordBatch, name: str, unknown: int = 0) -> Array:
    values: Array = part[name].fill_null(unknown).to_numpy(zero_copy_only=False)
    return values


def _number_rows(interval: TopInterval, name: str) -> pa.Array:
    values = interval.readers[name]
    return pa.array(values.astype("i8") if values.dtype == np.uint64 else values.copy())


def _fill_numbers(readers: Array, part: pa.RecordBatch, name: str) -> None:
    readers[name] = _filled(part, name)


def _distance_rows(interval: TopInterval, name: str) -> pa.Array:
    return pa.array(interval.readers[name.removeprefix("reads_")].astype("i8"))


def _fill_distances(readers: Array, part: pa.RecordBatch, name: str) -> None:
    readers[name.removeprefix("reads_")] = _filled(part, name)


def _flag_rows(interval: TopInterval, name: str) -> pa.Array:
    return pa.array(interval.readers[name] != 0)


def _fill_flags(readers: Array, part: pa.RecordBatch, name: str) -> None:
    readers[name] = part[name].to_numpy(zero_copy_only=False)


def _bytes_rows(interval: TopInterval, name: str) -> pa.Array:
    unseen = np.full(len(interval.readers), not interval.bytes_seen)
    return pa.array(interval.readers[name].astype("i8"), mask=unseen)


def _name_rows(interval: TopInterval, name: str) -> pa.Array:
    return pa.array(interval.readers[name].tolist(), pa.binary())


def _fill_names(readers: Array, part: pa.RecordBatch, name: str) -> None:
    readers[name] = np.array(part[name].to_pylist(), "S16")


def _protocol_rows(interval: TopInterval, name: str) -> pa.Array:
    return pa.array([PROTOCOLS[one] for one in interval.readers[name].tolist()], pa.utf8())


def _fill_protocols(readers: Array, part: pa.RecordBatch, name: str) -> None:
    readers[name] = [_NUMBERS[one] for one in part[name].to_pylist()]


def _cgroup_rows(interval: TopInterval, _name: str) -> pa.Array:
    paths = [interval.cgroups.get(one) for one in interval.readers["cgroup"].tolist()]
    return pa.array(paths, pa.utf8())


def _fill_nothing(readers: Array, part: pa.RecordBatch, name: str) -> None:
    """What is no field of a reader."""
    del readers, part, name


def _source_rows(interval: TopInterval, _name: str) -> pa.Array:
    first = interval.readers["sources"].reshape(-1, SOURCES)[:, 0].copy()
    return pa.array(first, mask=first < 0)


def _fill_sources(readers: Array, part: pa.RecordBatch, name: str) -> None:
    readers["sources"][:, 0] = _filled(part, name, -1)


def _received_rows(interval: TopInterval, _name: str) -> pa.Array:
    return pa.array(interval.readers["received"].reshape(-1, SOURCES)[:, 0].astype("i8"))


def _fill_received(readers: Array, part: pa.RecordBatch, name: str) -> None:
    readers["received"][:, 0] = _filled(part, name)


_FORMS: Mapping[str, _Form] = {
    "number": _Form(_number_rows, _fill_numbers),
    "distance": _Form(_distance_rows, _fill_distances),
    "flag": _Form(_flag_rows, _fill_flags),
    "bytes": _Form(_bytes_rows, _fill_numbers),
    "name": _Form(_name_rows, _fill_names),
    "protocol": _Form(_protocol_rows, _fill_protocols),
    "cgroup": _Form(_cgroup_rows, _fill_nothing),
    "source": _Form(_source_rows, _fill_sources),
    "received": _Form(_received_rows, _fill_received),
}
