"""Recordings of accepted connections: rows made from records, and the same records from rows."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from locality.accept.batch import ACCEPT, WAIT_KNOWN, AcceptBatch
from locality.accept.columns import COLUMNS, address, address_keys
from locality.machine.topology import WORDS
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


class AcceptRecorder(EventRecorder):
    """A sink that records connections: a batch a second, or more often if they are many."""

    def _rows_of(self, records: Records) -> pa.RecordBatch:
        return accept_rows(records, self._meta, self._cgroups)


def accept_rows(records: Records, meta: Meta, cgroups: Mapping[int, str]) -> pa.RecordBatch:
    """Records as rows of `COLUMNS`; addresses and names once for each distinct one.

    Args:
        records: dtype `ACCEPT`.
        meta: Of the recording.
        cgroups: Paths of cgroups by id.
    """
    arrays = [
        (
            _path_rows(records, cgroups)
            if column.form == "path"
            else _FORMS[column.form].rows(records, column.name, meta)
        ).cast(field.type)
        for column, field in zip(COLUMNS, _SCHEMA, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=_SCHEMA)


def _path_rows(records: Records, cgroups: Mapping[int, str]) -> pa.Array:
    ids, indices = np.unique(records["cgroup"], return_inverse=True)
    paths = [cgroups.get(number) for number in ids.tolist()]
    return texts(paths, pa.utf8()).take(numbers(indices.reshape(-1))).dictionary_encode()


def cgroups_of(rows: pa.RecordBatch) -> dict[int, str]:
    """The paths of cgroups in rows of `COLUMNS`, by id."""
    pairs = {*zip(rows["cgroup"].to_pylist(), rows["cgroup_path"].to_pylist(), strict=True)}
    return {number: path for number, path in pairs if path is not None}


def require(rows: pa.RecordBatch) -> None:
    """Check what the table of columns cannot say.

    Raises:
        LocalityError: An address is none.
    """
    for column in COLUMNS:
        if column.form == "address":
            _packed_all(rows[column.name])


def records_of(rows: pa.RecordBatch, meta: Meta) -> Records:
    """The records behind rows of `COLUMNS`.

    Raises:
        LocalityError: An address is none.
    """
    records = np.zeros(len(rows), ACCEPT)
    for column in COLUMNS:
        if column.form == "path":
            continue
        _FORMS[column.form].restore(rows[column.name], records, column.name, meta)
    return records


def timed_accepts(reader: Reader, speed: float = 0) -> Iterator[tuple[float, AcceptBatch]]:
    """The connections of a recording; see `locality.recording.events.timed`.

    Args:
        reader: Of a recording of accepts.
        speed: As of `locality.recording.replay.play`; 0 gives the batches as they were written.
    """
    meta = reader.meta
    batches = (
        AcceptBatch(records_of(rows, meta), meta.clock_offset, reader.lost, cgroups_of(rows))
        for rows in reader
    )

    def ages(batch: AcceptBatch) -> Array:
        age: Array = batch.records["time"].astype(np.int64) + (batch.clock_offset - meta.started)
        return age

    return timed(batches, ages, speed)


# --- each form of a column: from records to rows, and back ---------------------------------------


def _number_rows(records: Records, name: str, _meta: Meta) -> pa.Array:
    return numbers(records[name])


def _restore_number(rows: pa.Array, records: Records, name: str, _meta: Meta) -> None:
    records[name] = values_of(rows)


def _time_rows(records: Records, name: str, meta: Meta) -> pa.Array:
    return numbers((records[name] + np.uint64(meta.clock_offset)).astype(np.int64))


def _restore_time(rows: pa.Array, records: Records, name: str, meta: Meta) -> None:
    records[name] = (values_of(rows) - meta.clock_offset).astype(np.uint64)


def _name_rows(records: Records, name: str, _meta: Meta) -> pa.Array:
    return name_rows(records[name])


def name_rows(values: Array) -> pa.Array:
    """Names of threads, each distinct one once."""
    encoded = _distinct(values)
    names = [raw.rstrip(b"\0") for raw in encoded.dictionary.to_pylist()]
    return pa.DictionaryArray.from_arrays(encoded.indices, texts(names, pa.binary()))


def _restore_name(rows: pa.Array, records: Records, name: str, _meta: Meta) -> None:
    records[name] = names_in(rows, records.dtype[name])


def names_in(rows: pa.DictionaryArray, dtype: np.dtype[Any]) -> Array:
    """The names behind rows that `name_rows` made."""
    return _each(rows, np.array(rows.dictionary.to_pylist(), dtype))


def _address_rows(records: Records, name: str, _meta: Meta) -> pa.Array:
    encoded = _distinct(address_keys(records, name))
    addresses = [address(key) for key in encoded.dictionary.to_pylist()]
    return pa.DictionaryArray.from_arrays(encoded.indices, texts(addresses, pa.utf8()))


def _restore_address(rows: pa.Array, records: Records, name: str, _meta: Meta) -> None:
    records[name] = _each(rows, _packed_all(rows))


def _wait_rows(records: Records, _name: str, _meta: Meta) -> pa.Array:
    return numbers(records["wait"].astype(np.int64), (records["flags"] & WAIT_KNOWN) != 0)


def _restore_wait(rows: pa.Array, records: Records, _name: str, _meta: Meta) -> None:
    records["wait"] = filled_of(rows)
    records["flags"] = np.where(known_of(rows), WAIT_KNOWN, 0)


def _distance_rows(records: Records, _name: str, meta: Meta) -> pa.Array:
    apart = meta.machine.distance(records["cpu"], records["rxcpu"])
    return pa.DictionaryArray.from_arrays(
        numbers(apart.astype(np.int8)), texts(WORDS.tolist(), pa.utf8())
    )


def _restore_distance(rows: pa.Array, records: Records, name: str, meta: Meta) -> None:
    """Nothing: a distance follows from the two CPUs."""


class _Form(NamedTuple):
    rows: Callable[[Records, str, Meta], pa.Array]
    restore: Callable[[Any, Records, str, Meta], None]


_FORMS: Mapping[str, _Form] = {
    "number": _Form(_number_rows, _restore_number),
    "time": _Form(_time_rows, _restore_time),
    "name": _Form(_name_rows, _restore_name),
    "address": _Form(_address_rows, _restore_address),
    "wait": _Form(_wait_rows, _restore_wait),
    "distance": _Form(_distance_rows, _restore_distance),
}


def _distinct(keys: Array) -> pa.DictionaryArray:
    """Numbers for the distinct ones among keys of fixed size."""
    size = keys.dtype.itemsize
    return pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(size), len(keys), [None, pa.py_buffer(keys.tobytes())]
    ).dictionary_encode()


def _each(column: pa.DictionaryArray, values: Array) -> Array:
    """What each row of a column refers to."""
    return np.asarray(values[values_of(column.indices)])


def _packed_all(column: pa.DictionaryArray) -> Array:
    """The distinct addresses of a column, 16 bytes each.

    Raises:
        LocalityError: One is none.
    """
    try:
        raw = [_packed(text) for text in column.dictionary.to_pylist()]
    except (OSError, ValueError):
        raise damaged("an address is none") from None
    return np.frombuffer(b"".join(raw), np.uint8).reshape(-1, 16)


def _packed(text: str) -> bytes:
    family = socket.AF_INET6 if ":" in text else socket.AF_INET
    return socket.inet_pton(family, text).ljust(16, b"\0")
