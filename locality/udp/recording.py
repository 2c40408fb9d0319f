"""Recordings of `locality udp`: rows made from an interval, and the same interval from rows.

What a replay needs to show what the run showed is all of an interval: who read what, the
sockets that got nothing, the sampled flows, and the pairs of CPUs.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from locality.recording.columns import of_row
from locality.recording.format import damaged, nanoseconds, schema_of, seconds_of, without_times
from locality.recording.intervals import IntervalRecorder, require_interval, split
from locality.udp.columns import COLUMNS, ROWS, field_of
from locality.udp.interval import FLOW, READER, SOCKET, UdpGroup, UdpInterval

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from locality.arrays import Array
    from locality.recording.format import Meta
    from locality.recording.reader import Reader

#: The IP version of an address family.
VERSIONS = {socket.AF_INET: 4, socket.AF_INET6: 6}
_FAMILIES = {version: family for family, version in VERSIONS.items()}

_SCHEMA = schema_of(COLUMNS)
#: The columns that say where a row belongs; the others are its own.
_WHERE = ("time", "seconds", "row")
_OF_ROW = {
    row: tuple(column for column in of_row(COLUMNS, row) if column.name not in _WHERE)
    for row in ROWS
}


class UdpRecorder(IntervalRecorder):
    """A sink that records intervals, each on the disk before the next."""

    def _rows_of(self, interval: UdpInterval) -> pa.RecordBatch:
        return udp_rows(interval)


def udp_rows(interval: UdpInterval) -> pa.RecordBatch:
    """An interval as rows of `COLUMNS`."""
    parts: Mapping[str, dict[str, pa.Array]] = {
        "interval": {
            column.name: pa.array([getattr(interval, column.name)])
            for column in _OF_ROW["interval"]
        },
        "group": _group_rows(interval.groups),
        "socket": _record_rows(interval.sockets, "socket", interval),
        "reader": _record_rows(interval.readers, "reader", interval),
        "flow": _record_rows(interval.flows, "flow", interval),
        "cell": _cell_rows(interval.matrix),
    }
    sizes = {row: len(parts[row][columns[0].name]) for row, columns in _OF_ROW.items()}
    total = sum(sizes.values())
    where = {
        "time": pa.array(np.full(total, nanoseconds(interval.time))),
        "seconds": pa.array(np.full(total, interval.seconds)),
        "row": pa.array(np.repeat([*sizes], [*sizes.values()])),
    }
    arrays = []
    for field in _SCHEMA:
        of_words = pa.types.is_dictionary(field.type)
        plain = field.type.value_type if of_words else field.type
        array = where.get(field.name)
        if array is None:
            array = pa.concat_arrays(
                parts[row][field.name].cast(plain)
                if field.name in parts[row]
                else pa.nulls(size, plain)
                for row, size in sizes.items()
            )
        arrays.append(array.dictionary_encode() if of_words else array.cast(plain))
    return pa.RecordBatch.from_arrays(arrays, schema=_SCHEMA)


def rows_by_kind(rows: pa.RecordBatch) -> dict[str, pa.RecordBatch]:
    """A batch as the rows of each kind, with the columns they have.

    Raises:
        LocalityError: There is not one row of the interval, or a value is missing.
    """
    parts = split(rows, COLUMNS, ROWS, {})
    require_interval(parts["interval"])
    return parts


def interval_of(parts: Mapping[str, pa.RecordBatch], meta: Meta) -> UdpInterval:
    """The interval behind a batch of a recording.

    Args:
        parts: The batch as `rows_by_kind` gives it.
        meta: Of the recording.

    Raises:
        LocalityError: It is not what a recorder writes.
    """
    (whole,) = without_times(parts["interval"]).to_pylist()
    groups = _groups_of(parts["group"])
    readers = _records_of(parts["reader"], "reader", READER)
    sockets = _records_of(parts["socket"], "socket", SOCKET)
    used = {*readers["group"].tolist(), *sockets["group"].tolist()}
    if not used <= {-1, *groups}:
        raise damaged("a socket's group is not there")
    cells = parts["cell"]
    matrix = np.zeros((meta.possible, meta.possible), "u8")
    where = tuple(_filled(cells[name], 0) for name in ("alloc_cpu", "reader_cpu"))
    matrix[where] = _filled(cells["datagrams"], 0).astype("u8")
    return UdpInterval(
        time=seconds_of(parts["interval"]["time"]),
        seconds=whole["seconds"],
        rung=meta.rung,
        readers=readers,
        sockets=sockets,
        flows=_records_of(parts["flow"], "flow", FLOW),
        matrix=matrix,
        groups=groups,
        cgroups=_cgroups_of(parts["reader"]),
        **{column.name: whole[column.name] for column in _OF_ROW["interval"]},
    )


def timed_datagrams(reader: Reader, _speed: float = 0) -> Iterator[tuple[float, UdpInterval]]:
    """The intervals of a recording of datagrams, each with its end after the start, seconds."""
    for rows in reader:
        interval = interval_of(rows_by_kind(rows), reader.meta)
        yield interval.time - reader.meta.started / 10**9, interval


# --- groups and pairs of CPUs ---------------------------------------------------------------------


def _group_rows(groups: Mapping[int, UdpGroup]) -> dict[str, pa.Array]:
    columns: dict[str, list[Any]] = {
        column.name: [
            number if column.name == "group" else getattr(group, field_of(column.name, "group"))
            for number, group in groups.items()
        ]
        for column in _OF_ROW["group"]
    }
    return {
        name: pa.array(values, _plain(_SCHEMA.field(name).type)) for name, values in columns.items()
    }


def _groups_of(part: pa.RecordBatch) -> dict[int, UdpGroup]:
    groups = {}
    for values in without_times(part).to_pylist():
        group = {
            field_of(column.name, "group"): values[column.name]
            for column in _OF_ROW["group"]
            if column.name != "group"
        }
        groups[values["group"]] = UdpGroup(**group | {"address": group["address"] or "?"})
    return groups


def _cell_rows(matrix: Array) -> dict[str, pa.Array]:
    alloc, reader = np.nonzero(matrix)
    return {
        "alloc_cpu": pa.array(alloc),
        "reader_cpu": pa.array(reader),
        "datagrams": pa.array(matrix[alloc, reader].astype("i8")),
    }


def _plain(type_: pa.DataType) -> pa.DataType:
    return type_.value_type if pa.types.is_dictionary(type_) else type_


# --- sockets, readers and flows: each form of a column, from records to rows, and back ------------


def _record_rows(records: Array, row: str, interval: UdpInterval) -> dict[str, pa.Array]:
    return {
        column.name: _FORMS[column.form].rows(records, field_of(column.name, row), interval)
        for column in _OF_ROW[row]
    }


def _records_of(part: pa.RecordBatch, row: str, dtype: np.dtype[np.void]) -> Array:
    records = np.zeros(len(part), dtype)
    for column in _OF_ROW[row]:
        if column.form == "path":
            continue
        values = _FORMS[column.form].values(part, column.name)
        records[field_of(column.name, row)] = values
    return records


def _filled(column: pa.Array, unknown: int) -> Array:
    values: Array = column.fill_null(unknown).to_numpy(zero_copy_only=False)
    return values


def _number_rows(records: Array, field: str, _interval: UdpInterval) -> pa.Array:
    return pa.array(records[field].copy())


def _numbers(part: pa.RecordBatch, name: str) -> Array:
    return _filled(part[name], 0)


def _count_rows(records: Array, field: str, _interval: UdpInterval) -> pa.Array:
    return pa.array(records[field].astype("i8"))


def _batches_rows(records: Array, field: str, interval: UdpInterval) -> pa.Array:
    """Null where the kernel does not show the calls of recvmmsg()."""
    unseen = np.full(len(records), not interval.batches_seen)
    return pa.array(records[field].astype("i8"), mask=unseen)


def _index_rows(records: Array, field: str, _interval: UdpInterval) -> pa.Array:
    return pa.array(records[field].copy(), mask=records[field] < 0)


def _indexes(part: pa.RecordBatch, name: str) -> Array:
    return _filled(part[name], -1)


def _not_zero_rows(records: Array, field: str, _interval: UdpInterval) -> pa.Array:
    return pa.array(records[field].copy(), mask=records[field] == 0)


def _version_rows(records: Array, field: str, _interval: UdpInterval) -> pa.Array:
    versions = np.zeros(len(records), "u1")
    for family, version in VERSIONS.items():
        versions[records[field] == family] = version
    return pa.array(versions, mask=versions == 0)


def _families(part: pa.RecordBatch, name: str) -> Array:
    versions = _filled(part[name], 0)
    if not {*versions.tolist()} <= {0, *_FAMILIES}:
        raise damaged("an IP version is none")
    families = np.zeros(len(versions), "u2")
    for version, family in _FAMILIES.items():
        families[versions == version] = family
    return families


def _address_rows(records: Array, field: str, _interval: UdpInterval) -> pa.Array:
    """Addresses of 16 bytes as text, made once for each distinct one; null for no family."""
    keys = np.empty(len(records), [("family", "u2"), ("address", "u1", (16,))])
    keys["family"], keys["address"] = records["family"], records[field]
    distinct, inverse = np.unique(keys.view(f"V{keys.itemsize}"), return_inverse=True)
    texts = [_text(int(key["family"]), key["address"]) for key in distinct.view(keys.dtype)]
    return pa.array(texts, pa.utf8()).take(pa.array(inverse))


def _text(family: int, address: Array) -> str | None:
    if family not in VERSIONS:
        return None
    return socket.inet_ntop(family, address.tobytes()[: 4 if family == socket.AF_INET else 16])


def _packed(part: pa.RecordBatch, name: str) -> Array:
    """Addresses in network order, 16 bytes each: zeros where there is none."""
    known: dict[tuple[int | None, str | None], bytes] = {}
    pairs = list(zip(part["family"].to_pylist(), part[name].to_pylist(), strict=True))
    for version, text in {*pairs}:
        try:
            raw = b"" if text is None else socket.inet_pton(_FAMILIES[version], text)
        except (KeyError, OSError, ValueError):
            raise damaged("an address is none") from None
        known[version, text] = raw.ljust(16, b"\0")
    whole = b"".join(known[pair] for pair in pairs)
    return np.frombuffer(whole, "u1").reshape(-1, 16)


def _path_rows(records: Array, _field: str, interval: UdpInterval) -> pa.Array:
    paths = [interval.cgroups.get(number) for number in records["cgroup"].tolist()]
    return pa.array(paths, pa.utf8())


def _cgroups_of(readers: pa.RecordBatch) -> dict[int, str]:
    """Paths of cgroups by id."""
    columns = (readers[name].to_pylist() for name in ("cgroup", "cgroup_path"))
    return {number: path for number, path in zip(*columns, strict=True) if path is not None}


def _name_rows(records: Array, field: str, _interval: UdpInterval) -> pa.Array:
    return pa.array(records[field].tolist(), pa.binary())


def _names(part: pa.RecordBatch, name: str) -> Array:
    return np.array(part[name].to_pylist(), "S16")


class _Form(NamedTuple):
    rows: Callable[[Array, str, UdpInterval], pa.Array]
    values: Callable[[pa.RecordBatch, str], Array]


_FORMS: Mapping[str, _Form] = {
    "number": _Form(_number_rows, _numbers),
    "count": _Form(_count_rows, _numbers),
    "batches": _Form(_batches_rows, _numbers),
    "index": _Form(_index_rows, _indexes),
    "not zero": _Form(_not_zero_rows, _numbers),
    "version": _Form(_version_rows, _families),
    "address": _Form(_address_rows, _packed),
    "name": _Form(_name_rows, _names),
    # What it says is not the record's, but the interval's: `_cgroups_of`.
    "path": _Form(_path_rows, _numbers),
}
