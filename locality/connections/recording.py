"""Recordings of connections: rows made from records, and the same records from rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from locality.accept import recording as accept
from locality.accept.columns import NAMES as ACCEPT_NAMES
from locality.connections.batch import CONNECTION, ConnectionBatch
from locality.connections.columns import (
    COLUMNS,
    ENDS,
    OWN,
    RTT_UNIT_NS,
    after_accept,
    lifetimes,
    since_packet,
    was_read,
)
from locality.recording.arrow import filled_of, known_of, numbers, texts, values_of
from locality.recording.events import EventRecorder, timed
from locality.recording.format import damaged, schema_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from locality.accept.batch import Records
    from locality.arrays import Array
    from locality.recording.format import Meta
    from locality.recording.reader import Reader

_SCHEMA = schema_of(COLUMNS)
_FIRST = ("reader_pid", "reader_tid", "reader_cpu", "reader_rxcpu")


class ConnectionRecorder(EventRecorder):
    """A sink that records connections that have ended, and how many have not."""

    def write(self, batch: Any) -> None:  # noqa: ANN401 - a ConnectionBatch
        """Take a batch."""
        self._told = {"still_open": batch.still_open, "unplaced": batch.unplaced}
        super().write(batch)

    def _rows_of(self, records: Records) -> pa.RecordBatch:
        return connection_rows(records, self._meta, self._cgroups)


def connection_rows(records: Records, meta: Meta, cgroups: Mapping[int, str]) -> pa.RecordBatch:
    """Records as rows of `COLUMNS`; see `locality.accept.recording.accept_rows`."""
    accepts = accept.accept_rows(records["accept"], meta, cgroups)
    own = {column.name: column.form for column in OWN}
    arrays = [
        _FORMS[own[field.name]].rows(records, field.name).cast(field.type)
        if field.name in own
        else accepts[field.name]
        for field in _SCHEMA
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=_SCHEMA)


def require(rows: pa.RecordBatch) -> None:
    """Check what the table of columns cannot say.

    Raises:
        LocalityError: It is not what a recorder writes.
    """
    accept.require(rows.select([*ACCEPT_NAMES]))
    if set(rows["end"].dictionary.to_pylist()) - {*ENDS}:
        raise damaged("a connection ended in no known way")
    unread = rows["reader_tid"].is_null()
    for name in (*_FIRST, "read_after_ns", "read_wait_ns"):
        if not rows[name].is_null().equals(unread):
            raise damaged("a first read is not complete")


def records_of(rows: pa.RecordBatch, meta: Meta) -> Records:
    """The records behind rows of `COLUMNS`.

    Raises:
        LocalityError: An address is none.
    """
    records = np.zeros(len(rows), CONNECTION)
    records["accept"] = accept.records_of(rows.select([*ACCEPT_NAMES]), meta)
    for column in OWN:
        _FORMS[column.form].restore(rows[column.name], records, column.name)
    return records


def timed_connections(reader: Reader, speed: float = 0) -> Iterator[tuple[float, ConnectionBatch]]:
    """The connections of a recording, when they ended; see `locality.recording.events.timed`.

    Args:
        reader: Of a recording of connections.
        speed: As of `locality.recording.replay.play`; 0 gives the batches as they were written.
    """
    meta = reader.meta

    def batch_of(records: Records, cgroups: Mapping[int, str]) -> ConnectionBatch:
        return ConnectionBatch(
            records,
            meta.clock_offset,
            reader.lost,
            reader.told.get("unplaced", 0),
            reader.told.get("still_open", 0),
            cgroups,
        )

    def ages(batch: ConnectionBatch) -> Array:
        age: Array = batch.records["ended"].astype(np.int64) + (batch.clock_offset - meta.started)
        return age

    last = 0.0
    batches = (batch_of(records_of(rows, meta), accept.cgroups_of(rows)) for rows in reader)
    for last, batch in timed(batches, ages, speed):
        yield last, batch
    # How many were open at the end stands behind the last connection.
    yield last, batch_of(np.zeros(0, CONNECTION), {})


# --- each form of a column: from records to rows, and back ---------------------------------------


def _number_rows(records: Records, name: str) -> pa.Array:
    return numbers(records[name])


def _restore_number(rows: pa.Array, records: Records, name: str) -> None:
    records[name] = values_of(rows)


def _restore_name(rows: pa.Array, records: Records, name: str) -> None:
    records[name] = accept.names_in(rows, records.dtype[name])


def _restore_since(rows: pa.Array, records: Records, _name: str) -> None:
    records["ended"] = records["accept"]["time"] + values_of(rows).astype(np.uint64)


def _end_rows(records: Records, _name: str) -> pa.Array:
    ends = numbers(records["end"].astype(np.int8))
    return pa.DictionaryArray.from_arrays(ends, texts(ENDS, pa.utf8()))


def _restore_end(rows: pa.Array, records: Records, _name: str) -> None:
    ends = np.array([ENDS.index(word) for word in rows.dictionary.to_pylist()], np.uint8)
    records["end"] = ends[values_of(rows.indices)] if len(ends) else 0


def _rtt_rows(records: Records, _name: str) -> pa.Array:
    return numbers(records["srtt"].astype(np.int64) * RTT_UNIT_NS, records["srtt"] > 0)


def _restore_rtt(rows: pa.Array, records: Records, _name: str) -> None:
    records["srtt"] = filled_of(rows) // RTT_UNIT_NS


def _of_first(values: Array, records: Records) -> pa.Array:
    return numbers(values, was_read(records))


def _restore_first(rows: pa.Array, records: Records, name: str) -> None:
    records[name] = filled_of(rows)


def _restore_after(rows: pa.Array, records: Records, _name: str) -> None:
    after = filled_of(rows).astype(np.uint64)
    known = known_of(rows)
    records["first_read"] = np.where(known, records["accept"]["time"] + after, 0)


def _restore_wait(rows: pa.Array, records: Records, _name: str) -> None:
    wait = filled_of(rows).astype(np.uint64)
    records["last_packet"] = records["first_read"] - np.minimum(wait, records["first_read"])


class _Form(NamedTuple):
    rows: Callable[[Records, str], pa.Array]
    restore: Callable[[Any, Records, str], None]


_FORMS: Mapping[str, _Form] = {
    "number": _Form(_number_rows, _restore_number),
    "since": _Form(lambda records, _name: numbers(lifetimes(records)), _restore_since),
    "end": _Form(_end_rows, _restore_end),
    "rtt": _Form(_rtt_rows, _restore_rtt),
    "first": _Form(lambda records, name: _of_first(records[name], records), _restore_first),
    "after": _Form(
        lambda records, _name: _of_first(after_accept(records), records), _restore_after
    ),
    "wait": _Form(lambda records, _name: _of_first(since_packet(records), records), _restore_wait),
    "name": _Form(lambda records, name: accept.name_rows(records[name]), _restore_name),
}
